"""Schedules against torch.optim.lr_scheduler, step by step, and plateau on random sequences of metrics."""

import json
import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from engine.errors import UserError
from engine.options.optimizer import Interval, Sgd
from engine.options.schedule import Ending
from engine.schedules import Schedule, make_schedule, occasions

LR, STEPS, STEPS_PER_EPOCH = 0.3, 120, 10
CLOSE: dict[str, Any] = {"rel": 1e-12, "abs": 1e-15}


def schedule_of(total_steps: int = STEPS, warmup: dict[str, Any] | None = None, **schedule: Any) -> Schedule:
    options = Sgd.model_validate({"lr": LR, "schedule": schedule or {"kind": "constant"}, "warmup": warmup or {}})
    return make_schedule(options, total_steps, STEPS_PER_EPOCH)


def torch_sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def torch_rates(optimizer: torch.optim.SGD, scheduler: lr_scheduler.LRScheduler, steps: int = STEPS) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def test_constant() -> None:
    assert schedule_of().table() == [LR] * STEPS


@pytest.mark.parametrize(
    ("milestones", "unit", "steps"), [([3, 7.5], "epochs", [30, 75]), ([31, 64], "steps", [31, 64])]
)
def test_multistep_is_torchs(milestones: list[float], unit: str, steps: list[int]) -> None:
    optimizer = torch_sgd()
    theirs = torch_rates(optimizer, lr_scheduler.MultiStepLR(optimizer, steps, gamma=0.2))
    ours = schedule_of(kind="multistep", milestones=milestones, unit=unit, factor=0.2).table()
    assert ours == pytest.approx(theirs, **CLOSE)


def test_cosine_is_torchs() -> None:
    optimizer = torch_sgd()
    theirs = torch_rates(optimizer, lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.01))
    assert schedule_of(kind="cosine", min_lr=0.01).table() == pytest.approx(theirs, rel=1e-9)


def test_cosine_by_epochs_is_torchs_stepped_once_an_epoch() -> None:
    optimizer = torch_sgd()
    epochs = STEPS // STEPS_PER_EPOCH
    theirs = torch_rates(optimizer, lr_scheduler.CosineAnnealingLR(optimizer, epochs), epochs)
    ours = schedule_of(kind="cosine", every="epoch").table()
    assert ours == pytest.approx([rate for rate in theirs for _ in range(STEPS_PER_EPOCH)], rel=1e-9)


@pytest.mark.parametrize(("shape", "theirs"), [("cosine", "cos"), ("linear", "linear")])
def test_one_cycle_is_torchs(shape: str, theirs: Any) -> None:
    optimizer = torch_sgd()
    one_cycle = lr_scheduler.OneCycleLR(
        optimizer, LR, total_steps=STEPS, pct_start=0.3, anneal_strategy=theirs, div_factor=25, final_div_factor=1e4
    )
    expected = []
    for step in range(STEPS):
        expected.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step + 1 < STEPS:
            one_cycle.step()
    assert schedule_of(kind="one_cycle", rise=0.3, shape=shape).table() == pytest.approx(expected, **CLOSE)


def test_linear_is_torchs() -> None:
    optimizer = torch_sgd()
    scheduler = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.25, total_iters=STEPS)
    assert schedule_of(kind="linear", end=0.25).table() == pytest.approx(torch_rates(optimizer, scheduler), rel=1e-9)


def test_triangle_is_airbenchs() -> None:
    def factor(step: int) -> float:
        peak = int(STEPS * 0.23)
        if step < peak:
            return 0.2 * (1 - step / peak) + step / peak
        down = (step - peak) / (STEPS - peak)
        return (1 - down) + 0.07 * down

    optimizer = torch_sgd()
    theirs = torch_rates(optimizer, lr_scheduler.LambdaLR(optimizer, factor))
    assert schedule_of(kind="triangle", start=0.2, peak=0.23, end=0.07).table() == pytest.approx(theirs, **CLOSE)


@pytest.mark.parametrize("warmup", [{"epochs": 2, "start": 0.1}, {"steps": 20, "start": 0.1}])
def test_warmup_before_cosine_is_torchs(warmup: dict[str, Any]) -> None:
    optimizer = torch_sgd()
    rise = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=20)
    fall = lr_scheduler.CosineAnnealingLR(optimizer, STEPS - 20)
    theirs = torch_rates(optimizer, lr_scheduler.SequentialLR(optimizer, [rise, fall], [20]))
    assert schedule_of(warmup=warmup, kind="cosine").table() == pytest.approx(theirs, rel=1e-9)


def test_milestones_count_from_the_start_whatever_the_warmup() -> None:
    rates = schedule_of(warmup={"epochs": 1}, kind="multistep", milestones=[3]).table()
    assert rates is not None
    assert [rates[29], rates[30]] == pytest.approx([LR, LR / 10])


def test_warmup_until_an_accuracy_waits_and_then_never_again() -> None:
    schedule = schedule_of(warmup={"start": 0.1, "until_accuracy": 20.0}, kind="multistep", milestones=[5])
    assert schedule.table() is None
    assert schedule.learning_rate(7) == pytest.approx(LR / 10)
    schedule.observe_training(19.9)
    assert schedule.learning_rate(8) == pytest.approx(LR / 10)
    schedule.observe({"train_accuracy": 20.0})
    assert schedule.learning_rate(10) == LR
    schedule.observe({"train_accuracy": 10.0})
    assert schedule.learning_rate(50) == pytest.approx(LR / 10)


def test_an_ending_stops_some_parameters_early() -> None:
    schedule = schedule_of(kind="linear")
    fading, cut = Ending(epoch=3), Ending(epoch=3, fade=False)
    assert [schedule.learning_rate(s, fading) for s in (0, 15, 30, 99)] == pytest.approx([LR, LR / 2, 0, 0])
    assert schedule.learning_rate(29, cut) == schedule.learning_rate(29)
    assert schedule.learning_rate(30, cut) == 0


def test_an_interval_grows_evenly_over_the_run() -> None:
    """hiverge/cifar10-speedrun, 243 steps: step t comes 2 + int(15 t / 243) or more after the last occasion."""
    chosen = [step for step, now in enumerate(occasions(Interval(first=2, last=17), 243), start=1) if now]
    assert chosen[:12] == [2, 4, 6, 8, 10, 12, 14, 16, 19, 22, 25, 28]
    waits = [later - earlier for earlier, later in pairwise(chosen)]
    assert waits == sorted(waits)
    assert waits[-1] == 16
    assert (len(chosen), chosen[-1]) == (37, 230)


def test_an_interval_stays_or_shrinks() -> None:
    assert occasions(Interval(), 5) == (True,) * 5
    assert occasions(Interval(first=3, last=3), 7) == (False, False, True, False, False, True, False)
    assert occasions(Interval(first=3, last=1), 8) == (False, False, True, False, True, False, True, True)


def test_runs_of_one_step_and_steps_past_the_end_are_fine() -> None:
    for kind in ("constant", "cosine", "one_cycle", "linear", "triangle", "plateau"):
        for total in (1, 2, 3):
            schedule = schedule_of(total_steps=total, warmup={"steps": 1}, kind=kind)
            assert all(0 <= schedule.learning_rate(step) <= LR for step in range(6))


@pytest.mark.parametrize("metric", ["watched_loss", "watched_accuracy"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("seed", range(8))
def test_plateau_is_torchs_on_random_metrics(metric: str, threshold_mode: Any, seed: int) -> None:
    draw = random.Random(seed)
    settings: dict[str, Any] = {
        "factor": draw.choice([0.1, 0.5, 0.9]),
        "patience": draw.randrange(6),
        "cooldown": draw.randrange(6),
        "threshold": draw.choice([0.0, 1e-4, 0.05]),
        "threshold_mode": threshold_mode,
        "min_lr": draw.choice([0.0, 1e-6, 0.01]),
    }
    optimizer = torch_sgd()
    mode: Any = "max" if metric.endswith("accuracy") else "min"
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, **settings)
    ours = schedule_of(kind="plateau", metric=metric, **settings)
    value = 2.0
    for epoch in range(300):
        value = draw.choice([value, value * draw.uniform(0.9, 1.1), float("nan") if epoch % 50 == 49 else value])
        theirs.step(value)
        ours.observe({metric: value})
        assert ours.learning_rate(epoch) == pytest.approx(float(optimizer.param_groups[0]["lr"]), rel=1e-12)
        value = 2.0 if value != value else value


def test_halvings_are_at_least_patience_and_cooldown_apart() -> None:
    """Seed-a's logs: patience 5 and cooldown 5 leave at least 11 epochs between two halvings."""
    schedule = schedule_of(kind="plateau", factor=0.5, patience=5, cooldown=5, min_lr=1e-6)
    rates = []
    for epoch in range(80):
        schedule.observe({"watched_loss": 1.0})
        rates.append(schedule.learning_rate(epoch))
    drops = [epoch for epoch in range(1, 80) if rates[epoch] < rates[epoch - 1]]
    assert drops[0] == 6
    assert {later - earlier for earlier, later in pairwise(drops)} == {11}


def test_plateau_resumes_where_it_was() -> None:
    draw = random.Random(1)
    values = [draw.uniform(0.9, 1.1) for _ in range(60)]
    settings: dict[str, Any] = {"kind": "plateau", "factor": 0.5, "patience": 2, "cooldown": 1}
    unbroken, before, after = schedule_of(**settings), schedule_of(**settings), schedule_of(**settings)
    for value in values:
        unbroken.observe({"watched_loss": value})
    for value in values[:23]:
        before.observe({"watched_loss": value})
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    for value in values[23:]:
        after.observe({"watched_loss": value})
    assert after.state_dict() == unbroken.state_dict()
    assert after.learning_rate(0) == unbroken.learning_rate(0) < LR


def test_plateau_looks_only_once_the_warmup_is_over() -> None:
    schedule = schedule_of(warmup={"epochs": 4}, kind="plateau", patience=1, factor=0.5)
    for _ in range(4):
        schedule.observe({"watched_loss": 1.0})
    assert schedule.learning_rate(40) == LR


def test_a_metric_that_is_not_measured_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"optimizer\.schedule follows watched_loss.*train\.watch"):
        schedule_of(kind="plateau").observe({"train_loss": 1.0})
