"""A sweep's table and what is known of the row under the cursor, drawn into grids."""

from collections.abc import Sequence

from rich.style import Style

from engine.sweep import Result
from engine.tested import compared
from tui import format, glyphs
from tui.dialogs import wrap
from tui.grid import Grid
from tui.line import MARGIN
from tui.run_table import select_row
from tui.sweep_table import table
from tui.table import GAP, fit
from tui.theme import Palette

_OURS = ("row", "test %", "difference")


def draw_table(grid: Grid, results: Sequence[Result], cursor: int, top: int, palette: Palette) -> None:
    """Heads, then the rows from ``top`` on; whole columns are left out where there is no room."""
    columns, rows = table(results)
    kept, lines = fit(columns, rows, grid.width - 2 * MARGIN)
    _draw_line(grid, 0, lines[0], kept, [palette.style("dim")] * len(columns))
    for row, index in enumerate(range(top, min(top + grid.height - 1, len(results))), start=1):
        styles = [_style(column.head, results[index], palette) for column in columns]
        _draw_line(grid, row, lines[index + 1], kept, styles)
        if index == cursor:
            select_row(grid, row, palette)


def _draw_line(grid: Grid, row: int, line: Sequence[str], kept: Sequence[int], styles: Sequence[Style]) -> None:
    column = MARGIN
    for index in kept:
        column = grid.write(row, column, line[index], styles[index]) + len(GAP)


def _style(head: str, result: Result, palette: Palette) -> Style:
    """Our figures bright, published ones dim; a state that a single run is in has its colour."""
    if head == "state" and len(result.runs) == 1 and result.runs[0] is not None:
        return palette.state(result.runs[0].state)
    return palette.style("text" if head in _OURS else "dim")


def draw_details(grid: Grid, result: Result, palette: Palette) -> None:
    """The notes of a row and its runs."""
    lines = [(text, palette.style("text")) for text in wrap(result.notes, max(grid.width - 2 * MARGIN, 1))]
    if not result.notes:
        lines = [("nothing is noted about this row", palette.style("dim"))]
    lines += [("", palette.style("dim")), *((text, palette.style("dim")) for text in _runs(result))]
    for row, (text, style) in enumerate(lines[: grid.height]):
        grid.write(row, MARGIN, text, style)


def _runs(result: Result) -> list[str]:
    """`✓ 20261121-… seed 6953, test 89.66 %`"""
    lines = []
    for run in [run for run in result.runs if run is not None]:
        accuracy = compared(run, result.published.checkpoint)
        outcome = run.reason or run.state if accuracy is None else f"test {format.accuracy(accuracy)} %"
        lines.append(f"{glyphs.active().state(run.state)} {run.id}  seed {run.seed}  {outcome}")
    return lines or ["no run yet"]
