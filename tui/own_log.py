"""The program's own log: what goes wrong beneath the screen, for whoever looks for the cause later."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from engine import atomic, ownership
from engine.text import clean

MOST_BYTES = 1 << 20


def log_to(path: Path) -> None:
    """Append what goes wrong to a file; the one before it is kept when it has grown too long."""
    log = logging.getLogger("cifar-tui")
    log.propagate = False
    with suppress(OSError):
        if ownership.is_ours(path.parent) and os.lstat(path).st_size > MOST_BYTES:
            os.replace(path, path.with_suffix(".old.txt"))
    handler = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)


class _LogFile(logging.Handler):
    """Writes to a file that is this user's alone. What cannot be written is let go: nobody could be told of it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            ownership.make_private(self._path.parent)
            descriptor = atomic.open_regular(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                os.write(descriptor, f"{clean(self.format(record), newlines=True)}\n".encode())
            finally:
                os.close(descriptor)
