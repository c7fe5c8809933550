"""Network families, a file a family, each to be read beside its paper. Importing this package imports none of them."""
