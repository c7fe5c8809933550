"""The one file that speaks to plotext: polylines in, dots out.

plotext keeps one global figure. Call this from one thread only (the interface's); each call starts from a clean figure.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType

Polyline = tuple[Sequence[float], Sequence[float]]
BRAILLE = 0x2800


@cache
def _plotext() -> ModuleType:
    """Imported with the first plot: 48 ms that a start without plots does not pay."""
    import plotext

    return plotext


def draw(
    polylines: Sequence[Polyline], columns: int, rows: int, x: tuple[float, float], y: tuple[float, float]
) -> list[list[int]]:
    """Dots of one curve on a grid of `rows` by `columns` cells, as braille bits (0 to 255) a cell, top row first.

    The ends of `x` and `y` lie in the *middle* of the outermost cells: a cell is two dots wide and four high, hence the
    limits that plotext gets are half a dot and one and a half dots further out. Points must lie within the limits.
    """
    if not polylines or columns < 1 or rows < 1:
        return [[0] * columns for _ in range(rows)]
    figure = _plotext()
    figure.clear_figure()
    figure.theme("clear")
    figure.limit_size(False, False)
    figure.plotsize(columns, rows)
    figure.frame(False)
    figure.xaxes(False, False)
    figure.yaxes(False, False)
    figure.xfrequency(0)
    figure.yfrequency(0)
    # In dots: plotext rounds to decimals, which very large or very small values would not survive.
    dots_across, dots_up = 2 * (columns - 1), 4 * (rows - 1)
    figure.xlim(-0.5, dots_across + 0.5)
    figure.ylim(-1.5, dots_up + 1.5)
    for xs, ys in polylines:
        figure.plot(_scaled(xs, x, dots_across), _scaled(ys, y, dots_up), marker="braille")
    lines = figure.uncolorize(figure.build()).split("\n")
    return [_bits(lines[row] if row < len(lines) else "", columns) for row in range(rows)]


def _scaled(values: Sequence[float], limits: tuple[float, float], dots: int) -> list[float]:
    low, high = limits
    extent = high - low
    return [(value - low) / extent * dots if extent > 0 else 0.0 for value in values]


def _bits(line: str, columns: int) -> list[int]:
    bits = [ord(character) - BRAILLE if ord(character) >= BRAILLE else 0 for character in line[:columns]]
    return bits + [0] * (columns - len(bits))
