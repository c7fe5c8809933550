"""A disk that syncs nothing for as long as one likes: whatever is written, the app goes on answering keys meanwhile."""

import os
import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import queue, runs, system
from engine.runs import RunFolder
from tui import new_form
from tui.app import CifarApp
from tui.screens.help import HelpOverlay
from tui.screens.new import NewScreen
from tui.screens.queue import QueueScreen
from tui.screens.runs import RunsScreen
from tui.settings import Settings
from watching import PATIENCE_S, until

AddRun = Callable[..., RunFolder]


class StuckDisk:
    """Syncs that end when they are let go. One on the thread that draws would never end, and is refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let_go = threading.Event()
        self.waiting = 0
        self.on_the_loop: list[str] = []
        self._loop = threading.get_ident()
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, lambda descriptor, name=name: self._sync(name))
        self._connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", self._open)

    def _is_on_the_loop(self, what: str) -> bool:
        found = threading.get_ident() == self._loop
        self.on_the_loop += [what] if found else []
        return found

    def _sync(self, name: str) -> None:
        if not self._is_on_the_loop(name):
            self.waiting += 1
            assert self.let_go.wait(PATIENCE_S)

    def _open(self, *some: Any, **more: Any) -> sqlite3.Connection:
        """SQLite syncs by itself, where nobody can hold it: the thread that draws may not even look into the index."""
        self._is_on_the_loop("SQLite")
        return self._connect(*some, **more)


class NoAnswers:
    """An engine that never says how large a network is."""

    def ask(self, question: Any, answered: Any, topic: str = "") -> None:
        pass

    def forget(self, topic: str) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, sample_runs: Path, add_run: AddRun) -> StuckDisk:
    add_run("waits", state="queued")
    queue.resume(sample_runs)
    return StuckDisk(monkeypatch)


@pytest.fixture(autouse=True)
def _still_machine(monkeypatch: pytest.MonkeyPatch, empty_home: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "sample", lambda: system.Sample(0.0, 11.0, 1 << 30, 2 << 30, ()))
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)
    monkeypatch.chdir(tmp_path)


async def answers(pilot: Pilot[Any]) -> None:
    """Help opens and closes."""
    await pilot.press("?")
    await until(pilot, lambda: isinstance(pilot.app.screen, HelpOverlay), "help is open")
    await pilot.press("escape")
    await until(pilot, lambda: not isinstance(pilot.app.screen, HelpOverlay), "help is closed")


async def on(pilot: Pilot[Any], kind: type[Any]) -> Any:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind), kind.__name__)
    return pilot.app.screen


@pytest.mark.slow
async def test_nothing_that_is_written_is_waited_for(disk: StuckDisk, sample_runs: Path, tmp_path: Path) -> None:
    remembered = Settings(tmp_path / "settings.json")
    app = CifarApp(sample_runs, remembered=remembered)
    app.services.engine = NoAnswers()  # type: ignore[assignment]
    before = runs.run_names(sample_runs)
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            screen = await on(pilot, RunsScreen)
            await until(pilot, lambda: app.services.listing.complete and screen.rows.runs, "the runs are listed")
            last, above, third = screen.rows.runs[:-4:-1]
            await pilot.press("ctrl+t")
            await pilot.press("C", "j", "space", "enter")
            await pilot.press("G", "A")
            await pilot.press("k", "e", "ctrl+u", *"anew", "enter")
            await pilot.press("k", "D", "enter")
            await pilot.press("g", "W")
            await answers(pilot)
            await pilot.press("3")
            await on(pilot, QueueScreen)
            await pilot.press("P", "H")
            await answers(pilot)
            await pilot.press("2")
            new = await on(pilot, NewScreen)
            await until(pilot, lambda: new._draft is not None and new._draft.valid, "the presets are read")
            await pilot.press("w", *"mine", "enter", "a")
            await answers(pilot)
            await pilot.press("1")
            await on(pilot, RunsScreen)
            await until(pilot, lambda: disk.waiting >= 7 or disk.on_the_loop, "all of it waits for the disk")
            assert disk.on_the_loop == []
            assert not RunFolder(last.path).view().archived
            disk.let_go.set()
            await until(pilot, lambda: RunFolder(last.path).view().archived, "it is put away")
            await until(pilot, lambda: RunFolder(above.path).view().name == "anew", "it is renamed")
            await until(pilot, lambda: queue.read_plan(sample_runs).paused, "the queue is paused")
            await until(pilot, lambda: not third.path.exists(), "it is deleted")
            await until(pilot, lambda: set(runs.run_names(sample_runs)) - set(before), "a run is made")
            await until(pilot, (new_form.preset_folder() / "mine.yaml").exists, "the preset is saved")
    finally:
        disk.let_go.set()
    remembered.wait()
    assert Settings(tmp_path / "settings.json").text("theme", "dark") == "light"
    assert disk.on_the_loop == []
