"""The terminal itself: that it may vanish at any moment, and what a terminal without UTF-8 gets to see."""

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.glyphs import to_ascii

_LOG = logging.getLogger("cifar-tui")

GRACE_S = 2.0
HANGUP = 128 + signal.SIGHUP


class Vanishing:
    """Ends the program within two seconds of the terminal's end, however it is told of it.

    `leave` is called with the exit code, from any thread; whoever hangs after that, waiting to write to a terminal that
    is gone, is cut off.
    """

    def __init__(self, leave: Callable[[int], object]) -> None:
        self._leave = leave
        self._leaving = False

    def watch(self) -> None:
        """Catch SIGHUP and SIGTERM, and wait in a thread for the terminal to hang up. Call it on the main thread."""
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, lambda received, frame: self.end(128 + received))
        threading.Thread(target=self._await_hangup, name="terminal", daemon=True).start()

    def end(self, code: int) -> None:
        """Leave, by force where leaving takes too long."""
        if self._leaving:
            return
        self._leaving = True
        _LOG.warning("leaving: %s", "the terminal is gone" if code == HANGUP else "asked to end")
        timer = threading.Timer(GRACE_S, os._exit, [code])
        timer.daemon = True
        timer.start()
        # From a thread of its own: a signal is caught on the app's, which cannot wait for itself.
        threading.Thread(target=self._say_leave, args=[code], name="leave", daemon=True).start()

    def _say_leave(self, code: int) -> None:
        with suppress(Exception):  # the app may be gone already
            self._leave(code)

    def _await_hangup(self) -> None:
        poll = select.poll()
        try:
            poll.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)  # hang-ups and errors are always reported
            poll.poll()
        except (OSError, ValueError):
            return
        self.end(HANGUP)


class AsciiFilter(LineFilter):
    """Respells everything in ASCII, cell for cell, also names that people gave."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(_respelled(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def _respelled(text: str) -> str:
    return "".join(letter if letter.isascii() else to_ascii(letter) * cell_len(letter) for letter in text)
