"""Everything that trains. Importing this package imports nothing heavy; torch lives in the modules that need it."""

__version__ = "0.1.0"
