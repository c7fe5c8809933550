"""Muon: momentum SGD whose step on a matrix is the nearest orthogonal matrix, for filter banks as well.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024 (kellerjordan.github.io/posts/muon).
torch.optim.Muon takes matrices only; here a filter bank (out, in, height, width) counts as the matrix
(out, in * height * width), and all matrices of one shape go through Newton-Schulz in one batch.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import UserError
from engine.optim.builders import can_fuse
from engine.optim.composite import Composite
from engine.optim.groups import NamedParameters, check_parameters, grouped
from engine.options.optimizer import Interval, RestBySgd
from engine.options.optimizer import Muon as MuonOptions

SMALLEST_NORM = 1e-7
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def orthogonalize(matrices: Tensor, steps: int, coefficients: tuple[float, float, float], dtype: torch.dtype) -> Tensor:
    """U V^T of each matrix U S V^T, nearly: (batch, rows, columns) to the same shape, in ``dtype``.

    An iteration takes every singular value x to a x + b x^3 + c x^5, with the ``coefficients`` a, b, c.
    """
    a, b, c = coefficients
    tall = matrices.size(1) > matrices.size(2)
    # Gradients are smaller than the smallest numbers of fp16; once they are divided by their norm they fit.
    x = matrices if dtype is torch.float16 else matrices.to(dtype)
    x = x.mT if tall else x
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(Optimizer):
    """Muon over parameters of two or more dimensions; weight decay is taken from the weights themselves."""

    def __init__(self, groups: Iterable[dict[str, Any]], options: MuonOptions):
        super().__init__(groups, {"lr": options.lr, "weight_decay": options.weight_decay})
        self.options = options
        self.dtype = DTYPES[options.precision]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every group."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._step(parameters, group)

    def _step(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        options, lr = self.options, group["lr"]
        directions = self._directions(parameters)
        if options.normalize_filters:
            _normalize(parameters, group.get("normalize", True))
        if options.decay_order == "before":
            _decay(parameters, lr, group["weight_decay"])
        for shape, indices in _by_matrix_shape(parameters).items():
            matrices = torch.stack([directions[i].flatten(1) for i in indices])
            updates = orthogonalize(
                matrices, options.newton_schulz_steps, options.newton_schulz_coefficients, self.dtype
            )
            scaled = updates.to(matrices.dtype) * (-lr * _scale(options.scale, *shape))
            for i, update in zip(indices, scaled.unbind(), strict=True):
                parameters[i].add_(update.view(parameters[i].shape))
        if options.decay_order == "after":
            _decay(parameters, lr, group["weight_decay"])

    def _directions(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        momentum = self.options.momentum
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffers = [self._buffer(p) for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, buffers, momentum)) if self.options.nesterov else buffers

    def _buffer(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def build_muon(options: MuonOptions, named_parameters: NamedParameters) -> Optimizer:
    """Muon for the matrices, and ``options.rest`` for everything else, as one optimiser.

    Raises UserError where the model has no such matrix.
    """
    check_parameters(options, named_parameters)
    matrices = [(name, p) for name, p in named_parameters if p.requires_grad and _is_for_muon(options, name, p)]
    if not matrices:
        raise UserError(
            "optimizer.algorithm muon finds no matrix to train in this architecture: "
            "set optimizer.matrices to all, or loosen optimizer.exclude"
        )
    groups = grouped(options, matrices)
    if options.normalize_every != Interval():
        groups = [{**group, "normalize_every": options.normalize_every.model_dump()} for group in groups]
    muon = Muon(groups, options)
    chosen = {name for name, _ in matrices}
    rest = [(name, p) for name, p in named_parameters if p.requires_grad and name not in chosen]
    return Composite([muon, _build_rest(options, rest)] if rest else [muon])


def _build_rest(options: MuonOptions, named_parameters: NamedParameters) -> Optimizer:
    rest = options.rest
    groups = grouped(options, named_parameters, rest.lr / options.lr, rest.weight_decay)
    fused = can_fuse(named_parameters)
    if isinstance(rest, RestBySgd):
        return torch.optim.SGD(groups, momentum=rest.momentum, nesterov=rest.nesterov, fused=fused)
    return torch.optim.AdamW(groups, betas=rest.betas, eps=rest.eps, fused=fused)


def _is_for_muon(options: MuonOptions, name: str, parameter: nn.Parameter) -> bool:
    if options.exclude is not None and re.search(options.exclude, name):
        return False
    return parameter.dim() == 4 or (parameter.dim() >= 2 and options.matrices == "all")


def _normalize(parameters: list[nn.Parameter], now: bool | Tensor) -> None:
    """Rescale filter banks to a norm of filters^.5 if ``now``, which is a tensor () where the device decides."""
    if now is False:
        return
    for p in parameters:
        factor = len(p) ** 0.5 / p.norm()
        if isinstance(now, Tensor):
            factor = torch.where(now.to(p.device), factor, torch.ones_like(factor))
        p.mul_(factor)


def _decay(parameters: list[nn.Parameter], lr: float | Tensor, weight_decay: float) -> None:
    if weight_decay:
        for p in parameters:
            p.mul_(1 - lr * weight_decay)


def _by_matrix_shape(parameters: list[nn.Parameter]) -> dict[tuple[int, int], list[int]]:
    """Which parameters have the same (rows, columns); in one batch they cost little more than one of them alone."""
    indices: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, p in enumerate(parameters):
        indices[len(p), p.numel() // len(p)].append(i)
    return indices


def _scale(scale: str, rows: int, columns: int) -> float:
    if scale == "original":
        return math.sqrt(max(1.0, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns)) if scale == "match_rms_adamw" else 1.0
