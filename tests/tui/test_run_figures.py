"""What the Run screen computes of a run: plots, facts, lines, layout; without a terminal."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.counts_cache import LayerCount
from engine.curves import Axis, Curves, Points, Reading
from engine.runs import RunView
from tui import line
from tui.grid import Grid
from tui.layer_figures import Stage, layers, shape_text, shortened, stages
from tui.plot.canvas import render
from tui.plot.view_state import ViewState
from tui.run_figures import About, best_group, device_group, model_group, now_group, waiting_for
from tui.run_layout import arrange
from tui.run_lines import draw_side, figures_line, progress_line, settings_line, side_rows, state_line
from tui.run_plots import (
    Drawing,
    Series,
    best,
    newest,
    places,
    plots,
    time_end,
    train_series,
    translate,
    whole_range,
)
from tui.theme import palette

DARK = palette()
VIEW = RunView(
    id="20260131-142233-9f3a1c",
    path=Path("/runs/20260131-142233-9f3a1c"),
    state="running",
    name="best_5m-s3",
    architecture="best_5m",
    augmentation="crop_flip_rotate5",
    optimizer="adamw_1e-3",
    dataset="cifar10",
    batch_size=128,
    seed=3,
    precision="bf16",
    tags=("paper",),
    epoch=137.0,
    epochs=200.0,
    step=48224,
    steps=70400,
    active_s=72.0,
    eta_s=33.0,
    lr=1e-3,
    parameters=4_779_530,
    macs=264_996_096,
    best=92.67,
    best_epoch=110.0,
    best_metric="val_accuracy",
    published={"test_accuracy": 92.49, "source": "table 3"},
    device="cuda:0 NVIDIA H100",
)


def series_of(
    columns: dict[str, tuple[Sequence[float], Sequence[float]]], steps: float = 352, rate: float = 2.0
) -> Series:
    """Series by name as (epochs, values); a step is 1/352 epoch and an epoch takes half a second."""

    def read(name: str, x: Axis = "epoch") -> Points:
        epochs, values = columns.get(name, ((), ()))
        scale = {"step": steps, "epoch": 1.0, "time": 1 / rate}[x]
        return array("d", [epoch * scale for epoch in epochs]), array("d", values)

    return read


EPOCHS = [float(epoch) for epoch in range(1, 138)]
VAL = [90.0 + epoch / 100 for epoch in EPOCHS]
VAL[109] = 92.67
RUN: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "train_loss": (EPOCHS, [2 / epoch for epoch in EPOCHS]),
    "train_accuracy": (EPOCHS, [95.0] * 137),
    "val_loss": (EPOCHS, [0.3 + abs(epoch - 48) / 100 for epoch in EPOCHS]),
    "val_accuracy": (EPOCHS, VAL),
    "loss": ([epoch / 10 for epoch in range(1, 1371)], [0.5] * 1370),
    "accuracy": ([epoch / 10 for epoch in range(1, 1371)], [95.0] * 1370),
    "lr": ([epoch / 10 for epoch in range(1, 1371)], [1e-3] * 1370),
    "images_s": ([epoch / 10 for epoch in range(1, 1371)], [92_400.0] * 1370),
    "epoch_s": (EPOCHS, [0.52] * 137),
    "eval_s": (EPOCHS, [0.04] * 137),
    "grad_norm": ([epoch / 10 for epoch in range(1, 1371)], [0.84] * 1370),
}
SERIES = series_of(RUN)


def drawing(series: Series = SERIES, view: RunView = VIEW, **changes: Any) -> Drawing:
    state = changes.pop("state", ViewState())
    whole = whole_range(view, series, state.x, 200.0)
    return Drawing(view, series, state, whole, DARK, DARK.run(0), **changes)


def test_x_runs_to_the_end_of_a_live_run_from_its_start() -> None:
    assert whole_range(VIEW, SERIES, "epoch", 0) == (1.0, 200.0)
    assert whole_range(VIEW, SERIES, "step", 0) == (1.0, 70400)
    assert whole_range(VIEW, SERIES, "time", 120.0) == (0.0, 120.0)
    assert whole_range(replace(VIEW, state="finished"), SERIES, "epoch", 0) == (1.0, 137.0)


def test_the_first_epoch_of_a_long_run_is_seen_from_its_first_step() -> None:
    begun = series_of({"loss": ([0.1, 0.2, 0.3], [2.3, 2.2, 2.1])})
    assert whole_range(VIEW, begun, "epoch", 0) == (0.0, 200.0)
    assert train_series("loss", drawing(begun)) == "loss"


def test_a_run_without_records_has_axes_all_the_same() -> None:
    empty = series_of({})
    assert whole_range(replace(VIEW, epochs=None, state="failed"), empty, "epoch", 0)[1] > 0
    for plot in plots(drawing(empty)).values():
        assert render(plot, 79, 15, DARK).width == 79


def test_train_is_drawn_by_epochs_and_by_records_when_few_epochs_are_in_view() -> None:
    assert train_series("accuracy", drawing()) == "train_accuracy"
    close = ViewState(window=(10.0, 30.0))
    assert train_series("accuracy", drawing(state=close)) == "accuracy"


def test_the_end_of_the_time_axis_seldom_moves() -> None:
    end = time_end(0.0, VIEW, 72.0)
    assert end == 120.0
    assert time_end(end, replace(VIEW, eta_s=40.0), 72.0) == end
    assert time_end(end, replace(VIEW, eta_s=None), 72.0) == end
    assert time_end(end, replace(VIEW, eta_s=100.0), 72.0) == 200.0
    assert time_end(500.0, VIEW, 72.0) == 120.0


def test_places_are_translated_between_axes() -> None:
    assert translate(SERIES, 10.0, "epoch", "step") == pytest.approx(3520)
    assert translate(SERIES, 10.05, "epoch", "time") == pytest.approx(5.025)
    assert translate(SERIES, 200.0, "epoch", "time") == pytest.approx(100.0)
    assert translate(series_of({}), 1.0, "epoch", "step") is None


def test_four_plots_with_their_units_and_current_values() -> None:
    drawn = plots(drawing(loss="cross-entropy"))
    accuracy, loss, rate, throughput = (drawn[name] for name in ("accuracy", "loss", "lr", "throughput"))
    assert [curve.legend for curve in accuracy.curves] == ["val", "train"]
    assert [curve.value for curve in accuracy.curves] == ["91.37", "95.00"]
    assert (loss.unit, rate.unit, throughput.unit) == ("cross-entropy", "× 1e-3", "k img/s")
    assert rate.curves[0].value == "1.00"
    assert throughput.curves[0].value == "92.4"


def test_the_best_epoch_is_marked_on_every_axis() -> None:
    (mark,) = plots(drawing())["accuracy"].marks
    assert (mark.x, mark.label) == (110.0, "best 92.67 @ 110")
    (mark,) = plots(drawing(state=ViewState("step")))["accuracy"].marks
    assert (mark.x, mark.label) == (110 * 352, "best 92.67 @ 110")
    assert plots(drawing())["loss"].marks == ()


def test_the_cross_hair_reads_exact_values() -> None:
    reading = Reading(1000, 81.0, 40.0, {"val_accuracy": 12.34, "train_accuracy": 56.78, "lr": 2e-3})
    state = ViewState(cross_hair=81.0)
    drawn = plots(drawing(state=state, reading=reading))
    text = render(drawn["accuracy"], 79, 15, DARK).text()
    assert "at epoch 81" in text
    assert "val 12.34" in text
    assert "train 56.78" in text
    assert "2.00" in render(drawn["lr"], 79, 15, DARK).text()


def test_of_a_smoothed_curve_the_cross_hair_reads_what_is_drawn_and_what_was_measured() -> None:
    reading = Reading(1000, 81.0, 40.0, {"val_accuracy": 12.34})
    state = ViewState(cross_hair=81.0, smoothing=0.5)
    accuracy = plots(drawing(state=state, reading=reading))["accuracy"]
    at_81 = accuracy.curves[0].ys[80]
    assert f"val {at_81:.2f} (12.34)" in render(accuracy, 99, 15, DARK).text()
    assert f"val {at_81:.2f}   ━" in render(accuracy, 66, 15, DARK).text()


def test_smoothing_leaves_the_raw_curve_behind_it() -> None:
    noisy = series_of(RUN | {"val_accuracy": (EPOCHS, [90 + epoch % 2 for epoch in EPOCHS])})
    (val, _) = plots(drawing(noisy, state=ViewState(smoothing=0.9)))["accuracy"].curves
    assert val.raw is not None
    assert max(val.ys[-10:]) - min(val.ys[-10:]) < 0.2
    assert val.value == f"{val.ys[-1]:.2f}"


def test_log_y_leaves_percents_alone() -> None:
    drawn = plots(drawing(state=ViewState(log_y=True)))
    assert [drawn[name].log_y for name in ("accuracy", "loss", "lr", "throughput")] == [False, True, True, True]


def test_the_cross_hair_steps_along_evaluations_or_close_by_along_records() -> None:
    assert list(places(drawing()))[:3] == [1.0, 2.0, 3.0]
    assert list(places(drawing(state=ViewState(window=(1.0, 2.0)))))[:2] == [0.1, 0.2]


def test_best_is_the_first_of_the_least_losses_and_skips_gaps() -> None:
    gaps = series_of({"val_loss": ([1.0, 2.0, 3.0, 4.0], [math.nan, 0.5, 0.4, 0.4])})
    found = best(gaps, "val_loss")
    assert found is not None
    assert (found.value, found.epoch) == (0.4, 3.0)
    assert best(series_of({}), "val_loss") is None
    assert newest(series_of({}), "epoch") is None


def rows(group: Any) -> dict[str, tuple[str, str]]:
    return {fact.label: (fact.value, fact.remark) for fact in group.facts}


def test_best_so_far() -> None:
    about = About({"train.early_stopping.patience": "20"})
    facts = rows(best_group(VIEW, SERIES, about))
    assert facts["val accuracy"] == ("92.67 %", "epoch 110")
    assert facts["val loss"] == ("0.300", "epoch 48")
    assert facts["since best"] == ("27 ep", "stops at 20")
    assert facts["published"] == ("92.49 %", "on test")
    over = rows(best_group(replace(VIEW, state="finished", test=92.40, test_last=92.1), SERIES, about))
    assert over["test accuracy"] == ("92.40 %", "last 92.10")
    assert over["published"] == ("92.49 %", "−0.09 on test")


def test_a_published_figure_of_the_last_checkpoint_is_compared_with_ours_of_the_last() -> None:
    published: dict[str, float | str] = {"test_accuracy": 92.49, "checkpoint": "last"}
    view = replace(VIEW, state="finished", test=92.40, test_last=92.60, published=published)
    facts = rows(best_group(view, SERIES, About()))
    assert facts["test accuracy"] == ("92.40 %", "last 92.60")
    assert facts["published"] == ("92.49 %", "+0.11 of the last")
    without_best = rows(best_group(replace(view, test=None), SERIES, About()))
    assert without_best["test accuracy"] == ("92.60 %", "last epoch")
    assert without_best["published"] == ("92.49 %", "+0.11 on test")


def test_a_run_that_watches_the_test_set_says_test() -> None:
    watching = series_of({"test_accuracy": ([1.0], [50.0]), "test_loss": ([1.0], [1.0]), "train_loss": ([1.0], [1.0])})
    assert "test accuracy" in rows(best_group(VIEW, watching, About()))


@pytest.mark.parametrize("how", [{"train.watch": "none"}, {"data.validation": "0"}])
def test_a_run_that_judges_itself_on_no_set_waits_for_no_such_figure(how: dict[str, str]) -> None:
    about, training_only = About(how), series_of({"train_loss": ([1.0], [1.0]), "eval_s": ([1.0], [0.0])})
    group = best_group(VIEW, training_only, about)
    assert (group.title, rows(group)) == (
        "Test",
        {"test accuracy": ("…", "at the end"), "published": ("92.49 %", "on test")},
    )
    now = rows(now_group(replace(VIEW, images_s=58.25), training_only, about))
    assert now["epoch time"][1] == ""
    assert now["throughput"][0] == "58.2/s"
    assert "train − val" not in now
    over = rows(best_group(replace(VIEW, state="finished", test_last=94.01), training_only, about))
    assert over["test accuracy"] == ("94.01 %", "last epoch")


def test_now_and_at_the_end() -> None:
    about = About({"optimizer.schedule.kind": "constant"})
    facts = rows(now_group(VIEW, SERIES, about))
    assert facts["learning rate"] == ("1.00e-3", "constant")
    assert facts["throughput"][0] == "92.4 k/s"
    assert facts["epoch time"] == ("0.52 s", "val 0.04 s")
    assert facts["train − val"] == ("3.63", "points")
    assert now_group(replace(VIEW, state="finished"), SERIES, about).title == "At the end"


def gpu(index: int, uuid: str, utilization: float) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "index": index,
        "name": "NVIDIA H100",
        "utilization": utilization,
        "memory_used": 4.1 * 2**30,
        "memory_total": 80 * 2**30,
        "temperature": 61.0,
        "power": None,
    }


SAMPLE = {"cpu": 11.0, "ram_used": 2.3 * 2**30, "ram_total": 256 * 2**30}


def test_the_device_is_the_gpu_of_the_runs_own_slot() -> None:
    samples = [{**SAMPLE, "gpus": [gpu(0, "GPU-a", 3.0), gpu(1, "GPU-b", 97.0)]}]
    facts = rows(device_group(VIEW, samples, About(slot="GPU-b"), 32))
    assert facts["utilisation"][0] == "97 %"
    assert facts["memory"] == ("4.1 GiB", "of 80.0")
    assert facts["power"][0] == "–"
    assert facts["CPU"] == ("11 %", "of 32 cores")
    assert rows(device_group(VIEW, samples, About(), 32))["utilisation"][0] == "3 %"


def test_a_machine_without_figures_says_so() -> None:
    assert device_group(VIEW, [SAMPLE], About(), 2).note == "no GPU figures: driver library not found"
    assert device_group(replace(VIEW, device="cpu AMD EPYC"), [], About(), 2).title == "Device  AMD EPYC"
    nonsense = [{"cpu": "much", "ram_used": True, "gpus": "none"}]
    assert rows(device_group(VIEW, nonsense, About(), None))["CPU"][0] == "–"


def test_the_model_with_its_share_of_the_budget() -> None:
    facts = rows(model_group(VIEW, About(model={"activation_bytes": 338 * 2**20})))
    assert facts["parameters"] == ("4,779,530", "95.6 % of 5 M")
    assert facts["FLOPs"] == ("530.0 M", "2 × MACs")
    assert facts["activations"] == ("338 MiB", "batch 128")
    assert model_group(replace(VIEW, parameters=None), About()).note == "not built yet"
    assert rows(model_group(VIEW, About(), budget=9_559_060))["parameters"][1] == "50.0 % of 9.559 M"


def test_what_a_run_without_curves_is_waiting_for() -> None:
    assert waiting_for(replace(VIEW, state="queued"), 1) == "waits in the queue"
    assert waiting_for(replace(VIEW, state="starting", phase="reading data"), 12.4) == "starting: reading data, 12 s"
    assert waiting_for(replace(VIEW, state="failed"), None) == "no step was recorded"
    assert waiting_for(replace(VIEW, state="failed"), None, 2) == "2 lines of metrics.jsonl cannot be read"


def test_a_run_that_is_over_waits_for_no_figure() -> None:
    def nothing(name: str, x: Axis = "epoch") -> Points:
        return array("d"), array("d")

    over = replace(VIEW, state="finished", best=92.67, best_epoch=110.0, best_metric="val_accuracy")
    facts = rows(best_group(over, nothing, About()))
    assert facts["val loss"] == ("–", "")
    assert facts["since best"][0] == "–"
    watched = next(facts[label] for label in ("val accuracy", "test accuracy") if label in facts)
    assert watched == ("92.67 %", "epoch 110")
    assert rows(best_group(VIEW, nothing, About()))["val loss"] == ("…", "")


MODEL = {
    "layers": [
        {"name": "stem.0", "kind": "Conv2d", "detail": "3x3", "shape": [64, 32, 32], "parameters": 1728, "macs": 10},
        {"name": "stage1.0.conv", "kind": "Conv2d", "shape": [32, 32, 32], "parameters": 100, "macs": 5},
        {"name": "stage1.1.conv", "kind": "Conv2d", "shape": [32, 32, 32], "parameters": 100, "macs": 5},
        {"name": "pool", "kind": "AvgPool2d", "shape": [32, 1, 1], "parameters": 0, "macs": 0},
        {"name": "head", "kind": "Linear", "detail": "32 to 10", "shape": [10], "parameters": 330, "macs": 320},
        {"name": "broken\x1b[31m", "kind": "Conv2d", "shape": None, "parameters": "many", "macs": 0},
    ]
}


def test_layers_join_into_stages() -> None:
    listed = layers(MODEL)
    assert len(listed) == 5
    assert [stage.label for stage in stages(listed)] == ["stem  64", "stage 1  ×2  32", "head  32→10"]
    assert layers({"layers": "none"}) == []
    assert shape_text(LayerCount("a", "b", "", (1, 2), 0, 0)) == "1 × 2"


def test_the_stages_that_do_not_fit_are_summed() -> None:
    many = [Stage(str(index), 10, 1) for index in range(10)]
    assert shortened(many, 4)[-1] == Stage("7 more", 70, 7)
    assert shortened(many, 10) == many


def text(parts: Any) -> str:
    return "".join(piece for piece, _ in parts)


def test_the_state_line_gives_way_in_whole_entries() -> None:
    left, right = state_line(VIEW, 120, DARK)
    assert text(left) == "● running   best_5m + crop_flip_rotate5 + adamw_1e-3"
    assert text(right) == "cifar10  batch 128  seed 3  bf16   tag paper"
    failed = replace(VIEW, state="failed", reason="CUDA out of memory at batch 4096; try train.batch_size=1024")
    left, right = state_line(failed, 120, DARK)
    assert "train.batch_size=1024" in text(left)
    assert len(text(left)) + len(text(right)) <= 118
    assert text(state_line(VIEW, 80, DARK)[1]) == "seed 3"


def test_silence_and_phase_stand_beside_the_state() -> None:
    quiet = replace(VIEW, quiet=True, heartbeat_age_s=48.0)
    assert text(state_line(quiet, 160, DARK)[0]).startswith("● running  last heard 48 s ago")
    compiling = replace(VIEW, state="starting", phase="compiling")
    assert text(state_line(compiling, 160, DARK, 12.0)[0]).startswith("◌ starting  compiling for 12 s")
    assert "evaluating" not in text(state_line(replace(VIEW, phase="evaluating"), 160, DARK)[0])
    slow = replace(VIEW, phase="saving", notice="the disk is slow: a write took 5 s")
    said = text(state_line(slow, 160, DARK, 12.0)[0])
    assert said.startswith("● running  saving for 12 s  the disk is slow: a write took 5 s")


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_progress_line_fills_its_width(width: int) -> None:
    for view in (VIEW, replace(VIEW, state="finished"), replace(VIEW, state="paused"), replace(VIEW, eta_s=None)):
        assert line.width_of(progress_line(view, width, DARK)) == width - 2


def test_progress_says_what_is_left_or_what_it_took() -> None:
    assert text(progress_line(VIEW, 120, DARK)).endswith("left 33 s")
    assert text(progress_line(replace(VIEW, state="finished"), 120, DARK)).endswith("took 1 m 12 s")
    assert "68 %" in text(progress_line(VIEW, 120, DARK))
    assert "100 %" not in text(progress_line(replace(VIEW, step=70399), 120, DARK))


def test_the_settings_say_what_is_set() -> None:
    state = ViewState(smoothing=0.3, log_x=True, window=(40.0, 80.0), cross_hair=81.0, follow=False)
    said = text(settings_line(state, DARK, (40.0, 80.0)))
    assert said == "x epoch log    y linear    smooth 0.30    follow off    view 40 – 80    cross-hair 81"


def test_figures_that_do_not_fit_go_whole() -> None:
    said = text(figures_line(VIEW, 92_400.0, 1e-3, 78, DARK))
    assert said == "best 92.67 % @ 110   lr 1.00e-3   92.4 k img/s   params 4.78 M   MACs 265 M"
    assert text(figures_line(VIEW, 92_400.0, 1e-3, 40, DARK)) == "best 92.67 % @ 110   lr 1.00e-3"


def test_the_side_pane_gives_up_gaps_then_groups() -> None:
    shown = [best_group(VIEW, SERIES, About()), now_group(VIEW, SERIES, About()), model_group(VIEW, About())]
    roomy = side_rows(shown, [Stage("stem", 1, 1)], 30, wide=True)
    assert sum(row.group is not None for row in roomy) == 3
    assert any(row.stage for row in roomy)
    tight = side_rows(shown, [], 15, wide=False)
    assert all(row.group or row.fact for row in tight)
    assert sum(row.group is not None for row in side_rows(shown, [], 8, wide=False)) == 1
    grid = Grid(40, 30)
    draw_side(grid, roomy, 2, 37, DARK)
    assert "val accuracy   92.67 %  epoch 110" in grid.text()


def test_the_layout_of_the_pictures() -> None:
    normal = arrange(120, 36, "normal", "accuracy", False)
    assert (normal.board, normal.log, normal.side) == (27, 4, 40)
    assert [(place.name, place.height) for place in normal.places] == [("accuracy", 15), ("loss", 12)]
    narrow = arrange(80, 24, "narrow", "accuracy", False)
    assert (narrow.board, narrow.log, narrow.settings) == (16, 4, False)
    wide = arrange(200, 50, "wide", "accuracy", False)
    assert [place.name for place in wide.places] == ["accuracy", "loss", "lr", "throughput"]
    assert (wide.board, wide.log, wide.places[0].row, wide.places[0].height) == (39, 6, 1, 19)


@pytest.mark.parametrize("focused", ["accuracy", "loss", "lr", "throughput", "log"])
@pytest.mark.parametrize(("width", "height"), [(60, 15), (80, 24), (99, 60), (120, 30), (160, 40), (300, 100)])
def test_every_size_is_filled_and_shows_the_plot_in_focus(width: int, height: int, focused: str) -> None:
    size = "narrow" if width < 100 or height < 30 else "wide" if width >= 160 and height >= 40 else "normal"
    placed = arrange(width, height, size, focused, False)  # type: ignore[arg-type]
    assert 2 + placed.lines + placed.board + placed.log == height
    for place in placed.places:
        assert place.column + place.width <= width - placed.side
        assert place.row + place.height <= placed.board
    assert focused == "log" or focused in [place.name for place in placed.places]
    whole = arrange(width, height, size, focused, True)  # type: ignore[arg-type]
    assert [place.name for place in whole.places] == [focused]


def test_figures_of_a_real_log(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(
        '{"kind":"step","t":1,"step":10,"epoch":0.5,"loss":2.0,"accuracy":20.0,"lr":0.1,"images_s":100.0}\n'
        '{"kind":"epoch","t":2,"step":20,"epoch":1,"train_loss":1.9,"train_accuracy":30,"val_loss":1.8,"val_accuracy":31}\n'
    )
    curves = Curves(log)
    curves.poll()
    found = plots(drawing(curves.series, replace(VIEW, epochs=3.0, best_metric="val_accuracy")))
    assert [len(found[name].curves) for name in ("accuracy", "loss", "lr", "throughput")] == [2, 2, 1, 1]
