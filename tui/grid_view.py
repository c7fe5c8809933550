"""A Textual widget that shows a grid of cells and sends only those that changed.

Textual itself resends a widget's whole rectangle on any refresh. Here each drawing is compared with the one before it,
and only the spans that differ are marked for redraw: an eighth of the bytes for a point that is appended to a plot.
"""

from rich.segment import Segment
from textual.events import Resize
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui import partial_update
from tui.grid import Grid, changed_spans

partial_update.install()

# Beyond this many spans a redraw of the whole rectangle is cheaper to work out, and hardly longer.
_MOST_SPANS = 400


class GridView(Widget):
    """Base of what is drawn cell by cell: give `draw`, and call `redraw` whenever its result may have changed."""

    DEFAULT_CSS = """
    GridView { background: $background; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._grid = Grid(0, 0)
        self._strips: list[Strip] = []

    def draw(self, width: int, height: int) -> Grid:
        """What is to be seen, on a grid of exactly this size."""
        raise NotImplementedError

    def redraw(self, *, everything: bool = False) -> None:
        """Draw, and send the cells that changed since the last drawing; all of them after a resize or when asked to."""
        width, height = self.content_size
        if not (width and height):
            self._grid = Grid(0, 0)  # out of date: drawn anew when there is room
            return
        before, self._grid = self._grid, self.draw(width, height)
        if everything or (before.width, before.height) != (width, height):
            self._strips = [self._strip(row) for row in range(height)]
            self.refresh()
            return
        spans = list(changed_spans(before, self._grid))
        for row in {span.row for span in spans}:
            self._strips[row] = self._strip(row)
        if len(spans) > _MOST_SPANS:
            self.refresh()
        elif spans:
            self.refresh(*(Region(span.column, span.row, span.width, 1) for span in spans))

    def on_resize(self, event: Resize) -> None:
        if (self._grid.width, self._grid.height) != self.content_size:
            self.redraw()

    def render_line(self, y: int) -> Strip:
        strip = self._strips[y] if y < len(self._strips) else Strip([Segment(" " * self.size.width)], self.size.width)
        return strip.apply_style(self.rich_style)

    def _strip(self, row: int) -> Strip:
        return Strip(self._grid.segments(row), self._grid.width)
