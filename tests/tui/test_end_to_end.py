"""The real program in a real terminal: from no runs to a trained one, through the loss of the terminal, and back."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.pty_terminal import CIFAR_TUI, COLOURFUL, Terminal
from engine import launch, runs
from engine.runs import RunFolder, RunView

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0
TRAINING_S = 900.0
EPOCHS = 4


@contextmanager
def opened(root: Path) -> Iterator[Terminal]:
    with Terminal([*CIFAR_TUI, "--runs", str(root)], 120, 36, COLOURFUL) as terminal:
        yield terminal


def see(terminal: Terminal, *texts: str, patience: float = PATIENCE_S) -> None:
    """Wait until all texts are on the screen."""
    assert terminal.until(*texts, patience=patience) is not None, f"never {texts}:\n{terminal.text}"


def wait(terminal: Terminal, condition: Callable[[], object], what: str, patience: float = PATIENCE_S) -> None:
    assert terminal.until_true(condition, patience) is not None, f"never {what}:\n{terminal.text}"


def eventually(condition: Callable[[], object], what: str, patience: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"never {what}"
        time.sleep(0.1)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A runs folder that no run outlives."""
    folder = tmp_path / "runs"
    yield folder
    for run in runs.list_runs(folder):
        if run.live:
            launch.stop(RunFolder(run.path), signal.SIGKILL)


def only_run(root: Path) -> RunView:
    (run,) = runs.list_runs(root)
    return run


def launch_quickstart(terminal: Terminal) -> None:
    """From the first-run screen by its two keys, with fewer epochs typed into the form in between."""
    see(terminal, "No runs yet", "choose a run")
    terminal.press("n")
    see(terminal, "valid  named quickstart")
    terminal.press("e\t\x15" + f"{EPOCHS}\r")
    see(terminal, f"epochs      {EPOCHS}")
    terminal.press("\r")
    see(terminal, "› quickstart", "running", patience=TRAINING_S)


def shown_epoch(terminal: Terminal) -> float:
    found = re.search(r"epoch +([0-9.]+)", terminal.text)
    return float(found[1]) if found else 0.0


def test_from_no_runs_through_a_lost_terminal_to_results(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with opened(root) as terminal:
        launch_quickstart(terminal)
        first = only_run(root)
        wait(terminal, lambda: only_run(root).step > 0, "the first step")
        before = terminal.text
        wait(terminal, lambda: terminal.text != before and "running" in terminal.text, "the screen moves")
        terminal.signal(signal.SIGKILL)
        wait(terminal, lambda: terminal.exit_code() == 128 + signal.SIGKILL, "the terminal is killed")
    killed_at = only_run(root).step
    eventually(lambda: only_run(root).step > killed_at or not only_run(root).live, "the run goes on without a terminal")

    with opened(root) as terminal:
        see(terminal, "quickstart", "1 run")
        terminal.press("\r")
        see(terminal, "› quickstart")
        see(terminal, "finished", patience=TRAINING_S)
        assert only_run(root).state == "finished"
        assert only_run(root).test is not None
        compare_with_a_second(terminal, root, first)
        open_results(terminal)
        delete_and_undo(terminal, root, first)
        terminal.press("q")
        wait(terminal, lambda: terminal.exit_code() is not None, "it ends")
        assert terminal.exit_code() == 0


def compare_with_a_second(terminal: Terminal, root: Path, first: RunView) -> None:
    """Another run from this one, with another seed, one epoch long."""
    terminal.press("N")
    see(terminal, "valid  named quickstart")
    terminal.press("e\t\x151\t\t\t\x157\r")
    see(terminal, "epochs      1", "seeds       7")
    terminal.press("\r")
    eventually(lambda: len(runs.list_runs(root)) == 2, "there are two runs")
    eventually(lambda: not any(run.live for run in runs.list_runs(root)), "both are over", TRAINING_S)
    terminal.press("1")
    see(terminal, "2 runs", "finished")
    terminal.press("*c")
    see(terminal, "Compare", "train.seed", "train.epochs")
    terminal.press("1")
    see(terminal, "2 runs")
    terminal.press("*G")


def open_results(terminal: Terminal) -> None:
    terminal.press("r")
    see(terminal, "Results", "disc")
    terminal.press("\x1b")
    see(terminal, "2 runs")


def delete_and_undo(terminal: Terminal, root: Path, run: RunView) -> None:
    terminal.press("D")
    see(terminal, "It goes to the trash")
    terminal.press("\r")
    see(terminal, "1 run ")
    assert not run.path.exists()
    terminal.press("u")
    see(terminal, "2 runs")
    assert run.path.exists()
