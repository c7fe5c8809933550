"""Training on a small synthetic set: exact resumes, what each saved item is needed for, divergence, early stopping."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import emulated_cuda
from engine import atomic, checkpoint, device, meters
from engine.augment import Augmenter, EpochPlan
from engine.counting import count
from engine.data.dataset import Dataset
from engine.errors import UserError
from engine.evaluate import LeftError
from engine.experiment import Experiment, loads
from engine.meters import Reading
from engine.recorder import StopRequested
from engine.runs import RunFolder
from engine.stopwatch import Stopwatch
from engine.test_set import evaluate_test_set
from engine.train import DivergedError, epoch_line, train
from engine.training import Training
from engine.worker import refuse_lone_image

PRESET = """
architecture: {family: resnet, stem: 8, channels: [8, 16], blocks: [1, 1], pool: 0, head: [12], dropout: [0.3, 0.0]}
augmentation: {ops: [{op: crop, padding: 2}, {op: flip}, {op: rotate, degrees: 10}, {op: normalize, statistics: half}]}
optimizer: {algorithm: sgd, lr: 0.05, nesterov: true, weight_decay: 5e-4, schedule: {kind: plateau, patience: 0}}
data: {name: shapes, validation: 1000, train_limit: 90}
train: {epochs: 3, batch_size: 20, seed: 3, device: cpu, precision: fp32, threads: 1, log_every: 2,
        ema: {decay: 0.9}, early_stopping: {patience: 50}}
"""


class Notes:
    """A recorder that keeps everything in memory and asks for the end at a given step or evaluation."""

    def __init__(self, stop_at: int | None = None, stop_in_evaluation: int | None = None) -> None:
        self.records: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.offset = 0
        self._stop_at = stop_at
        self._stop_in_evaluation = stop_in_evaluation
        self._steps = self._evaluations = 0

    def record(self, kind: str, **fields: Any) -> None:
        timeless = {key: value for key, value in fields.items() if key not in ("images_s", "epoch_s", "eval_s")}
        self.records.append({"kind": kind, **timeless})

    def update(self, **fields: Any) -> None:
        self.summary.update(fields)

    write_summary = update

    def add_spark(self, value: float) -> None:
        pass

    def answer(self, request: dict[str, Any]) -> None:
        pass

    def requests(self) -> list[dict[str, Any]]:
        self._steps += 1
        return [{"request": "stop", "by": "test"}] if self._steps == self._stop_at or self._left else []

    def end_is_asked(self) -> bool:
        self._evaluations += 1
        return self._left

    @property
    def _left(self) -> bool:
        return self._evaluations == self._stop_in_evaluation


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def experiment(*overrides: tuple[str, str]) -> Experiment:
    return loads(PRESET, overrides=overrides)


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = torch.Generator().manual_seed(0)

    def images(n: int) -> torch.Tensor:
        return torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=generator)

    def labels(n: int) -> torch.Tensor:
        return torch.randint(0, 10, (n,), generator=generator)

    return Dataset(images(90), labels(90), images(30), labels(30), images(30), labels(30), tuple("abcdefghij"))


def fresh(settings: Experiment, data: Dataset) -> Training:
    runtime = device.settle(settings.train, settings.total_steps)
    device.apply(runtime)
    return Training(settings, runtime, data)


def finish(training: Training, notes: Notes, folder: Path) -> None:
    checkpointer = checkpoint.Checkpointer(folder)
    try:
        train(training, notes, checkpointer)  # type: ignore[arg-type]
    finally:
        checkpointer.close()


def whole_run(settings: Experiment, data: Dataset, folder: Path) -> tuple[Training, Notes]:
    training, notes = fresh(settings, data), Notes()
    finish(training, notes, folder)
    return training, notes


def last_checkpoint(folder: Path) -> tuple[checkpoint.State, checkpoint.State | None]:
    entry = checkpoint.candidates(folder)[0]
    return checkpoint.load(folder, entry), checkpoint.load_best(folder, entry)


def resumed(settings: Experiment, data: Dataset, folder: Path, forget: str = "") -> tuple[Training, Notes]:
    state, best = last_checkpoint(folder)
    torch.manual_seed(12345)
    training = fresh(settings, data)
    if forget:
        state[forget] = training.state_dict()[forget]
    training.load_state_dict(state, best)
    notes = Notes()
    finish(training, notes, folder)
    return training, notes


def everything(training: Training) -> dict[str, torch.Tensor]:
    weights = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    assert training.ema is not None
    averages = {f"ema.{name}": tensor.clone() for name, tensor in training.ema.state_dict()["average"].items()}
    return {**weights, **averages}


def same(one: Training, other: Training) -> bool:
    first, second = everything(one), everything(other)
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def decisive(training: Training) -> dict[str, Any]:
    """All that decides how it would go on: weights, averages, optimiser, schedule, generators, place. No clocks."""
    return {key: value for key, value in training.state_dict().items() if key not in ("active_s", "epoch_s", "runtime")}


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize("stop_at", [1, 4, 5, 7, 11, 15])
def test_a_resume_ends_with_the_same_weights_and_records(stop_at: int, data: Dataset, tmp_path: Path) -> None:
    unbroken, all_records = whole_run(experiment(), data, tmp_path / "unbroken")
    broken, first = fresh(experiment(), data), Notes(stop_at)
    with pytest.raises(StopRequested):
        finish(broken, first, tmp_path / "broken")
    continued, second = resumed(experiment(), data, tmp_path / "broken")
    assert same(unbroken, continued)
    assert equal(decisive(unbroken), decisive(continued))
    assert first.records + second.records == all_records.records
    assert unbroken.best is not None
    assert continued.best is not None
    assert {**unbroken.best, "weights": None} == {**continued.best, "weights": None}


@pytest.mark.parametrize("evaluation", [1, 2, 3])
def test_a_stop_in_an_evaluation_does_not_wait_for_its_end_and_resumes_exactly(
    evaluation: int, data: Dataset, tmp_path: Path
) -> None:
    unbroken, all_records = whole_run(experiment(), data, tmp_path / "unbroken")
    broken, first = fresh(experiment(), data), Notes(stop_in_evaluation=evaluation)
    with pytest.raises(StopRequested):
        finish(broken, first, tmp_path / "broken")
    assert [record["kind"] for record in first.records].count("epoch") == evaluation - 1
    assert broken.model.training
    continued, second = resumed(experiment(), data, tmp_path / "broken")
    assert same(unbroken, continued)
    assert first.records + second.records == all_records.records


class LateReading(Reading):
    """A reading whose figures never come by themselves, as from a GPU that is far behind."""

    is_here = property(lambda self: False)  # type: ignore[assignment]


def test_figures_that_come_late_are_written_as_those_that_come_at_once(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, prompt = whole_run(experiment(), data, tmp_path / "prompt")
    monkeypatch.setattr(meters, "Reading", LateReading)
    training, late = fresh(experiment(), data), Notes()
    written, take = [], training.take_step

    def watched(plan: EpochPlan, position: int) -> None:
        written.append(len(late.records))
        take(plan, position)

    training.take_step = watched  # type: ignore[method-assign]
    finish(training, late, tmp_path / "late")
    assert late.records == prompt.records
    assert written[:6] == [0, 0, 0, 0, 1, 4]  # step 2 as step 4 is logged; 4, 5 and the epoch at the epoch's end


def test_a_rate_that_waits_for_an_accuracy_waits_for_its_figures(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = experiment(("optimizer.warmup", "{until_accuracy: 5.0, start: 0.1}"))
    plain, prompt = whole_run(settings, data, tmp_path / "prompt")
    monkeypatch.setattr(meters, "Reading", LateReading)
    training, late = whole_run(settings, data, tmp_path / "late")
    assert same(plain, training)
    assert late.records == prompt.records


@pytest.mark.parametrize("step", [3, 4, 7])
def test_a_checkpoint_holds_no_figures_that_are_not_written(
    step: int, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, unbroken = whole_run(experiment(), data, tmp_path / "unbroken")
    monkeypatch.setattr(meters, "Reading", LateReading)
    training, before = fresh(experiment(), data), Notes(stop_at=step)
    with pytest.raises(StopRequested):
        finish(training, before, tmp_path / "stopped")
    _, after = resumed(experiment(), data, tmp_path / "stopped")
    assert before.records + after.records == unbroken.records


def test_a_stop_in_the_last_test_leaves_the_weights_as_they_were(data: Dataset, tmp_path: Path) -> None:
    training, _ = whole_run(experiment(), data, tmp_path / "ckpt")
    before = everything(training)
    with pytest.raises(LeftError):
        evaluate_test_set(training, RunFolder(tmp_path), Notes(stop_in_evaluation=1))  # type: ignore[arg-type]
    assert training.model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in everything(training).items())


@pytest.mark.mutant
@pytest.mark.parametrize("item", ["model", "optimizer", "schedule", "ema", "rng", "position", "step", "epoch_index"])
def test_each_saved_item_is_needed_for_an_exact_resume(item: str, data: Dataset, tmp_path: Path) -> None:
    unbroken, _ = whole_run(experiment(), data, tmp_path / "unbroken")
    with pytest.raises(StopRequested):
        finish(fresh(experiment(), data), Notes(12), tmp_path / "broken")
    continued, _ = resumed(experiment(), data, tmp_path / "broken", forget=item)
    assert not same(unbroken, continued)


# What only some runs have: the settings that have it, and the step of the stop.
SOMETIMES = {
    "lookahead": ([("optimizer.lookahead", "{every: 3, decay: 0.5}")], 8),
    "selection": (
        [("train.selection", "{proxy: {family: resnet, stem: 4, channels: [4], blocks: [1], pool: 0}, keep: 0.5}")],
        8,
    ),
    "stopping": ([("train.early_stopping", "{patience: 2, min_delta: 100}"), ("train.epochs", "6")], 12),
}


@pytest.mark.mutant
@pytest.mark.parametrize("item", SOMETIMES)
def test_each_item_that_only_some_runs_have_is_needed_too(item: str, data: Dataset, tmp_path: Path) -> None:
    changes, stop_at = SOMETIMES[item]
    settings = experiment(*changes)
    unbroken, _ = whole_run(settings, data, tmp_path / "unbroken")
    with pytest.raises(StopRequested):
        finish(fresh(settings, data), Notes(stop_at), tmp_path / "broken")
    shutil.copytree(tmp_path / "broken", tmp_path / "again")
    continued, _ = resumed(settings, data, tmp_path / "broken")
    assert same(unbroken, continued)
    assert unbroken.step == continued.step
    forgetful, _ = resumed(settings, data, tmp_path / "again", forget=item)
    assert not same(unbroken, forgetful) or forgetful.step != unbroken.step


def test_an_epoch_record_needs_the_meters_of_before_the_stop(data: Dataset, tmp_path: Path) -> None:
    _, all_records = whole_run(experiment(), data, tmp_path / "unbroken")
    with pytest.raises(StopRequested):
        finish(fresh(experiment(), data), Notes(8), tmp_path / "broken")
    _, second = resumed(experiment(), data, tmp_path / "broken", forget="meters")
    assert second.records[-1]["kind"] == "epoch"
    assert second.records != all_records.records[-len(second.records) :]


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(data: Dataset, tmp_path: Path) -> None:
    one, _ = whole_run(experiment(), data, tmp_path / "one")
    two, _ = whole_run(experiment(), data, tmp_path / "two")
    other, _ = whole_run(experiment(("train.seed", "4")), data, tmp_path / "other")
    assert same(one, two)
    assert not same(one, other)


def test_a_loss_that_is_not_finite_ends_the_run_before_any_checkpoint(data: Dataset, tmp_path: Path) -> None:
    training = fresh(experiment(("optimizer.lr", "1e30"), ("optimizer.schedule.min_lr", "0.0")), data)
    with pytest.raises(DivergedError, match=r"not finite at step \d+, lr 1e\+30; try optimizer.lr="):
        finish(training, Notes(), tmp_path)
    assert checkpoint.candidates(tmp_path) == []


def test_early_stopping_ends_the_run_and_counts_as_finished(data: Dataset, tmp_path: Path) -> None:
    stubborn = experiment(("train.early_stopping.min_delta", "100"), ("train.early_stopping.patience", "1"))
    training, notes = whole_run(stubborn, data, tmp_path)
    assert training.finished
    assert training.stopped_early
    assert [record["epoch"] for record in notes.records if record["kind"] == "epoch"] == [1, 2]


@pytest.mark.parametrize(("epochs", "steps"), [("0.4", 2), ("1.5", 8)])
def test_a_fraction_of_an_epoch_is_trained_and_evaluated(
    epochs: str, steps: int, data: Dataset, tmp_path: Path
) -> None:
    training, notes = whole_run(experiment(("train.epochs", epochs)), data, tmp_path)
    assert training.step == steps
    assert notes.records[-1]["kind"] == "epoch"
    assert notes.records[-1]["epoch"] == pytest.approx(steps / 5)
    assert "val_accuracy" in notes.records[-1]


def test_the_last_epoch_is_judged_by_the_slow_weights_of_lookahead(data: Dataset, tmp_path: Path) -> None:
    # With decay 1 in all but name the slow weights hardly leave the first ones, however far the fast ones went.
    slow = [("optimizer.lookahead", "{every: 100, decay: 0.9}"), ("train.ema", "null"), ("train.epochs", "1")]
    training, _ = whole_run(experiment(*slow), data, tmp_path)
    assert training.best is not None
    final = training.model.state_dict()
    assert all(torch.equal(tensor, final[name]) for name, tensor in training.best["weights"].items())


@pytest.mark.parametrize(("watch", "chosen_on"), [("test", "test"), ("validation", "validation"), ("none", "")])
def test_a_run_says_on_which_set_its_best_checkpoint_is_chosen(watch: str, chosen_on: str, data: Dataset) -> None:
    follow = [("optimizer.schedule.metric", "train_loss"), ("train.early_stopping", "null")]
    assert fresh(experiment(("train.watch", watch), *follow), data).facts()["chosen_on"] == chosen_on


def test_an_epoch_is_timed_without_its_pauses_and_over_its_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("engine.training.time.monotonic", lambda: now[0])

    def after(seconds: float) -> None:
        now[0] += seconds

    stopwatch = Stopwatch()
    stopwatch.start()
    after(2)
    stopwatch.stop()
    after(50)
    stopwatch.start()
    after(3)
    assert (stopwatch.active_s, stopwatch.lap_s) == (5, 5)
    resumed = Stopwatch(stopwatch.active_s, stopwatch.lap_s)
    resumed.start()
    after(1)
    assert resumed.lap_s == 6
    assert resumed.rate(10) == 10
    after(4)
    resumed.restart()
    after(1)
    assert (resumed.lap_s, resumed.active_s) == (1, 11)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be asked in earnest")
def test_a_run_on_the_cpu_asks_no_gpu_for_its_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    state = checkpoint.rng_state(torch.device("cpu"))
    assert state["cuda"] == []
    checkpoint.restore_rng_state({**state, "cuda": [torch.zeros(16, dtype=torch.uint8)]}, torch.device("cpu"))


def test_the_advice_after_a_divergence_is_a_fifth_of_the_option(data: Dataset, tmp_path: Path) -> None:
    warming_up = experiment(("optimizer.lr", "1e30"), ("optimizer.warmup", "{steps: 10, start: 0.5}"))
    with pytest.raises(DivergedError, match=r"try optimizer.lr=2e\+29"):
        finish(fresh(warming_up, data), Notes(), tmp_path)


def test_the_log_writes_an_epoch_as_the_terminal_does() -> None:
    line = epoch_line(
        3, {"train_loss": 2.5e7, "train_accuracy": 10.0, "val_loss": 3.3e-5, "val_accuracy": 99.0}, 3.51e-3, 2
    )
    assert line == "epoch 3   train 10.00 %  2.5e7   val 99.00 %  3.3e-5   lr 3.51e-3   2.00 s"
    assert epoch_line(7.59375, {}, 0.0, 2).startswith("epoch 7.59   ")


def test_an_epoch_is_drawn_before_the_host_waits_for_the_end_of_the_one_before(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    draw, wait = Augmenter.draw_epoch, Reading.wait
    monkeypatch.setattr(
        Augmenter,
        "draw_epoch",
        lambda self, seed, epoch, n: (events.append(f"draw {epoch}"), draw(self, seed, epoch, n))[1],
    )
    monkeypatch.setattr(Reading, "wait", lambda self: (events.append("wait"), wait(self))[1])
    whole_run(experiment(("train.log_every", "1000")), data, tmp_path)
    assert events == ["draw 0", "draw 1", "wait", "draw 2", "wait", "wait"]


def test_where_a_run_is_is_said_between_its_records_too(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(Notes, "update", lambda self, **fields: told.append(fields.get("step", 0)))
    monkeypatch.setattr("engine.train.TELL_S", 0.0)
    whole_run(experiment(("train.log_every", "1000"), ("train.epochs", "1")), data, tmp_path)
    assert sorted({step for step in told if step}) == [1, 2, 3, 4, 5]


def test_the_last_smaller_batch_is_trained_unless_dropped(data: Dataset, tmp_path: Path) -> None:
    kept, _ = whole_run(experiment(("train.epochs", "1")), data, tmp_path / "kept")
    dropped, _ = whole_run(experiment(("train.epochs", "1"), ("train.drop_last", "true")), data, tmp_path / "dropped")
    assert (kept.step, dropped.step) == (5, 4)


def test_batches_that_reach_over_the_end_of_an_epoch_leave_no_image_out(data: Dataset, tmp_path: Path) -> None:
    """90 images in batches of 20: nine steps are two whole passes."""
    settings = experiment(("train.carry_over", "true"), ("train.steps", "9"), ("optimizer.schedule", "{kind: cosine}"))
    training = fresh(settings, data)
    seen: list[int] = []
    step = training.advance

    def noted(index: torch.Tensor, plan: EpochPlan, number: torch.Tensor | int) -> None:
        seen.extend((index % 90).tolist())
        step(index, plan, number)

    training.advance = noted  # type: ignore[method-assign]
    notes = Notes()
    finish(training, notes, tmp_path)
    assert sorted(seen[:90]) == sorted(seen[90:]) == list(range(90))
    assert [record["epoch"] for record in notes.records if record["kind"] == "epoch"] == [1, 2, 2.25]


def test_one_image_is_no_batch_for_a_norm_over_single_pixels() -> None:
    def check(*overrides: tuple[str, str]) -> None:
        stages = (
            "architecture",
            "{family: resnet, stem: 8, channels: [8, 8, 8, 8], blocks: [1, 1, 1, 1]}",
        )  # 8, 4, 2 and 1 pixels wide
        chosen = experiment(stages, ("data.image_size", "8"), ("data.train_limit", "61"), *overrides)
        data = chosen.data
        batch, precision = chosen.train.batch_size, chosen.train.precision
        refuse_lone_image(chosen, count(chosen.architecture, data.channels, data.size, data.classes, batch, precision))

    with pytest.raises(
        UserError, match=r"one image \(61 in batches of 20\), too few for .*; use train.drop_last=true or"
    ):
        check()
    with pytest.raises(UserError, match=r"one image at a time; use a larger train\.batch_size"):
        check(("train.batch_size", "1"))
    check(("train.drop_last", "true"))
    check(("train.steps", "2"))
    check(("data.image_size", "32"))


@pytest.mark.parametrize(
    "overrides",
    [
        [("optimizer.sam", "{rho: 0.05}")],
        [("optimizer.lookahead", "{every: 2}")],
        [("optimizer", "{algorithm: muon, lr: 0.02}")],
        [("optimizer", "{algorithm: muon, lr: 0.2, normalize_filters: true, normalize_every: {first: 2, last: 4}}")],
        [("train.carry_over", "true")],
        [("optimizer", "{algorithm: adamw, amsgrad: true}"), ("optimizer.clip_norm", "1.0")],
        [("augmentation", "{ops: [{op: normalize, statistics: half}, {op: mixup}]}")],
        [("train.loss", "{kind: huber}")],
    ],
)
def test_every_way_to_step_resumes_exactly(overrides: list[tuple[str, str]], data: Dataset, tmp_path: Path) -> None:
    settings = experiment(*overrides)
    unbroken, _ = whole_run(settings, data, tmp_path / "unbroken")
    with pytest.raises(StopRequested):
        finish(fresh(settings, data), Notes(8), tmp_path / "broken")
    continued, _ = resumed(settings, data, tmp_path / "broken")
    assert same(unbroken, continued)


STEPS_OF_THE_DEVICE = [
    "{algorithm: sgd, lr: 0.05, nesterov: true, weight_decay: 5e-4, schedule: {kind: cosine}}",
    "{algorithm: adamw, lr: 1e-3, amsgrad: true, warmup: {steps: 3}, clip_norm: 1.0}",
    "{algorithm: muon, lr: 0.02, precision: fp32, schedule: {kind: linear}}",
    "{algorithm: muon, lr: 0.02, precision: fp32, normalize_filters: true, normalize_every: {first: 2, last: 5}}",
    "{algorithm: sgd, lr: 0.05, schedule: {kind: plateau, patience: 0}}",
    *(
        pytest.param(options, marks=pytest.mark.slow)
        for options in (
            "{algorithm: sgd, lr: 0.05, momentum: 0.9, sam: {rho: 0.05}, lookahead: {every: 2}}",
            "{algorithm: adam, lr: 1e-3, schedule: {kind: one_cycle}, groups: [{match: bias, lr_scale: 2}]}",
            "{algorithm: dessilbi, lr: 0.05, kappa: 5, momentum: 0.9}",
        )
    ),
]


def captured(settings: Experiment, data: Dataset) -> Training:
    """As ``fresh``, on a GPU that is emulated."""
    training = fresh(settings, data)
    training.runtime = replace(training.runtime, graph=True)
    assert training.capture() == ""
    assert training.graphed is not None
    return training


@pytest.mark.parametrize("optimizer", STEPS_OF_THE_DEVICE)
def test_a_step_captured_once_and_replayed_is_the_plain_step(
    optimizer: str, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = experiment(("optimizer", optimizer))
    plain, plain_notes = whole_run(settings, data, tmp_path / "plain")
    emulated_cuda.emulate(monkeypatch)
    training, notes = captured(settings, data), Notes()
    finish(training, notes, tmp_path / "captured")
    one, other = everything(plain), everything(training)
    # A learning rate that is a tensor is float32, a number is float64; Muon magnifies what is small.
    near = 5e-3 if "muon" in optimizer else 1e-5
    assert all(torch.allclose(tensor, other[name], rtol=1e-4, atol=near) for name, tensor in one.items())
    losses = [(a["loss"], b["loss"]) for a, b in zip(plain_notes.records, notes.records, strict=True) if "loss" in a]
    assert losses
    assert all(a == pytest.approx(b, rel=1e-3) for a, b in losses)


def test_a_captured_run_that_was_stopped_goes_on_exactly(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured anew in the middle of an epoch, whose last batch is smaller and taken outside of the graph."""
    emulated_cuda.emulate(monkeypatch)
    settings = experiment(("optimizer", "{algorithm: adamw, lr: 1e-3, amsgrad: true}"))
    unbroken = captured(settings, data)
    finish(unbroken, Notes(), tmp_path / "unbroken")
    with pytest.raises(StopRequested):
        finish(captured(settings, data), Notes(8), tmp_path / "broken")
    state, best = last_checkpoint(tmp_path / "broken")
    torch.manual_seed(12345)
    continued = fresh(settings, data)
    continued.load_state_dict(state, best)
    continued.runtime = replace(continued.runtime, graph=True)
    assert continued.capture() == ""
    finish(continued, Notes(), tmp_path / "broken")
    assert same(unbroken, continued)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("optimizer", STEPS_OF_THE_DEVICE)
def test_a_captured_step_trains_as_the_plain_one(optimizer: str, data: Dataset, tmp_path: Path) -> None:
    on_gpu = [("train.device", "cuda"), ("train.deterministic", "false")]
    plain, _ = whole_run(experiment(("optimizer", optimizer), *on_gpu, ("train.graph", "off")), data, tmp_path / "a")
    training = fresh(experiment(("optimizer", optimizer), *on_gpu, ("train.graph", "on")), data)
    assert training.capture() == ""
    finish(training, Notes(), tmp_path / "b")
    one, other = everything(plain), everything(training)
    assert all(torch.allclose(t.float(), other[name].float(), rtol=1e-2, atol=1e-3) for name, t in one.items())


class SlowDisk:
    """Syncs of files that do not end before the summary says that training waits for one."""

    def __init__(self, training: Training, notes: Notes) -> None:
        self._training, self._notes = training, notes
        self.said_at_step = 0

    def sync(self, _descriptor: int) -> None:
        deadline = time.monotonic() + 60
        while not self.said_at_step and time.monotonic() < deadline:
            if self._notes.summary.get("phase") == "saving":
                self.said_at_step = self._training.step
            time.sleep(0.001)


@pytest.mark.parametrize(("every", "waits_at"), [("0", 5), ("1000", 15)])
def test_training_goes_on_while_a_slow_disk_takes_a_checkpoint_and_says_so_where_it_has_to_wait(
    every: str, waits_at: int, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints fall due at steps 4 and 5, or at the last step alone."""
    training, notes = fresh(experiment(("train.checkpoint_every", every), ("train.log_every", "4")), data), Notes()
    disk = SlowDisk(training, notes)
    monkeypatch.setattr(atomic, "_sync", disk.sync)
    finish(training, notes, tmp_path)
    assert disk.said_at_step == waits_at
    assert checkpoint.candidates(tmp_path)[0].step == 15
