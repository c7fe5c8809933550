"""What the engine prints goes to the run's log, a file on a disk that may be full: no line of it is worth a run."""

import io
import os
import sys


class LogOutput(io.TextIOBase):
    """A text stream onto a descriptor that writes whole lines at once and never raises.

    Lines that the disk refuses are dropped; the first that it takes again is preceded by a word about those.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._line = ""
        self._lost = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        lines, newline, self._line = (self._line + text).rpartition("\n")
        if newline:
            self._write(f"{lines}\n")
        return len(text)

    def flush(self) -> None:
        if self._line:
            self._write(self._line)
            self._line = ""

    def _write(self, lines: str) -> None:
        notice = f"\n--- log truncated: disk full, {self._lost:,} bytes lost ---\n" if self._lost else ""
        rest = (notice + lines).encode("utf-8", "backslashreplace")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self._lost = 0
        except OSError:
            self._lost += len(rest)


def install() -> None:
    """Send what this process prints through such streams, tracebacks and warnings too."""
    sys.stdout = LogOutput(1)
    sys.stderr = LogOutput(2)
