"""The curves of one run, read from its log as it grows and kept small however long the run is."""

import math
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter, lt, sub
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeAlias

from engine import atomic
from engine.metrics_log import MetricsTail, Record

Axis = Literal["step", "epoch", "time"]
Column: TypeAlias = "array[float]"  # generic at run time only from Python 3.12 on
Points: TypeAlias = tuple[Column, Column]

POINTS = 4_000
SERIES = 100
CHUNK_BYTES = 256 << 10
BREAK_S = 60.0
UNKNOWN_USUAL_S = 360.0
USUAL_TIMES = 10

_NOT_SERIES = frozenset({"kind", "schema", "t", "step", "epoch"})
_AXES: dict[Axis, int] = {"step": 0, "epoch": 1, "time": 2}


class Pyramid:
    """A series of any length in at most 4,000 points that keep the least and the greatest value of every stretch.

    Columns are step, epoch, active seconds and value. When they are full, every four points become the two extremes
    among them, and each stretch of new values is twice as long from then on.
    """

    def __init__(self) -> None:
        self._kept = _columns()
        self._recent = _columns()
        self._stretch = 1

    def extend(self, columns: Sequence[Sequence[float]]) -> None:
        """Take in values with their places, four sequences of equal length; not-a-number is a gap."""
        for mine, new in zip(self._recent, columns, strict=True):
            mine.extend(new)
        start = 0
        while len(self._recent[3]) - start >= self._stretch:
            if self._stretch == 1:
                start += self._keep_all(start)
            else:
                _append(self._kept, self._recent, _extremes(self._recent[3], start, start + self._stretch))
                start += self._stretch
            if len(self._kept[3]) > POINTS - 4:
                self._halve()
        for column in self._recent:
            del column[:start]

    def points(self, axis: int) -> Points:
        """Places on one axis and values, the newest value last."""
        shown = _columns()
        newest = len(self._recent[3])
        if newest:
            _append(shown, self._recent, sorted({*_extremes(self._recent[3], 0, newest), newest - 1}))
        return self._kept[axis] + shown[axis], self._kept[3] + shown[3]

    def _keep_all(self, start: int) -> int:
        room = POINTS - 3 - len(self._kept[3])
        taken = min(room, len(self._recent[3]) - start)
        for kept, recent in zip(self._kept, self._recent, strict=True):
            kept.extend(recent[start : start + taken])
        return taken

    def _halve(self) -> None:
        halved = _columns()
        for start in range(0, len(self._kept[3]), 4):
            _append(halved, self._kept, _extremes(self._kept[3], start, start + 4))
        self._kept = halved
        self._stretch = 4 if self._stretch == 1 else self._stretch * 2


def _columns() -> list[Column]:
    return [array("d") for _ in range(4)]


def _append(target: list[Column], source: list[Column], indices: Iterable[int]) -> None:
    for index in indices:
        for mine, other in zip(target, source, strict=True):
            mine.append(other[index])


def _extremes(values: Column, start: int, end: int) -> list[int]:
    """Indices of the least and the greatest value in [start, end), in order; the first index where all are gaps."""
    stretch = values[start:end]
    if math.isnan(sum(stretch)):
        finite = [(value, index) for index, value in enumerate(stretch, start) if not math.isnan(value)]
        return sorted({min(finite)[1], max(finite)[1]}) if finite else [start]
    least = start + stretch.index(min(stretch))
    stretch.reverse()
    greatest = start + len(stretch) - 1 - stretch.index(max(stretch))
    return sorted({least, greatest})


@dataclass
class ActiveClock:
    """Seconds of training since the first record: pauses, and the breaks between attempts, do not count.

    A step between two records that is over a minute and over ten times the usual one counts as the usual one.
    """

    last: float | None = None
    active: float = 0.0
    counted: int = 0
    paused: bool = False

    def advance(self, records: Sequence[Record]) -> list[float]:
        """Active seconds at each record, from their ``t`` in unix seconds."""
        stamps = [_number(record.get("t")) for record in records]
        if self._is_plain(records, stamps):
            return self._advance_plain(stamps)
        return [self._advance_one(record, stamp) for record, stamp in zip(records, stamps, strict=True)]

    def _is_plain(self, records: Sequence[Record], stamps: list[float]) -> bool:
        if self.paused or not stamps or any(record["kind"] == "control" for record in records):
            return False
        steps = list(map(sub, stamps[1:], stamps))
        first = stamps[0] - (stamps[0] if self.last is None else self.last)
        # A comparison with not-a-number is false, so a record without a time is never plain.
        return all(0 <= step <= BREAK_S for step in chain((first,), steps))

    def _advance_plain(self, stamps: list[float]) -> list[float]:
        origin = stamps[0] if self.last is None else self.last
        base = self.active
        self.counted += len(stamps) - (self.last is None)
        self.last, self.active = stamps[-1], base + stamps[-1] - origin
        return [base + stamp - origin for stamp in stamps]

    def _advance_one(self, record: Record, stamp: float) -> float:
        if not math.isnan(stamp):
            if self.last is not None and not self.paused:
                self.active += self._counted(max(0.0, stamp - self.last))
                self.counted += 1
            self.last = stamp
        if record["kind"] == "control":
            self.paused = record.get("request") == "pause" or (self.paused and record.get("request") != "continue")
        elif record["kind"] == "step":
            self.paused = False
        return self.active

    def _counted(self, step: float) -> float:
        usual = self.active / self.counted if self.counted else UNKNOWN_USUAL_S
        return usual if step > max(BREAK_S, USUAL_TIMES * usual) else step


@dataclass(frozen=True)
class Reading:
    """Every series at one place: the nearest record's own values. ``time`` is in active seconds."""

    step: float
    epoch: float
    time: float
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Mark:
    """Where in the file the records after a place begin, and the state of the clock there."""

    offset: int
    place: tuple[float, float, float]
    clock: ActiveClock


class Curves:
    """All series of one run. ``poll`` reads what the log has grown by; memory stays the same however long it is.

    ``restarted`` says after a poll that the log was cut or replaced, and the curves begin anew.
    """

    def __init__(self, path: Path) -> None:
        """``path`` is the metrics.jsonl of a run; it may not exist yet."""
        self._tail = MetricsTail(path)
        self.restarted = False
        self._clear()

    def _clear(self) -> None:
        self._series: dict[tuple[str, str], Pyramid] = {}
        self._last_step = {"step": -math.inf, "epoch": -math.inf}
        self._place = (0.0, 0.0, 0.0)
        self._clock = ActiveClock()
        self._marks: list[_Mark] = []
        self.records = 0

    @property
    def unreadable(self) -> int:
        """Lines of the log that gave no record."""
        return self._tail.unreadable

    def poll(self, limit: int = 4 << 20) -> bool:
        """Read at most about ``limit`` bytes more; True when anything changed. Call again until False to catch up."""
        self.restarted = False
        end = self._tail.offset + limit
        changed = False
        while True:
            chunk = self._tail.poll_chunk(CHUNK_BYTES)
            if self._tail.restarted:
                self.restarted = changed = True
                self._clear()
            if not chunk.data:
                return changed
            self._mark(chunk.start)
            self.feed(self._tail.decode(chunk.data))
            changed = True
            if self._tail.offset >= end:
                return changed

    def feed(self, records: list[Record]) -> None:
        """Add records in the order in which they were written. Those whose step does not rise are dropped."""
        self.records += len(records)
        times = self._clock.advance(records)
        for kind in ("step", "epoch"):
            chosen = [(r, time) for r, time in zip(records, times, strict=True) if r["kind"] == kind]
            self._feed_kind(kind, self._rising(kind, chosen))

    def names(self) -> list[str]:
        """Names of the series that have values, in the order in which they appeared."""
        return list(dict.fromkeys(name for _, name in self._series))

    def series(self, name: str, x: Axis = "step") -> Points:
        """Places and values of one series, at most about 4,000 points; a gap has the value NaN.

        ``x`` is the optimiser step, the epoch (with fraction), or active seconds. A name that both step and epoch
        records have is read from the steps.
        """
        found = self._series.get(("step", name)) or self._series.get(("epoch", name))
        return found.points(_AXES[x]) if found else (array("d"), array("d"))

    def exact(self, place: float, x: Axis = "step") -> Reading | None:
        """The records nearest to a place, read again from the file; None when there are none."""
        if not self._marks:
            return None
        axis = _AXES[x]
        index = max(0, bisect_right(self._marks, place, key=lambda mark: mark.place[axis]) - 1)
        mark = self._marks[index]
        end = self._marks[index + 2].offset if index + 2 < len(self._marks) else self._tail.offset
        records = MetricsTail(self._tail.path).decode(_read(self._tail.path, mark.offset, end))
        times = replace(mark.clock).advance(records)
        found = [_nearest(kind, records, times, place, axis) for kind in ("epoch", "step")]
        near = [reading for reading in found if reading is not None]
        if not near:
            return None
        values = {name: value for reading in near for name, value in reading.values.items()}
        return replace(near[-1], values=values)

    def _mark(self, offset: int) -> None:
        if not self._marks or offset - self._marks[-1].offset >= CHUNK_BYTES // 2:
            self._marks.append(_Mark(offset, self._place, replace(self._clock)))

    def _rising(self, kind: str, chosen: list[tuple[Record, float]]) -> list[tuple[Record, float]]:
        steps = [_number(record.get("step")) for record, _ in chosen]
        if all(map(lt, [self._last_step[kind], *steps], steps)):
            kept = chosen
        else:
            kept = []
            for item, step in zip(chosen, steps, strict=True):
                if step > self._last_step[kind]:
                    self._last_step[kind] = step
                    kept.append(item)
        if kept:
            self._last_step[kind] = _number(kept[-1][0]["step"])
        return kept

    def _feed_kind(self, kind: str, chosen: list[tuple[Record, float]]) -> None:
        if not chosen:
            return
        records = [record for record, _ in chosen]
        places = [
            _numbers(record["step"] for record in records),
            _numbers(record.get("epoch") for record in records),
            array("d", map(itemgetter(1), chosen)),
        ]
        last = tuple(column[-1] for column in places)
        self._place = (max(last[0], self._place[0]), max(last[1], self._place[1]), last[2])
        names = dict.fromkeys(chain.from_iterable(records))
        alike = all(len(record) == len(names) for record in records)
        for name in names:
            if name not in _NOT_SERIES:
                rows = None if alike else [i for i, record in enumerate(records) if name in record]
                self._extend(kind, name, records, places, rows)

    def _extend(
        self, kind: str, name: str, records: list[Record], places: list[Column], rows: list[int] | None
    ) -> None:
        if rows is not None:
            records = [records[i] for i in rows]
            places = [array("d", [column[i] for i in rows]) for column in places]
        values = _numbers(record[name] for record in records)
        key = (kind, name)
        if key not in self._series:
            if all(map(math.isnan, values)) or len(self._series) >= SERIES:
                return
            self._series[key] = Pyramid()
        self._series[key].extend([*places, values])


def _nearest(kind: str, records: list[Record], times: list[float], place: float, axis: int) -> Reading | None:
    best: tuple[float, Record, float] | None = None
    for record, time in zip(records, times, strict=True):
        if record["kind"] == kind:
            distance = abs((_number(record.get("step")), _number(record.get("epoch")), time)[axis] - place)
            if best is None or distance < best[0]:
                best = (distance, record, time)
    if best is None:
        return None
    _, record, time = best
    values = {name: _number(value) for name, value in record.items() if name not in _NOT_SERIES}
    finite = {name: value for name, value in values.items() if not math.isnan(value)}
    return Reading(_number(record.get("step")), _number(record.get("epoch")), time, finite)


def _read(path: Path, start: int, end: int) -> bytes:
    try:
        fd = atomic.open_regular(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.pread(fd, end - start, start)
    finally:
        os.close(fd)


def _number(value: Any) -> float:
    """A finite float, or NaN for anything else."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _numbers(values: Iterable[Any]) -> Column:
    items = list(values)
    try:
        numbers = array("d", items)
    except (TypeError, OverflowError):
        return array("d", map(_number, items))
    # Numbers are few that are not finite, and their sum tells.
    return numbers if math.isfinite(sum(numbers)) else array("d", map(_number, numbers))


def smooth(values: Sequence[float], weight: float) -> Column:
    """Exponential moving average without the bias towards its start: Adam's correction (Kingma and Ba 2015, section 3).

    ``weight`` in [0, 1) is the part of the old average that stays. Gaps stay gaps and do not enter.
    """
    smoothed = array("d")
    average, debias = 0.0, 1.0
    for value in values:
        if math.isnan(value):
            smoothed.append(value)
            continue
        average = weight * average + (1 - weight) * value
        debias *= weight
        smoothed.append(average / (1 - debias))
    return smoothed


@dataclass(frozen=True)
class Band:
    """Several runs as one: the median between the least and the greatest value at each place."""

    xs: Column
    low: Column
    median: Column
    high: Column


def band(runs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Band:
    """Median and range of series (places, values) that differ by seed, linearly between the points of each.

    Places are those of all runs, thinned to at most 4,000; a run counts only between its first and its last point.
    """
    drawn = [[(x, y) for x, y in zip(xs, ys, strict=True) if not math.isnan(y)] for xs, ys in runs]
    everywhere = sorted({x for points in drawn for x, _ in points})
    stride = max(1, -(-len(everywhere) // POINTS))
    result = Band(array("d"), array("d"), array("d"), array("d"))
    columns = [_interpolate(points, everywhere[::stride]) for points in drawn if points]
    for x, *values in zip(everywhere[::stride], *columns, strict=True):
        known = [value for value in values if not math.isnan(value)]
        if known:
            result.xs.append(x)
            result.low.append(min(known))
            result.median.append(median(known))
            result.high.append(max(known))
    return result


def _interpolate(points: list[tuple[float, float]], places: Sequence[float]) -> list[float]:
    """Values at rising places, NaN outside of the points."""
    values = []
    right = 0
    for place in places:
        while right < len(points) and points[right][0] < place:
            right += 1
        if right == len(points) or (right == 0 and points[0][0] > place):
            values.append(math.nan)
            continue
        (x1, y1), (x0, y0) = points[right], points[max(0, right - 1)]
        values.append(y1 if x1 in (x0, place) else y0 + (y1 - y0) * (place - x0) / (x1 - x0))
    return values
