"""What a terminal may do to the app, in a real one: suspend it, stop reading, ask it to end."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.pty_terminal import CIFAR_TUI, COLOURFUL, Terminal

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0
STALL_S, TOGGLES = 8.0, 20
ASKS, LATE_S = b"\x1b[?2026$p", 0.3  # whether it knows synchronised updates, and how late a slow link's reply is
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen


@pytest.fixture
def terminal(sample_runs: Path) -> Iterator[Terminal]:
    """The app with its table drawn."""
    with Terminal([*CIFAR_TUI, "--runs", str(sample_runs)], 120, 36, COLOURFUL) as opened:
        see(opened, "best_5m-s3", "21 runs")
        assert opened.modes() != opened.before
        yield opened


def see(terminal: Terminal, *texts: str) -> None:
    assert terminal.until(*texts, patience=PATIENCE_S) is not None, f"never {texts}:\n{terminal.text}"


def wait(terminal: Terminal, condition: Callable[[], object], what: str) -> None:
    assert terminal.until_true(condition, PATIENCE_S) is not None, f"never {what}:\n{terminal.text}"


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_ctrl_z_gives_the_terminal_back_and_fg_draws_again(terminal: Terminal) -> None:
    terminal.press("\x1a")
    wait(terminal, lambda: stopped(terminal.pid), "it is suspended")
    terminal.read(0.2)
    assert LEAVE in terminal.sent
    assert terminal.modes() == terminal.before
    terminal.sent.clear()
    terminal.signal(signal.SIGCONT)
    wait(terminal, lambda: ENTER in terminal.sent and b"best_5m-s3" in terminal.sent, "it is drawn again")
    terminal.press("?")
    see(terminal, "Keys: Runs")


def test_a_terminal_that_does_not_read_for_a_while_finds_all_as_it_is(terminal: Terminal) -> None:
    for _ in range(TOGGLES):
        terminal.press("\x14")  # the whole screen in the other shade
        time.sleep(STALL_S / TOGGLES)
    assert terminal.exit_code() is None
    terminal.press("G")
    see(terminal, "quickstart", "? help")
    terminal.press("q")
    wait(terminal, lambda: terminal.exit_code() is not None, "it ends")
    assert terminal.exit_code() == 0


MISTAKEN = """
import sys
from tui.cli import main
from tui.screens.base import BaseScreen

def mistake():
    raise ZeroDivisionError("by \\x1b[31mnothing")

BaseScreen.on_key = lambda screen, key: screen.set_timer(0.01, mistake)
sys.exit(main(sys.argv[1:]))
"""


def test_a_mistake_that_nothing_caught_gives_the_terminal_back_and_leaves_a_report(
    sample_runs: Path, empty_home: Path
) -> None:
    command = [sys.executable, "-P", "-c", MISTAKEN, "--runs", str(sample_runs)]
    before = {path: path.stat().st_mtime_ns for path in sample_runs.rglob("*") if path.is_file()}
    with Terminal(command, 120, 36, COLOURFUL) as terminal:
        see(terminal, "best_5m-s3", "21 runs")
        terminal.press("j")
        wait(terminal, lambda: terminal.exit_code() is not None, "it ends")
        terminal.read(0.2)
        assert terminal.exit_code() == 1
        assert LEAVE in terminal.sent
        assert terminal.modes() == terminal.before
        assert "cifar-tui: ZeroDivisionError: by nothing. This is a mistake of the program" in terminal.text
        assert b"by \x1b[31m" not in terminal.sent.partition(LEAVE)[2]
    (log,) = empty_home.rglob("log.txt")
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    after = {path: path.stat().st_mtime_ns for path in sample_runs.rglob("*") if path.is_file()}
    assert {path: at for path, at in after.items() if path in before} == before


@pytest.mark.parametrize(
    "halves", [("\x1b", "[?2026;2$y"), ("\x1b[", "?2026;2$y"), ("\x1b[?2026;", "2$y"), ()], ids=repr
)
def test_a_reply_in_two_halves_or_none_at_all_presses_no_key(sample_runs: Path, halves: tuple[str, ...]) -> None:
    with Terminal([*CIFAR_TUI, "--runs", str(sample_runs)], 120, 36, COLOURFUL) as terminal:
        wait(terminal, lambda: ASKS in terminal.sent, "it asks")
        for half in halves:
            terminal.press(half)
            terminal.read(LATE_S)
        see(terminal, "best_5m-s3", "21 runs")
        before = terminal.text.splitlines()[0]
        terminal.read(2.0)
        assert terminal.text.splitlines()[0].split()[:2] == before.split()[:2] == ["cifar-tui", "Runs"]
        assert "Keys: Runs" not in terminal.text
        terminal.press("?")
        see(terminal, "Keys: Runs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_end_it_leaves_the_terminal_as_it_was(terminal: Terminal, number: signal.Signals) -> None:
    os.kill(terminal.pid, number)
    wait(terminal, lambda: terminal.exit_code() is not None, "it ends")
    terminal.read(0.2)
    assert terminal.exit_code() == 128 + number
    assert LEAVE in terminal.sent
    assert terminal.modes() == terminal.before
