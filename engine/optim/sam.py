"""Sharpness-aware minimisation: step with the gradient taken at the worst weights nearby.

Foret, Kleiner, Mobahi, Neyshabur, ICLR 2021 (arXiv 2010.01412); adaptive: Kwon et al., ICML 2021 (arXiv 2102.11600).
A training step is: forward, backward, ``climb``, forward, backward, ``descend``, and the optimiser's step.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from engine.options.optimizer import Sam as SamOptions

SMALLEST_NORM = 1e-12


class Sam:
    """Moves parameters to the edge of a ball along their gradient and exactly back again. It keeps no state."""

    def __init__(self, options: SamOptions, parameters: Iterable[nn.Parameter]):
        self.options = options
        self.parameters: list[Tensor] = [p for p in parameters if p.requires_grad]
        self._kept = [torch.empty_like(p) for p in self.parameters]

    @torch.no_grad()
    def climb(self) -> None:
        """W + rho g / ||g||, or, adaptive, W + rho W^2 g / ||W g||; clears the gradients for the second pass."""
        torch._foreach_copy_(self._kept, self.parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        if self.options.adaptive:
            gradients = [g * p.abs() for g, p in zip(gradients, self.parameters, strict=True)]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        climb = list(torch._foreach_mul(gradients, self.options.rho / (norm + SMALLEST_NORM)))
        if self.options.adaptive:
            climb = [e * p.abs() for e, p in zip(climb, self.parameters, strict=True)]
        for p, e in zip(self.parameters, climb, strict=True):
            p.add_(e)
            p.grad = None

    @torch.no_grad()
    def descend(self) -> None:
        """Back to the weights before ``climb``, bit for bit; the gradients stay those of the second pass."""
        torch._foreach_copy_(self.parameters, self._kept)


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Within, batch norms do not move their running statistics, which the second pass would count twice."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    tracked = [norm.momentum for norm in norms]
    counted: list[Tensor | None] = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, tracked, counted, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count
