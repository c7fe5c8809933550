"""A trend in one row of cells."""

import math

import pytest

from tui import glyphs
from tui.plot.spark import spark


def test_two_samples_a_cell_from_low_to_high() -> None:
    assert spark([0, 1, 2, 3], 2) == "⡠⠊"


def test_a_constant_lies_at_half_height() -> None:
    assert spark([5.0] * 4, 2) == "⠤⠤"


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, math.nan]])
def test_nothing_finite_is_blank(values: list[float]) -> None:
    assert spark(values, 4) == "    "


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_it_is_always_as_wide_as_asked(count: int) -> None:
    drawn = spark([float(value) for value in range(count)], 4)
    assert len(drawn) == 4
    assert drawn.startswith(" ") is False


def test_fewer_samples_stand_at_the_left() -> None:
    assert spark([0, 1], 3)[1:] == "  "


def test_the_last_sample_is_shown() -> None:
    rising = [float(value) for value in range(999)] + [5000.0]
    assert spark(rising, 4)[-1] in "⠈⢈⡈⣈⠌⢌⠊"


def test_not_finite_samples_are_gaps() -> None:
    assert spark([0, 1, math.nan, math.nan, 2, 3], 3)[1] == " "


def test_ascii_has_three_heights() -> None:
    glyphs.choose(utf8=False)
    try:
        assert spark([0, 0, 1, 1, 2, 2], 3) == ".-'"
        assert spark([0, 0, 1, 1, 2, 2], 5) == ".-'  "
    finally:
        glyphs.choose(utf8=True)
