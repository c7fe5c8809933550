"""A run's log in full, read as it grows: at most its last part in memory, however long it is."""

import os
from pathlib import Path

from engine import atomic
from engine.text import clean

KEPT_LINES = 100_000
FIRST_BYTES = 16 << 20
POLL_BYTES = 4 << 20
LINE_BYTES = 1 << 16


class LogReader:
    """The lines of a growing text file, each without anything that a terminal would act on.

    `dropped` counts the lines before the first one kept. A file that was cut or replaced is read anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._rest = b""
        self.lines: list[str] = []
        self.dropped = 0
        self.whole = True

    def poll(self) -> bool:
        """Read what has come since; whether anything did."""
        try:
            fd = atomic.open_regular(self._path, os.O_RDONLY)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            if self._file != (status.st_dev, status.st_ino) or status.st_size < self._offset:
                self._begin((status.st_dev, status.st_ino), status.st_size)
            data = os.pread(fd, POLL_BYTES, self._offset)
        except OSError:
            return False
        finally:
            os.close(fd)
        self._offset += len(data)
        self._take(data)
        return bool(data)

    def _begin(self, file: tuple[int, int], size: int) -> None:
        self._file, self._rest, self.lines, self.dropped = file, b"", [], 0
        self._offset = max(size - FIRST_BYTES, 0)
        self.whole = self._offset == 0

    def _take(self, data: bytes) -> None:
        *complete, rest = (self._rest + data).split(b"\n")
        if len(rest) > LINE_BYTES:
            complete, rest = [*complete, rest], b""
        self._rest = rest
        self.lines += [_line(text) for text in complete]
        extra = len(self.lines) - KEPT_LINES
        if extra > 0:
            del self.lines[:extra]
            self.dropped += extra

    def all_lines(self) -> list[str]:
        """The lines so far, with the last one although it has no end yet."""
        return [*self.lines, _line(self._rest)] if self._rest else list(self.lines)


def _line(data: bytes) -> str:
    """One line; of a progress bar that wrote over itself only what was last to be seen."""
    return clean(data[:LINE_BYTES].rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace"))
