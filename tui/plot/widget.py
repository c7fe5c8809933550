"""The plot as a Textual widget that sends only the cells that changed.

Textual itself resends a widget's whole rectangle on any refresh. Here each drawing is compared with the one before it,
and only the spans that differ are marked for redraw: about an eighth of the bytes for a point that is appended.
"""

from rich.segment import Segment
from textual.events import Click, Resize
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui import theme
from tui.plot.canvas import render
from tui.plot.grid import Grid, changed_spans
from tui.plot.layout import frame
from tui.plot.model import Plot

# Above this many spans one message for each costs more than it saves.
_MOST_SPANS = 400


class PlotView(Widget):
    """Shows one `Plot`. Give it a new one with `show`; it redraws what changed, and all after a resize."""

    DEFAULT_CSS = """
    PlotView { width: 1fr; height: 1fr; background: $background; }
    """

    class Pointed(Message):
        """A click in the plot, at an x value: where the cross-hair should go."""

        def __init__(self, view: "PlotView", x: float) -> None:
            super().__init__()
            self.view = view
            self.x = x

        @property
        def control(self) -> "PlotView":
            return self.view

    def __init__(
        self,
        plot: Plot | None = None,
        *,
        palette: theme.Palette | None = None,
        id: str | None = None,
        classes: str = "",
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._plot = plot or Plot("", ())
        self._palette = palette or theme.palette()
        self._grid = Grid(0, 0)
        self._strips: list[Strip] = []

    @property
    def plot(self) -> Plot:
        """What is shown."""
        return self._plot

    def show(self, plot: Plot, palette: theme.Palette | None = None) -> None:
        """Show another plot, or the same with more data."""
        self._plot = plot
        self._palette = palette or self._palette
        self._redraw()

    def on_resize(self, event: Resize) -> None:
        self._redraw()

    def _redraw(self) -> None:
        width, height = self.content_size
        if not (width and height):
            return
        before, self._grid = self._grid, render(self._plot, width, height, self._palette)
        if (before.width, before.height) != (width, height):
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

    def _strip(self, row: int) -> Strip:
        return Strip(self._grid.segments(row), self._grid.width)

    def render_line(self, y: int) -> Strip:
        if y < len(self._strips):
            return self._strips[y]
        return Strip([Segment(" " * self.size.width)], self.size.width)

    def on_click(self, event: Click) -> None:
        place = frame(self._plot, *self.content_size)
        column = event.x - place.left if place else -1
        if place and 0 <= column < place.columns:
            self.post_message(self.Pointed(self, place.x.value(column)))
