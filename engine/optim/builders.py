"""torch's own optimisers from their options, for parameters that are already on their device.

Fused kernels are used where torch has them (one kernel a group), the multi-tensor ones otherwise.
"""

from collections.abc import Callable

import torch
from torch.optim import Optimizer

from engine.optim.groups import NamedParameters, parameter_groups
from engine.options.optimizer import Adadelta, Adagrad, Adam, AdamW, RmsProp, Sgd


def build_sgd(options: Sgd, named_parameters: NamedParameters) -> Optimizer:
    """torch.optim.SGD."""
    return torch.optim.SGD(
        parameter_groups(options, named_parameters),
        momentum=options.momentum,
        dampening=options.dampening,
        nesterov=options.nesterov,
        fused=can_fuse(named_parameters),
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


def can_fuse(named_parameters: NamedParameters) -> bool:
    """Whether torch has fused kernels for parameters on this device."""
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for _, p in named_parameters)


def _adam(optimizer: Callable[..., Optimizer], options: Adam | AdamW, named_parameters: NamedParameters) -> Optimizer:
    return optimizer(
        parameter_groups(options, named_parameters),
        betas=options.betas,
        eps=options.eps,
        amsgrad=options.amsgrad,
        fused=can_fuse(named_parameters),
    )
