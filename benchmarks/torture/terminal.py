"""The app in a real pseudo-terminal: what it sends is read byte by byte, what it gets is sent as a terminal would."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

KEPT_BYTES = 32 << 20
PROGRAM = "import sys; from tui.cli import main; sys.exit(main())"
CIFAR_TUI = (sys.executable, "-P", "-c", PROGRAM)


class Terminal:
    """`cifar-tui --runs FOLDER` with an empty home, in a terminal of its own that answers no question.

    `before` is Python that its process runs first.
    """

    def __init__(
        self, runs: Path, columns: int = 120, rows: int = 36, arguments: tuple[str, ...] = (), before: str = ""
    ) -> None:
        self.output = bytearray()
        self._home = tempfile.TemporaryDirectory(prefix="torture-home-")
        command = [*CIFAR_TUI[:-1], before + PROGRAM, "--runs", str(runs), *arguments]
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.environ.update(HOME=self._home.name, TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8")
            for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
                os.environ.pop(name, None)
            os.execv(command[0], command)
        self.resize(columns, rows)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def resize(self, columns: int, rows: int) -> None:
        """Another size, told to the app by SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, keys: str | bytes) -> None:
        """Type, reading meanwhile, so that neither side waits for the other."""
        rest = keys.encode() if isinstance(keys, str) else keys
        while rest and self.alive():
            readable, writable, _ = select.select([self._master], [self._master], [], 5.0)
            if readable:
                self._take()
            if writable:
                rest = rest[os.write(self._master, rest[:1024]) :]

    def read(self, seconds: float) -> int:
        """Read what comes for so long; returns how many bytes it was."""
        deadline, count = time.monotonic() + seconds, 0
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                took = self._take()
                if not took:
                    time.sleep(min(left, 0.05))
                count += took
        return count

    def settle(self, quiet_s: float = 0.7, patience_s: float = 30.0) -> float:
        """Read until it has said something and then nothing for a while; returns how long the talking took."""
        began = last = time.monotonic()
        spoke = False
        while time.monotonic() - began < patience_s:
            if self.read(0.1):
                last, spoke = time.monotonic(), True
            elif spoke and time.monotonic() - last > quiet_s:
                break
        return last - began

    def answers(self, key: str = "?", patience_s: float = 20.0) -> float:
        """Seconds until a key that opens or closes the help changes the screen; infinity when it never does."""
        self.settle()
        began = time.monotonic()
        self.send(key)
        while time.monotonic() - began < patience_s:
            if self.read(0.02) > 20:
                return time.monotonic() - began
        return float("inf")

    def alive(self) -> bool:
        """Whether the app still runs."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def hang_up(self) -> None:
        """The connection is gone: the terminal is closed under the app."""
        os.close(self._master)
        self._master = -1

    def end(self) -> None:
        """Kill the app if it lives, and clean up."""
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        if self._master >= 0:
            self.hang_up()
        self._home.cleanup()

    def _take(self) -> int:
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: the other side is closed
            return 0
        self.output += data
        if len(self.output) > KEPT_BYTES:
            del self.output[: KEPT_BYTES // 2]
        return len(data)
