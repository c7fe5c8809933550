"""Where things are in a plot: the axes, the ticks, and which cell shows which value."""

import math
from dataclasses import dataclass

from tui.plot import decimate, ticks
from tui.plot.model import Plot, Range

OUTLIERS = 0.05
SLACK = 0.05  # of a better y axis: how far inside it the values lie before it takes the place of the one that was
FAR_BETTER = 0.7  # of the extent of the one that was: a better axis that needs less takes its place at once
_GREATEST = 1e100  # beyond, differences overflow; no figure of a run is that large


def drawn(value: float, log: bool) -> float:
    """Where a value lies on a linear or logarithmic scale; NaN for what is on none (NaN, infinity, log of 0)."""
    if not abs(value) < _GREATEST or (log and value < 1 / _GREATEST):
        return math.nan
    return math.log10(value) if log else value


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear or logarithmic axis from the middle of its first cell to the middle of its last."""

    low: float
    high: float
    cells: int
    log: bool = False

    def place(self, value: float) -> float:
        """The value on the scale that is drawn: itself, or its decimal logarithm; NaN where it cannot be drawn."""
        return drawn(value, self.log)

    @property
    def drawn(self) -> Range:
        return self.place(self.low), self.place(self.high)

    def share(self, value: float) -> float:
        """How far along the axis the value lies: 0 to 1 within it."""
        low, high = self.drawn
        return (self.place(value) - low) / (high - low) if high > low else 0.0

    def contains(self, value: float) -> bool:
        share = self.share(value)
        return -1e-9 <= share <= 1 + 1e-9

    def cell(self, value: float) -> int:
        """The cell that the value's dot lies in, counted from the low end."""
        return math.floor(self.share(value) * (self.cells - 1) + 0.5 + 1e-9)

    def value(self, cell: float) -> float:
        """The value in the middle of a cell."""
        low, high = self.drawn
        placed = low + (high - low) * (cell / (self.cells - 1) if self.cells > 1 else 0.0)
        return float(10**placed) if self.log else placed


@dataclass(frozen=True, slots=True)
class Frame:
    """Where things are: the axes, the ticks, and the cells of the plot itself."""

    x: Axis
    y: Axis
    y_ticks: ticks.YTicks
    top: int
    left: int

    @property
    def columns(self) -> int:
        return self.x.cells

    @property
    def rows(self) -> int:
        return self.y.cells

    @property
    def bottom(self) -> int:
        return self.top + self.rows

    def row(self, value: float) -> int:
        """The row of the grid, from the top, that shows a y value."""
        return self.bottom - 1 - self.y.cell(value)

    def column(self, value: float) -> int:
        return self.left + self.x.cell(value)

    def holds(self, x: float, y: float) -> bool:
        return self.x.contains(x) and self.y.contains(y)


def frame(plot: Plot, width: int, height: int, held: ticks.YTicks | None = None) -> Frame | None:
    """The layout of a plot in `width` by `height` cells; None when there is no room for one.

    `held` are the y ticks that it had at this size, which it keeps while they serve.
    """
    columns = width - plot.left - plot.right
    rows = height - plot.head - plot.x_axis
    if columns < 2 or rows < 1:
        return None
    x_low, x_high = _x_range(plot)
    scale = _y_ticks(plot, (x_low, x_high), rows, held)
    y_low, y_high = scale.limits
    return Frame(
        Axis(x_low, x_high, columns, plot.log_x),
        Axis(y_low, y_high, scale.rows, plot.log_y),
        scale,
        int(plot.head),
        plot.left,
    )


def _x_range(plot: Plot) -> Range:
    if plot.x_range:
        low, high = plot.x_range
    else:
        points = [x for curve in plot.curves for x in (curve.xs[:1], curve.xs[-1:]) if len(x)]
        ends = [float(x[0]) for x in points] + [mark.x for mark in plot.marks] + [line.x for line in plot.uprights]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if plot.log_x:
        low = low if low > 0 else min(1.0, high / 1000 if high > 0 else 1.0)
        return (low, high) if high > low else (low, low * 10)
    return (low, high) if high > low else (low, low + 1)


class Steady:
    """Frames of one plot while its data grows: the y axis moves when it has to, not to and fro with its extent."""

    def __init__(self) -> None:
        self._of: object = None
        self._held: ticks.YTicks | None = None

    def frame(self, plot: Plot, width: int, height: int) -> Frame | None:
        of = (plot.title, plot.unit, plot.log_y, width, height)
        found = frame(plot, width, height, self._held if of == self._of else None)
        self._of, self._held = of, found.y_ticks if found else None
        return found


def _y_ticks(plot: Plot, x: Range, rows: int, held: ticks.YTicks | None) -> ticks.YTicks:
    values = _values_in_view(plot, x)
    low, high = plot.y_range or _y_extent(plot, values)
    if plot.log_y:
        low = low if low > 0 else min(values, default=0.1)
        best = ticks.log_y_ticks(low, max(high, low), rows)
    else:
        best = ticks.y_ticks(low, high, rows, floor=plot.floor, ceiling=plot.ceiling)
    return held if held and values and _serves(held, best, (low, high), plot) else best


def _serves(held: ticks.YTicks, best: ticks.YTicks, extent: Range, plot: Plot) -> bool:
    """Whether the axis stays as it was: it holds the extent, and one that fits better would hold it only just."""
    (bottom, top), (best_bottom, best_top) = (_drawn_range(one.limits, plot) for one in (held, best))
    low, high = _drawn_range(extent, plot)
    if not (bottom <= low and high <= top):
        return False
    share = (best_top - best_bottom) / (top - bottom)
    if share >= 1 or share < FAR_BETTER:
        return share >= 1
    slack = SLACK * (best_top - best_bottom)
    at_floor = plot.floor is not None and not plot.log_y and best_bottom <= plot.floor
    at_ceiling = plot.ceiling is not None and not plot.log_y and best_top >= plot.ceiling
    return not ((at_floor or low - slack >= best_bottom) and (at_ceiling or high + slack <= best_top))


def _drawn_range(limits: Range, plot: Plot) -> Range:
    return drawn(limits[0], plot.log_y), drawn(limits[1], plot.log_y)


def _values_in_view(plot: Plot, x: Range) -> list[float]:
    low, high = x
    values = [mark.y for mark in plot.marks if low <= mark.x <= high]
    for curve in plot.curves:
        values += [y for at, y in zip(curve.xs, curve.ys, strict=True) if low <= at <= high]
        if curve.band:
            edges = zip(curve.band.xs, curve.band.low, curve.band.high, strict=True)
            values += [y for at, *both in edges if low <= at <= high for y in both]
    return [value for value in values if not math.isnan(drawn(value, plot.log_y))]


def _y_extent(plot: Plot, values: list[float]) -> Range:
    if not values:
        low = plot.floor if plot.floor is not None else 0.0
        return low, plot.ceiling if plot.ceiling is not None else low + 1.0
    low = decimate.percentile(values, OUTLIERS) if plot.outliers == "low" else min(values)
    high = decimate.percentile(values, 1 - OUTLIERS) if plot.outliers == "high" else max(values)
    if plot.outliers == "high" and plot.floor is not None and not plot.log_y:
        low = plot.floor
    short = plot.least_span * max(abs(low), abs(high)) - (high - low)
    return (low - short / 2, high + short / 2) if short > 0 else (low, high)
