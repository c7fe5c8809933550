"""What a person has set on the plots of a screen: x axis, smoothing, log axes, the part in view, cross-hair, follow.

A frozen value with a method for each key; every method returns the next state. All plots of a screen share one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import get_args

from engine.curves import Axis
from tui import format
from tui.plot import decimate
from tui.plot.model import Range, XKind

AXES: tuple[Axis, ...] = get_args(Axis)
# From 0.9 on a tenth would leave nothing of the new values, yet series of single steps want more than that.
SMOOTHINGS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
ZOOM = 2.0
CLOSEST = 4096  # the smallest part in view is the whole by this: as many points as a series keeps
PAN = 0.25
AHEAD = 0.75  # where the newest point stands in a range that has just followed it

Translate = Callable[[float], float | None]


@dataclass(frozen=True, slots=True)
class ViewState:
    """Settings of the plots. `window` and `cross_hair` are x values of the axis `x`; a window of None is the whole."""

    x: Axis = "epoch"
    smoothing: float = 0.0
    log_x: bool = False
    log_y: bool = False
    window: Range | None = None
    cross_hair: float | None = None
    follow: bool = True

    def smoothed(self, steps: int) -> "ViewState":
        """Smoother (+1) or less smooth (-1)."""
        index = SMOOTHINGS.index(self.smoothing) + steps
        return replace(self, smoothing=SMOOTHINGS[min(max(index, 0), len(SMOOTHINGS) - 1)])

    def unsmoothed(self) -> "ViewState":
        return replace(self, smoothing=0.0)

    def next_axis(self) -> Axis:
        """The axis that comes after the present one: step, epoch, time."""
        return AXES[(AXES.index(self.x) + 1) % len(AXES)]

    def on_axis(self, axis: Axis, translate: Translate) -> "ViewState":
        """The same places on another axis; `translate` gives an x value of the old axis on the new one, if it can."""
        window = None
        if self.window is not None:
            low, high = translate(self.window[0]), translate(self.window[1])
            window = (low, high) if low is not None and high is not None and high > low else None
        cross_hair = None if self.cross_hair is None else translate(self.cross_hair)
        return replace(self, x=axis, window=window, cross_hair=cross_hair)

    def toggled_log_x(self) -> "ViewState":
        return replace(self, log_x=not self.log_x)

    def toggled_log_y(self) -> "ViewState":
        return replace(self, log_y=not self.log_y)

    def shown(self, whole: Range) -> Range:
        """The part in view, within `whole`."""
        return whole if self.window is None else _within(self.window, whole)

    def zoomed(self, whole: Range, factor: float, newest: float | None = None) -> "ViewState":
        """Twice as close for a factor of 2, about the cross-hair, else the newest point while following, else the
        middle. The whole range is no window."""
        scale = self._scale(whole)
        low, high = (scale.place(end) for end in self.shown(whole))
        about = self._zoom_centre(newest, scale, (low, high))
        extent = max((high - low) / factor, scale.extent / CLOSEST)
        if extent >= scale.extent * (1 - 1e-9):
            return replace(self, window=None)
        start = about - extent * (about - low) / (high - low)
        return replace(self, window=_within((scale.value(start), scale.value(start + extent)), whole))

    def _zoom_centre(self, newest: float | None, scale: "_Scale", view: Range) -> float:
        for wanted in (self.cross_hair, newest if self.follow else None):
            if wanted is not None and view[0] <= scale.place(wanted) <= view[1]:
                return scale.place(wanted)
        return (view[0] + view[1]) / 2

    def panned(self, whole: Range, direction: int) -> "ViewState":
        """A quarter of the view to the left (-1) or right (+1); whoever pans no longer follows."""
        if self.window is None:
            return self
        scale = self._scale(whole)
        low, high = (scale.place(end) for end in self.shown(whole))
        by = direction * PAN * (high - low)
        by = min(max(by, scale.low - low), scale.low + scale.extent - high)
        return replace(self, window=(scale.value(low + by), scale.value(high + by)), follow=False)

    def wholly(self) -> "ViewState":
        return replace(self, window=None)

    def toggled_follow(self) -> "ViewState":
        return replace(self, follow=not self.follow)

    def following(self, newest: float | None, whole: Range) -> "ViewState":
        """The window moved on when the newest point has left it at the right.

        It moves in leaps, not with every point, so that most of the time nothing but the new point is drawn.
        """
        if not self.follow or self.window is None or newest is None:
            return self
        low, high = self.window
        if newest <= high or newest > whole[1]:
            return self
        start = newest - AHEAD * (high - low)
        return replace(self, window=_within((start, start + high - low), whole))

    def toggled_cross_hair(self, xs: Sequence[float], whole: Range) -> "ViewState":
        """Off, or on at the newest sample in view."""
        if self.cross_hair is not None:
            return replace(self, cross_hair=None)
        low, high = self.shown(whole)
        seen = [x for x in xs if low <= x <= high]
        return replace(self, cross_hair=seen[-1] if seen else None)

    def pointed(self, x: float) -> "ViewState":
        """The cross-hair at an x value."""
        return replace(self, cross_hair=x)

    def moved(self, xs: Sequence[float], by: int, whole: Range, least: float = 0.0) -> "ViewState":
        """The cross-hair `by` samples of `xs` further, the view with it; switched on where it was off.

        Samples less than `least` apart are passed over, so that a long run is crossed in seconds.
        """
        if self.cross_hair is None:
            return self.toggled_cross_hair(xs, whole)
        places = _spaced(xs, least)
        index = decimate.nearest(places, self.cross_hair)
        if index is None:
            return self
        at = places[min(max(index + by, 0), len(places) - 1)]
        return replace(self, cross_hair=at)._showing(at, whole)

    def _showing(self, x: float, whole: Range) -> "ViewState":
        """The window moved just so far that it holds `x`."""
        if self.window is None:
            return self
        low, high = self.window
        by = min(x - low, 0.0) or max(x - high, 0.0)
        return replace(self, window=_within((low + by, high + by), whole)) if by else self

    def _scale(self, whole: Range) -> "_Scale":
        return _Scale.of(whole, self.log_x)

    @property
    def x_label(self) -> str:
        return self.x

    @property
    def x_kind(self) -> XKind:
        return "seconds" if self.x == "time" else "number"

    def x_text(self, x: float) -> str:
        """An x value as people read it: `81`, `2.50`, `1 m 12 s`."""
        if self.x == "time":
            return format.duration(x)
        return format.thousands(x) if float(x).is_integer() or abs(x) >= 1000 else f"{x:.2f}"

    @property
    def y_scale(self) -> str:
        return "log" if self.log_y else "linear"


@dataclass(frozen=True, slots=True)
class _Scale:
    """An axis on which zooming is linear: the values, or their logarithms."""

    low: float
    extent: float
    log: bool

    @classmethod
    def of(cls, whole: Range, log: bool) -> "_Scale":
        if log and whole[1] > 0:
            low = math.log10(whole[0] if whole[0] > 0 else min(1.0, whole[1] / 1000))
            return cls(low, math.log10(whole[1]) - low, True)
        return cls(whole[0], whole[1] - whole[0], False)

    def place(self, value: float) -> float:
        if not self.log:
            return value
        return math.log10(value) if value > 0 else self.low

    def value(self, place: float) -> float:
        return float(10**place) if self.log else place


def _within(window: Range, whole: Range) -> Range:
    """The window moved into the whole, and cut where it is longer."""
    low, high = window
    extent = min(high - low, whole[1] - whole[0])
    low = min(max(low, whole[0]), whole[1] - extent)
    return low, low + extent


def _spaced(xs: Sequence[float], least: float) -> Sequence[float]:
    """Rising places at least `least` apart, the last of them kept."""
    if least <= 0 or all(after - before >= least for before, after in pairwise(xs)):
        return xs
    kept: list[float] = []
    for x in xs:
        if not kept or x - kept[-1] >= least:
            kept.append(x)
    if len(xs) and kept[-1] != xs[-1]:
        kept[-1] = xs[-1]
    return kept
