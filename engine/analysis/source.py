"""Where an analysis gets its images from, where its progress goes, and how it is interrupted."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from engine.data.dataset import Dataset, load
from engine.options.data import Data


@lru_cache(maxsize=2)
def trained_data(data: Data) -> Dataset:
    """The images of a run, kept between questions. Raises UserError when they cannot be had."""
    return load(data, report=say)


def say(line: str) -> None:
    """One plain line of progress: standard output belongs to the answer."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def stopping_between_steps() -> Iterator[threading.Event]:
    """Within, Ctrl-C and SIGTERM set the event, so that what is being computed can be saved first."""
    event = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    kept = [signal.signal(number, lambda *_: event.set()) for number in numbers]
    try:
        yield event
    finally:
        for number, handler in zip(numbers, kept, strict=True):
            signal.signal(number, handler)
