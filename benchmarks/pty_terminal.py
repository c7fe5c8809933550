"""A program in a pseudo-terminal of its own, typed at and read as a person does: the screen, its bytes, its process."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pyte

CIFAR_TUI = (sys.executable, "-P", "-c", "import sys, tui.cli; sys.exit(tui.cli.main())")
COLOURFUL = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
PATIENCE_S = 20.0
QUIET_S = 0.6
TICKS = os.sysconf("SC_CLK_TCK")
_UNKNOWN = re.compile(rb"\x1b\[[<>=?][0-9;]*[a-zA-Z]|\x1b\[[0-9;?]*\$[a-z]|\x1b[P_^].*?\x1b\\\\", re.S)


class Terminal:
    """A program on a pty of its own, and the screen it has drawn.

    ``sent`` is all that it wrote, ``before`` the terminal's modes as the program found them.
    """

    def __init__(
        self, command: Sequence[str], columns: int = 120, rows: int = 36, environment: Mapping[str, str] = COLOURFUL
    ) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], list(command), {**os.environ, **environment})
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = self.modes()
        self.bytes = 0
        self.sent = bytearray()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._exit: int | None = None

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def text(self) -> str:
        """What is on the screen, rows without trailing blanks."""
        return "\n".join(row.rstrip() for row in self._screen.display)

    @property
    def stressed(self) -> list[list[tuple[bool, ...]]]:
        """Whether each cell, by row and column, is bold, italic, underlined, blinking, reversed."""
        rows = (self._screen.buffer[row] for row in range(self._screen.lines))
        cells = ([row[column] for column in range(self._screen.columns)] for row in rows)
        return [[(c.bold, c.italics, c.underscore, c.blink, c.reverse) for c in row] for row in cells]

    def read(self, seconds: float) -> int:
        """Take what comes within ``seconds``; returns how many bytes."""
        deadline, before = time.monotonic() + seconds, self.bytes
        while (left := deadline - time.monotonic()) > 0:
            if not self._take(left):
                break
        return self.bytes - before

    def until(self, *texts: str, patience: float = PATIENCE_S) -> float | None:
        """Seconds until all of ``texts`` stand on the screen; None when they never do."""
        return self.until_true(lambda: all(text in self.text for text in texts), patience)

    def until_true(self, condition: Callable[[], object], patience: float = PATIENCE_S) -> float | None:
        """Seconds until ``condition`` holds, reading meanwhile; None when it never does."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > patience:
                return None
            self._take(0.05)
        return time.monotonic() - began

    def settle(self) -> None:
        """Read until nothing has come for a while."""
        while self.read(QUIET_S):
            pass

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    def exit_code(self) -> int | None:
        """How the program ended, as a shell has it (128 and more for a signal); None while it lives."""
        if self._exit is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._exit = code if code >= 0 else 128 - code
        return self._exit

    def modes(self) -> list[object]:
        """The terminal's line settings, as `stty` would show them."""
        return termios.tcgetattr(self._fd)[:4]

    def cpu_seconds(self) -> float:
        """CPU time the program has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Resident memory in MB (10^6 bytes)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    def close(self) -> None:
        """End the program."""
        if self._exit is None:
            self.signal(signal.SIGKILL)
            os.waitpid(self.pid, 0)
        with suppress(OSError):
            os.close(self._fd)

    def _take(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # EIO: the program is gone
            time.sleep(min(seconds, 0.05))
            return False
        self.bytes += len(data)
        self.sent += data
        # pyte does not know synchronised updates and private key modes; what it cannot place it would print.
        self._stream.feed(_UNKNOWN.sub(b"", data))
        return True
