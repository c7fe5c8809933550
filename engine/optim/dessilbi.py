"""DessiLBI: deep structurally splitting linearised Bregman iteration.

Fu, Liu, Li, Sun, Zeng, Yao, ICML 2020 (arXiv 2007.02010). Weights W are coupled to a sparse partner Gamma through
||W - Gamma||^2 / (2 nu); V is the subgradient that lets filters into Gamma one after another (the inclusion path). With
the learning rate a, one iteration is

    W'     = W - kappa a (d + (W - Gamma) / nu)      d: momentum over the gradient of the loss alone
    V'     = V - (a / nu) (Gamma - W)                with the old W
    Gamma' = kappa prox(V')                          group lasso on convolution filters, lasso on linear weights

from V = Gamma = 0. Parameters without a partner (biases, norms) take momentum SGD with the step kappa a.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import UserError
from engine.optim.groups import NamedParameters, parameter_groups
from engine.options.optimizer import DessiLbi as DessiLbiOptions


def shrink_filters(v: Tensor, threshold: float) -> Tensor:
    """Proximal map of the group lasso: max(0, 1 - threshold / ||V_f||) V_f for each filter f of (out, in, h, w)."""
    norms = v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return v * (1 - threshold / norms).clamp(min=0) if threshold else v.clone()


def shrink_entries(v: Tensor, threshold: float) -> Tensor:
    """Proximal map of the lasso: sign(v) max(0, |v| - threshold)."""
    return v.sign() * (v.abs() - threshold).clamp(min=0)


class DessiLbi(Optimizer):
    """The iteration above; all it knows is in its state, so that a resume is exact.

    State of a coupled weight: ``v`` and ``gamma`` of its shape, and ``entered``: after how many steps a filter (out,),
    or an entry of a linear weight (its shape), was first nonzero in Gamma; 0 for never. It is kept in floating point,
    which is exact to 16 million steps, since loading a state casts it to the parameter's type.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], options: DessiLbiOptions):
        super().__init__(groups, {"lr": options.lr, "weight_decay": options.weight_decay})
        self.options = options

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One iteration."""
        for group in self.param_groups:
            for name, parameter in _named(group):
                if parameter.grad is not None:
                    self._step(name, parameter, group["lr"], group["weight_decay"])

    def _step(self, name: str, w: nn.Parameter, lr: float | Tensor, weight_decay: float) -> None:
        options = self.options
        state = self._state(name, w)
        state["iteration"] += 1
        gradient = w.grad if w.grad is not None else torch.zeros_like(w)
        if options.base == "adam_then_sgd":
            w.sub_(self._adam(state, gradient + weight_decay * w) * lr)
        if weight_decay:
            gradient = gradient + weight_decay * w
        direction = self._adam(state, gradient) if options.base == "adam" else self._heavy_ball(state, gradient)
        if "gamma" in state:
            pull = (w - state["gamma"]) / options.nu
            direction = direction + pull
            state["v"].add_(pull * lr)
            state["gamma"].copy_(self._prox(state["v"]) * options.kappa)
            _record_entries(state)
        w.sub_(direction * (options.kappa * lr))

    def _heavy_ball(self, state: dict[str, Tensor], gradient: Tensor) -> Tensor:
        buffer = state["momentum_buffer"].mul_(self.options.momentum).add_(gradient)
        return gradient + self.options.momentum * buffer if self.options.nesterov else buffer

    def _adam(self, state: dict[str, Tensor], gradient: Tensor) -> Tensor:
        beta1, beta2 = self.options.betas
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1) / (1 - beta1 ** state["iteration"])
        square = state["exp_avg_sq"].lerp_(gradient.square(), 1 - beta2) / (1 - beta2 ** state["iteration"])
        return mean / (square.sqrt() + self.options.eps)

    def _prox(self, v: Tensor) -> Tensor:
        if v.dim() == 4:
            return shrink_filters(v, self.options.group_lambda)
        return shrink_entries(v, self.options.lasso_lambda)

    def _state(self, name: str, w: nn.Parameter) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[w]
        if state:
            return state
        state["iteration"] = torch.zeros((), dtype=w.dtype, device=w.device)
        if self.options.base != "adam":
            state["momentum_buffer"] = torch.zeros_like(w)
        if self.options.base != "sgd":
            state["exp_avg"] = torch.zeros_like(w)
            state["exp_avg_sq"] = torch.zeros_like(w)
        if is_coupled(self.options, name, w):
            state["v"] = torch.zeros_like(w)
            state["gamma"] = torch.zeros_like(w)
            state["entered"] = w.new_zeros(len(w)) if w.dim() == 4 else torch.zeros_like(w)
        return state


def is_coupled(options: DessiLbiOptions, name: str, parameter: nn.Parameter) -> bool:
    """Whether this parameter gets a Gamma: a filter bank or a linear weight whose name fits ``options.sparse``."""
    return parameter.dim() in (2, 4) and re.search(options.sparse, name) is not None


def build_dessilbi(options: DessiLbiOptions, named_parameters: NamedParameters) -> Optimizer:
    """DessiLBI over all parameters. Raises UserError where no weight would get a Gamma."""
    if not any(is_coupled(options, name, p) for name, p in named_parameters):
        raise UserError(
            f"optimizer.sparse {options.sparse!r} fits no filter bank or linear weight of this architecture; "
            "leave it empty to take them all"
        )
    return DessiLbi(parameter_groups(options, named_parameters), options)


def _record_entries(state: dict[str, Tensor]) -> None:
    gamma, entered = state["gamma"], state["entered"]
    inside = (gamma != 0).flatten(1).any(dim=1) if gamma.dim() == 4 else gamma != 0
    entered.copy_(torch.where(inside & (entered == 0), state["iteration"], entered))


def _named(group: dict[str, Any]) -> Iterable[tuple[str, nn.Parameter]]:
    return zip(group["param_names"], group["params"], strict=True)
