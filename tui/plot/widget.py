"""The plot as a Textual widget."""

from textual.events import Click
from textual.message import Message

from tui import theme
from tui.grid import Grid
from tui.grid_view import GridView
from tui.plot.canvas import render_framed
from tui.plot.layout import Frame, Steady
from tui.plot.model import Plot


class PlotView(GridView):
    """Shows one `Plot`. Give it a new one with `show`; it sends the cells that differ."""

    DEFAULT_CSS = """
    PlotView { width: 1fr; height: 1fr; }
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
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._plot = plot or Plot("", ())
        self._palette = palette or theme.palette()
        self._steady = Steady()
        self._frame: Frame | None = None

    @property
    def plot(self) -> Plot:
        """What is shown."""
        return self._plot

    def show(self, plot: Plot, palette: theme.Palette | None = None) -> None:
        """Show another plot, or the same with more data."""
        self._plot = plot
        changed = palette is not None and palette != self._palette
        self._palette = palette or self._palette
        self.redraw(everything=changed)

    def draw(self, width: int, height: int) -> Grid:
        self._frame = self._steady.frame(self._plot, width, height)
        return render_framed(self._plot, self._frame, width, height, self._palette)

    def on_click(self, event: Click) -> None:
        place = self._frame
        column = event.x - place.left if place else -1
        if place and 0 <= column < place.columns:
            self.post_message(self.Pointed(self, place.x.value(column)))
