"""The four plots of a run, from its series and what a person set on them. Plain values, without a terminal."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.style import Style

from engine.curves import Axis, Points, Reading, smooth
from engine.runs import RunView
from tui import format, glyphs
from tui.plot.model import Curve, Mark, Plot, Range
from tui.plot.view_state import ViewState
from tui.theme import Palette, RunColour

PLOTS = ("accuracy", "loss", "lr", "throughput")
# Over so few epochs training is drawn record by record; over more of them the means of whole epochs read better.
DETAILED_EPOCHS = 40.0
THROUGHPUT_SPAN = 0.1
# Raw curves behind smoothed ones, as shares of the run's colour: fainter than train's soft form, which they stand by.
RAW, RAW_TRAIN = 0.35, 0.22

Series = Callable[[str, Axis], Points]
_PLACES = ("loss", "train_loss")  # series that every run has, with a value at each record


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that the plots of a run are made from. `whole` is the x axis from end to end, on the axis of `state`."""

    view: RunView
    series: Series
    state: ViewState
    whole: Range
    palette: Palette
    colour: RunColour
    loss: str = "cross-entropy"
    reading: Reading | None = None


def plots(drawing: Drawing, names: Sequence[str] = PLOTS, focused: str = "") -> dict[str, Plot]:
    """The named plots, the focused one marked."""
    makers = {"accuracy": _accuracy, "loss": _loss, "lr": _learning_rate, "throughput": _throughput}
    return {name: makers[name](drawing, name == focused) for name in names}


def newest(series: Series, axis: Axis) -> float | None:
    """How far the run has come on an axis, by its records."""
    return max((xs[-1] for name in _PLACES if len(xs := series(name, axis)[0])), default=None)


def whole_range(view: RunView, series: Series, axis: Axis, time_end: float) -> Range:
    """The x axis from end to end: of a live run to the end that is known from the start, else to its last record."""
    last = newest(series, axis) or 0.0
    known = {"step": view.steps, "epoch": view.epochs, "time": time_end}[axis] if view.live else None
    end = max(known or 0.0, last)
    detailed = axis == "epoch" and (end < DETAILED_EPOCHS or len(series("train_loss", axis)[0]) < 2)
    start = 0.0 if axis == "time" or detailed else min(1.0, end / 2)
    return start, end or 1.0


def time_end(before: float, view: RunView, last: float | None) -> float:
    """Where the time axis of a live run ends: its seconds and those left, rounded up so that it seldom moves."""
    seconds = max(view.active_s, last or 0.0)
    wanted = seconds if view.eta_s is None else seconds + view.eta_s
    stays = seconds <= before and (view.eta_s is None or 0.7 * before <= wanted <= before)
    return before if stays else _rounded_up(1.02 * wanted)


def _rounded_up(seconds: float) -> float:
    if seconds <= 0:
        return 10.0
    power = 10.0 ** math.floor(math.log10(seconds))
    return next((step * power for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if step * power >= seconds), 10 * power)


def translate(series: Series, x: float, source: Axis, target: Axis) -> float | None:
    """An x value of one axis on another: between records by a straight line, beyond the last one in proportion."""
    for name in _PLACES:
        old, new = series(name, source)[0], series(name, target)[0]
        if len(old) and len(old) == len(new):
            return _between(old, new, x)
    return None


def _between(old: Sequence[float], new: Sequence[float], x: float) -> float:
    right = bisect_left(old, x)
    if right == len(old):
        return new[-1] * x / old[-1] if old[-1] > 0 else new[-1]
    low, base = (old[right - 1], new[right - 1]) if right else (0.0, 0.0)
    extent = old[right] - low
    return base + (new[right] - base) * (x - low) / extent if extent > 0 else new[right]


def watched_set(series: Series) -> str:
    """The set that the run is judged by after each epoch: `val`, or `test` where it chose to look there."""
    return "test" if len(series("test_accuracy", "step")[0]) else "val"


def train_series(metric: str, drawing: Drawing) -> str:
    """The series drawn for training: means of whole epochs, or single records where few epochs are in view."""
    means = f"train_{metric}"
    if len(drawing.series(means, "step")[0]) < 2 or _epochs_in_view(drawing) < DETAILED_EPOCHS:
        return metric if len(drawing.series(metric, "step")[0]) else means
    return means


def _epochs_in_view(drawing: Drawing) -> float:
    (low, high), (start, end) = drawing.state.shown(drawing.whole), drawing.whole
    epochs = drawing.view.epochs if drawing.view.live else drawing.view.epoch
    return (epochs or 0.0) * (high - low) / (end - start) if end > start else 0.0


def places(drawing: Drawing) -> Sequence[float]:
    """The x values that the cross-hair steps along: of the evaluations, or of the records where they are few."""
    evaluated = drawing.series(f"{watched_set(drawing.series)}_accuracy", drawing.state.x)[0]
    if len(evaluated) >= 2 and _epochs_in_view(drawing) >= 2:
        return evaluated
    return drawing.series(train_series("loss", drawing), drawing.state.x)[0]


def _accuracy(drawing: Drawing, focused: bool) -> Plot:
    return _plot(
        drawing,
        Plot(
            "accuracy",
            _metric_curves("accuracy", drawing, format.accuracy),
            unit="%",
            marks=_best_marks("accuracy", drawing),
            floor=0.0,
            ceiling=100.0,
            outliers="low",
            form=format.accuracy,
            focused=focused,
        ),
        log_y=False,  # percent of a whole: its logarithm says nothing
    )


def _loss(drawing: Drawing, focused: bool) -> Plot:
    return _plot(
        drawing,
        Plot(
            "loss",
            _metric_curves("loss", drawing, format.loss),
            unit=drawing.loss,
            marks=_best_marks("loss", drawing),
            floor=0.0,
            outliers="none" if drawing.state.log_y else "high",
            form=format.loss,
            focused=focused,
        ),
        log_y=drawing.state.log_y,
    )


def _learning_rate(drawing: Drawing, focused: bool) -> Plot:
    log_y = drawing.state.log_y
    greatest = max((y for y in drawing.series("lr", drawing.state.x)[1] if math.isfinite(y)), default=0.0)
    greatest = max(greatest, drawing.view.lr or 0.0)
    power = 0 if log_y or greatest <= 0 else math.floor(math.log10(greatest) + 1e-9)
    form = format.learning_rate if log_y else _two_decimals
    curve = _curve("lr", "lr" if drawing.state.cross_hair is not None else "", drawing, form, scale=10.0**-power)
    return _plot(
        drawing,
        Plot(
            "learning rate",
            (curve,) if curve else (),
            unit=f"{glyphs.active().times} 1e{power}" if power else "",
            y_range=None if log_y else (0.0, greatest * 10.0**-power or 1.0),
            form=form,
            focused=focused,
        ),
        log_y=log_y,
    )


def _two_decimals(value: float) -> str:
    return f"{value:.2f}"


def _one_decimal(value: float) -> str:
    return f"{value:.1f}"


def _throughput(drawing: Drawing, focused: bool) -> Plot:
    rates = drawing.series("images_s", drawing.state.x)[1]
    thousands = max((y for y in rates if math.isfinite(y)), default=0.0) >= 1000
    legend = "rate" if drawing.state.cross_hair is not None else ""
    curve = _curve("images_s", legend, drawing, _one_decimal, scale=1e-3 if thousands else 1.0)
    return _plot(
        drawing,
        Plot(
            "throughput",
            (curve,) if curve else (),
            unit="k img/s" if thousands else "img/s",
            floor=0.0,
            outliers="low",
            least_span=THROUGHPUT_SPAN,
            form=_one_decimal,
            focused=focused,
        ),
        log_y=drawing.state.log_y,
    )


def _plot(drawing: Drawing, plot: Plot, *, log_y: bool) -> Plot:
    """The plot with the settings that all of them share."""
    state = drawing.state
    return replace(
        plot,
        x_label=state.x_label,
        x_kind=state.x_kind,
        x_range=state.shown(drawing.whole),
        log_x=state.log_x,
        log_y=log_y,
        cross_hair=state.cross_hair,
    )


def _metric_curves(metric: str, drawing: Drawing, form: Callable[[float], str]) -> tuple[Curve, ...]:
    judged = watched_set(drawing.series)
    found = (
        _curve(f"{judged}_{metric}", judged, drawing, form),
        _curve(train_series(metric, drawing), "train", drawing, form),
    )
    return tuple(curve for curve in found if curve)


def _curve(name: str, legend: str, drawing: Drawing, form: Callable[[float], str], scale: float = 1.0) -> Curve | None:
    xs, ys = drawing.series(name, drawing.state.x)
    if not len(xs):
        return None
    scaled: Sequence[float] = ys if scale == 1.0 else [y * scale for y in ys]
    train = legend == "train"
    weight, read = drawing.state.smoothing, drawing.reading
    exact = read.values.get(name) if read and drawing.state.cross_hair is not None else None
    drawn = smooth(scaled, weight) if weight else scaled
    latest = next((y for y in reversed(drawn) if math.isfinite(y)), None)
    return Curve(
        xs,
        drawn,
        drawing.colour.soft if train else drawing.colour.solid,
        legend,
        value=None if latest is None else form(latest),
        strong=not train,
        soft=_raw_style(drawing, RAW_TRAIN if train else RAW),
        raw=scaled if weight and drawing.palette.rich_in_colour else None,
        broken=train,
        layer=0 if train else 1,
        reading=None if exact is None else exact * scale,
        smoothed=weight > 0,
    )


def _raw_style(drawing: Drawing, share: float) -> Style | None:
    tint = drawing.palette.tint(drawing.colour.colour, share)
    return Style(color=tint) if tint else None


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation of a run: its value, its epoch, and its place on the axis that was asked for."""

    value: float
    epoch: float
    x: float


def best(series: Series, name: str, axis: Axis = "epoch") -> Best | None:
    """The least loss or the greatest accuracy of a series and where it was first reached; None without values."""
    xs, ys = series(name, axis)
    epochs = series(name, "epoch")[0]
    found = [(y, index) for index, y in enumerate(ys) if math.isfinite(y)]
    if not found or len(epochs) != len(xs):
        return None
    value = min(found)[0] if name.endswith("loss") else max(found)[0]
    index = next(index for y, index in found if y == value)
    return Best(value, epochs[index], xs[index])


def _best_marks(metric: str, drawing: Drawing) -> tuple[Mark, ...]:
    name = drawing.view.best_metric
    if not name.endswith(metric):
        return ()
    top = best(drawing.series, name, drawing.state.x)
    if top is None:
        return ()
    form = format.loss if metric == "loss" else format.accuracy
    label = f"best {format.best_at(form(top.value), top.epoch)}"
    return (Mark(top.x, top.value, label, drawing.colour.solid, drawing.palette.style("text")),)
