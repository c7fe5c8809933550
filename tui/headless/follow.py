"""Follow one run to its end, whatever shows it: a live display, plain lines or JSON."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from engine.metrics_log import MetricsTail
from engine.runs import LIVE, RunFolder, RunView

Record = dict[str, Any]

POLL_S = 0.1
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Display(Protocol):
    """What shows a run."""

    def show(self, view: RunView, records: list[Record], restarted: bool) -> None:
        """The run as it is now and the records that came since the last call.

        ``restarted``: the log was cut by a resume, and the records begin anew from its start.
        """

    def close(self, view: RunView) -> None:
        """The last look, when the run is over or is no longer followed."""


@dataclass
class Interrupts:
    """Signals that arrived while a run is followed. They never break into an output that is half written."""

    _waiting: list[int] = field(default_factory=list)

    def take(self) -> int | None:
        """The oldest signal not yet taken, or None."""
        return self._waiting.pop(0) if self._waiting else None

    @contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        """Catch Ctrl-C and SIGTERM for the length of the block."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._waiting.append(number)


def follow(run: RunFolder, display: Display, on_signal: Callable[[int], bool], interrupts: Interrupts) -> RunView:
    """Show a run until it is over; returns it as it was last seen.

    ``on_signal`` is told of each Ctrl-C or SIGTERM and says whether to go on following.
    """
    tail = MetricsTail(run.path / "metrics.jsonl")
    following = True
    while True:
        view = run.view()
        records = tail.poll()
        display.show(view, records, tail.restarted)
        if not following or (is_over(view) and not records):
            display.close(view)
            return view
        while following and (number := interrupts.take()) is not None:
            following = on_signal(number)
        if following and not records:
            time.sleep(POLL_S)


def is_over(view: RunView) -> bool:
    """Whether nothing more will come. A run on another host may well go on."""
    return view.state not in LIVE and view.state != "unknown"
