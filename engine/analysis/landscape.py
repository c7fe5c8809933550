"""How smooth a loss is along a training path: what is measured at one step, and how it is drawn.

Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS 2018 (arXiv 1805.11604),
section 3.1 and figure 4.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The source's colours: turquoise without BatchNorm, coral with it.
COLOURS = ("#40e0d0", "#ff7f50")


@dataclass(frozen=True)
class Point:
    """What is known of one step: the least and the greatest loss, change of the gradient (2-norm), and beta."""

    loss_low: float
    loss_high: float
    gradient_low: float
    gradient_high: float
    beta: float


def probe(parameters: Sequence[Tensor], loss_of: Callable[[], Tensor], steps: Sequence[float]) -> Point:
    """Go from the weights w along the gradient g by each of ``steps`` eta, and come back bit for bit.

    Loss landscape: the range of L(w - eta g). Gradient predictiveness: the range of ||g - grad L(w - eta g)||.
    Effective beta-smoothness: the greatest of these over the way ||eta g||. ``loss_of`` computes L at the present
    parameters.
    """
    gradient = torch.autograd.grad(loss_of(), parameters)
    start = [parameter.detach().clone() for parameter in parameters]
    length = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient))))
    losses, changes, betas = [], [], []
    for eta in steps:
        _move(parameters, start, gradient, -eta)
        loss = loss_of()
        there = torch.autograd.grad(loss, parameters)
        change = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(torch._foreach_sub(gradient, there)))))
        losses.append(float(loss.detach()))
        changes.append(change)
        betas.append(change / (eta * length) if length else 0.0)
    _move(parameters, start, gradient, 0.0)
    return Point(min(losses), max(losses), min(changes), max(changes), max(betas))


@torch.no_grad()
def _move(parameters: Sequence[Tensor], start: Sequence[Tensor], direction: Sequence[Tensor], by: float) -> None:
    torch._foreach_copy_(list(parameters), list(start))
    if by:
        torch._foreach_add_(list(parameters), list(direction), alpha=by)


@dataclass
class LayerTrack:
    """Changes of one weight's gradient from step to step, on the batches as they come, as the source measured them.

    With G_t the gradient of step t and w_t the weight before it, ``update`` returns ||G_t - G_(t-1)|| and beta. The
    source divides by ||w_(t+1) - w_t||, the step that follows: it reads the weight after the update, one step late.
    ``aligned`` divides by ||w_t - w_(t-1)||, the way between the two places where the gradients were taken.
    """

    aligned: bool
    gradient: Tensor | None = None
    travelled: float = 0.0

    def update(self, gradient: Tensor, before: Tensor, after: Tensor) -> tuple[float, float]:
        """Take in a step: its gradient, the weight before and after it. NaN where there is no step before."""
        travelled = float((after - before).norm())
        previous, self.gradient = self.gradient, gradient.detach().clone()
        divisor, self.travelled = (self.travelled if self.aligned else travelled), travelled
        if previous is None:
            return math.nan, math.nan
        change = float((gradient - previous).norm())
        return change, change / divisor if divisor else 0.0


def envelope(members: Sequence[Sequence[Point]]) -> list[Point]:
    """At every place the least and greatest over the members, and the greatest beta; not-a-number does not count."""
    return [
        Point(
            _least(point.loss_low for point in points),
            _greatest(point.loss_high for point in points),
            _least(point.gradient_low for point in points),
            _greatest(point.gradient_high for point in points),
            _greatest(point.beta for point in points),
        )
        for points in zip(*members, strict=True)
    ]


def _least(values: Any) -> float:
    return min((value for value in values if math.isfinite(value)), default=math.nan)


def _greatest(values: Any) -> float:
    return max((value for value in values if math.isfinite(value)), default=math.nan)


def network_to_json(name: str, steps: Sequence[int], points: Sequence[Point]) -> dict[str, Any]:
    """The curves of one network: ``step`` and, for each, ``loss`` and ``gradient`` (low, high) and ``beta``."""
    return {
        "name": name,
        "step": list(steps),
        "loss": {"low": [p.loss_low for p in points], "high": [p.loss_high for p in points]},
        "gradient": {"low": [p.gradient_low for p in points], "high": [p.gradient_high for p in points]},
        "beta": [p.beta for p in points],
    }


def draw_band(networks: Sequence[dict[str, Any]], quantity: str, title: str, y: str) -> "Figure":
    """From the least to the greatest ``loss`` or ``gradient`` of each network against the step."""
    figure = figures.new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    for network, colour in zip(networks, COLOURS, strict=True):
        band = network[quantity]
        axes.fill_between(network["step"], band["low"], band["high"], color=colour, alpha=0.6, label=network["name"])
    figures.finish(axes, "Step", y)
    axes.set_title(title)
    return figure


def draw_beta(networks: Sequence[dict[str, Any]], title: str) -> "Figure":
    """The effective beta-smoothness of each network against the step."""
    figure = figures.new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    for network, colour in zip(networks, COLOURS, strict=True):
        axes.plot(network["step"], network["beta"], color=colour, label=network["name"], linewidth=1.4)
    figures.finish(axes, "Step", "Beta")
    axes.set_title(title)
    return figure
