"""The panes of the Run screen: the board of plots, the facts at the right, the end of the log."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from textual.events import Click
from textual.message import Message

from tui import glyphs, run_lines
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part, lay_out, pane_head
from tui.log_lines import log_parts
from tui.plot import canvas
from tui.plot.layout import Frame, Steady
from tui.plot.model import Plot
from tui.run_layout import Place
from tui.theme import Palette


class PlotBoard(GridView):
    """All plots of the screen on one grid, each drawn again only when it changed."""

    DEFAULT_CSS = """
    PlotBoard { width: 1fr; height: 1fr; }
    """

    class Pointed(Message):
        """A click in a plot: which one, and at which x value (None: beside the curves)."""

        def __init__(self, name: str, x: float | None) -> None:
            super().__init__()
            self.name = name
            self.x = x

    def __init__(self) -> None:
        super().__init__(id="plots")
        self._plots: Mapping[str, Plot] = {}
        self._places: tuple[Place, ...] = ()
        self._drawn: dict[str, tuple[object, Grid]] = {}
        self._steady: defaultdict[str, Steady] = defaultdict(Steady)
        self._frames: dict[str, Frame | None] = {}
        self._used: Palette | None = None
        self._remark = ""

    def show(self, plots: Mapping[str, Plot], places: tuple[Place, ...], palette: Palette, remark: str = "") -> None:
        """Show these plots at these places, the remark where the first of them has no curves."""
        everything = palette != self._used
        self._plots, self._places, self._used, self._remark = plots, places, palette, remark
        self.redraw(everything=everything)

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        for place in self._places:
            plot = self._plots.get(place.name)
            if plot is not None and self._used is not None:
                _copy(self._rendered(place, plot, self._used), grid, place)
        self._write_remark(grid)
        return grid

    def _write_remark(self, grid: Grid) -> None:
        place = next(iter(self._places), None)
        if place is None or self._used is None or self._plots[place.name].curves or not self._remark:
            return
        column = place.column + max((place.width - cell_len(self._remark)) // 2, 7)
        grid.write(place.row + place.height // 2 + 1, column, f" {self._remark} ", self._used.style("dim"))

    def _rendered(self, place: Place, plot: Plot, palette: Palette) -> Grid:
        key = (plot, place, palette)
        known = self._drawn.get(place.name)
        if known is None or known[0] != key:
            frame = self._steady[place.name].frame(plot, place.width, place.height)
            self._frames[place.name] = frame
            drawn = canvas.render_framed(plot, frame, place.width, place.height, palette)
            known = self._drawn[place.name] = (key, drawn)
        return known[1]

    def columns_of(self, name: str) -> int:
        """How many columns of curve a plot has now."""
        frame = self._frames.get(name)
        return frame.columns if frame else 1

    def on_click(self, event: Click) -> None:
        for place in self._places:
            if place.holds(event.x, event.y):
                frame = self._frames.get(place.name)
                column = event.x - place.column - frame.left if frame else -1
                inside = frame is not None and 0 <= column < frame.columns
                self.post_message(self.Pointed(place.name, frame.x.value(column) if frame and inside else None))


def _copy(source: Grid, target: Grid, place: Place) -> None:
    for row, cells in enumerate(source.cells):
        if place.row + row < target.height:
            width = max(min(len(cells), target.width - place.column), 0)
            target.cells[place.row + row][place.column : place.column + width] = cells[:width]


class SidePane(GridView):
    """The groups of facts at the right, behind an upright rule."""

    DEFAULT_CSS = """
    SidePane { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__(id="side")
        self._rows: list[run_lines.Row] = []
        self._used: Palette | None = None

    def show(self, rows: list[run_lines.Row], palette: Palette) -> None:
        """Show these rows."""
        everything = palette != self._used
        self._rows, self._used = rows, palette
        self.redraw(everything=everything)

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        if self._used is not None:
            for row in range(height):
                grid.put(row, 0, glyphs.active().upright, self._used.style("rule"))
            run_lines.draw_side(grid, self._rows, 2, width - 3, self._used)
        return grid


class LogPane(GridView):
    """The newest lines of the log under a head; narrow, under a rule and one line of figures."""

    def __init__(self) -> None:
        super().__init__(id="log")
        self._lines: list[str] = []
        self._back = 0
        self._figures: Sequence[Part] | None = None
        self._head = ""
        self._focused = False
        self._used: Palette | None = None

    @property
    def back(self) -> int:
        """How many lines one has gone back from the end."""
        return self._back

    def scroll_lines(self, count: int) -> None:
        """Go back (positive) or forth in the log."""
        self._back = min(max(self._back + count, 0), max(len(self._lines) - 1, 0))
        self.redraw()

    def to_end(self) -> None:
        """Follow the log again."""
        self._back = 0
        self.redraw()

    def to_start(self) -> None:
        """Go back to the first line that is known."""
        self.scroll_lines(len(self._lines))

    def show(
        self, lines: list[str], head: str, palette: Palette, *, focused: bool, figures: Sequence[Part] | None
    ) -> None:
        """Show the end of these lines; whoever has gone back stays at the lines there."""
        everything = palette != self._used
        if self._back:
            self._back += max(len(lines) - len(self._lines), 0)
        self._lines, self._head, self._focused, self._figures, self._used = lines, head, focused, figures, palette
        self.redraw(everything=everything)

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        palette = self._used
        if palette is None:
            return grid
        top = self._draw_head(grid, palette)
        end = len(self._lines) - self._back
        shown = self._lines[max(end - (height - top), 0) : max(end, 0)]
        for row, text in enumerate(shown, top):
            lay_out(grid, row, log_parts(text, palette, grid.width - 2), [])
        return grid

    def _draw_head(self, grid: Grid, palette: Palette) -> int:
        if self._figures is not None:
            style = palette.style("accent" if self._focused else "rule")
            grid.fill(0, 1, grid.width - 2, glyphs.active().rule, style)
            lay_out(grid, 1, self._figures, [])
            return 2
        facts = [(self._head, palette.style("dim"))]
        facts.append(("   following" if not self._back else f"   {self._back} back", palette.style("text")))
        lay_out(grid, 0, pane_head("Log", grid.width - 2, palette, facts, focused=self._focused), [])
        return 1
