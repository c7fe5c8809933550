"""The Queue screen over real folders: what runs, waits and is done, and what each key does to the queue."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import queue, run_view, system
from engine.process import Lock
from engine.runs import RunFolder
from tui import theme
from tui.app import CifarApp
from tui.dialogs import Question
from tui.screens.queue import QueueScreen
from watching import seen, shaded, until

AddRun = Callable[..., RunFolder]
SIZES = [(80, 24), (120, 36), (200, 50)]


class Runner:
    """Stands in for the process that would start what waits; counts how often one was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lives = True
        self.asked = 0
        monkeypatch.setattr(queue, "_runner_lives", lambda root: self.lives)
        monkeypatch.setattr(queue, "ensure_runner", self._ensure)

    def _ensure(self, root: Path) -> bool:
        self.asked += 1
        return False


@pytest.fixture(autouse=True)
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(monkeypatch)


@pytest.fixture(autouse=True)
def _still_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One host with two GPUs, and a home that the runs lie in."""
    gpus = tuple(
        system.Gpu(f"GPU-{n}", n, "NVIDIA H100", 97.0 + n, (4 + 13 * n) << 30, 80 << 30, 61.0 + n) for n in (0, 1)
    )
    monkeypatch.setattr(system, "sample", lambda: system.Sample(0.0, 11.0, 2 << 30, 8 << 30, gpus))
    monkeypatch.setattr(system, "gpus", lambda: gpus)
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(queue, "date", OneDay)


class OneDay:
    """A calendar without a midnight."""

    @staticmethod
    def today() -> int:
        return 1

    @staticmethod
    def fromtimestamp(moment: float) -> int:
        return 1


@pytest.fixture
def root(tmp_path: Path, add_run: AddRun) -> Path:
    """Two runs in two slots, four that wait, one of them held, and three that ended."""
    add_run("best_5m-s3", state="running", done=0.685, best=92.67, took=72, extra={"slot": "GPU-0"})
    add_run("wrn28_10-s1", state="running", architecture="wrn28_10", done=0.305, best=89.94, took=292,
            extra={"slot": "GPU-1"})  # fmt: skip
    waits = [add_run(f"best_5m-s{seed}", state="queued", seed=seed, took=330) for seed in (4, 5, 6)]
    waits.append(add_run("champion_5m", state="queued", architecture="champion_5m", epochs=400, took=990))
    add_run("best_5m-s2", best=93.04, test=92.49, ago=90, took=98)
    add_run("resnext29", state="failed", done=0, best=None, ago=20, reason="CUDA out of memory at batch 4096")
    add_run("best_5m-dropout", state="stopped", done=0.29, ago=10, reason="by you")
    folder = tmp_path / "runs"
    queue._edit(folder, lambda plan: queue.Plan(tuple(run.id for run in waits), frozenset({waits[2].id})))
    return folder


def app_of(root: Path, shade: str = "dark") -> CifarApp:
    return shaded(CifarApp(root), shade)


async def opened(pilot: Pilot[Any], text: str = "Slots") -> QueueScreen:
    pilot.app.goto("queue")  # type: ignore[attr-defined]
    await seen(pilot, text)
    screen = pilot.app.screen
    assert isinstance(screen, QueueScreen)
    return screen


def order(root: Path) -> list[str]:
    return [waiting.run.name for waiting in queue.view(root).waiting]


def row(shown: str, name: str) -> str:
    return next(line for line in shown.split("\n") if f" {name} " in line)


async def test_slots_waiting_and_done(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "61 °C")
        shown = await seen(pilot, "left 33 s")
        assert "● advancing   runner on lab-gpu2; one run per GPU; goes on after a failure" in shown
        assert "2 of 2 busy" in shown
        assert row(shown, "best_5m-s3").split()[:9] == ["H100", "0", "97", "%", "4.0", "GiB", "61", "°C", "●"]
        assert "137/200" in row(shown, "best_5m-s3")
        assert "68 %" in row(shown, "best_5m-s3")
        assert "val 92.67" in row(shown, "best_5m-s3")
        assert "H100 1" in row(shown, "wrn28_10-s1")
        assert row(shown, "best_5m-s4").split()[:7] == ["1", "best_5m-s4", "resnet_5m", "4.78", "M", "200", "any"]
        assert "1 m 45 s" in row(shown, "best_5m-s4")
        assert "in 33 s" in row(shown, "best_5m-s4")
        assert "‖ held" in row(shown, "best_5m-s6")
        assert "1 finished, 1 failed, 1 stopped" in shown
        assert "93.04   92.49" in row(shown, "best_5m-s2")
        assert "✗  resnext29" in row(shown, "resnext29")
        assert "CUDA out of memory at batch 4096" in row(shown, "resnext29")
        assert "by you at epoch 57" in row(shown, "best_5m-dropout")


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (100, 30), (200, 50)])
async def test_every_pane_is_reached_at_every_size(root: Path, size: tuple[int, int]) -> None:
    async with app_of(root).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("tab")
        await seen(pilot, "best_5m-dropout")
        await pilot.press("tab")
        await seen(pilot, "best_5m-s3")
        await pilot.press("shift+tab", "shift+tab")
        await seen(pilot, "best_5m-s4")


async def test_a_run_is_moved_and_the_cursor_stays_on_it(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, "best_5m-s4")
        await pilot.press("J")
        run = screen.here()
        assert run is not None
        assert run.name == "best_5m-s4"
        await until(pilot, lambda: order(root)[:2] == ["best_5m-s5", "best_5m-s4"])
        await pilot.press("J", "J", "J")
        await until(pilot, lambda: order(root)[-1] == "best_5m-s4")
        await pilot.press("K")
        await until(pilot, lambda: order(root)[2] == "best_5m-s4")
        await pilot.press("g")
        assert "best_5m-s5" in row(await seen(pilot, " 1  best_5m-s5"), "best_5m-s5")


async def test_a_run_is_held_and_released(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "best_5m-s4")
        await pilot.press("H")
        shown = await seen(pilot, "is held; H releases it")
        await seen(pilot, "H release")
        assert "held" in row(shown, "best_5m-s6")
        await pilot.press("H")
        await seen(pilot, "best_5m-s4 may start again")
        assert [waiting.held for waiting in queue.view(root).waiting] == [False, False, True, False]


async def test_a_run_is_removed_when_asked_twice_and_comes_back(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "best_5m-s4")
        await pilot.press("D")
        assert isinstance(pilot.app.screen, Question)
        await pilot.press("escape")
        assert len(order(root)) == 4
        await pilot.press("D", "enter")
        await seen(pilot, "best_5m-s4 is taken out of the queue; u adds it again")
        assert order(root) == ["best_5m-s5", "best_5m-s6", "champion_5m"]
        await pilot.press("u")
        await until(pilot, lambda: order(root)[-1] == "best_5m-s4")


async def test_the_queue_is_paused_and_goes_on(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "best_5m-s4")
        await pilot.press("P")
        shown = await seen(pilot, "‖ paused   nothing new starts")
        assert queue.read_plan(root).paused
        assert "paused" in row(shown, "best_5m-s4")
        assert "P go on" in shown
        await pilot.press("P")
        await seen(pilot, "● advancing")
        assert not queue.read_plan(root).paused


async def test_the_number_of_runs_per_slot_is_set(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "best_5m-s4")
        await pilot.press("C", "backspace", "x", "enter")
        await seen(pilot, "a slot takes 0 to 64 runs, not x")
        await pilot.press("backspace", "2", "enter")
        shown = await seen(pilot, "H100 0 takes 2 runs at a time")
        assert queue.read_plan(root).capacities == {"GPU-0": 2}
        shown = await seen(pilot, "2 of 3 busy")
        assert "runs per slot as set" in shown
        await pilot.press("C", "escape", "C", "tab", "backspace", "0", "enter")
        await until(pilot, lambda: queue.read_plan(root).capacities == {"GPU-0": 2, "GPU-1": 0})


async def test_a_missing_runner_is_revived(root: Path, runner: Runner) -> None:
    runner.lives = False
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "no runner lives; one is being started on lab-gpu2")
        before = runner.asked
        assert before >= 1
        runner.lives = True
        await seen(pilot, "● advancing")


async def test_a_dead_run_is_never_shown_as_running(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "2 of 2 busy")
        dead = next(run for run in (RunFolder(path) for path in root.iterdir() if run_view.RUN_ID.fullmatch(path.name))
                    if run.user()["name"] == "best_5m-s3")  # fmt: skip
        attempt = dead.newest_attempt()
        assert attempt is not None
        attempt.write_exit(signal=9)
        shown = await seen(pilot, "1 of 2 busy")
        assert "free" in row(shown, "H100 0")
        assert "†" in row(shown, "best_5m-s3")
        assert "killed by SIGKILL; checkpoint of epoch 137 kept" in row(shown, "best_5m-s3")


async def test_an_ended_run_waits_again(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, "best_5m-dropout")
        await pilot.press("tab")
        run = screen.here()
        assert run is not None
        assert run.name == "best_5m-dropout"
        await pilot.press("R")
        await until(pilot, lambda: order(root)[-1] == "best_5m-dropout")
        await pilot.press("j", "j", "R")
        await seen(pilot, "is finished")


async def test_the_run_under_the_cursor_opens(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "best_5m-s4")
        await pilot.press("shift+tab", "j", "enter")
        assert pilot.app.screen.scope == "run"  # type: ignore[attr-defined]


async def test_keys_that_mean_nothing_here_say_so(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "best_5m-s4")
        await pilot.press("tab", "D")
        await seen(pilot, "nothing to remove: best_5m-dropout does not wait")
        await pilot.press("H")
        await seen(pilot, "nothing to hold")
        await pilot.press("J")
        await seen(pilot, "nothing to move")


async def test_an_empty_queue_says_what_helps(tmp_path: Path, add_run: AddRun, runner: Runner) -> None:
    runner.lives = False
    add_run("over")
    async with app_of(tmp_path / "runs").run_test(size=(120, 36)) as pilot:
        shown = await opened(pilot, "Nothing waits. n makes a run, a adds it here")
        assert shown.here() is None
        await pilot.press("j", "k", "G", "J", "D", "tab", "enter")


async def test_a_click_moves_the_cursor(root: Path) -> None:
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, "best_5m-s4")
        await pilot.click("BoardView", offset=(10, 7))
        run = screen.here()
        assert run is not None
        assert run.name == "best_5m-s5"
        await pilot.click("BoardView", offset=(40, 1))
        assert screen._pane == "slots"


async def test_a_queue_that_cannot_be_changed_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "EDIT_S", 0.05)
    taken = Lock(root / queue.LOCK)
    async with app_of(root).run_test(size=(120, 36)) as pilot:
        await opened(pilot, "best_5m-s4")
        monkeypatch.setattr(Lock, "acquire", lambda self, byte: False)
        await pilot.press("H")
        await seen(pilot, "is being changed by another")
    taken.release()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shade", ["dark", "light"])
def test_snapshot(
    snap_compare: Any, root: Path, size: tuple[int, int], shade: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theme, "crc32", lambda name: int(name[-6:], 16))
    app = app_of(root, shade)

    async def show(pilot: Pilot[Any]) -> None:
        await opened(pilot, "best_5m-s4")
        await seen(pilot, "33 s")
        await pilot.pause(0.3)

    assert snap_compare(app, terminal_size=size, run_before=show)
