"""The commands of ``cifar-tui``: one module a family, each imported only when it is asked for."""
