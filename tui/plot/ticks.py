"""Round ticks: y ticks that fall on whole rows, x ticks whose labels do not touch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_INTERVALS = (2, 3, 4)  # three to five y ticks
# A step is one of these times a power of ten; the cost says how much less round it reads than 1, 2 or 5.
_STEPS = ((1.0, 0.0), (2.0, 0.0), (5.0, 0.0), (2.5, 0.12), (3.0, 0.12), (4.0, 0.12))
_X_STEPS = (1.0, 2.0, 5.0)
_SECONDS = (
    *(1, 2, 5, 10, 15, 20, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 20, 30)),
    *(3600 * hours for hours in (1, 2, 3, 6, 12)),
    *(86400 * days for days in (1, 2, 5, 10, 20, 50, 100)),
)
_LEAST_EXTENT = 1e-6  # of the values; less is a constant, whose ticks would differ in digits that nobody reads
_LEAST_STEP = 1e-30
_UNUSED_ROW_COST = 0.2
_CROWDED_COST = 0.3
_MOST_X_INTERVALS = 6
_CELLS_A_TICK = 6
_LABEL_GAP = 2


@dataclass(frozen=True, slots=True)
class YTicks:
    """Ticks from the lowest to the highest, their labels, and how many rows the plot has so that all lie on rows.

    The lowest value is in the middle of the bottom row, the highest in the middle of the top one.
    """

    values: tuple[float, ...]
    labels: tuple[str, ...]
    rows: int

    @property
    def limits(self) -> tuple[float, float]:
        return self.values[0], self.values[-1]

    def row(self, index: int) -> int:
        """The row of a tick, counted from the top."""
        return (len(self.values) - 1 - index) * (self.rows - 1) // (len(self.values) - 1)


@dataclass(frozen=True, slots=True)
class XTick:
    """A tick and the columns of its label: `start` is the first."""

    value: float
    label: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.label)


def decimals(step: float) -> int:
    """Decimals that a multiple of `step` needs: 0 for 10, 1 for 0.3, 2 for 0.25."""
    if step < _LEAST_STEP or not math.isfinite(step):
        return 0
    needed = max(0, -math.floor(math.log10(step) + 1e-9))
    scaled = step * 10**needed
    return needed if abs(scaled - round(scaled)) < 1e-6 else needed + 1


def y_ticks(low: float, high: float, rows: int, *, floor: float | None = None, ceiling: float | None = None) -> YTicks:
    """Three to five round ticks around `low` to `high` for a plot of at most `rows` rows.

    No tick lies below `floor` or above `ceiling` where they are given. With fewer than three rows there are two ticks.
    """
    low, high = _opened(low, high, floor, ceiling)
    candidates = _linear_candidates(low, high, max(rows, 1), floor, ceiling)
    between_bounds = (math.inf, low, high - low, 1, max(rows, 1))
    _, start, step, intervals, used = min(candidates, default=between_bounds)
    digits = decimals(step)
    values = tuple(start + step * index for index in range(intervals + 1))
    return YTicks(values, _labels(values, digits), used)


def _opened(low: float, high: float, floor: float | None, ceiling: float | None) -> tuple[float, float]:
    """A range with some extent: around a constant, a tenth of it to each side, kept off the bounds."""
    if high - low > max(abs(low), abs(high)) * _LEAST_EXTENT and high - low > _LEAST_STEP:
        return low, high
    half = abs(low) * 0.1 if abs(low) > _LEAST_STEP else 0.5
    low, high = low - half, high + half
    if ceiling is not None and high > ceiling:
        low, high = low - (high - ceiling), ceiling
    if floor is not None and low < floor:
        low, high = floor, high + (floor - low)
    return low, high


def _linear_candidates(
    low: float, high: float, rows: int, floor: float | None, ceiling: float | None
) -> Iterator[tuple[float, float, float, int, int]]:
    """(cost, first tick, step, intervals, rows used) of every way to put ticks there."""
    intervals_possible = [count for count in _INTERVALS if count < rows] or [1]
    for intervals in intervals_possible:
        used = rows - (rows - 1) % intervals
        least = (high - low) / intervals
        power = math.floor(math.log10(least)) if least > 0 else 0
        for exponent in (power - 1, power, power + 1):
            for mantissa, cost in _STEPS:
                step = mantissa * 10.0**exponent
                start = _first_tick(low, high, step, intervals, floor, ceiling)
                if start is not None:
                    waste = step * intervals / (high - low) - 1
                    unused = (rows - used) * _UNUSED_ROW_COST
                    crowded = _CROWDED_COST if used > 1 and (used - 1) / intervals < 2 else 0.0
                    yield waste + cost + unused + crowded, start, step, intervals, used


def _first_tick(
    low: float, high: float, step: float, intervals: int, floor: float | None, ceiling: float | None
) -> float | None:
    """The lowest tick, a multiple of `step`, such that `intervals` steps cover the range within the bounds."""
    slack = step * 1e-9
    start = math.floor((low + slack) / step) * step
    if ceiling is not None and start + intervals * step > ceiling + slack:
        start = min(start, math.floor((ceiling + slack) / step) * step - intervals * step)
    if floor is not None and start < floor - slack:
        start = math.ceil((floor - slack) / step) * step
    covers = start <= low + slack and start + intervals * step >= high - slack
    above = ceiling is not None and start + intervals * step > ceiling + slack
    return start if covers and not above else None


def log_y_ticks(low: float, high: float, rows: int) -> YTicks:
    """Three to five ticks in equal ratios, labelled 1, 2, 5 or 1, 3, 10 as the ratio asks. Both ends must be positive.

    The ratio of a half decade is labelled 3 although it is 3.16, an error of less than a dot at ten rows a decade.
    """
    if high <= low:
        low, high = low / 2, high * 2
    rows = max(rows, 1)
    _, start, ratio, intervals, used = min(_log_candidates(low, high, rows))
    values = tuple(start * ratio**index for index in range(intervals + 1))
    return YTicks(values, tuple(log_label(value) for value in values), used)


def _log_candidates(low: float, high: float, rows: int) -> Iterator[tuple[float, float, float, int, int]]:
    span = math.log10(high / low)
    for intervals in [count for count in _INTERVALS if count < rows] or [1]:
        # One decade more than the span needs, for a start below the lowest value.
        ratios = (2.0, math.sqrt(10.0), *(10.0**power for power in range(1, math.ceil(span / intervals) + 2)))
        used = rows - (rows - 1) % intervals
        for ratio in ratios:
            for start in _log_starts(low, ratio):
                if start * ratio**intervals >= high * (1 - 1e-9):
                    waste = math.log10(ratio) * intervals / span - 1
                    crowded = _CROWDED_COST if used > 1 and (used - 1) / intervals < 2 else 0.0
                    yield waste + (rows - used) * _UNUSED_ROW_COST + crowded, start, ratio, intervals, used


def _log_starts(low: float, ratio: float) -> Iterator[float]:
    decade = 10.0 ** math.floor(math.log10(low * (1 + 1e-9)))
    mantissas = {2.0: (1.0, 2.0, 5.0)}.get(ratio, (1.0, math.sqrt(10.0)) if ratio < 10 else (1.0,))
    yield from (decade * mantissa for mantissa in mantissas if decade * mantissa <= low * (1 + 1e-9))


def log_label(value: float) -> str:
    """`0.3`, `10`, `1e-5`: one significant digit, or two where they are needed (0.16); a half decade reads 3."""
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = value / 10.0**exponent
    digits = "3" if abs(mantissa - math.sqrt(10.0)) < 1e-6 else f"{mantissa:.2g}"
    if exponent < -3 or exponent > 4:
        return f"{digits}e{exponent}"
    written = float(digits) * 10.0**exponent
    return f"{written:.{max(0, len(digits.replace('.', '')) - 1 - exponent)}f}"


def _labels(values: Sequence[float], digits: int) -> tuple[str, ...]:
    """All with the same decimals; very large and very small ticks in powers of ten."""
    greatest = max(abs(value) for value in values)
    if greatest >= 1e6 or (digits > 3 and greatest > 0):
        return tuple("0" if value == 0 else _short(value) for value in values)
    if greatest >= 1e4 and digits == 0:
        return tuple(_thousands(value) for value in values)
    return tuple(f"{value:.{digits}f}" for value in (abs(v) if abs(v) < 1e-12 else v for v in values))


def _short(value: float) -> str:
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _thousands(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"


def x_ticks(low: float, high: float, columns: int, kind: str = "number") -> list[XTick]:
    """Ticks of a linear x axis over `columns` cells: the first value, the last, and round ones between.

    `kind` is `number` (epochs, steps: 20k) or `seconds` (30 s, 5 m, 2 h). Labels keep two cells between them.
    """
    if columns < 1:
        return []
    if high <= low:
        return _placed([low], _x_labels([low], 1.0, kind), low, low + 1, columns)
    for step in _x_steps(low, high, columns, kind):
        first = math.ceil(low / step - 1e-9)
        values = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
        if values and (values[0] - low) > step * 1e-9 and (values[0] - low) / (high - low) * columns > 1:
            values.insert(0, low)
        elif values:
            values[0] = low
        labelled = _placed(values, _x_labels(values, step, kind), low, high, columns)
        if all(after.start - before.end >= _LABEL_GAP for before, after in pairwise(labelled)):
            return labelled
    ends = [low, high]
    labelled = _placed(ends, _x_labels(ends, high - low, kind), low, high, columns)
    return labelled if labelled[1].start - labelled[0].end >= _LABEL_GAP else labelled[:1]


def _x_steps(low: float, high: float, columns: int, kind: str) -> Iterator[float]:
    """Steps from the finest that may be legible upward; whole numbers for whole ranges."""
    least = (high - low) * max(1 / _MOST_X_INTERVALS, _CELLS_A_TICK / max(columns, _CELLS_A_TICK))
    if kind == "seconds":
        yield from (float(step) for step in _SECONDS if step >= least)
        return
    power = math.floor(math.log10(least))
    whole = float(low).is_integer() and float(high).is_integer()
    for exponent in range(power, power + 3):
        for mantissa in _X_STEPS:
            step = mantissa * 10.0**exponent
            if least <= step <= high - low and (step >= 1 or not whole):
                yield step


def _x_labels(values: Sequence[float], step: float, kind: str) -> list[str]:
    if kind == "seconds":
        return [_seconds_label(value, step) for value in values]
    if max(abs(value) for value in values) >= 1e4:
        return [_thousands(value) for value in values]
    digits = min(decimals(step), 4)
    return [f"{value:.{digits}f}" if not float(value).is_integer() else f"{value:.0f}" for value in values]


def _seconds_label(value: float, step: float) -> str:
    if value == 0:
        return "0"
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if step >= seconds or value >= 100 * seconds:
            return f"{value / seconds:.3g} {unit}"
    return f"{value:.3g} s"


def _placed(values: Sequence[float], labels: Sequence[str], low: float, high: float, columns: int) -> list[XTick]:
    """Each label centred on its value's column, but kept within the plot."""
    return [
        XTick(value, label, centred(column_of((value - low) / (high - low), columns), len(label), columns))
        for value, label in zip(values, labels, strict=True)
    ]


def column_of(share: float, columns: int) -> int:
    """The column whose middle is nearest to `share` (0 to 1) of the way across."""
    return math.floor(share * (columns - 1) + 0.5)


def centred(column: int, width: int, columns: int) -> int:
    """The first column of `width` cells centred on `column`, kept within `columns`."""
    return max(0, min(column - (width - 1) // 2, columns - width))


def log_x_ticks(low: float, high: float, columns: int) -> list[XTick]:
    """Ticks of a logarithmic x axis: 1, 3, 10, 30, or only decades where those would touch."""
    for choose in (_one_two_five, _half_decades, _decades, _every_third_decade):
        values = [value for value in choose(low, high) if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        span = math.log(high / low)
        ticks = [
            XTick(value, text, centred(column_of(math.log(value / low) / span, columns), len(text), columns))
            for value, text in ((value, _log_x_label(value)) for value in values)
        ]
        if ticks and all(after.start - before.end >= _LABEL_GAP for before, after in pairwise(ticks)):
            return ticks
    return []


def _log_x_label(value: float) -> str:
    return _thousands(value) if value >= 1e4 else f"{value:g}"


def _around(low: float, high: float) -> range:
    return range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)


def _one_two_five(low: float, high: float) -> list[float]:
    narrow = high / low < 10
    return [float(f"{digit}e{power}") for power in _around(low, high) for digit in (1, 2, 5)] if narrow else []


def _half_decades(low: float, high: float) -> list[float]:
    return [float(f"{digit}e{power}") for power in _around(low, high) for digit in (1, 3)]


def _decades(low: float, high: float) -> list[float]:
    return [float(f"1e{power}") for power in _around(low, high)]


def _every_third_decade(low: float, high: float) -> list[float]:
    return [float(f"1e{power}") for power in _around(low, high) if power % 3 == 0]
