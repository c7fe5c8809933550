"""A sweep as a live table: what was published, what came out so far, and the runs behind each row."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.message import Message

from engine import atomic, campaign, ownership, runs
from engine import sweep as sweeps
from engine.campaign import Campaign, Hashes
from engine.counts_cache import Counts
from engine.runs import RunFolder, RunView
from engine.sweep import Member, Result, Sweep
from tui import glyphs, sweep_table, sweep_view
from tui.chrome import PaneHead, PartsLine
from tui.grid import Grid
from tui.grid_view import GridView
from tui.run_actions import RunActions, who
from tui.screens.base import shown_path


class SweepTable(GridView):
    """The rows of the sweep that are in view."""

    DEFAULT_CSS = """
    SweepTable { height: 2fr; width: 1fr; }
    """

    class Clicked(Message):
        """A click on a row."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, screen: "SweepScreen") -> None:
        super().__init__(id="table")
        self._sweep = screen
        self._top = 0

    def draw(self, width: int, height: int) -> Grid:
        grid, screen = Grid(width, height), self._sweep
        if not screen.results:
            grid.write(0, 1, f"reading the sweep{glyphs.active().ellipsis}", screen.palette.style("dim"))
            return grid
        self._top = max(min(self._top, screen.cursor), screen.cursor - height + 2, 0)
        sweep_view.draw_table(grid, screen.results, screen.cursor, self._top, screen.palette)
        return grid

    def on_click(self, event: events.Click) -> None:
        if event.y > 0:
            self.post_message(self.Clicked(self._top + event.y - 1))


class RowDetails(GridView):
    """Notes and runs of the row under the cursor."""

    DEFAULT_CSS = """
    RowDetails { height: 1fr; width: 1fr; }
    """

    def __init__(self, screen: "SweepScreen") -> None:
        super().__init__(id="details")
        self._sweep = screen

    def draw(self, width: int, height: int) -> Grid:
        grid, result = Grid(width, height), self._sweep.row
        if result is not None:
            sweep_view.draw_details(grid, result, self._sweep.palette)
        return grid


class SweepScreen(RunActions):
    """The table of one sweep. Rows are found among the runs by what decides them, whatever their seeds."""

    scope = "sweep"

    def __init__(self, run_id: str = "", name: str = "") -> None:
        super().__init__()
        self._run_id = run_id
        self._wanted = name
        self.sweep: Sweep | None = None
        self.results: list[Result] = []
        self.cursor = 0
        self._counts: Sequence[Counts | None] = ()
        self._hashes: Mapping[str, Hashes] = {}
        self._members: list[Member] = []
        self._found: list[RunView | None] = []
        self._seen: tuple[RunView, ...] | None = None

    def compose_body(self) -> ComposeResult:
        yield PartsLine(palette=self.palette, id="heading")
        yield SweepTable(self)
        yield PaneHead(palette=self.palette, id="head")
        yield RowDetails(self)

    def on_mount(self) -> None:
        self.set_crumbs("Runs", "Sweep", *([self._wanted] if self._wanted else []))
        folder = RunFolder(self.app.root / self._run_id) if self._run_id else None
        root = self.app.root
        self.in_thread(lambda: _load(root, folder, self._wanted), self._loaded)

    def _loaded(self, loaded: tuple[Sweep, Sequence[Counts | None], Mapping[str, Hashes]]) -> None:
        self.sweep, self._counts, self._hashes = loaded
        self.set_crumbs("Runs", "Sweep", self.sweep.name)
        self.changed()

    def tick(self) -> None:
        self._gather()
        self._show()

    def _gather(self) -> None:
        """Take in the runs of this sweep when one of them is not as it was."""
        if self.sweep is None:
            return
        groups = {row.experiment.group_hash for row in self.sweep.rows}
        listed = campaign.translated(self.app.services.listing.runs, self._hashes)
        concerned = tuple(run for run in listed if run.group_hash in groups)
        if concerned == self._seen:
            return
        self._seen = concerned
        self._members, self._found = sweeps.gather(self.sweep, concerned)
        self.results = sweeps.results(self.sweep, self._members, self._found, self._counts)
        self.cursor = min(self.cursor, len(self.results) - 1)

    def _show(self) -> None:
        self.query_one(SweepTable).redraw()
        self.query_one(RowDetails).redraw()
        row = self.row
        if row is None or self.sweep is None:
            return
        dim, text = self.palette.style("dim"), self.palette.style("text")
        heading = sweep_table.heading(self.sweep, self._members, self.results)
        self.query_one("#heading", PartsLine).show([(heading.removeprefix(f"{self.sweep.name}: "), text)])
        facts = [("published by ", dim), (row.published.source, text)] if row.published.source else []
        self.query_one(PaneHead).show(f"row {row.row + 1}  {row.name}", facts)

    @property
    def row(self) -> Result | None:
        """The row under the cursor."""
        return self.results[self.cursor] if self.results else None

    def chosen(self) -> list[RunView]:
        return [run for run in self.row.runs if run is not None] if self.row else []

    # Moving.

    def _move_to(self, index: int) -> None:
        self.cursor = max(min(index, len(self.results) - 1), 0)
        with self.app.batch_update():
            self._show()

    def action_cursor_down(self) -> None:
        self._move_to(self.cursor + 1)

    def action_cursor_up(self) -> None:
        self._move_to(self.cursor - 1)

    def action_cursor_top(self) -> None:
        self._move_to(0)

    def action_cursor_end(self) -> None:
        self._move_to(len(self.results) - 1)

    def on_sweep_table_clicked(self, message: SweepTable.Clicked) -> None:
        if message.index == self.cursor:
            self.action_open()
        elif message.index < len(self.results):
            self._move_to(message.index)

    # Doing.

    def action_open(self) -> None:
        under = self.here()
        if under is not None:
            self.app.open_run(under.id)
        else:
            key = self.app.keymap.shown("add_to_queue", self.scope)
            self.say(f"this row has no run yet; {key} puts what is missing into the queue")

    def action_results(self) -> None:
        under = self.here()
        if under is not None:
            self.app.open_results(under.id)

    def action_log(self) -> None:
        under = self.here()
        if under is not None:
            self.app.open_log(under.id)

    def action_compare(self) -> None:
        begun = [run.id for run in self._found if run is not None and run.state != "queued"]
        if len(begun) < 2:
            self.say("there is nothing to compare before two rows have begun")
        else:
            self.app.open_compare(list(dict.fromkeys(begun)))

    def action_add_to_queue(self) -> None:
        if self.sweep is None:
            return
        whole = Campaign(self.app.root, self.sweep, list(self._members), frozenset(range(len(self.results))))
        self.in_thread(lambda: _enlist(whole), self._enlisted)

    def _enlisted(self, count: int) -> None:
        self.app.services.runs.wake()
        added = f"{count} run{'s' if count > 1 else ''} added to the queue"
        self.say(added if count else "nothing is missing: every row is finished or under way")

    def action_write(self) -> None:
        if self.sweep is None:
            return
        root, name = self.app.root, sweep_table.folder_name(self.sweep)
        texts = sweep_table.files(self.sweep, self._members, self.results)
        self.in_thread(lambda: _write(root, name, texts), lambda folder: self.say(f"written to {shown_path(folder)}"))


def _load(root: Path, run: RunFolder | None, name: str) -> tuple[Sweep, Sequence[Counts | None], Mapping[str, Hashes]]:
    found = campaign.of_run(run) if run is not None else sweeps.load(name)
    return found, sweeps.counts(found), campaign.translations(runs.list_runs(root), found)


def _enlist(whole: Campaign) -> int:
    runs.prepare_root(whole.root)
    whole.look()
    whole.enlist(who())
    return len(whole.ours)


def _write(root: Path, sweep: str, texts: dict[str, str]) -> Path:
    folder = runs.prepare_root(root) / "sweeps" / sweep
    ownership.make_folder(folder)
    for name, text in texts.items():
        atomic.write_text(folder / name, text)
    return folder
