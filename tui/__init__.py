"""Everything that a person sees in a terminal. Nothing here imports torch, numpy or torchvision."""
