"""The table of runs as plain functions: which columns fit, the order of rows, what a cell says."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from engine.runs import RunView
from tui import theme
from tui.grid import Grid
from tui.run_table import (
    COLUMNS,
    NAME_MOST,
    USUAL,
    Look,
    Order,
    QueuePlan,
    arrange,
    cell,
    cut_end,
    draw_head,
    draw_run,
    epoch_of,
    place,
    short_reason,
    soon,
)

NOW = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, 0))
LOOK = Look(theme.palette(), NOW)


def view(number: int = 0, **changes: object) -> RunView:
    plain = RunView(f"20261121-0900{number:02d}-00000{number % 10}", Path("/runs"), "finished", name=f"run-{number}")
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", range(60, 260))
def test_columns_never_overlap_nor_leave_the_table(width: int) -> None:
    for names in (USUAL, tuple(COLUMNS), USUAL[::-1]):
        placed = place(names, width)
        assert placed[-1].end <= width - 1
        for left, right in itertools.pairwise(placed):
            assert right.start - left.end == right.column.gap
        name = next(one for one in placed if one.column.name == "name")
        assert name.width <= NAME_MOST
        if names != tuple(COLUMNS):
            assert name.width >= 20


@pytest.mark.parametrize(
    ("width", "dropped"),
    [
        (130, set()),
        (129, {"tags"}),
        (116, {"tags", "trend", "macs"}),
        (99, {"tags", "trend", "macs", "architecture", "time"}),
    ],
)
def test_columns_are_dropped_in_the_order_of_the_design(width: int, dropped: set[str]) -> None:
    assert set(USUAL) - {one.column.name for one in place(USUAL, width)} == dropped


def test_80_columns_keep_what_always_stays() -> None:
    assert [one.column.name for one in place(USUAL, 80)] == ["name", "params", "epoch", "val", "at", "test", "ended"]


def test_live_runs_come_first_by_what_they_do_and_unknown_figures_last() -> None:
    views = [
        view(1, best=90.0),
        view(2, state="queued"),
        view(3, state="paused"),
        view(4, state="running"),
        view(5, best=None),
        view(6, best=95.0),
        view(7, state="queued"),
    ]
    first = views[6].id
    rows = arrange(views, Order("val"), {first: 0})
    assert [run.name for run in rows.runs] == ["run-4", "run-3", "run-7", "run-2", "run-6", "run-1", "run-5"]
    assert rows.rule == 4
    assert rows.lines == 8
    assert [rows.run_at(line) for line in range(9)] == [0, 1, 2, 3, None, 4, 5, 6, None]
    ascending = arrange(views, Order("val", descending=False))
    assert [run.name for run in ascending.runs[4:]] == ["run-1", "run-6", "run-5"]


def test_a_lower_loss_is_better() -> None:
    views = [view(1, best=0.5, best_metric="val_loss"), view(2, best=0.3, best_metric="val_loss")]
    assert [run.name for run in arrange(views, Order("val")).runs] == ["run-2", "run-1"]


@pytest.mark.parametrize("column", list(COLUMNS))
def test_any_column_sorts_any_runs(column: str) -> None:
    views = [view(number, best=None if number % 2 else float("nan"), lr=None) for number in range(5)]
    assert len(arrange(views, Order(column)).runs) == 5


def test_choosing_a_column_again_reverses() -> None:
    assert Order("val").chosen("val") == Order("val", descending=False)
    assert Order("val").chosen("name") == Order("name", descending=False)


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("failed", "CUDA out of memory at batch 4096", "out of mem"),
        ("diverged", "loss NaN at step 702", "loss NaN"),
        ("crashed", "exit code unknown", "vanished"),
        ("crashed", "killed by SIGKILL, probably out of memory", "out of mem"),
        ("crashed", "killed by SIGSEGV", "SIGSEGV"),
        ("crashed", "lost in a reboot of the machine", "reboot"),
        ("stopped", "by SIGTERM", ""),
        ("finished", "", ""),
    ],
)
def test_a_bad_end_has_its_reason_in_two_words(state: str, reason: str, said: str) -> None:
    assert short_reason(view(state=state, reason=reason)) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(33, "in 33 s"), (99, "in 99 s"), (660, "in 11 m"), (7200, "in 2 h"), (200_000, "in 2 d"), (None, "…")],
)
def test_a_time_to_come_fits_its_column(seconds: float | None, said: str) -> None:
    assert soon(seconds) == said
    assert all(len(soon(10.0**power)) <= 7 for power in range(9))


def test_epochs_are_whole_where_there_are_many() -> None:
    assert epoch_of(view(epoch=137.4, epochs=200.0, step=1)) == "137/200"
    assert epoch_of(view(epoch=0.25, epochs=0.5, step=1)) == "0.2/0.5"
    assert epoch_of(view(epoch=900.0, epochs=1000.0, step=1)) == "90 %"
    assert epoch_of(view(epochs=200.0)) == ""


def test_what_is_next_held_and_waiting_is_said() -> None:
    queued = view(state="queued")
    assert cell("ended", queued, 7, replace(LOOK, next_run=queued.id))[0] == "next"
    assert cell("ended", queued, 7, replace(LOOK, plan=QueuePlan(held=frozenset([queued.id]))))[0] == "held"
    assert cell("ended", queued, 7, LOOK)[0] == "waits"
    assert cell("ended", view(state="running", quiet=True), 7, LOOK)[0] == "quiet"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("depth", ["truecolor", "16", "none"])
def test_every_cell_stays_in_its_column(width: int, depth: theme.Depth) -> None:
    look = replace(LOOK, palette=theme.palette("dark", depth))
    run = view(
        name="界" * 60 + "e\u0301", architecture="x" * 90, parameters=10**12, macs=10**15, epoch=1e6, epochs=1e7,
        step=1, best=1e9, best_epoch=1e9, test=100.0, active_s=1e9, tags=("a" * 50, "b"), reason="r" * 90,
        state="failed",
    )  # fmt: skip
    placed = place(tuple(COLUMNS), width)
    grid = Grid(width, 2)
    draw_head(grid, 0, placed, look)
    draw_run(grid, 1, placed, run, look, cursor=True)
    assert sum(cell_len(text) for text, _ in grid.cells[1]) == width
    for one in placed:
        assert cell_len(cell(one.column.name, run, one.width, look)[0]) <= one.width


def test_a_description_is_cut_at_its_end() -> None:
    assert cut_end("incomplete: config.yaml", 10) == "incomplet…"
    assert cut_end("short", 10) == "short"
