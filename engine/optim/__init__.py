"""Optimisers and averages of weights. Importing this package imports nothing heavy."""
