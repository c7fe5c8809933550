"""A curve in one row of braille, two samples a cell: the trend of a run in a table, a figure's recent past."""

import math
from collections.abc import Sequence

from tui import glyphs
from tui.plot.backend import BRAILLE

_LEVELS = 4
# The braille bit of a dot by (column, level from the bottom).
_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
_ASCII_LEVELS = ".-'"


def spark(values: Sequence[float], width: int) -> str:
    """`values` over exactly `width` cells, scaled to their own range; blank where there is nothing finite.

    More values than twice the width are thinned, each sample standing for the last of its part; fewer stand at the
    left, one a dot, so that a live run's trend grows to the right.
    """
    samples = _thinned(values, 2 * width)
    finite = [value for value in samples if math.isfinite(value)]
    if not finite:
        return " " * width
    low, extent = min(finite), max(finite) - min(finite)
    signs = glyphs.active()
    if not signs.utf8:
        return _ascii(samples[::2], low, extent).ljust(width)
    cells = [0] * width
    for index, value in enumerate(samples):
        if math.isfinite(value):
            cells[index // 2] |= _DOTS[index % 2][_level(value, low, extent, _LEVELS)]
    return "".join(chr(BRAILLE + bits) if bits else " " for bits in cells)


def _thinned(values: Sequence[float], count: int) -> list[float]:
    if len(values) <= count:
        return list(values)
    return [values[(index + 1) * len(values) // count - 1] for index in range(count)]


def _level(value: float, low: float, extent: float, levels: int) -> int:
    """0 to `levels` - 1; a constant lies at half height."""
    if extent <= 0:
        return levels // 2 - 1
    return min(int((value - low) / extent * levels), levels - 1)


def _ascii(samples: Sequence[float], low: float, extent: float) -> str:
    return "".join(
        _ASCII_LEVELS[_level(value, low, extent, len(_ASCII_LEVELS))] if math.isfinite(value) else " "
        for value in samples
    )
