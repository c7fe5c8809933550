"""The sweep's screen: the table of a run's sweep, kept up to date, and what can be done from it."""

import socket
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import atomic, queue, runs, sweep, system
from engine.campaign import Campaign
from engine.runs import RunFolder, RunView, SummaryWriter
from tui.app import CifarApp
from tui.screens.base import BaseScreen
from tui.screens.runs import RunsScreen
from tui.screens.sweep import SweepScreen, SweepTable
from tui.searched_list import SearchedChoice
from watching import shaded, until

SWEEP = """\
base:
  architecture: tiny
  augmentation: shapes_flip
  optimizer: quick
  data: {name: shapes, validation: 1000}
  train: {epochs: 3, seed: 5}
published: {source: a paper}
rows:
  - {name: fast, published: {test_accuracy: 90.0, note: A slip of the pen.}}
  - {name: slow, set: {optimizer.lr: 0.01}}
  - {name: slower, set: {optimizer.lr: 0.001}}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder in which the first of three rows is finished and the second waits."""
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)
    ids = (f"20261121-120000-{number:06x}" for number in count(1))
    monkeypatch.setattr(runs, "new_run_id", lambda: next(ids))
    path = tmp_path / "trial.yaml"
    path.write_text(SWEEP)
    found = sweep.load(str(path))
    whole = Campaign(runs.prepare_root(tmp_path / "runs"), found, sweep.members(found), frozenset({0, 1}))
    whole.look()
    whole.enlist("a test")
    assert whole.runs[0] is not None
    finish(RunFolder(whole.runs[0].path), 91.5)
    return whole.root


def finish(run: RunFolder, test: float) -> None:
    attempt = run.new_attempt()
    facts = {**run.summary(), "state": "finished", "epoch": 3.0, "parameters": 70_618, "test": {"best": test}}
    SummaryWriter(run.path / "summary.json").write(facts)
    attempt.write_exit(code=0)


def listed(app: CifarApp) -> tuple[RunView, ...]:
    """The rows on the first screen."""
    screen = app.screen_stack[0]
    return tuple(screen.rows.runs) if isinstance(screen, RunsScreen) else ()


def text(app: CifarApp) -> str:
    return "\n".join(
        view._grid.text() for view in app.screen.query("PartsLine, SweepTable, RowDetails, PaneHead, MessageLine")
    )  # type: ignore[attr-defined]


async def opened(app: CifarApp, pilot: Pilot[Any]) -> SweepScreen:
    waiting = next(view.id for view in runs.list_runs(app.root) if view.state == "queued")
    app.open_sweep(waiting)
    await until(pilot, lambda: isinstance(app.screen, SweepScreen) and app.screen.results)
    screen = app.screen
    assert isinstance(screen, SweepScreen)
    await until(pilot, lambda: "91.50" in text(app))
    return screen


async def test_rows_show_what_was_published_and_what_came_out(root: Path) -> None:
    app = CifarApp(root)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot)
        shown = text(app)
        lines = [" ".join(line.split()) for line in shown.splitlines()]
        assert any(line.startswith("fast ✓ finished 90.00 91.50 +1.50") for line in lines)
        assert any(line.startswith("slow … queued") or "queued" in line for line in lines)
        assert any(line.startswith("slower to do") for line in lines)
        assert "A slip of the pen." in shown
        assert "1 of 3 runs finished, seed 5" in shown
        await pilot.press("G")
        assert screen.cursor == 2
        assert "no run yet" in text(app)


async def test_the_table_follows_its_runs(root: Path) -> None:
    app = CifarApp(root)
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot)
        waiting = next(view for view in runs.list_runs(root) if view.state == "queued")
        finish(RunFolder(waiting.path), 77.25)
        await until(pilot, lambda: "77.25" in text(app))
        assert "2 of 3 runs finished" in text(app)


async def test_what_is_missing_is_put_into_the_queue(root: Path) -> None:
    app = CifarApp(root)
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot)
        await pilot.press("a")
        await until(pilot, lambda: len(runs.list_runs(root)) == 3)
        await until(pilot, lambda: "1 run added to the queue" in text(app))
        await pilot.press("a")
        await until(pilot, lambda: "nothing is missing" in text(app))


async def test_the_table_is_written_beside_the_runs(root: Path) -> None:
    app = CifarApp(root)
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot)
        await pilot.press("w")
        page = root / "sweeps" / "trial" / "table.json"
        await until(pilot, lambda: atomic.read_json(page))
        stored = atomic.read_json(page)
        assert stored is not None
        assert [row["finished"] for row in stored["rows"]] == [1, 0, 0]


async def test_a_row_opens_its_run_and_one_without_says_how_to_get_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(CifarApp, "open_run", lambda app, run_id: asked.append(run_id))
    app = CifarApp(root)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("enter")
        assert screen.row is not None
        assert asked == [run.id for run in screen.row.runs if run]
        await pilot.press("c")
        assert "nothing to compare" in text(app)
        await pilot.press("G", "enter")
        assert "a puts what is missing into the queue" in text(app)
        assert len(asked) == 1


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
def test_snapshots(
    snap_compare: Any, root: Path, size: tuple[int, int], shade: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = system.Sample(0.0, 11.0, int(2.3 * 2**30), 256 * 2**30, ())
    monkeypatch.setattr(system, "sample", lambda: sample)
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.setenv("HOME", str(root.parent))
    app = shaded(CifarApp(root), shade)

    async def show(pilot: Pilot[Any]) -> None:
        await opened(app, pilot)
        await until(pilot, lambda: app.services.machine.device, "the machine is looked at")
        app.screen._tick_now()  # type: ignore[attr-defined]
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=show)


async def test_a_sweep_that_is_gone_is_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "trial.yaml").unlink()
    app = CifarApp(root)
    async with app.run_test(size=(120, 36)) as pilot:
        app.open_sweep(runs.list_runs(root)[0].id)
        await until(pilot, lambda: isinstance(app.screen, BaseScreen) and "no sweep preset is called" in text(app))


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (60, 15)])
async def test_it_fits_every_terminal(root: Path, size: tuple[int, int]) -> None:
    app = CifarApp(root)
    async with app.run_test(size=size) as pilot:
        await opened(app, pilot)
        assert max(map(len, app.screen.query_one(SweepTable)._grid.text().splitlines())) <= size[0]


async def test_the_table_of_runs_leads_to_the_sweep_of_the_run_under_the_cursor(root: Path) -> None:
    app = CifarApp(root)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: len(listed(app)) == 2)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, SweepScreen) and app.screen.results)
        assert "1 of 3 runs finished" in text(app)


async def test_a_run_of_no_sweep_offers_those_that_are_installed(tmp_path: Path) -> None:
    runs.create(tmp_path / "runs", "train: {}\n", {}, {"name": "alone"})
    app = CifarApp(tmp_path / "runs")
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: len(listed(app)) == 1)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, SearchedChoice))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SweepScreen) and app.screen.results)
        assert "0 of 8 runs finished" in text(app)
