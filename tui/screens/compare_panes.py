"""The parts of Compare that are no plots: the table, the rule between the plots, the line of settings."""

from collections.abc import Sequence

from tui import compare_table, glyphs
from tui.compare_table import Table
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part, width_of
from tui.theme import Palette


def settings_line(
    runs: int, lines: int, settings: Sequence[tuple[str, str]], palette: Palette, room: int
) -> list[Part]:
    """`5 runs, 3 lines    metric val accuracy %    x epoch`: as many settings as there is room for."""
    dim, text = palette.style("dim"), palette.style("text")
    count = f", {lines} {'line' if lines == 1 else 'lines'}" if lines != runs else ""
    parts: list[Part] = [(f"{runs} {'run' if runs == 1 else 'runs'}", palette.style("text", bold=True)), (count, dim)]
    for label, value in settings:
        more: list[Part] = [("    ", dim), (f"{label} ", dim), (value, text)]
        if width_of([*parts, *more]) <= room:
            parts += more
    return parts


class Divider(GridView):
    """A thin rule between two panes."""

    DEFAULT_CSS = """
    Divider { width: 1; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._palette: Palette | None = None

    def show(self, palette: Palette) -> None:
        everything = palette != self._palette
        self._palette = palette
        self.redraw(everything=everything)

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        if self._palette:
            for row in range(height):
                grid.put(row, 0, glyphs.active().upright, self._palette.style("rule"))
        return grid


class TableView(GridView):
    """Figures and settings."""

    DEFAULT_CSS = """
    TableView { width: 1fr; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._table: Table | None = None
        self._palette: Palette | None = None
        self._narrow = False

    def show(self, table: Table, palette: Palette, *, narrow: bool) -> None:
        everything = palette != self._palette
        if (table, narrow) == (self._table, self._narrow) and not everything:
            return
        self._table, self._palette, self._narrow = table, palette, narrow
        self.redraw(everything=everything)

    def draw(self, width: int, height: int) -> Grid:
        if self._table is None or self._palette is None:
            return Grid(width, height)
        return compare_table.draw(self._table, width, height, self._palette, narrow=self._narrow)

    @property
    def table(self) -> Table | None:
        """What is shown."""
        return self._table

    def pane_at(self, row: int) -> str:
        """The pane that a row belongs to."""
        count = compare_table.room_for_metrics(self._table, self.size.height) if self._table else 0
        return "metrics" if row <= count else "settings"
