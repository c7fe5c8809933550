"""The two plots of a comparison, from its lines and what a person set on them. Plain values, without a terminal."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.curves import Axis
from engine.run_view import RunView
from engine.text import shorten
from tui import comparison, format, glyphs, parameter_budget, pareto, run_plots
from tui.comparison import Drawn, Find, Line, Metric
from tui.pareto import Dot, SizeAxis
from tui.plot import decimate
from tui.plot.model import Band, Curve, Mark, Plot, Range, Upright
from tui.plot.view_state import ViewState
from tui.theme import Palette, RunColour

_MILLION = 1e6
_LEFT, _RIGHT = 6, 2
_LABEL = 14
_LONE_DOTS = 400  # beyond this many runs the scatter shows fewer of them, evenly
_CELLS_A_DECADE, _CELLS_A_POINT = 20.0, 2.0
_UNSEEN = 0.2  # the share of runs that may lie below the scatter: those that learned next to nothing


@dataclass(frozen=True, slots=True)
class Overlay:
    """All that the plot over time is made from; `drawn`, `colours` and `readings` (the exact values under the
    cross-hair, empty until they are read) are in the order of `lines`."""

    lines: Sequence[Line]
    drawn: Sequence[Drawn]
    colours: Sequence[RunColour]
    metric: Metric
    state: ViewState
    whole: Range
    palette: Palette
    curves: Find
    baseline: int = 0
    focused: bool = False
    readings: Sequence[float | None] = ()


def whole_range(views: Iterable[RunView], curves: Find, axis: Axis, time_end: float) -> Range:
    """The x axis from end to end, over all runs; a live one is drawn towards the end it will reach."""
    ranges = [run_plots.whole_range(view, known.series, axis, time_end) for view in views if (known := curves(view.id))]
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else (0.0, 1.0)


def places(drawn: Iterable[Drawn]) -> list[float]:
    """The x values that the cross-hair steps along: the samples of all curves."""
    return sorted({x for curve in drawn for x in curve.xs})


def overlay(show: Overlay) -> Plot:
    """One curve a line. The best one is drawn last and says where it was best, the baseline before it."""
    metric, state = show.metric, show.state
    accuracy = metric.series.endswith("accuracy")
    best = comparison.best_line(show.lines, metric)
    layers = [2 if place == best else int(place == show.baseline) for place in range(len(show.lines))]
    return Plot(
        metric.title,
        tuple(_curve(show, place, layer) for place, layer in enumerate(layers)),
        unit=metric.unit,
        marks=tuple(_best_marks(show, best)),
        floor=None if metric.better == "neither" else 0.0,
        ceiling=100.0 if accuracy else None,
        outliers=_outliers(metric, log_y=state.log_y),
        form=metric.form,
        x_label=state.x_label,
        x_kind=state.x_kind,
        x_range=state.shown(show.whole),
        log_x=state.log_x,
        log_y=state.log_y and not accuracy,
        cross_hair=state.cross_hair,
        focused=show.focused,
    )


def _outliers(metric: Metric, *, log_y: bool) -> Literal["none", "low", "high"]:
    if metric.better == "neither" or (log_y and metric.better == "lower"):
        return "none"
    return "low" if metric.better == "higher" else "high"


def _curve(show: Overlay, place: int, layer: int) -> Curve:
    line, drawn, colour = show.lines[place], show.drawn[place], show.colours[place]
    last = next((y for y in reversed(drawn.ys) if math.isfinite(y)), None)
    spread, named = drawn.spread, bool(colour.letter)
    return Curve(
        drawn.xs,
        drawn.ys,
        colour.solid,
        line.title if named else "",
        legend_role="text",
        value=show.metric.form(last) if last is not None and named else None,
        soft=colour.soft,
        raw=drawn.raw if show.palette.rich_in_colour else None,
        band=Band(spread.xs, spread.low, spread.high, colour.band) if spread else None,
        letter=colour.letter,
        dash=colour.dash,
        layer=layer if named else -1,
        reading=show.readings[place] if show.readings else None,
        smoothed=show.state.smoothing > 0,
    )


def _best_marks(show: Overlay, best: int | None) -> Iterable[Mark]:
    """Where each single run was best; the best of all says so in words."""
    metric, text = show.metric, show.palette.style("text")
    for place, (line, colour) in enumerate(zip(show.lines, show.colours, strict=True)):
        known = show.curves(line.view.id) if line.count == 1 and metric.better != "neither" else None
        top = run_plots.best(known.series, metric.series, show.state.x) if known else None
        if top is not None and colour.letter:
            label = format.best_at(metric.form(top.value), top.epoch) if place == best else ""
            yield Mark(top.x, top.value, label, colour.solid, text)


def value_at(drawn: Drawn, x: float) -> float | None:
    """The value of a curve at the sample nearest to `x`; None beyond its ends and in gaps."""
    index = decimate.nearest(drawn.xs, x)
    if index is None or not drawn.xs[0] <= x <= drawn.xs[-1]:
        return None
    return drawn.ys[index] if math.isfinite(drawn.ys[index]) else None


def scatter(
    dots: Sequence[Dot],
    found: Sequence[Line],
    colours: Sequence[RunColour],
    axis: SizeAxis,
    palette: Palette,
    *,
    budget: int,
    focused: bool = False,
) -> Plot:
    """Test accuracy against size on a log axis: all runs dim, the compared ones in their colours, the front, and the
    budget of parameters."""
    placed = [
        (line, colour, place)
        for line, colour in zip(found, colours, strict=True)
        if (place := pareto.placed(line, axis)) is not None
    ]
    front = pareto.pareto_front([(dot.size, dot.accuracy) for dot in dots])
    y_range = _accuracy_range([dot.accuracy for dot in dots], [place[1] for _, _, place in placed])
    dots = [dot for dot in dots if y_range is None or dot.accuracy >= y_range[0]]
    sizes = [dot.size for dot in dots] + [place[0] for _, _, place in placed]
    accent, dim = palette.style("accent"), palette.style("dim")
    limit = Upright(budget / _MILLION, parameter_budget.shown(budget), dim)
    uprights = (limit,) if axis == "parameters" else ()
    x_range = _around([*sizes, *(line.x for line in uprights)])
    xs, ys = pareto.staircase(front, x_range[1])
    marks = [Mark(dot.size, dot.accuracy, style=dim, glyph=glyphs.active().point) for dot in thinned(dots)]
    return Plot(
        "test accuracy",
        (Curve(xs, ys, accent),) if xs else (),
        unit=f"% against {'parameters' if axis == 'parameters' else 'MACs'}, M",
        marks=(*marks, *_placed_marks(placed)),
        uprights=uprights,
        x_label="",
        x_range=x_range,
        y_range=y_range,
        ceiling=100.0,
        log_x=True,
        form=format.accuracy,
        focused=focused,
        left=_LEFT,
        right=_RIGHT,
    )


def _placed_marks(placed: Sequence[tuple[Line, RunColour, tuple[float, float, bool]]]) -> Iterable[Mark]:
    """The compared lines, called by their network where that tells them apart, else by their name."""
    networks = [line.view.architecture for line, _, _ in placed]
    for line, colour, (size, accuracy, tested) in placed:
        network = line.view.architecture
        name = network if network and networks.count(network) == 1 else line.name
        label = shorten(name, _LABEL, glyphs.active().ellipsis) + ("" if tested else " (val)")
        yield Mark(size, accuracy, label, colour.solid, colour.solid)


def _around(sizes: Sequence[float]) -> Range:
    """From a little below the least to a little above the greatest, on a log scale."""
    return (min(sizes) / 1.6, max(sizes) * 1.6) if sizes else (0.1, 100.0)


def _accuracy_range(others: Sequence[float], compared: Sequence[float]) -> Range | None:
    """All that is compared, and the runs around it; those far below would squeeze the rest into one row."""
    shown = [*compared, *others]
    if not shown:
        return None
    low = min([decimate.percentile(shown, _UNSEEN), *compared])
    return low - 0.5, min(max(shown) + 0.5, 100.0)


def thinned(dots: Sequence[Dot]) -> list[Dot]:
    """One dot for those that would share a cell of the scatter, and no more of them than can be told apart."""
    cells = {(round(math.log10(dot.size) * _CELLS_A_DECADE), round(dot.accuracy * _CELLS_A_POINT)): dot for dot in dots}
    kept = list(cells.values())
    return kept[:: max(1, -(-len(kept) // _LONE_DOTS))]
