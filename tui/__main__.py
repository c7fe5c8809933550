"""``python -m tui`` is the command ``cifar-tui``, also where it is not installed."""

import sys

from tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
