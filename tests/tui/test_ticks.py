"""Ticks are round, lie on whole rows, and their labels do not touch."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.plot import ticks

finite = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("low", "high", "rows", "ceiling", "labels"),
    [(72, 99.3, 13, 100, ["70", "80", "90", "100"]), (0, 0.9, 10, None, ["0.0", "0.3", "0.6", "0.9"]),
     (72, 99.3, 7, 100, ["70", "80", "90", "100"]), (0, 0.8, 17, None, ["0.0", "0.2", "0.4", "0.6", "0.8"]),
     (0, 2e-3, 13, None, ["0", "5e-4", "1e-3", "1.5e-3", "2e-3"]),
     (0, 40_000, 9, None, ["0", "10k", "20k", "30k", "40k"])],
)  # fmt: skip
def test_y_ticks(low: float, high: float, rows: int, ceiling: float | None, labels: list[str]) -> None:
    assert list(ticks.y_ticks(low, high, rows, ceiling=ceiling).labels) == labels


@given(finite, finite, st.integers(3, 60))
def test_y_ticks_cover_the_range_on_whole_rows(one: float, other: float, rows: int) -> None:
    low, high = sorted((one, other))
    if high - low < 1e-6 * max(abs(low), abs(high), 1e-3):
        high = low
    made = ticks.y_ticks(low, high, rows)
    intervals = len(made.values) - 1
    slack = (made.values[-1] - made.values[0]) * 1e-6
    assert 2 <= intervals <= 4
    assert made.rows <= rows
    assert (made.rows - 1) % intervals == 0
    assert rows - made.rows <= 3
    assert made.values[0] <= low + slack
    assert made.values[-1] >= high - slack
    assert len(set(made.labels)) == len(made.labels)
    assert (made.row(0), made.row(intervals)) == (made.rows - 1, 0)


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 30))
def test_ticks_of_a_percentage_stay_between_0_and_100(one: float, other: float, rows: int) -> None:
    made = ticks.y_ticks(min(one, other), max(one, other), rows, floor=0, ceiling=100)
    assert made.values[0] >= -1e-6
    assert made.values[-1] <= 100 + 1e-6


@given(st.floats(1e-8, 1e6), st.floats(1e-8, 1e6), st.integers(3, 40))
def test_log_y_ticks_cover_the_range_in_equal_ratios(one: float, other: float, rows: int) -> None:
    low, high = sorted((one, other))
    made = ticks.log_y_ticks(low, high, rows)
    ratios = [after / before for before, after in pairwise(made.values)]
    assert made.values[0] <= low * 1.001
    assert made.values[-1] >= high * 0.999
    assert max(ratios) == pytest.approx(min(ratios))
    assert (made.rows - 1) % len(ratios) == 0


@pytest.mark.parametrize(
    ("low", "high", "columns", "labels"),
    [(1, 200, 65, ["1", "50", "100", "150", "200"]), (0, 200, 30, ["0", "50", "100", "150", "200"]),
     (1, 70_400, 65, ["1", "20k", "40k", "60k"]), (1, 1, 20, ["1"]), (0, 12, 3, ["0"])],
)  # fmt: skip
def test_x_ticks(low: float, high: float, columns: int, labels: list[str]) -> None:
    assert [tick.label for tick in ticks.x_ticks(low, high, columns)] == labels


def test_x_ticks_in_time_have_units() -> None:
    assert [tick.label for tick in ticks.x_ticks(0, 72, 65, "seconds")] == ["0", "15 s", "30 s", "45 s", "60 s"]
    assert [tick.label for tick in ticks.x_ticks(0, 7200, 65, "seconds")][1:3] == ["20 m", "40 m"]


@given(st.floats(0, 1e7), st.floats(0, 1e7), st.integers(1, 200), st.sampled_from(["number", "seconds"]))
def test_x_labels_do_not_touch_and_stay_inside(one: float, other: float, columns: int, kind: str) -> None:
    made = ticks.x_ticks(min(one, other), max(one, other), columns, kind)
    assert all(after.start - before.end >= 2 for before, after in pairwise(made))
    assert all(tick.start >= 0 for tick in made)
    assert all(tick.end <= columns for tick in made if len(tick.label) <= columns)


def test_log_x_ticks() -> None:
    assert [tick.label for tick in ticks.log_x_ticks(0.2, 40, 36)] == ["0.3", "1", "3", "10", "30"]
    assert [tick.label for tick in ticks.log_x_ticks(2, 9, 65)] == ["2", "5"]


@pytest.mark.parametrize(("step", "digits"), [(10, 0), (0.3, 1), (0.25, 2), (2.5, 1), (1e-3, 3), (0, 0), (math.inf, 0)])
def test_decimals(step: float, digits: int) -> None:
    assert ticks.decimals(step) == digits
