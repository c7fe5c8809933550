"""From any number of samples to what a grid of dots can show, and cut to the part that is in view."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

Polyline = tuple[list[float], list[float]]
Range = tuple[float, float]


def minmax(xs: Sequence[float], ys: Sequence[float], x: Range, columns: int) -> tuple[list[float], list[float]]:
    """The least and the greatest sample of each of `columns` equal parts of `x`, in the order in which they stand.

    `xs` must not descend. One sample beyond each end is kept, so that a line runs out of the picture instead of ending
    before it. A part with a sample that is not finite keeps one, so that a gap stays a gap.
    """
    low, high = x
    start = max(bisect_left(xs, low) - 1, 0)
    stop = min(bisect_right(xs, high) + 1, len(xs))
    if stop - start <= 2 * columns or high <= low:
        return list(xs[start:stop]), list(ys[start:stop])
    scale = columns / (high - low)
    kept_x: list[float] = []
    kept_y: list[float] = []
    first = start
    while first < stop:
        part = math.floor((xs[first] - low) * scale)
        last = min(max(bisect_left(xs, low + (part + 1) / scale, first, stop), first + 1), stop)
        for index in _extremes(ys, first, last):
            kept_x.append(xs[index])
            kept_y.append(ys[index])
        first = last
    return kept_x, kept_y


def _extremes(ys: Sequence[float], first: int, last: int) -> list[int]:
    part = ys[first:last]
    finite = [value for value in part if math.isfinite(value)]
    kept = set()
    if finite:
        kept |= {first + _index(part, min(finite)), first + _index(part, max(finite))}
    if len(finite) < len(part):
        kept.add(next(first + offset for offset, value in enumerate(part) if not math.isfinite(value)))
    return sorted(kept)


def _index(values: Sequence[float], wanted: float) -> int:
    return next(index for index, value in enumerate(values) if value == wanted)


def clip(xs: Sequence[float], ys: Sequence[float], x: Range, y: Range) -> list[Polyline]:
    """The parts of a line that lie in the rectangle, each a polyline; samples that are not finite part them.

    A segment that leaves is cut where it crosses the edge: nothing outside is moved to the edge.
    """
    lines: list[Polyline] = []
    previous: tuple[float, float] | None = None
    for point in zip(xs, ys, strict=True):
        if not (math.isfinite(point[0]) and math.isfinite(point[1])):
            previous = None
            continue
        if previous is not None:
            _append(lines, _cut(previous, point, x, y))
        elif _inside(point, x, y):
            lines.append(([point[0]], [point[1]]))
        previous = point
    return lines


def _inside(point: tuple[float, float], x: Range, y: Range) -> bool:
    return x[0] <= point[0] <= x[1] and y[0] <= point[1] <= y[1]


def _append(lines: list[Polyline], piece: tuple[tuple[float, float], tuple[float, float]] | None) -> None:
    if piece is None:
        return
    (x0, y0), (x1, y1) = piece
    if not (lines and lines[-1][0][-1] == x0 and lines[-1][1][-1] == y0):
        lines.append(([x0], [y0]))
    lines[-1][0].append(x1)
    lines[-1][1].append(y1)


def _cut(
    start: tuple[float, float], end: tuple[float, float], x: Range, y: Range
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The part of a segment in the rectangle (Liang and Barsky 1984), or None; ends that are inside stay exact."""
    if _inside(start, x, y) and _inside(end, x, y):
        return start, end
    (x0, y0), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    enter, leave = 0.0, 1.0
    for delta, distance in _edges(x0, y0, dx, dy, x, y):
        if delta == 0:
            if distance < 0:
                return None
            continue
        share = distance / delta
        if delta < 0:
            enter = max(enter, share)
        else:
            leave = min(leave, share)
    if enter > leave:
        return None
    first = start if enter == 0 else _kept(x0 + enter * dx, y0 + enter * dy, x, y)
    last = end if leave == 1 else _kept(x0 + leave * dx, y0 + leave * dy, x, y)
    return first, last


def _edges(x0: float, y0: float, dx: float, dy: float, x: Range, y: Range) -> Iterator[tuple[float, float]]:
    yield -dx, x0 - x[0]
    yield dx, x[1] - x0
    yield -dy, y0 - y[0]
    yield dy, y[1] - y0


def _kept(px: float, py: float, x: Range, y: Range) -> tuple[float, float]:
    """A crossing, with the rounding error of its computation taken back."""
    return min(max(px, x[0]), x[1]), min(max(py, y[0]), y[1])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the finite values lie; NaN when there are none."""
    finite = sorted(value for value in values if math.isfinite(value))
    return finite[min(int(share * len(finite)), len(finite) - 1)] if finite else math.nan


def nearest(xs: Sequence[float], x: float) -> int | None:
    """The index of the sample nearest to `x`; `xs` must not descend."""
    if not xs:
        return None
    right = bisect_left(xs, x)
    if right == 0 or right == len(xs):
        return min(right, len(xs) - 1)
    return right if xs[right] - x < x - xs[right - 1] else right - 1
