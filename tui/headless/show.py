"""Which display shows a run here: JSON when asked for, a live one on a terminal, else plain lines."""

import os
import sys
from argparse import Namespace
from typing import TextIO

from tui.headless.follow import Display
from tui.headless.json_events import JsonDisplay
from tui.headless.plain import PlainDisplay

LIVE_COLUMNS, LIVE_ROWS = 60, 15


def display(args: Namespace, hint: str) -> Display:
    """The display for this terminal and these options; a live one says ``hint``, and alone imports rich and plotext."""
    lines = Lines(sys.stdout)
    if args.json:
        return JsonDisplay(lines.write)
    if not can_live(sys.stdout):
        return PlainDisplay(lines.write)
    from tui.headless.live import LiveDisplay

    return LiveDisplay(hint, fps=args.fps, lite=bool(args.lite))


def can_live(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that can be drawn on, and large enough."""
    if not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return False
    size = os.get_terminal_size(stream.fileno())
    return size.columns >= LIVE_COLUMNS and size.lines >= LIVE_ROWS


class Lines:
    """Lines to a stream whose reader may leave: from then on nothing is written, and the run goes on unharmed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def write(self, line: str) -> None:
        """Write one line and flush it."""
        if self._stream is None:
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None
            _silence_stdout()


def _silence_stdout() -> None:
    """Python flushes standard output once more at exit; that must not fail either."""
    try:
        sys.stderr.write("cifar-tui: standard output is closed; the run goes on and is waited for\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
