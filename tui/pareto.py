"""The front of accuracy against size: what a number of parameters or MACs has reached at best. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.run_view import RunView
from engine.tested import tested
from tui.comparison import Line, mean

SizeAxis = Literal["parameters", "macs"]


@dataclass(frozen=True, slots=True)
class Dot:
    """One run in the scatter: millions of parameters or MACs, and test accuracy in percent."""

    size: float
    accuracy: float
    name: str = ""


def sized(views: Iterable[RunView], axis: SizeAxis, dataset: str) -> list[Dot]:
    """The runs on a data set that have a size and a test accuracy."""
    dots = []
    for view in views:
        size, accuracy = size_of(view, axis), tested(view)
        if size and accuracy is not None and view.dataset == dataset:
            dots.append(Dot(size, accuracy, view.name or view.architecture))
    return dots


def size_of(view: RunView, axis: SizeAxis) -> float | None:
    """Parameters or MACs of one image, in millions."""
    size = view.parameters if axis == "parameters" else view.macs
    return size / 1e6 if size else None


def placed(line: Line, axis: SizeAxis) -> tuple[float, float, bool] | None:
    """Where a line stands in the scatter: its size, its accuracy, and whether that is of the test set.

    A run without a test result stands at its best on validation.
    """
    size, results = size_of(line.view, axis), line.tested()
    accuracy = mean(results or line.figures("val_accuracy"))
    return None if size is None or accuracy is None else (size, accuracy, bool(results))


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (size, accuracy) than which no other is both as small and more accurate, by size."""
    front: list[tuple[float, float]] = []
    for size, accuracy in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((size, accuracy))
    return front


def staircase(front: Sequence[tuple[float, float]], end: float) -> tuple[list[float], list[float]]:
    """The front as a line: what accuracy a size can reach, up to size `end`."""
    xs: list[float] = []
    ys: list[float] = []
    for size, accuracy in front:
        xs += [size, size] if ys else [size]
        ys += [ys[-1], accuracy] if ys else [accuracy]
    if xs and end > xs[-1]:
        xs.append(end)
        ys.append(ys[-1])
    return xs, ys
