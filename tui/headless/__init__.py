"""Showing a run without the terminal app: live in the terminal, as plain lines, or as JSON."""
