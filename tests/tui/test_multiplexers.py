"""Inside tmux, GNU screen and mosh the picture is what the terminal itself would show, and Esc does what it says."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.pty_terminal import CIFAR_TUI, COLOURFUL, Terminal
from engine.process import Identity, send
from engine.runs import RunFolder

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0
TMUX = "set -g status off\nset -sg escape-time 10\n"
SCREEN = "startup_message off\n"

AddRun = Callable[..., RunFolder]


@dataclass(frozen=True)
class Wrapped:
    """A command that shows another one, with what it needs in its environment."""

    command: Sequence[str]
    environment: Mapping[str, str]


Wrap = Callable[[Sequence[str], Path], Iterator[Wrapped]]


def in_tmux(command: Sequence[str], folder: Path, depth: int = 1) -> Iterator[Wrapped]:
    """Servers of this test's own, one in the other."""
    (folder / "tmux.conf").write_text(TMUX)
    names = [f"cifar-tui-test-{os.getpid()}-{level}" for level in range(depth)]
    for name in names:
        opens = ["tmux", "-L", name, "-f", str(folder / "tmux.conf"), "new-session"]
        command = [*opens, f"TMUX= {shlex.join(command)}"]
    yield Wrapped(command, COLOURFUL | {"TMUX": ""})
    for name in names:
        subprocess.run(["tmux", "-L", name, "kill-server"], check=False, capture_output=True)


def in_tmux_twice(command: Sequence[str], folder: Path) -> Iterator[Wrapped]:
    return in_tmux(command, folder, depth=2)


def in_screen(command: Sequence[str], folder: Path) -> Iterator[Wrapped]:
    """A session in a folder of its own, as screen opens it by itself."""
    (folder / "screenrc").write_text(SCREEN)
    sessions = {"SCREENDIR": str(folder / "sessions")}
    (folder / "sessions").mkdir(mode=0o700)
    name = f"cifar-tui-test-{os.getpid()}"
    opens = ["screen", "-U", "-c", str(folder / "screenrc"), "-S", name]
    yield Wrapped([*opens, *command], COLOURFUL | {"STY": ""} | sessions)
    quits = ["screen", "-S", name, "-X", "quit"]
    subprocess.run(quits, env={**os.environ, **sessions}, check=False, capture_output=True)


def in_mosh(command: Sequence[str], folder: Path) -> Iterator[Wrapped]:
    """Server and client of one machine, as `mosh HOST` would have started them."""
    opens = ["mosh-server", "new", "-i", "127.0.0.1", "-c", "256", "-l", "COLORTERM=truecolor", "--", *command]
    said = subprocess.run(opens, env={**os.environ, **COLOURFUL}, capture_output=True, text=True, check=True)
    connect = re.search(r"MOSH CONNECT (\d+) (\S+)", said.stdout)
    server = re.search(r"detached, pid = (\d+)", said.stderr)
    assert connect is not None
    assert server is not None
    identity = Identity.of(int(server[1]))
    yield Wrapped(["mosh-client", "127.0.0.1", connect[1]], COLOURFUL | {"MOSH_KEY": connect[2]})
    if identity is not None:
        send(identity, signal.SIGTERM)


WRAPS: dict[str, tuple[str, Wrap]] = {
    "tmux": ("tmux", in_tmux),
    "tmux in tmux": ("tmux", in_tmux_twice),
    "screen": ("screen", in_screen),
    "mosh": ("mosh-server", in_mosh),
}


@pytest.fixture(params=WRAPS)
def wrap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Sequence[str]], Wrapped]]:
    """Puts a command into a multiplexer, which is ended after the test; skips those that are not installed."""
    program, way = WRAPS[request.param]
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    opened: list[Iterator[Wrapped]] = []

    def wrapped(command: Sequence[str]) -> Wrapped:
        opened.append(way(command, tmp_path))
        return next(opened[-1])

    yield wrapped
    for each in opened:
        with suppress(StopIteration):
            next(each)


def below_the_header(terminal: Terminal) -> tuple[str, object]:
    """Letters, and how they are stressed, on all lines but the first, which tells of the machine."""
    return terminal.text.partition("\n")[2], terminal.stressed[1:]


def shows(terminal: Terminal, seen: str, gone: str) -> None:
    """Wait until one text is there and another is not."""
    there = terminal.until_true(lambda: seen in terminal.text and not (gone and gone in terminal.text), PATIENCE_S)
    assert there is not None, f"never {seen!r}, or still {gone!r}:\n{terminal.text}"


def test_the_picture_is_the_terminals_own(add_run: AddRun, wrap: Callable[[Sequence[str]], Wrapped]) -> None:
    runs = [add_run(name, best=best) for name, best in (("alpha", 90.0), ("beta", 91.0), ("日本 e\u0301", 92.0))]
    command = [*CIFAR_TUI, "--runs", str(runs[0].path.parent)]
    outer = wrap(command)
    steps = (("", "3 runs", ""), ("?", "Keys: Runs", ""), ("\x1b", "3 runs", "Keys: Runs"), ("G", "✓ alpha ─", ""))
    with (
        Terminal(command, 120, 36, COLOURFUL) as direct,
        Terminal(outer.command, 120, 36, outer.environment) as inside,
    ):
        for keys, seen, gone in steps:
            for terminal in (direct, inside):
                terminal.press(keys)
                shows(terminal, seen, gone)
            direct.settle()
            same = inside.until_true(lambda: below_the_header(inside) == below_the_header(direct), PATIENCE_S)
            assert same is not None, f"{inside.text}\n{direct.text}"
