"""Parameter groups: who learns at which rate and decays how much, and how a schedule is written into them.

Every group of an optimiser carries ``lr_scale``, what the schedule's learning rate is multiplied by for it, and
``ending``, where its training ends before the run's (the fields of an Ending, or None). Where Muon rescales filters in
some steps only, its groups carry ``normalize_every`` (the fields of an Interval) and ``normalize``, whether the next
step is one of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import UserError
from engine.options.optimizer import Interval, OptimizerOptions
from engine.options.schedule import Ending
from engine.schedules import Schedule, occasions

NamedParameters = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class Treatment:
    """What parameters of one group share."""

    lr_scale: float
    weight_decay: float
    ending: Ending | None


def parameter_groups(options: OptimizerOptions, named_parameters: NamedParameters) -> list[dict[str, Any]]:
    """The groups of one optimiser of all these parameters.

    Raises UserError where there is nothing to train or a pattern of ``options.groups`` fits no parameter.
    """
    check_parameters(options, named_parameters)
    return grouped(options, named_parameters)


def grouped(
    options: OptimizerOptions,
    named_parameters: NamedParameters,
    lr_scale: float = 1.0,
    weight_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Groups of parameters that are treated alike, in the order in which they first appear; frozen ones are left out.

    ``lr_scale`` and ``weight_decay`` are those of parameters that no pattern of ``options.groups`` fits; a pattern's
    scale multiplies ``lr_scale``. With ``decay: weights`` a parameter of one dimension (biases, norms) does not decay,
    unless a pattern says otherwise.
    """
    base = options.weight_decay if weight_decay is None else weight_decay
    groups: dict[Treatment, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            treatment = _treatment(options, name, parameter, lr_scale, base)
            groups.setdefault(treatment, []).append((name, parameter))
    return [
        {
            "params": members,
            "lr": options.lr * treatment.lr_scale,
            "lr_scale": treatment.lr_scale,
            "weight_decay": treatment.weight_decay,
            "ending": treatment.ending.model_dump() if treatment.ending else None,
        }
        for treatment, members in groups.items()
    ]


def check_parameters(options: OptimizerOptions, named_parameters: NamedParameters) -> None:
    """Raises UserError where there is nothing to train or a pattern of ``options.groups`` fits no parameter."""
    if not any(parameter.requires_grad for _, parameter in named_parameters):
        raise UserError("the model has no parameter to train: unfreeze a layer, or choose another architecture")
    names = [name for name, _ in named_parameters]
    for index, group in enumerate(options.groups):
        if not any(re.search(group.match, name) for name in names):
            raise UserError(
                f"optimizer.groups[{index}].match {group.match!r} fits no parameter of this architecture; "
                f"its parameters are named like {', '.join(names[:4])}"
            )


def set_learning_rates(optimizer: Optimizer, rates: Sequence[float | Tensor] | Tensor) -> None:
    """Give every group its own learning rate: one number a group, or a row of ``learning_rate_table``, (groups,).

    A learning rate that is a tensor is written in place, so that a captured graph sees it; a rate that is a tensor on
    the same device keeps the host out of the step.
    """
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if not isinstance(group["lr"], Tensor):
            group["lr"] = float(rate)
        elif isinstance(rate, Tensor):
            group["lr"].copy_(rate)
        else:
            group["lr"].fill_(rate)


def set_normalizing(optimizer: Optimizer, now: bool | Tensor) -> None:
    """Tell the groups with ``normalize_every`` whether filters are rescaled in the next step.

    As a learning rate, what is a tensor is written in place.
    """
    for group in _normalized_at_intervals(optimizer):
        if not isinstance(group.get("normalize"), Tensor):
            group["normalize"] = bool(now)
        elif isinstance(now, Tensor):
            group["normalize"].copy_(now)
        else:
            group["normalize"].fill_(now)


def follow_schedule(optimizer: Optimizer, schedule: Schedule, step: int) -> None:
    """Give every group what the step with this index, counted from 0, is to be taken with."""
    set_learning_rates(optimizer, learning_rates(optimizer, schedule, step))
    normalizing = normalizing_steps(optimizer, schedule)
    if normalizing is not None:
        set_normalizing(optimizer, normalizing[step])


def learning_rates(optimizer: Optimizer, schedule: Schedule, step: int) -> list[float]:
    """The learning rate of every group at a step counted from 0, endings included."""
    return [_group_rate(group, schedule, step) for group in optimizer.param_groups]


def learning_rate_table(optimizer: Optimizer, schedule: Schedule, device: torch.device) -> Tensor | None:
    """Every step's learning rates, (steps, groups) float32, or None where they also depend on metrics."""
    if not schedule.is_pure:
        return None
    rows = [learning_rates(optimizer, schedule, step) for step in range(schedule.total_steps)]
    return torch.tensor(rows, dtype=torch.float32).to(device)


def normalizing_steps(optimizer: Optimizer, schedule: Schedule) -> tuple[bool, ...] | None:
    """For every step whether filters are rescaled in it, or None where that is so in all steps or in none."""
    interval = next((group["normalize_every"] for group in _normalized_at_intervals(optimizer)), None)
    return occasions(Interval(**interval), schedule.total_steps) if interval else None


def normalizing_table(optimizer: Optimizer, schedule: Schedule, device: torch.device) -> Tensor | None:
    """``normalizing_steps`` as a tensor, (steps,) bool."""
    steps = normalizing_steps(optimizer, schedule)
    return None if steps is None else torch.tensor(steps).to(device)


def can_capture(optimizer: Optimizer) -> bool:
    """Whether a step can be captured in a CUDA graph.

    Not torch's Adagrad, which reads its step counter on the host, nor SGD with dampening, whose first step is another
    than those that follow: it takes the whole gradient.
    """
    return not any("lr_decay" in group or group.get("dampening") for group in optimizer.param_groups)


def use_tensor_learning_rates(optimizer: Optimizer, device: torch.device) -> None:
    """Keep learning rates as float32 scalars on the device, and step counters too, as a captured graph needs them.

    To be called before the first step, or after a state has been loaded.
    """
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(float(group["lr"]), dtype=torch.float32).to(device)
        if "capturable" in group:
            group["capturable"] = device.type == "cuda"
    for group in _normalized_at_intervals(optimizer):
        group["normalize"] = torch.tensor(False).to(device)


def _normalized_at_intervals(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [group for group in optimizer.param_groups if "normalize_every" in group]


def _group_rate(group: dict[str, Any], schedule: Schedule, step: int) -> float:
    ending = Ending(**group["ending"]) if group["ending"] else None
    return schedule.learning_rate(step, ending) * float(group["lr_scale"])


def _treatment(
    options: OptimizerOptions, name: str, parameter: nn.Parameter, lr_scale: float, weight_decay: float
) -> Treatment:
    decay = weight_decay if options.decay == "all" or parameter.dim() > 1 else 0.0
    for group in options.groups:
        if re.search(group.match, name):
            group_decay = decay if group.weight_decay is None else group.weight_decay
            return Treatment(lr_scale * group.lr_scale, group_decay, group.ending)
    return Treatment(lr_scale, decay, None)
