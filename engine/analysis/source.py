"""Where an analysis gets its images from, and where its progress goes."""

import os
import sys
from functools import lru_cache
from pathlib import Path

from engine.data.dataset import Dataset, load
from engine.options.data import Data


@lru_cache(maxsize=2)
def trained_data(data: Data) -> Dataset:
    """The images of a run, kept between questions. Raises UserError when they cannot be had."""
    named = os.environ.get("CIFAR_TUI_DATA")
    return load(data, Path(named) if named else None, say)


def say(line: str) -> None:
    """One plain line of progress: standard output belongs to the answer."""
    print(line, file=sys.stderr, flush=True)
