"""From options and named parameters to an optimiser of torch's.

Every parameter group carries ``lr_scale``: what the schedule's learning rate is multiplied by for it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import UserError
from engine.options.optimizer import Adadelta, Adagrad, Adam, AdamW, OptimizerOptions, RmsProp, Sgd

NamedParameters = list[tuple[str, nn.Parameter]]


def parameter_groups(options: OptimizerOptions, named_parameters: NamedParameters) -> list[dict[str, Any]]:
    """Groups of parameters that share a learning rate and a weight decay, in the order in which they first appear.

    With ``decay: weights`` a parameter of one dimension (biases, norms) does not decay, unless a group says otherwise.
    Raises UserError where a group's pattern fits no parameter.
    """
    _check_patterns(options, [name for name, _ in named_parameters])
    groups: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            groups.setdefault(_rate_and_decay(options, name, parameter), []).append((name, parameter))
    if not groups:
        raise UserError("the model has no parameter to train: give it one, or unfreeze one")
    return [
        {"params": members, "lr": options.lr * scale, "lr_scale": scale, "weight_decay": weight_decay}
        for (scale, weight_decay), members in groups.items()
    ]


def set_learning_rate(optimizer: Optimizer, value: float | Tensor) -> None:
    """Give every group the learning rate ``value`` times its ``lr_scale``.

    A learning rate that is a tensor is written in place, so that a captured graph sees it; ``value`` may then be a scalar
    tensor on the same device, which keeps the host out of the step.
    """
    for group in optimizer.param_groups:
        scaled = value * group["lr_scale"]
        if not isinstance(group["lr"], Tensor):
            group["lr"] = float(scaled)
        elif isinstance(scaled, Tensor):
            group["lr"].copy_(scaled)
        else:
            group["lr"].fill_(scaled)


def use_tensor_learning_rate(optimizer: Optimizer, device: torch.device) -> None:
    """Keep learning rates as float32 scalars on the device and step counters too, as a captured graph needs them."""
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(float(group["lr"]), dtype=torch.float32).to(device)
        if "capturable" in group:
            group["capturable"] = True


def build_sgd(options: Sgd, named_parameters: NamedParameters) -> Optimizer:
    """torch.optim.SGD."""
    return torch.optim.SGD(
        parameter_groups(options, named_parameters),
        momentum=options.momentum,
        dampening=options.dampening,
        nesterov=options.nesterov,
        fused=_can_fuse(named_parameters),
    )


def build_adam(options: Adam, named_parameters: NamedParameters) -> Optimizer:
    """torch.optim.Adam."""
    return _adam(torch.optim.Adam, options, named_parameters)


def build_adamw(options: AdamW, named_parameters: NamedParameters) -> Optimizer:
    """torch.optim.AdamW."""
    return _adam(torch.optim.AdamW, options, named_parameters)


def build_rmsprop(options: RmsProp, named_parameters: NamedParameters) -> Optimizer:
    """torch.optim.RMSprop."""
    return torch.optim.RMSprop(
        parameter_groups(options, named_parameters),
        alpha=options.alpha,
        eps=options.eps,
        momentum=options.momentum,
        centered=options.centered,
        foreach=True,
    )


def build_adagrad(options: Adagrad, named_parameters: NamedParameters) -> Optimizer:
    """torch.optim.Adagrad."""
    return torch.optim.Adagrad(
        parameter_groups(options, named_parameters),
        lr_decay=options.lr_decay,
        eps=options.eps,
        initial_accumulator_value=options.initial_accumulator,
        foreach=True,
    )


def build_adadelta(options: Adadelta, named_parameters: NamedParameters) -> Optimizer:
    """torch.optim.Adadelta."""
    return torch.optim.Adadelta(
        parameter_groups(options, named_parameters), rho=options.rho, eps=options.eps, foreach=True
    )


def _adam(optimizer: Callable[..., Optimizer], options: Adam | AdamW, named_parameters: NamedParameters) -> Optimizer:
    return optimizer(
        parameter_groups(options, named_parameters),
        betas=options.betas,
        eps=options.eps,
        amsgrad=options.amsgrad,
        fused=_can_fuse(named_parameters),
    )


def _can_fuse(named_parameters: NamedParameters) -> bool:
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for _, p in named_parameters)


def _rate_and_decay(options: OptimizerOptions, name: str, parameter: nn.Parameter) -> tuple[float, float]:
    decays = options.decay == "all" or parameter.dim() > 1
    weight_decay = options.weight_decay if decays else 0.0
    for group in options.groups:
        if re.search(group.match, name):
            return group.lr_scale, weight_decay if group.weight_decay is None else group.weight_decay
    return 1.0, weight_decay


def _check_patterns(options: OptimizerOptions, names: Iterable[str]) -> None:
    names = list(names)
    for index, group in enumerate(options.groups):
        if not any(re.search(group.match, name) for name in names):
            raise UserError(
                f"optimizer.groups[{index}].match {group.match!r} fits no parameter of this architecture; "
                f"its parameters are named like {', '.join(names[:4])}"
            )
