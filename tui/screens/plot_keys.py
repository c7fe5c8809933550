"""The keys of plots, for every screen that has some: each is one step of the view's state."""

from collections.abc import Sequence

from engine.curves import Axis
from tui.plot.model import Range
from tui.plot.view_state import ZOOM, ViewState

CELL_PART = 8  # the cross-hair never moves by less than this part of a cell


class PlotKeys:
    """Mixed into a screen: it holds `state` and says what its plots show; `show_state` draws them anew."""

    state: ViewState = ViewState()

    def plot_whole(self) -> Range:
        """The x axis from end to end."""
        raise NotImplementedError

    def plot_places(self) -> Sequence[float]:
        """The x values that the cross-hair steps along, rising."""
        raise NotImplementedError

    def plot_newest(self) -> float | None:
        """The x value of the newest sample."""
        raise NotImplementedError

    def plot_columns(self) -> int:
        """How many columns the curves have."""
        raise NotImplementedError

    def plot_translate(self, x: float, axis: Axis) -> float | None:
        """An x value on another axis, if that is known."""
        raise NotImplementedError

    def show_state(self) -> None:
        """Draw what the state says."""
        raise NotImplementedError

    def _take(self, state: ViewState) -> None:
        self.state = state
        self.show_state()

    def _move_cross_hair(self, by: int) -> None:
        low, high = self.state.shown(self.plot_whole())
        least = (high - low) / max(self.plot_columns() * CELL_PART, 1)
        self._take(self.state.moved(self.plot_places(), by, self.plot_whole(), least))

    def action_cross_hair(self) -> None:
        self._take(self.state.toggled_cross_hair(self.plot_places(), self.plot_whole()))

    def action_cross_hair_left(self) -> None:
        self._move_cross_hair(-1)

    def action_cross_hair_right(self) -> None:
        self._move_cross_hair(1)

    def action_cross_hair_left_ten(self) -> None:
        self._move_cross_hair(-10)

    def action_cross_hair_right_ten(self) -> None:
        self._move_cross_hair(10)

    def action_smooth_more(self) -> None:
        self._take(self.state.smoothed(1))

    def action_smooth_less(self) -> None:
        self._take(self.state.smoothed(-1))

    def action_smooth_none(self) -> None:
        self._take(self.state.unsmoothed())

    def action_x_axis(self) -> None:
        axis = self.state.next_axis()
        self._take(self.state.on_axis(axis, lambda x: self.plot_translate(x, axis)))

    def action_log_y(self) -> None:
        self._take(self.state.toggled_log_y())

    def action_log_x(self) -> None:
        self._take(self.state.toggled_log_x())

    def action_zoom_in(self) -> None:
        self._take(self.state.zoomed(self.plot_whole(), ZOOM, self.plot_newest()))

    def action_zoom_out(self) -> None:
        self._take(self.state.zoomed(self.plot_whole(), 1 / ZOOM, self.plot_newest()))

    def action_pan_left(self) -> None:
        self._take(self.state.panned(self.plot_whole(), -1))

    def action_pan_right(self) -> None:
        self._take(self.state.panned(self.plot_whole(), 1))

    def action_whole_range(self) -> None:
        self._take(self.state.wholly())

    def action_follow(self) -> None:
        self._take(self.state.toggled_follow())
