"""Inside tmux, and inside tmux inside tmux, the picture is what the terminal itself would show."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.pty_terminal import CIFAR_TUI, COLOURFUL, Terminal
from engine.runs import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")]

PATIENCE_S = 120.0
SETTINGS = "set -g status off\nset -sg escape-time 10\n"

AddRun = Callable[..., RunFolder]


@pytest.fixture
def servers() -> Iterator[list[str]]:
    """Names for tmux servers of this test's own, which are ended after it."""
    names = [f"cifar-tui-test-{os.getpid()}-{level}" for level in range(2)]
    yield names
    for name in names:
        subprocess.run(["tmux", "-L", name, "kill-server"], check=False, capture_output=True)


def below_the_header(terminal: Terminal) -> str:
    """All but the first line, which tells of the machine."""
    return terminal.text.partition("\n")[2]


@pytest.mark.parametrize("depth", [1, 2])
def test_the_picture_is_the_terminals_own(add_run: AddRun, tmp_path: Path, servers: list[str], depth: int) -> None:
    runs = [add_run(name, best=best) for name, best in (("alpha", 90.0), ("beta", 91.0), ("日本 e\u0301", 92.0))]
    settings = tmp_path / "tmux.conf"
    settings.write_text(SETTINGS)
    command = [*CIFAR_TUI, "--runs", str(runs[0].path.parent)]
    wrapped = command
    for name in servers[:depth]:
        wrapped = ["tmux", "-L", name, "-f", str(settings), "new-session", f"TMUX= {shlex.join(wrapped)}"]
    steps = (("", "3 runs"), ("?", "Keys: Runs"), ("\x1b", "3 runs"), ("G", "日本"))
    with (
        Terminal(command, 120, 36, COLOURFUL) as direct,
        Terminal(wrapped, 120, 36, COLOURFUL | {"TMUX": ""}) as inside,
    ):
        for keys, seen in steps:
            for terminal in (direct, inside):
                terminal.press(keys)
                assert terminal.until(seen, patience=PATIENCE_S) is not None, terminal.text
            direct.settle()
            same = inside.until_true(lambda: below_the_header(inside) == below_the_header(direct), PATIENCE_S)
            assert same is not None, f"{inside.text}\n{direct.text}"
