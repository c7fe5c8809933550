"""Data sets: where they lie, how they are read and divided. Importing this loads neither torch nor numpy."""
