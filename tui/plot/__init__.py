"""Plots in a terminal: pure functions from series and settings to a grid of styled cells, and its widget."""
