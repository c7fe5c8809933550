"""The lower part of Compare as a grid: figures and settings of the lines on one set of columns. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style

from engine.text import shorten
from tui import glyphs, line
from tui.comparison import Cell, Line, Row
from tui.comparison_settings import Difference
from tui.grid import Grid
from tui.theme import Palette, RunColour

KEYS, KEYS_NARROW = 32, 20
COLUMN = 29
_VALUE_END, _REMARK, _DIFFERENCE_END, _FAR_REMARK = 11, 13, 19, 20
_SETTING = 2
LEAST_METRICS, LEAST_SETTINGS = 2, 6


@dataclass(frozen=True, slots=True)
class Table:
    """What stands in the table. `first` is the first line shown beside the baseline, `scroll` the first setting.

    `selected` is the place of a line that the next key acts on; `focused` names the pane that has the focus.
    """

    lines: Sequence[Line]
    colours: Sequence[RunColour]
    metrics: Sequence[Row]
    settings: Difference
    baseline: int = 0
    first: int = 0
    scroll: int = 0
    selected: int | None = None
    focused: str = ""


def room_for_lines(width: int, *, narrow: bool) -> int:
    """How many lines a table of this width shows, the baseline among them; the last may be a cell short."""
    return max(1, (width - 1 - (KEYS_NARROW if narrow else KEYS) + 1) // COLUMN)


def shown_lines(table: Table, room: int) -> list[int]:
    """The places of the lines in view: the baseline, then the others from `first` on."""
    others = [place for place in range(len(table.lines)) if place != table.baseline]
    start = min(table.first, max(len(others) - (room - 1), 0))
    return [table.baseline, *others[start : start + room - 1]]


def room_for_metrics(table: Table, height: int) -> int:
    """How many metrics are shown: all where settings keep room or the pane has the focus, else those first in rank."""
    if table.focused == "metrics":
        return min(len(table.metrics), max(height - 1, 0))
    wanted = min(LEAST_SETTINGS, len(table.settings.rows))
    spare = height - 2 - _gap(height) - wanted
    return min(len(table.metrics), max(spare, LEAST_METRICS))


def _gap(height: int) -> int:
    return int(height >= 14)


def room_for_settings(table: Table, height: int) -> int:
    """How many settings are shown at a time."""
    return max(height - 2 - _gap(height) - room_for_metrics(table, height), 0)


def draw(table: Table, width: int, height: int, palette: Palette, *, narrow: bool) -> Grid:
    """The table on a grid of exactly this size."""
    grid = Grid(width, height)
    pen = _Pen(grid, table, palette, KEYS_NARROW if narrow else KEYS, room_for_lines(width, narrow=narrow))
    count = room_for_metrics(table, height)
    pen.head(0, "Metrics", "" if narrow else "best, and difference", "metrics", pen.lines_beyond())
    for row in range(count):
        pen.figures(1 + row, table.metrics[row], strong=row == 0)
    top, room = 1 + count + _gap(height), room_for_settings(table, height)
    start = min(table.scroll, max(len(table.settings.rows) - room, 0))
    beyond = _rows_beyond(start, len(table.settings.rows) - start - room)
    pen.head(
        top, "Config" if narrow else "Configuration", _keys_remark(table.settings, narrow=narrow), "settings", beyond
    )
    for row, setting in enumerate(table.settings.rows[start : start + room], top + 1):
        pen.setting(row, setting)
    if not table.settings.rows and room:
        grid.write(top + 1, 1, "no setting differs", palette.style("dim"))
    return grid


def _rows_beyond(above: int, below: int) -> str:
    """`5 more ↓` where settings do not all fit."""
    signs = glyphs.active()
    before = f"{above} more {signs.sorted_up}" if above else ""
    after = f"{below} more {signs.sorted_down}" if below > 0 else ""
    return "   ".join(filter(None, (before, after)))


def _keys_remark(settings: Difference, *, narrow: bool) -> str:
    return f"{settings.differing}/{settings.total}" if narrow else f"{settings.differing} of {settings.total} keys"


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes rows of the table onto its grid."""

    grid: Grid
    table: Table
    palette: Palette
    keys: int
    room: int

    def _columns(self) -> list[tuple[int, int]]:
        """Places of the lines in view with the column where each begins."""
        places = shown_lines(self.table, self.room)
        return [(place, 1 + self.keys + index * COLUMN) for index, place in enumerate(places)]

    def head(self, row: int, title: str, remark: str, pane: str, beyond: str) -> None:
        """Title, remark, the names of the lines over a rule, and at its end what is not in view."""
        focused = self.table.focused == pane
        rule = self.palette.style("accent" if focused else "rule")
        name = self.palette.style("accent", bold=True) if focused else self.palette.style("dim")
        self.grid.fill(row, 1, self.grid.width - 2, glyphs.active().rule, rule)
        gap = "   " if self.keys == KEYS else " "
        parts = [(title, name), (f"{gap}{remark}" if remark else "", self.palette.style("dim")), (" ", rule)]
        self.grid.write_parts(row, 1, line.cut(parts, self.keys - 1))
        end = self.grid.width - 1 - (cell_len(beyond) + 1 if beyond else 0)
        for place, column in self._columns():
            self._name(row, column, place, min(COLUMN - 3, end - column - 2))
        if beyond:
            self.grid.write(row, end, f" {beyond}", self.palette.style("accent"))

    def _name(self, row: int, column: int, place: int, room: int) -> None:
        found, colour = self.table.lines[place], self.table.colours[place]
        style = colour.solid + Style(bold=True)
        letter = f"{colour.letter} " if colour.letter and not self.palette.rich_in_colour else ""
        name = shorten(found.title, max(room - 1 - len(letter), 1), glyphs.active().ellipsis)
        if place == self.table.selected:
            style = self.palette.selected(style)
        self.grid.write(row, column - 1, " ", style=Style())
        parts = [(f"{glyphs.active().legend} ", colour.solid), (letter + name, style), (" ", Style())]
        self.grid.write_parts(row, column, parts)

    def lines_beyond(self) -> str:
        """`2 more →` where there are lines beyond those in view."""
        others = [place for place in range(len(self.table.lines)) if place != self.table.baseline]
        shown = shown_lines(self.table, self.room)[1:]
        before = others.index(shown[0]) if shown else 0
        after, signs = len(others) - before - len(shown), glyphs.active()
        texts = [f"{signs.left} {before} more" if before else "", f"{after} more {signs.right}" if after > 0 else ""]
        return "   ".join(filter(None, texts))

    def figures(self, row: int, figures: Row, *, strong: bool) -> None:
        dim = self.palette.style("dim")
        self.grid.write(row, 1, shorten(figures.label, self.keys - 1, glyphs.active().ellipsis), dim)
        for place, column in self._columns():
            self._cell(row, column, figures.cells[place], strong=strong, factor=figures.factors)

    def _cell(self, row: int, column: int, cell: Cell, *, strong: bool, factor: bool) -> None:
        dim = self.palette.style("dim")
        value = self.palette.style("text", bold=strong and cell.number is not None)
        self.grid.write(row, column + _VALUE_END - cell_len(cell.value), cell.value, value)
        if not cell.difference:
            self.grid.write(row, column + _REMARK, cell.remark, dim)
            return
        start = column + (_REMARK if factor else _DIFFERENCE_END - cell_len(cell.difference))
        self.grid.write(row, start, cell.difference, self.palette.style(cell.role))
        self.grid.write(row, column + _FAR_REMARK, cell.remark, dim)

    def setting(self, row: int, setting: Row) -> None:
        signs, dim = glyphs.active(), self.palette.style("dim")
        self.grid.write(row, 1, shorten(setting.label, self.keys - 1, signs.ellipsis), dim)
        for place, column in self._columns():
            value = setting.cells[place].value
            style = dim if value in (signs.same, signs.unknown) else self.palette.style("text")
            parts = line.cut([(value, style)], COLUMN - _SETTING - 1)
            self.grid.write_parts(row, column + _SETTING, parts)
