"""Numbers are written one way everywhere."""

import math
from collections.abc import Iterator
from datetime import datetime

import pytest

from tui import format, glyphs

NOW = datetime(2026, 11, 21, 12, 0).timestamp()
MIB, GIB = 2**20, 2**30


@pytest.fixture
def ascii_glyphs() -> Iterator[None]:
    glyphs.choose(utf8=False)
    yield
    glyphs.choose(utf8=True)


@pytest.mark.parametrize(
    ("count", "text"),
    [(4_779_530, "4.78 M"), (36_489_290, "36.49 M"), (78_042, "78.0 k"), (464_154, "0.46 M"), (512, "512"), (0, "0"),
     (99_949, "99.9 k"), (99_950, "0.10 M"), (999_996_000, "1.00 G"), (None, "–")],
)  # fmt: skip
def test_parameters(count: float | None, text: str) -> None:
    assert format.parameters(count) == text


@pytest.mark.parametrize(
    ("count", "in_list", "as_fact"),
    [(264_996_096, "265 M", "265.0 M"), (5_240_000_000, "5.24 G", "5.24 G"), (6_300_000, "6.3 M", "6.3 M"),
     (999_600_000, "1.00 G", "999.6 M"), (34_186, "34 k", "34 k"), (1_030_000_000, "1.03 G", "1.03 G")],
)  # fmt: skip
def test_macs(count: float, in_list: str, as_fact: str) -> None:
    assert format.macs(count) == in_list
    assert format.macs(count, fact=True) == as_fact


def test_counts_in_full() -> None:
    assert format.thousands(4_779_530) == "4,779,530"
    assert format.thousands(-1_176) == "−1,176"


@pytest.mark.parametrize(
    ("points", "text"), [(0.37, "+0.37"), (-0.09, "−0.09"), (0.0, "±0.00"), (-0.001, "±0.00"), (math.nan, "NaN")]
)
def test_delta(points: float, text: str) -> None:
    assert format.delta(points) == text


def test_great_differences_lose_the_decimals_that_nobody_reads() -> None:
    assert format.delta(570.967, 3) == "+571.0"
    assert format.delta(-1.82e14, 3) == "−1.8e14"
    assert format.delta(1_176_768, 0) == "+1176768"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.344, "0.344"), (2.3026, "2.303"), (0.00082, "8.2e-4"), (0.0, "0.000"), (12345.0, "1.2e4"), (math.nan, "NaN"),
     (math.inf, "∞"), (None, "–")],
)  # fmt: skip
def test_loss(value: float | None, text: str) -> None:
    assert format.loss(value) == text


def test_loss_in_the_log_has_four_decimals() -> None:
    assert format.loss(0.3416, 4) == "0.3416"


@pytest.mark.parametrize(("value", "text"), [(1e-3, "1.00e-3"), (0.1, "1.00e-1"), (0.0, "0"), (5e-4, "5.00e-4")])
def test_learning_rate(value: float, text: str) -> None:
    assert format.learning_rate(value) == text


def test_decay() -> None:
    assert format.decay(5e-4) == "5.0e-4"


@pytest.mark.parametrize(
    ("size", "text"),
    [(338 * MIB, "338 MiB"), (4.1 * GIB, "4.1 GiB"), (139.8 * GIB, "140 GiB"), (1023.7 * MIB, "1.0 GiB"), (10, "10 B")],
)
def test_memory(size: float, text: str) -> None:
    assert format.memory(size) == text


def test_memory_used_is_in_the_unit_of_the_total() -> None:
    assert format.memory_used(4.1 * GIB, 80 * GIB) == "4.1 / 80.0 GiB"
    assert format.memory_used(None, 80 * GIB) == "–"


def test_epochs() -> None:
    assert [format.epochs(count) for count in (200, 2.5, 7.59375, 0.0, None)] == ["200", "2.5", "7.59", "0", "–"]


def test_progress() -> None:
    assert format.progress(3.4375, 8) == "3.4/8"
    assert format.progress(7.59375, 7.59375) == "7.59/7.59"
    assert format.progress(2.0, None, " of ") == "2 of –"


def test_throughput() -> None:
    assert format.throughput(92_400) == "92.4 k img/s"
    assert format.throughput(92_400, "/s") == "92.4 k/s"
    assert format.throughput(812) == "812 img/s"


@pytest.mark.parametrize(
    ("seconds", "text", "in_table"),
    [(0.52, "0.52 s", "0.52 s"), (2.1, "2.1 s", "2.1 s"), (48, "48 s", "48 s"), (59.6, "1 m 00 s", "1 m 00 s"),
     (72, "1 m 12 s", "1 m 12 s"), (599, "9 m 59 s", "9 m 59 s"), (960, "16 m 00 s", "16 m"),
     (3599, "59 m 59 s", "59 m"), (3840, "1 h 04 m", "1 h 04 m"), (183_600, "2 d 3 h", "2 d 3 h"),
     (86_399, "1 d 0 h", "1 d 0 h"), (9.97, "10 s", "10 s"), (-3, "0.00 s", "0.00 s")],
)  # fmt: skip
def test_duration(seconds: float, text: str, in_table: str) -> None:
    assert format.duration(seconds) == text
    assert format.duration(seconds, table=True) == in_table


@pytest.mark.parametrize(
    ("ago", "text", "in_table"),
    [(5, "just now", "now"), (180, "3 min ago", "3 min"), (3700, "1 h ago", "1 h"), (2 * 86400, "2 d ago", "2 d"),
     (20 * 86400, "2026-11-01", "1 Nov"), (400 * 86400, "2025-10-17", "2025-10"), (-50, "just now", "now")],
)  # fmt: skip
def test_age(ago: float, text: str, in_table: str) -> None:
    assert format.age(NOW - ago, NOW) == text
    assert format.age(NOW - ago, NOW, table=True) == in_table


def test_age_of_a_nonsensical_moment_is_unknown() -> None:
    assert format.age(math.inf, NOW) == format.age(-1e30, NOW) == format.age(None, NOW) == "–"


def test_remaining() -> None:
    assert format.remaining(33) == "in 33 s"
    assert format.remaining(33, "left") == "left 33 s"
    assert format.remaining(312, "", estimate=True) == "≈ 5 m 12 s"
    assert format.remaining(666, table=True) == "in 11 m"
    assert format.remaining(3.4) == "in 3 s"
    assert format.remaining(None) == "–"


def test_spread_factor_and_best() -> None:
    assert format.spread(92.45, 0.09) == "92.45 ± 0.09"
    assert format.spread(92.45, None) == "92.45"
    assert format.factor(2.34) == "× 2.34"
    assert format.best_at(format.accuracy(92.67), 110) == "92.67 @ 110"


def test_ascii_spelling(ascii_glyphs: None) -> None:
    assert format.delta(-0.09) == "-0.09"
    assert format.spread(92.45, 0.09) == "92.45 +- 0.09"
    assert format.factor(2.34) == "x 2.34"
    assert format.accuracy(None) == "-"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 0.0, -1.5, 1e300])
def test_every_form_takes_any_number(value: float | None) -> None:
    forms = (format.parameters, format.macs, format.accuracy, format.percent, format.delta, format.loss, format.decay,
             format.learning_rate, format.memory, format.throughput, format.duration, format.thousands, format.factor,
             format.temperature, format.power, format.remaining)  # fmt: skip
    assert all(isinstance(form(value), str) and form(value) for form in forms)
