"""The learning rate of every step, without torch: the training loop follows it and the screens plot it.

Nearly all schedules are pure functions of the step, so that a resumed run needs no saved scheduler and a captured graph
can read its learning rates from a table. Only plateau and the warm-up that waits for an accuracy carry a small state.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from engine.errors import UserError
from engine.options.optimizer import Interval, OptimizerOptions
from engine.options.schedule import (
    Constant,
    Cosine,
    Ending,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    ScheduleChoice,
    Triangle,
    Warmup,
    WatchedMetric,
)

# A reduction smaller than this is not made, as in torch.optim.lr_scheduler.ReduceLROnPlateau.
SMALLEST_REDUCTION = 1e-8


def watched_value(metrics: Mapping[str, float], metric: WatchedMetric, who: str) -> float:
    """The metric that ``who`` (an option's key) follows. Raises UserError where the run does not measure it."""
    if metric not in metrics:
        raise UserError(
            f"{who} follows {metric}, which this run does not measure: set train.watch to validation or test, "
            f"or {who}.metric to train_loss"
        )
    return metrics[metric]


@dataclass
class PlateauState:
    """What a plateau schedule remembers between epochs."""

    lr: float
    best: float | None = None
    bad_epochs: int = 0
    cooldown: int = 0


class Schedule:
    """The learning rate of one run.

    Steps are counted from 0. Through the warm-up the learning rate rises linearly; cosine, one-cycle, linear, triangle
    then cover the steps that remain, while milestones are counted from the start of the run.
    """

    def __init__(self, lr: float, schedule: ScheduleChoice, warmup: Warmup, total_steps: int, steps_per_epoch: int):
        self.lr = lr
        self.schedule = schedule
        self.warmup = warmup
        self.total_steps = max(1, total_steps)
        self.steps_per_epoch = max(1, steps_per_epoch)
        self.warmup_steps = min(warmup.steps or round(warmup.epochs * self.steps_per_epoch), self.total_steps)
        self._waiting = warmup.until_accuracy is not None
        self._epochs = 0
        self._plateau = PlateauState(lr) if isinstance(schedule, Plateau) else None

    @property
    def is_pure(self) -> bool:
        """Whether the learning rate depends on the step alone."""
        return self._plateau is None and self.warmup.until_accuracy is None

    @property
    def awaits_accuracy(self) -> bool:
        """Whether the next step's learning rate may depend on the training accuracy that is measured next."""
        return self._waiting

    def learning_rate(self, step: int, ending: Ending | None = None) -> float:
        """What this step is to be taken with; after the last step it stays where the schedule ends.

        ``ending`` is that of parameters which stop learning before the others.
        """
        if ending and step >= self._end(ending):
            return 0.0
        if ending and ending.fade:
            return self.lr * (1 - step / self._end(ending))
        if self._waiting:
            return self.lr * self.warmup.start
        if step < self.warmup_steps:
            start = self.warmup.start
            first = self._scheduled(self.warmup_steps)
            return first * (start + (1 - start) * step / self.warmup_steps)
        return self._scheduled(step)

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of an epoch that has ended; accuracies in percent."""
        self._epochs += 1
        if "train_accuracy" in metrics:
            self.observe_training(metrics["train_accuracy"])
        warm = not self._waiting and self._epochs * self.steps_per_epoch >= self.warmup_steps
        if isinstance(self.schedule, Plateau) and self._plateau is not None and warm:
            value = watched_value(metrics, self.schedule.metric, "optimizer.schedule")
            _reduce_on_plateau(self.schedule, self._plateau, value)

    def observe_training(self, accuracy: float) -> None:
        """Take in the latest training accuracy, in percent; it may end the wait of ``warmup.until_accuracy``."""
        threshold = self.warmup.until_accuracy
        if threshold is not None and accuracy >= threshold:
            self._waiting = False

    def table(self) -> list[float] | None:
        """The learning rate of every step of the run, or None where it also depends on metrics."""
        if not self.is_pure:
            return None
        return [self.learning_rate(step) for step in range(self.total_steps)]

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beside the options."""
        plateau = asdict(self._plateau) if self._plateau else None
        return {"epochs": self._epochs, "waiting": self._waiting, "plateau": plateau}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        self._epochs = state["epochs"]
        self._waiting = state["waiting"]
        self._plateau = PlateauState(**state["plateau"]) if state["plateau"] else None

    def _end(self, ending: Ending) -> int:
        return max(1, math.ceil(ending.epoch * self.steps_per_epoch))

    def _scheduled(self, step: int) -> float:
        schedule = self.schedule
        length = max(1, self.total_steps - self.warmup_steps)
        position = min(max(0, step - self.warmup_steps), length)
        match schedule:
            case Constant():
                return self.lr
            case MultiStep():
                return self.lr * _multistep(schedule, step, self.steps_per_epoch)
            case Cosine():
                return _cosine(schedule, self.lr, position, length, self.steps_per_epoch)
            case OneCycle():
                return self.lr * _one_cycle(schedule, position, length)
            case Linear():
                return self.lr * (1 + (schedule.end - 1) * position / length)
            case Triangle():
                return self.lr * _triangle(schedule, position, length)
            case Plateau():
                return self._plateau.lr if self._plateau else self.lr


def make_schedule(options: OptimizerOptions, total_steps: int, steps_per_epoch: int) -> Schedule:
    """The schedule of an optimiser over a run of ``total_steps`` optimiser steps."""
    return Schedule(options.lr, options.schedule, options.warmup, total_steps, steps_per_epoch)


@cache
def occasions(interval: Interval, total_steps: int) -> tuple[bool, ...]:
    """For every step of a run whether it is one of the occasions of ``interval``."""
    chosen, last = [], 0
    for step in range(1, total_steps + 1):
        wait = interval.first + int((interval.last - interval.first) * step / total_steps)
        chosen.append(step - last >= wait)
        last = step if chosen[-1] else last
    return tuple(chosen)


def _multistep(options: MultiStep, step: int, steps_per_epoch: int) -> float:
    unit = steps_per_epoch if options.unit == "epochs" else 1
    passed = sum(step >= round(milestone * unit) for milestone in options.milestones)
    return options.factor**passed


def _cosine(options: Cosine, lr: float, position: int, length: int, steps_per_epoch: int) -> float:
    if options.every == "epoch":
        position -= position % steps_per_epoch
    return options.min_lr + (lr - options.min_lr) * (1 + math.cos(math.pi * position / length)) / 2


def _one_cycle(options: OneCycle, position: int, length: int) -> float:
    """Factors as in torch.optim.lr_scheduler.OneCycleLR: the top is reached at step ``rise * length - 1``."""
    start = 1 / options.start_division
    end = start / options.end_division
    top = options.rise * length - 1
    if position <= top:
        return _between(start, 1.0, position / top if top > 0 else 1.0, options.shape)
    down = (position - max(top, 0.0)) / max(length - 1 - max(top, 0.0), 1.0)
    return _between(1.0, end, min(down, 1.0), options.shape)


def _between(start: float, end: float, part: float, shape: str) -> float:
    if shape == "linear":
        return start + (end - start) * part
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _triangle(options: Triangle, position: int, length: int) -> float:
    peak = max(1, int(options.peak * length))
    if position < peak:
        return options.start + (1 - options.start) * position / peak
    return 1 + (options.end - 1) * (position - peak) / max(1, length - peak)


def _reduce_on_plateau(options: Plateau, state: PlateauState, value: float) -> None:
    if _is_better(options, value, state.best):
        state.best = value
        state.bad_epochs = 0
    else:
        state.bad_epochs += 1
    if state.cooldown > 0:
        state.cooldown -= 1
        state.bad_epochs = 0
    if state.bad_epochs <= options.patience:
        return
    reduced = max(state.lr * options.factor, options.min_lr)
    if state.lr - reduced > SMALLEST_REDUCTION:
        state.lr = reduced
    state.cooldown = options.cooldown
    state.bad_epochs = 0


def _is_better(options: Plateau, value: float, best: float | None) -> bool:
    if best is None:
        return not math.isnan(value)
    sign = 1.0 if options.metric.endswith("accuracy") else -1.0
    if options.threshold_mode == "abs":
        return sign * (value - best) > options.threshold
    return value > best * (1 + options.threshold) if sign > 0 else value < best * (1 - options.threshold)
