"""Curves: bounded however long the run, true to the extremes, and exact where one looks closely."""

import json
import math
import random
import tracemalloc
from array import array
from pathlib import Path
from typing import Any

import pytest

from engine import curves as curves_module
from engine.curves import CHUNK_BYTES, POINTS, Curves, Pyramid, band, smooth
from engine.metrics_log import MetricsWriter

START = 1_700_000_000.0
FIXTURE = Path(__file__).parent / "fixtures" / "schema_1" / "20260131-142233-9f3a1c"


def step(number: int, t: float | None = None, **values: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": number / 10, "t": START + (number if t is None else t), **values}


def write(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def read(path: Path) -> Curves:
    curves = Curves(path)
    while curves.poll():
        pass
    return curves


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def fed(*records: dict[str, Any]) -> Curves:
    curves = Curves(Path("nowhere"))
    curves.feed(list(records))
    return curves


def test_short_series_are_exact(log: Path) -> None:
    write(log, [step(i, loss=1 / i, lr=0.1) for i in range(1, 1001)])
    curves = read(log)
    assert curves.names() == ["loss", "lr"]
    xs, ys = curves.series("loss")
    assert list(xs) == list(range(1, 1001))
    assert list(ys) == [1 / i for i in range(1, 1001)]
    assert list(curves.series("loss", x="epoch")[0]) == [i / 10 for i in range(1, 1001)]
    assert list(curves.series("loss", x="time")[0]) == list(range(1000))
    assert curves.series("unheard of") == (array("d"), array("d"))


def test_growing_log_equals_the_same_log_read_at_once(log: Path) -> None:
    records = [step(i, loss=math.sin(i)) for i in range(1, 9_000)]
    grown = Curves(log)
    for start in range(0, len(records), 700):
        write(log, records[start : start + 700])
        grown.poll()
    assert not grown.poll()
    whole = read(log)
    assert grown.series("loss") == whole.series("loss")
    assert grown.records == whole.records == len(records)


def test_long_series_keep_their_extremes_in_bounded_room() -> None:
    generator = random.Random(3)
    curves = Curves(Path("nowhere"))
    values = [generator.random() for _ in range(150_000)]
    values[77_777], values[99_999] = 50.0, -50.0
    for start in range(0, len(values), 2_500):
        curves.feed([step(i + 1, loss=values[i]) for i in range(start, start + 2_500)])
        assert len(curves.series("loss")[0]) <= POINTS
    xs, ys = curves.series("loss")
    assert len(xs) > POINTS / 3
    assert (ys[xs.index(77_778)], ys[xs.index(100_000)]) == (50.0, -50.0)
    assert all(ys[i] == values[int(x) - 1] for i, x in enumerate(xs)), "every point is one that was recorded"
    assert list(xs) == sorted(set(xs))
    assert (xs[-1], ys[-1]) == (150_000, values[-1]), "the newest value is always there"


def test_a_constant_series_has_no_doubled_points() -> None:
    pyramid = Pyramid()
    places = array("d", range(20_000))
    pyramid.extend([places, places, places, array("d", [1.0] * 20_000)])
    xs, ys = pyramid.points(0)
    assert list(xs) == sorted(set(xs))
    assert (xs[0], xs[-1], set(ys)) == (0, 19_999, {1.0})


@pytest.mark.slow
def test_memory_does_not_grow_with_the_run() -> None:
    curves = Curves(Path("nowhere"))

    def grow(start: int) -> int:
        for first in range(start, start + 40_000, 2_000):
            curves.feed([step(i, loss=0.5, accuracy=1.0) for i in range(first, first + 2_000)])
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = grow(1)
        late = grow(40_001)
    finally:
        tracemalloc.stop()
    assert late - early < 300_000


def test_epoch_series_and_a_name_that_both_kinds_have() -> None:
    epoch = {"kind": "epoch", "epoch": 1, "step": 10, "t": START + 10, "val_accuracy": 40.0, "lr": 0.5}
    curves = fed(step(1, lr=0.1), epoch)
    assert curves.names() == ["lr", "val_accuracy"]
    assert [list(column) for column in curves.series("lr")] == [[1], [0.1]]
    assert [list(column) for column in curves.series("val_accuracy", x="epoch")] == [[1], [40.0]]
    assert list(fed(epoch).series("lr")[1]) == [0.5]


def test_values_only_in_some_records(log: Path) -> None:
    curves = fed(*[step(i, loss=1.0, **({"val": float(i)} if i % 5 == 0 else {})) for i in range(1, 21)])
    assert [list(column) for column in curves.series("val")] == [[5, 10, 15, 20], [5, 10, 15, 20]]


def test_what_is_not_finite_is_a_gap(log: Path) -> None:
    log.write_text(
        '{"kind":"step","step":1,"loss":1.0}\n'
        '{"kind":"step","step":2,"loss":null}\n'
        '{"kind":"step","step":3,"loss":NaN}\n'
        '{"kind":"step","step":4,"loss":-Infinity}\n'
        '{"kind":"step","step":5,"loss":1e999}\n'
        '{"kind":"step","step":6,"loss":"text"}\n'
        '{"kind":"step","step":7,"loss":1e38}\n'
    )
    curves = read(log)
    _, ys = curves.series("loss")
    assert (ys[0], ys[-1]) == (1.0, 1e38)
    assert all(math.isnan(y) for y in ys[1:-1])
    assert curves.unreadable == 0


def test_gaps_survive_among_many_points() -> None:
    curves = Curves(Path("nowhere"))
    values = [math.nan if 20_000 <= i < 40_000 else 1.0 + i for i in range(60_000)]
    curves.feed([step(i, loss=value) for i, value in enumerate(values)])
    xs, ys = curves.series("loss")
    inside = [y for x, y in zip(xs, ys, strict=True) if 20_100 < x < 39_900]
    outside = [y for x, y in zip(xs, ys, strict=True) if not 19_900 < x < 40_100]
    assert inside
    assert all(math.isnan(y) for y in inside)
    assert not any(math.isnan(y) for y in outside)
    assert max(outside) == 60_000


def test_steps_that_do_not_rise_are_dropped() -> None:
    curves = fed(*[step(i, t=n, loss=float(n)) for n, i in enumerate([1, 2, 2, 1, 3, -5, 4])])
    assert [list(column) for column in curves.series("loss")] == [[1, 2, 3, 4], [0, 1, 4, 6]]
    curves.feed([step(4, t=8, loss=9.0), step(5, t=9, loss=9.0)])
    assert list(curves.series("loss")[0]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "step"},
        {"kind": "step", "step": "x", "loss": 1.0},
        {"kind": "step", "step": None, "loss": 1.0},
        {"kind": "step", "step": 10**400, "loss": 1.0},
        {"kind": "step", "step": 2, "loss": 10**400},
        {"kind": "step", "step": 2, "epoch": [], "t": {}, "loss": []},
        {"kind": "epoch", "epoch": "three", "step": 2},
        {"kind": "from the future", "step": 3},
        {"kind": "control", "request": 7},
    ],
)
def test_strange_records_do_no_harm(record: dict[str, Any]) -> None:
    curves = fed(step(1, loss=1.0), record, step(3, loss=2.0))
    xs, ys = curves.series("loss")
    assert (xs[0], xs[-1], ys[0], ys[-1]) == (1, 3, 1.0, 2.0)
    for axis in ("step", "epoch", "time"):
        curves.series("loss", x=axis)


def test_number_of_series_is_bounded() -> None:
    curves = fed(*[step(i, **{f"name {i}": 1.0}) for i in range(1, 500)])
    assert len(curves.names()) == 100


def test_time_leaves_out_pauses_and_the_breaks_between_attempts() -> None:
    records = [step(i, t=10.0 * i, loss=1.0) for i in range(1, 5)]
    records += [{"kind": "control", "request": "pause", "t": START + 45}]
    records += [{"kind": "control", "request": "continue", "t": START + 10_000}]
    records += [step(5, t=10_005, loss=1.0), step(6, t=900_000, loss=1.0), step(7, t=900_010, loss=1.0)]
    records += [step(8, t=5, loss=1.0), step(9, t=15, loss=1.0)]
    xs, _ = fed(*records).series("loss", x="time")
    assert list(xs[:5]) == [0, 10, 20, 30, 40]
    assert xs[5] - xs[4] < 20, "a break of days counts as a usual step"
    assert list(xs) == sorted(xs), "a clock put back does not turn the curve back"
    assert xs[-1] < 120
    one_by_one = Curves(Path("nowhere"))
    for record in records:
        one_by_one.feed([record])
    assert list(one_by_one.series("loss", x="time")[0]) == pytest.approx(list(xs))


def test_slow_records_are_not_breaks() -> None:
    xs, _ = fed(*[step(i, t=600.0 * i, loss=1.0) for i in range(1, 20)]).series("loss", x="time")
    assert xs[-1] - xs[-2] == 600


def test_exact_values_are_read_again_from_the_file(log: Path) -> None:
    count = 30_000
    records: list[dict[str, Any]] = []
    for i in range(1, count + 1):
        records.append(step(i, loss=math.sin(i), lr=0.1))
        if i % 100 == 0:
            epoch = {"kind": "epoch", "epoch": i / 10, "step": i, "t": START + i, "val_accuracy": i / 1000}
            records.append(epoch)
    write(log, records)
    curves = read(log)
    assert log.stat().st_size > 5 * CHUNK_BYTES
    for number in (1, 137, 15_042, count):
        reading = curves.exact(number)
        assert reading is not None
        assert (reading.step, reading.values["loss"]) == (number, math.sin(number))
        assert reading.values["val_accuracy"] == pytest.approx(number / 1000, abs=0.1)
        for axis, place in (("epoch", number / 10), ("time", number - 1)):
            again = curves.exact(place + 0.01, x=axis)  # type: ignore[arg-type]
            assert again is not None
            assert again.step == number
    beyond = curves.exact(10.0**12)
    assert beyond is not None
    assert beyond.step == count


def test_exact_reading_costs_a_bounded_part_of_the_file(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(log, [step(i, loss=1.0) for i in range(1, 60_000)])
    curves = read(log)
    sizes: list[int] = []
    real = curves_module._read

    def counted(path: Path, start: int, end: int) -> bytes:
        sizes.append(end - start)
        return real(path, start, end)

    monkeypatch.setattr(curves_module, "_read", counted)
    for place in range(1, 60_000, 5_000):
        curves.exact(place)
    assert max(sizes) <= 3 * CHUNK_BYTES


def test_no_records_have_no_exact_values(log: Path) -> None:
    assert read(log).exact(1.0) is None
    write(log, [{"kind": "end", "state": "failed", "t": START}])
    assert read(log).exact(1.0) is None


def test_a_cut_log_starts_the_curves_again(log: Path) -> None:
    write(log, [step(i, loss=1.0) for i in range(1, 11)])
    curves = read(log)
    lines = log.read_text().splitlines(keepends=True)
    with log.open("r+") as file:
        file.truncate(len("".join(lines[:5])))
    write(log, [step(i, loss=2.0) for i in range(6, 30)])
    assert curves.poll()
    assert curves.restarted
    xs, ys = curves.series("loss")
    assert list(xs) == list(range(1, 30))
    assert list(ys) == [1.0] * 5 + [2.0] * 24


def test_a_hundred_thousand_records_are_read_in_bounded_pieces(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(log, [step(i, loss=1.0) for i in range(1, 100_001)])
    curves = Curves(log)
    polls = 0
    while curves.poll(limit=1 << 20):
        polls += 1
    assert polls >= log.stat().st_size >> 20
    assert curves.records == 100_000
    assert len(curves.series("loss")[0]) <= POINTS


def test_the_log_of_format_1_draws() -> None:
    curves = read(FIXTURE / "metrics.jsonl")
    assert curves.unreadable == 0
    assert list(curves.series("val_accuracy", x="epoch")[1]) == [50.0, 71.5, 71.0]
    assert list(curves.series("loss")[0]) == [1, 2, 3, 4, 5, 6]


def test_what_the_writer_writes_draws(log: Path) -> None:
    writer = MetricsWriter(log)
    for i in range(1, 50):
        writer.append({"kind": "step", "step": i, "epoch": i / 10, "loss": math.nan if i == 7 else float(i)})
    writer.close()
    _, ys = read(log).series("loss")
    assert [i + 1 for i, y in enumerate(ys) if math.isnan(y)] == [7]


def test_smoothing_has_no_bias_and_keeps_gaps() -> None:
    assert list(smooth([5.0] * 10, 0.9)) == pytest.approx([5.0] * 10)
    assert list(smooth([1.0, 2.0, 3.0], 0.0)) == [1.0, 2.0, 3.0]
    assert list(smooth([], 0.5)) == []
    smoothed = smooth([1.0, math.nan, 3.0], 0.5)
    assert smoothed[0] == 1.0
    assert smoothed[2] == pytest.approx((0.25 * 1 + 0.5 * 3) / 0.75)
    assert math.isnan(smoothed[1])


def test_band_of_seeds() -> None:
    result = band([([0, 10, 20], [0.0, 10.0, 20.0]), ([0, 20], [10.0, 10.0]), ([5, 10], [30.0, 30.0])])
    assert list(result.xs) == [0, 5, 10, 20]
    assert list(result.low) == [0, 5, 10, 10]
    assert list(result.median) == [5, 10, 10, 15]
    assert list(result.high) == [10, 30, 30, 20]


def test_band_of_gaps_one_run_and_none() -> None:
    assert list(band([]).xs) == []
    assert list(band([([1, 2], [math.nan, math.nan])]).xs) == []
    single = band([([1, 2, 3], [1.0, math.nan, 3.0])])
    assert list(single.xs) == [1, 3]
    assert single.low == single.median == single.high


def test_band_is_bounded() -> None:
    generator = random.Random(1)
    runs = [(sorted(generator.random() for _ in range(4_000)), [1.0] * 4_000) for _ in range(4)]
    assert len(band(runs).xs) <= POINTS
