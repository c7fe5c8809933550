"""Runs side by side: what each has reached and how far that is from a baseline, and its curve. Pure functions of
views, configurations and curves.

Runs that differ only in their seed are one line of a comparison when they are put together: its figures are means with
their standard deviation, its curve a median with a band.
"""

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Protocol

from engine.curves import Axis, Band, Points, Reading, band, smooth
from engine.run_view import RunView
from engine.tested import tested
from tui import format, glyphs
from tui.configuration import Settings

Better = Literal["higher", "lower", "neither"]
Role = Literal["good", "bad", "dim"]

_SEED_SUFFIX = re.compile(r"[-_ .]+(?:s|seed)?[-_ .]*[0-9]*$", re.IGNORECASE)


class Series(Protocol):
    """Where the curves of a run come from: `engine.curves.Curves`."""

    def names(self) -> list[str]: ...

    def series(self, name: str, x: Axis = "step") -> Points: ...


Find = Callable[[str], Series | None]  # the curves of a run by its id


@dataclass(frozen=True, slots=True)
class Reached:
    """A figure and the epoch that it is of."""

    value: float
    epoch: float | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One run in a comparison. `reached` has the least or greatest value of its series, by name."""

    view: RunView
    settings: Settings = field(default_factory=dict)
    reached: dict[str, Reached] = field(default_factory=dict)

    def figure(self, series: str) -> Reached | None:
        """The best value of a series, as the run's own summary has it while the curves are not read yet."""
        view = self.view
        if series in self.reached or view.best is None or view.best_metric != series:
            return self.reached.get(series)
        return Reached(view.best, view.best_epoch)


@dataclass(frozen=True, slots=True)
class Line:
    """One column of a comparison: a run, or the runs of one group that differ only in their seed."""

    key: str
    name: str
    members: tuple[Member, ...]

    @property
    def view(self) -> RunView:
        """The view of the first run, which stands for what all have in common."""
        return self.members[0].view

    @property
    def count(self) -> int:
        return len(self.members)

    @property
    def title(self) -> str:
        """`resnet32-he ×5`"""
        return self.name if self.count == 1 else f"{self.name} {glyphs.active().times}{self.count}"

    def figures(self, series: str) -> list[float]:
        """The best values of a series of the runs that have one."""
        return [figure.value for member in self.members if (figure := member.figure(series))]

    def tested(self) -> list[float]:
        """The test accuracies of the runs that have one, in percent."""
        return [accuracy for member in self.members if (accuracy := tested(member.view)) is not None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One line's curve: the median of its runs, and from the least to the greatest of them where it has several."""

    xs: Sequence[float]
    ys: Sequence[float]
    raw: Sequence[float] | None = None
    spread: Band | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A series that can be drawn; `unit` is shown beside its title."""

    series: str
    title: str
    better: Better
    form: Callable[[float | None], str]
    unit: str = ""

    @property
    def decimals(self) -> int:
        """Of a difference."""
        return 2 if self.series.endswith("accuracy") else 3


def _rate(value: float | None) -> str:
    return format.throughput(value, "/s")


METRICS: tuple[Metric, ...] = (
    Metric("val_accuracy", "val accuracy", "higher", format.accuracy, "%"),
    Metric("test_accuracy", "test accuracy", "higher", format.accuracy, "%"),
    Metric("train_accuracy", "train accuracy", "higher", format.accuracy, "%"),
    Metric("val_loss", "val loss", "lower", format.loss),
    Metric("test_loss", "test loss", "lower", format.loss),
    Metric("train_loss", "train loss", "lower", format.loss),
    Metric("lr", "learning rate", "neither", format.learning_rate),
    Metric("images_s", "throughput", "higher", _rate, "img/s"),
)
EPOCH_TIME = "epoch_s"
METRIC = MappingProxyType({metric.series: metric for metric in METRICS})


@dataclass(frozen=True, slots=True)
class Cell:
    """One line's part of a row: its figure, the difference to the baseline with the role it is drawn in, a remark."""

    value: str
    difference: str = ""
    role: Role = "dim"
    remark: str = ""
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A label and one cell a line; `factors` says that differences are ratios."""

    label: str
    cells: tuple[Cell, ...]
    factors: bool = False


def extremes(curves: Series) -> dict[str, Reached]:
    """The best value of every drawn series with the epoch it was reached at, and the median time of an epoch.

    Where lower is better the best is the least; it is the first of several that are equal.
    """
    found = {}
    for metric in METRICS:
        xs, ys = curves.series(metric.series, "epoch")
        known = [(y, -x) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        if known and metric.better != "neither":
            sign = 1 if metric.better == "higher" else -1
            best = max(known, key=lambda point: (sign * point[0], point[1]))
            found[metric.series] = Reached(best[0], -best[1])
    times = [y for y in curves.series(EPOCH_TIME, "epoch")[1] if math.isfinite(y)]
    if times:
        found[EPOCH_TIME] = Reached(statistics.median(times))
    return found


def lines(members: Sequence[Member], *, together: bool) -> list[Line]:
    """The columns of a comparison in the order of the members; with `together` the seeds of a group are one."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        key = member.view.group_hash if together else ""
        groups.setdefault(key or member.view.id, []).append(member)
    return _told_apart([Line(key, _common_name(group), tuple(group)) for key, group in groups.items()])


def _common_name(members: Sequence[Member]) -> str:
    """The name that runs share: `resnet32-he` of `resnet32-he-s1` and `resnet32-he-s2`."""
    names = [member.view.name or member.view.id for member in members]
    if len(set(names)) == 1:
        return names[0]
    stems = {_SEED_SUFFIX.sub("", name) for name in names}
    return (stems.pop() if len(stems) == 1 else "") or names[0]


def _told_apart(found: list[Line]) -> list[Line]:
    """Lines of one name get their seed behind it, or the end of their id where the seeds are equal too."""
    names = [line.name for line in found]
    seeds = [(line.name, line.view.seed) for line in found]
    apart = []
    for line, with_seed in zip(found, seeds, strict=True):
        if names.count(line.name) > 1:
            seed = line.view.seed
            unique = seed is not None and seeds.count(with_seed) == 1 and len(line.members) == 1
            line = replace(line, name=f"{line.name} s{seed}" if unique else f"{line.name} {line.view.id[-6:]}")
        apart.append(line)
    return apart


def curve(line: Line, metric: Metric, x: Axis, weight: float, curves: Find) -> Drawn:
    """What is drawn of a line. `weight` in [0, 1) smooths each run before they are put together."""
    drawn = []
    for member in line.members:
        known = curves(member.view.id)
        xs, ys = known.series(metric.series, x) if known else ((), ())
        if len(xs):
            drawn.append((xs, ys))
    if not drawn:
        return Drawn((), ())
    if len(drawn) == 1:
        xs, ys = drawn[0]
        return Drawn(xs, smooth(ys, weight), ys) if weight else Drawn(xs, ys)
    spread = band([(xs, smooth(ys, weight) if weight else ys) for xs, ys in drawn])
    return Drawn(spread.xs, spread.median, spread=spread)


def measured(
    line: Line, metric: Metric, x: Axis, at: float, readings: Mapping[str, Reading], curves: Find
) -> float | None:
    """What the records nearest to `at` say, the median of several runs; None where no run has come so far."""
    values = []
    for member in line.members:
        known, reading = curves(member.view.id), readings.get(member.view.id)
        if known is None or reading is None:
            continue
        places, value = known.series(metric.series, x)[0], reading.values.get(metric.series)
        if value is not None and len(places) and places[0] <= at <= places[-1]:
            values.append(value)
    return statistics.median(values) if values else None


def best_line(found: Sequence[Line], metric: Metric) -> int | None:
    """The place of the line with the best figure of a metric, the first of equals; None when there is none."""
    sign = {"higher": 1.0, "lower": -1.0, "neither": 0.0}[metric.better]
    figures = [mean(line.figures(metric.series)) for line in found]
    ranked = [(sign * value, -place) for place, value in enumerate(figures) if value is not None]
    return -max(ranked)[1] if ranked and sign else None


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean, None of nothing."""
    return statistics.fmean(values) if values else None


def metric_rows(found: Sequence[Line], baseline: int) -> list[Row]:
    """What each line has reached, with the difference to the line at place `baseline`.

    Rows nobody has a figure for are left out, but for validation and test accuracy.
    """
    rows = [
        _reached_row("val accuracy %", found, baseline, "val_accuracy"),
        _test_row(found, baseline),
        _reached_row("best test of an epoch %", found, baseline, "test_accuracy"),
        _reached_row("val loss", found, baseline, "val_loss"),
        _size_row("parameters", found, baseline, _parameters, format.thousands),
        _size_row("MACs", found, baseline, _macs, _macs_text),
        _epoch_time_row(found, baseline),
        _size_row("training time", found, baseline, _active_s, format.duration),
        _reached_row("train accuracy %", found, baseline, "train_accuracy"),
        _reached_row("train loss", found, baseline, "train_loss"),
    ]
    return [row for place, row in enumerate(rows) if place < 2 or any(cell.number is not None for cell in row.cells)]


def row_at(found: Sequence[Line], baseline: int, metric: Metric, values: Sequence[float | None], label: str) -> Row:
    """What each curve reads under the cross-hair, with the difference to the baseline there."""
    return _row(label, baseline, values, metric.form, metric.better, metric.decimals, [""] * len(found))


def _row(
    label: str,
    baseline: int,
    values: Sequence[float | None],
    form: Callable[[float | None], str],
    better: Better,
    decimals: int,
    remarks: Sequence[str],
) -> Row:
    cells = []
    for place, (value, remark) in enumerate(zip(values, remarks, strict=True)):
        base = None if place == baseline else values[baseline]
        difference, role = _difference(value, base, better, decimals)
        cells.append(Cell(form(value), difference, role, remark, value))
    return Row(label, tuple(cells))


def _difference(value: float | None, base: float | None, better: Better, decimals: int) -> tuple[str, Role]:
    if value is None or base is None:
        return "", "dim"
    points = value - base
    if round(points, decimals) == 0 or better == "neither":
        return format.delta(points, decimals), "dim"
    return format.delta(points, decimals), "good" if (points > 0) == (better == "higher") else "bad"


def _reached_row(label: str, found: Sequence[Line], baseline: int, series: str) -> Row:
    metric = METRIC[series]
    figures = [line.figures(series) for line in found]
    remarks = [
        _spread(values, line, metric.decimals) if line.count > 1 else _at(line.members[0].figure(series))
        for line, values in zip(found, figures, strict=True)
    ]
    return _row(label, baseline, list(map(mean, figures)), metric.form, metric.better, metric.decimals, remarks)


def _at(figure: Reached | None) -> str:
    return "" if figure is None or figure.epoch is None else format.best_at("", figure.epoch).strip()


def _spread(values: Sequence[float], line: Line, decimals: int) -> str:
    """`± 0.11`, the standard deviation of a sample; `3 of 5` while some runs have no figure yet."""
    if len(values) < line.count:
        return f"{len(values)} of {line.count}" if values else ""
    return format.spread(0.0, statistics.stdev(values), decimals).partition(" ")[2]


def _test_row(found: Sequence[Line], baseline: int) -> Row:
    figures = [line.tested() for line in found]
    remarks = [_test_remark(line, values) for line, values in zip(found, figures, strict=True)]
    return _row("test accuracy %", baseline, list(map(mean, figures)), format.accuracy, "higher", 2, remarks)


def _test_remark(line: Line, values: Sequence[float]) -> str:
    if not values:
        return "" if line.view.state == "finished" else line.view.state
    if line.count > 1:
        return _spread(values, line, 2)
    return "best ckpt" if line.view.test is not None else "last ckpt"


def _size_row(
    label: str,
    found: Sequence[Line],
    baseline: int,
    read: Callable[[RunView], float | None],
    form: Callable[[float | None], str],
) -> Row:
    """A figure whose difference is a factor, which is neither good nor bad."""
    sizes = [mean([size for member in line.members if (size := read(member.view)) is not None]) for line in found]
    base = sizes[baseline]
    cells = [
        Cell(form(size), format.factor(size / base) if size and base and place != baseline else "", number=size)
        for place, size in enumerate(sizes)
    ]
    return Row(label, tuple(cells), factors=True)


def _parameters(view: RunView) -> float | None:
    return view.parameters


def _macs(view: RunView) -> float | None:
    return view.macs


def _macs_text(count: float | None) -> str:
    return format.macs(count, fact=True)


def _active_s(view: RunView) -> float | None:
    return view.active_s or None


def _epoch_time_row(found: Sequence[Line], baseline: int) -> Row:
    """The median time of an epoch, differences in seconds."""
    figures = [line.figures(EPOCH_TIME) for line in found]
    values = list(map(mean, figures))
    longest = max((value for value in values if value is not None), default=0.0)
    decimals = 2 if longest < 10 else 1 if longest < 100 else 0
    remarks = [
        _spread(values, line, decimals) if line.count > 1 else "" for line, values in zip(found, figures, strict=True)
    ]
    return _row("epoch time", baseline, values, format.duration, "lower", decimals, remarks)
