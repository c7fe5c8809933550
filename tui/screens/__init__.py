"""The screens: layout and keys. What they show is computed by plain functions elsewhere."""
