"""Runs side by side: lines of seeds, figures with their differences, differing settings, the Pareto front."""

from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.curves import Axis, Curves, Points, Reading
from engine.run_view import RunView
from tui import comparison, pareto
from tui.comparison import METRIC, Line, Member, Reached
from tui.comparison_settings import setting_rows, settings_of

CONFIG = """\
name: first
tags: [a]
architecture: {family: resnet, name: resnet32, blocks: [5, 5, 5], dropout: []}
augmentation:
  name: crop_flip
  ops:
    - {op: crop, padding: 4}
    - {op: flip, p: 0.5}
optimizer: {name: sgd, lr: 0.1, schedule: {kind: multistep, milestones: [100, 150]}, algorithm: sgd}
data: {name: cifar10}
train: {epochs: 164.0, seed: 1}
published: null
"""


def view(run: str = "20261121-142233-00000a", **fields: Any) -> RunView:
    facts: dict[str, Any] = {"id": run, "path": Path("/runs") / run, "state": "finished", "name": "first", "seed": 1}
    return RunView(**{**facts, **fields})


def member(run: str, config: str = CONFIG, reached: dict[str, Reached] | None = None, **fields: Any) -> Member:
    return Member(view(run, **fields), settings_of(config), reached or {})


def seeds(count: int, name: str = "resnet32-he", **fields: Any) -> list[Member]:
    return [
        member(f"run {name} {seed}", name=f"{name}-s{seed}", seed=seed, group_hash=f"group of {name}", **fields)
        for seed in range(1, count + 1)
    ]


class Given:
    """Curves by name, places being 1, 2, 3, …"""

    def __init__(self, **series: list[float]) -> None:
        self._series = series

    def names(self) -> list[str]:
        return list(self._series)

    def series(self, name: str, x: Axis = "step") -> Points:
        ys = array("d", self._series.get(name, []))
        return array("d", range(1, len(ys) + 1)), ys


def differences(row: comparison.Row) -> list[tuple[str, str]]:
    return [(cell.difference, cell.role) for cell in row.cells]


def rows(found: list[Line], baseline: int = 0) -> dict[str, comparison.Row]:
    return {row.label: row for row in comparison.metric_rows(found, baseline)}


def test_seeds_together_are_one_line_and_apart_as_many() -> None:
    members = [member("alone", name="best_5m"), *seeds(5)]
    together = comparison.lines(members, together=True)
    assert [line.title for line in together] == ["best_5m", "resnet32-he ×5"]
    apart = comparison.lines(members, together=False)
    assert [line.title for line in apart] == ["best_5m", *(f"resnet32-he-s{seed}" for seed in range(1, 6))]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wrn28_10_s1", "wrn28_10_s2"], "wrn28_10"),
        (["best_5m", "best_5m"], "best_5m"),
        (["best_5m-seed1", "best_5m-seed12"], "best_5m"),
        (["resnet18 1", "resnet18 2"], "resnet18"),
        (["one", "other"], "one"),
        (["-1", "-2"], "-1"),
    ],
)
def test_a_group_is_called_what_its_names_share(names: list[str], expected: str) -> None:
    members = [member(str(place), name=name, group_hash="g") for place, name in enumerate(names)]
    assert comparison.lines(members, together=True)[0].name == expected


def test_lines_of_one_name_are_told_apart() -> None:
    by_seed = [member("20261121-142233-00000a", seed=1), member("20261121-142233-00000b", seed=2)]
    assert [line.name for line in comparison.lines(by_seed, together=False)] == ["first s1", "first s2"]
    by_id = [member("20261121-142233-00000a"), member("20261121-142233-00000b")]
    assert [line.name for line in comparison.lines(by_id, together=False)] == ["first 00000a", "first 00000b"]


def test_the_best_of_a_curve_is_its_extreme_in_the_metrics_direction() -> None:
    found = comparison.extremes(
        Given(val_accuracy=[50.0, 90.0, 90.0, 80.0], val_loss=[0.5, 0.2, float("nan"), 0.3], epoch_s=[9.0, 2.0, 3.0])
    )
    assert found["val_accuracy"] == Reached(90.0, 2.0)
    assert found["val_loss"] == Reached(0.2, 2.0)
    assert found["epoch_s"] == Reached(3.0)
    assert comparison.extremes(Curves(Path("/nowhere/metrics.jsonl"))) == {}


def test_until_the_curves_are_read_the_summary_says_what_is_best() -> None:
    early = member("a", best=92.0, best_epoch=7.0, best_metric="val_accuracy")
    assert early.figure("val_accuracy") == Reached(92.0, 7.0)
    assert early.figure("val_loss") is None


def test_differences_are_coloured_by_the_metrics_own_direction() -> None:
    base = member("a", reached={"val_accuracy": Reached(92.67, 110), "val_loss": Reached(0.282, 48)})
    better = member("b", reached={"val_accuracy": Reached(95.2, 106), "val_loss": Reached(0.204, 112)})
    worse = member("c", reached={"val_accuracy": Reached(92.58, 90), "val_loss": Reached(0.282, 3)})
    table = rows(comparison.lines([base, better, worse], together=False))
    accuracy, loss = table["val accuracy %"], table["val loss"]
    assert differences(accuracy) == [("", "dim"), ("+2.53", "good"), ("−0.09", "bad")]
    assert differences(loss) == [("", "dim"), ("−0.078", "good"), ("±0.000", "dim")]
    assert [cell.remark for cell in accuracy.cells] == ["@ 110", "@ 106", "@ 90"]


def test_another_baseline_turns_the_signs() -> None:
    pair = [member("a", reached={"val_accuracy": Reached(92.0)}), member("b", reached={"val_accuracy": Reached(93.0)})]
    table = rows(comparison.lines(pair, together=False), baseline=1)
    assert differences(table["val accuracy %"]) == [("−1.00", "bad"), ("", "dim")]


def test_a_group_has_a_mean_and_a_spread_once_all_have_a_figure() -> None:
    reached = [{"val_accuracy": Reached(92.0)}, {"val_accuracy": Reached(93.0)}, {"val_accuracy": Reached(94.0)}]
    group = [Member(one.view, one.settings, figure) for one, figure in zip(seeds(3, test=91.0), reached, strict=True)]
    table = rows(comparison.lines(group, together=True))
    assert table["val accuracy %"].cells[0].value == "93.00"
    assert table["val accuracy %"].cells[0].remark == "± 1.00"
    assert table["test accuracy %"].cells[0].remark == "± 0.00"
    running = [*group[:2], Member(view("c", group_hash=group[0].view.group_hash))]
    assert rows(comparison.lines(running, together=True))["val accuracy %"].cells[0].remark == "2 of 3"


def test_sizes_are_factors_and_neither_good_nor_bad() -> None:
    pair = [member("a", parameters=4_779_530, macs=265_000_000), member("b", parameters=11_173_962, macs=555_400_000)]
    table = rows(comparison.lines(pair, together=False))
    assert [cell.value for cell in table["parameters"].cells] == ["4,779,530", "11,173,962"]
    assert differences(table["parameters"]) == [("", "dim"), ("× 2.34", "dim")]
    assert [cell.value for cell in table["MACs"].cells] == ["265.0 M", "555.4 M"]


def test_the_test_row_says_which_checkpoint_or_why_there_is_none() -> None:
    members = [member("a", state="running"), member("b", test=95.03), member("c", test_last=92.0)]
    row = rows(comparison.lines(members, together=False))["test accuracy %"]
    assert [cell.value for cell in row.cells] == ["–", "95.03", "92.00"]
    assert [cell.remark for cell in row.cells] == ["running", "best ckpt", "last ckpt"]
    assert differences(row) == [("", "dim")] * 3


def test_rows_that_nobody_has_a_figure_for_are_left_out() -> None:
    labels = list(rows(comparison.lines([member("a"), member("b")], together=False)))
    assert labels == ["val accuracy %", "test accuracy %"]


def test_an_epochs_time_has_decimals_by_its_length() -> None:
    quick = [member("a", reached={"epoch_s": Reached(0.52)}), member("b", reached={"epoch_s": Reached(0.72)})]
    row = rows(comparison.lines(quick, together=False))["epoch time"]
    assert [cell.value for cell in row.cells] == ["0.52 s", "0.72 s"]
    assert differences(row)[1] == ("+0.20", "bad")
    slow = [member("a", reached={"epoch_s": Reached(300.0)}), member("b", reached={"epoch_s": Reached(72.0)})]
    assert differences(rows(comparison.lines(slow, together=False))["epoch time"])[1] == ("−228", "good")


def test_the_best_line_is_the_greatest_or_least() -> None:
    found = comparison.lines(
        [
            member("a", reached={"val_accuracy": Reached(0.0), "val_loss": Reached(0.0)}),
            member("b", reached={"val_accuracy": Reached(93.0), "val_loss": Reached(0.1)}),
            member("c"),
        ],
        together=False,
    )
    assert comparison.best_line(found, METRIC["val_accuracy"]) == 1
    assert comparison.best_line(found, METRIC["val_loss"]) == 0
    assert comparison.best_line(found, METRIC["lr"]) is None
    assert comparison.best_line(found[2:], METRIC["val_accuracy"]) is None


def test_exact_values_are_those_of_runs_that_came_so_far() -> None:
    (line,) = comparison.lines(seeds(3), together=True)
    known = dict(
        zip((one.view.id for one in line.members), (Given(val_loss=[3.0] * n) for n in (9, 9, 4)), strict=True)
    )
    readings = {
        run: Reading(5, 5.0, 5.0, {"val_loss": value}) for run, value in zip(known, (0.1, 0.3, 0.9), strict=True)
    }
    metric = comparison.METRIC["val_loss"]
    assert comparison.measured(line, metric, "epoch", 5.0, readings, known.get) == pytest.approx(0.2)
    assert comparison.measured(line, metric, "epoch", 4.0, readings, known.get) == pytest.approx(0.3)
    assert comparison.measured(line, metric, "epoch", 50.0, readings, known.get) is None
    assert comparison.measured(line, metric, "epoch", 5.0, {}, known.get) is None


def test_a_line_of_several_is_a_median_with_a_band() -> None:
    line = comparison.lines(seeds(3), together=True)[0]
    series = {
        one.view.id: Given(val_accuracy=[10.0 + seed, 20.0 + seed, 30.0 + seed])
        for seed, one in enumerate(line.members)
    }
    drawn = comparison.curve(line, METRIC["val_accuracy"], "epoch", 0.0, series.get)
    assert drawn.spread is not None
    assert list(drawn.ys) == [11.0, 21.0, 31.0]
    assert list(drawn.spread.low) == [10.0, 20.0, 30.0]
    assert list(drawn.spread.high) == [12.0, 22.0, 32.0]


def test_a_smoothed_curve_keeps_the_raw_one_behind_it() -> None:
    line = comparison.lines([member("a")], together=True)[0]
    series = {"a": Given(val_loss=[1.0, 0.0, 1.0])}
    drawn = comparison.curve(line, METRIC["val_loss"], "epoch", 0.5, series.get)
    assert drawn.raw is not None
    assert list(drawn.raw) == [1.0, 0.0, 1.0]
    assert list(drawn.ys) != list(drawn.raw)
    assert comparison.curve(line, METRIC["val_loss"], "epoch", 0.0, series.get).raw is None
    assert not comparison.curve(line, METRIC["lr"], "epoch", 0.0, series.get).xs


def test_operations_are_compared_with_their_like_wherever_they_stand() -> None:
    settings = settings_of(CONFIG)
    assert settings["augmentation.crop.padding"] == "4"
    assert settings["augmentation.ops"] == "crop, flip"
    assert settings["architecture"] == "resnet32"
    assert not {"name", "tags", "published", "architecture.name"} & set(settings)
    twice = settings_of("augmentation: {ops: [{op: crop, padding: 4}, {op: crop, padding: 2}]}")
    assert (twice["augmentation.crop.padding"], twice["augmentation.crop2.padding"]) == ("4", "2")
    assert settings_of("[:") == {}


def test_settings_show_what_differs_and_how_many_keys_there_are() -> None:
    other = CONFIG.replace("lr: 0.1", "lr: 0.01").replace("resnet32", "resnet56").replace("dropout: []", "head: [10]")
    found = comparison.lines([member("a"), member("b", other)], together=False)
    difference = setting_rows(found, 0, "·")
    labels = [row.label for row in difference.rows]
    assert labels == ["architecture", "optimizer.lr", "architecture.dropout", "architecture.head"]
    assert [[cell.value for cell in row.cells] for row in difference.rows][1:] == [
        ["0.1", "0.01"],
        ["[]", "–"],
        ["–", "[10]"],
    ]
    assert difference.differing == 4
    everything = setting_rows(found, 0, "·", every=True)
    assert len(everything.rows) == difference.total > 4
    assert {row.label: row.cells[1].value for row in everything.rows}["train.epochs"] == "·"


def test_the_seeds_of_a_group_stand_beside_each_other() -> None:
    group = [
        member(str(seed), CONFIG.replace("seed: 1", f"seed: {seed}"), group_hash="g", seed=seed) for seed in (1, 2, 3)
    ]
    alone = member("alone", CONFIG.replace("seed: 1", "seed: 9"))
    difference = setting_rows(comparison.lines([alone, *group], together=True), 0, "·")
    assert [[cell.value for cell in row.cells] for row in difference.rows] == [["9", "1 2 3"]]


def test_the_front_holds_what_nothing_smaller_beats() -> None:
    points = [(1.0, 90.0), (2.0, 89.0), (2.0, 93.0), (5.0, 93.0), (9.0, 95.0)]
    assert pareto.pareto_front(points) == [(1.0, 90.0), (2.0, 93.0), (9.0, 95.0)]
    xs, ys = pareto.staircase(pareto.pareto_front(points), 10.0)
    assert xs == [1.0, 2.0, 2.0, 9.0, 9.0, 10.0]
    assert ys == [90.0, 90.0, 93.0, 93.0, 95.0, 95.0]
    assert pareto.staircase([], 10.0) == ([], [])


numbers = st.floats(0.1, 100.0)


@given(st.lists(st.tuples(numbers, numbers)))
def test_no_point_is_above_the_front_and_the_front_rises(points: list[tuple[float, float]]) -> None:
    front = pareto.pareto_front(points)
    assert set(front) <= set(points)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(front))
    for size, accuracy in points:
        assert any(other[0] <= size and other[1] >= accuracy for other in front)


def test_the_scatter_takes_runs_of_one_data_set_that_were_tested() -> None:
    views = [
        view(parameters=1_000_000, test=90.0, dataset="cifar10"),
        view(parameters=2_000_000, test_last=91.0, dataset="cifar10"),
        view(parameters=2_000_000, test=99.0, dataset="shapes"),
        view(parameters=2_000_000, dataset="cifar10"),
        view(test=90.0, dataset="cifar10"),
    ]
    found = pareto.sized(views, "parameters", "cifar10")
    assert [(dot.size, dot.accuracy) for dot in found] == [(1.0, 90.0), (2.0, 91.0)]
    assert pareto.sized(views, "macs", "cifar10") == []


def test_an_untested_run_stands_at_its_best_on_validation() -> None:
    running = member("a", reached={"val_accuracy": Reached(92.0)}, parameters=4_000_000)
    tested = member("b", parameters=4_000_000, test=91.0)
    places = [pareto.placed(line, "parameters") for line in comparison.lines([running, tested], together=False)]
    assert places == [(4.0, 92.0, False), (4.0, 91.0, True)]
    assert pareto.placed(comparison.lines([member("c")], together=True)[0], "parameters") is None
