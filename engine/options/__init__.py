"""Typed options of every ingredient, free of torch: one model a family, its help, its bounds, its builder's name."""
