"""What a plot shows: its series, marks and settings, without a word on how they are drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.style import Style

from tui import format

Range = tuple[float, float]
XKind = Literal["number", "seconds"]

LEFT_GUTTER, RIGHT_GUTTER = 6, 8


@dataclass(frozen=True, slots=True)
class Band:
    """From the least to the greatest of a group of seeds; `xs` must not descend."""

    xs: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One line. `xs` must not descend; what is not finite in `ys` is a gap.

    `value` stands at the right end, at the line's height (None: none); `legend` is its name in the head (empty: none).
    `raw` is the same series without smoothing, drawn behind in `soft`. A `broken` curve is dashed where colours cannot
    tell it from another (train beside validation), and its legend says so. `letter` and `dash` tell runs apart there.
    `reading` is what the legend says under the cross-hair where that is known better than by the nearest sample; of a
    `smoothed` curve it is the value that was measured, which the legend puts in brackets behind the drawn one.
    Higher layers are drawn over lower ones: validation over train, in a comparison the baseline and then the best.
    """

    xs: Sequence[float]
    ys: Sequence[float]
    style: Style
    legend: str = ""
    legend_role: str = "dim"
    value: str | None = None
    strong: bool = True
    soft: Style | None = None
    raw: Sequence[float] | None = None
    band: Band | None = None
    broken: bool = False
    letter: str = ""
    dash: int = 0
    layer: int = 0
    reading: float | None = None
    smoothed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with a sign and a label in the nearest free cells: a best value, a run in a scatter."""

    x: float
    y: float
    label: str = ""
    style: Style = field(default_factory=Style)
    label_style: Style | None = None
    glyph: str = ""


@dataclass(frozen=True, slots=True)
class Upright:
    """A dashed vertical line at `x`, such as a budget."""

    x: float
    label: str
    style: Style


@dataclass(frozen=True, slots=True)
class Plot:
    """All that a plot shows, curves in the order of the legend.

    `x_range` is the axis from end to end; without it the axis spans the data. `y_range` likewise; without it y leaves
    out 5 % of the values at the end named in `outliers` (`low` for accuracy, `high` for loss), and ticks keep to
    `floor` and `ceiling`. `least_span` keeps noise small: the least y extent as a share of the values (0.1 for
    throughput). `form` writes y values under the cross-hair, which is an x value. `left` and `right` are the cells of
    the gutters; `quiet` makes the title a label.
    """

    title: str
    curves: tuple[Curve, ...]
    unit: str = ""
    marks: tuple[Mark, ...] = ()
    uprights: tuple[Upright, ...] = ()
    x_label: str = "epoch"
    x_kind: XKind = "number"
    x_range: Range | None = None
    y_range: Range | None = None
    floor: float | None = None
    ceiling: float | None = None
    outliers: Literal["none", "low", "high"] = "none"
    least_span: float = 0.0
    log_x: bool = False
    log_y: bool = False
    cross_hair: float | None = None
    form: Callable[[float], str] = format.accuracy
    focused: bool = False
    quiet: bool = False
    head: bool = True
    x_axis: bool = True
    left: int = LEFT_GUTTER
    right: int = RIGHT_GUTTER
