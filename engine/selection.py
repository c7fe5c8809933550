"""The hardest images of every batch, chosen by a small proxy network that trains beside the main one.

After airbench96 (Jordan 2024), which trains the proxy first and keeps what it chose: with the same images in the same
order, step by step, the choice is the same, and there is nothing to keep.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.device import Runtime
from engine.losses import Loss
from engine.optim.groups import follow_schedule
from engine.options.selection import Selection
from engine.schedules import Schedule


class HardExamples:
    """Chooses, and lets its proxy learn from what it chose; ``loss`` gives one value an image."""

    def __init__(
        self,
        options: Selection,
        proxy: nn.Module,
        optimizer: Optimizer,
        schedule: Schedule,
        loss: Loss,
        runtime: Runtime,
    ) -> None:
        self.options = options
        self.proxy = proxy
        self.forward: Callable[[Tensor], Tensor] = proxy
        self.optimizer = optimizer
        self.schedule = schedule
        self.loss = loss
        self.runtime = runtime

    def choose(self, images: Tensor, targets: Tensor, step: int) -> Tensor:
        """Positions (k,) in the batch ``images`` (n, C, H, W) of the ``keep * n`` images of largest loss, by rising
        position."""
        learns = step % self.options.every == 0
        with torch.set_grad_enabled(learns):
            with self.runtime.autocast:
                logits = self.forward(images)
            losses = self.loss(logits, targets)
        count = max(1, round(self.options.keep * len(images)))
        hardest = losses.detach().topk(count, sorted=False).indices.sort().values
        if learns:
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(losses[hardest].mean())
            follow_schedule(self.optimizer, self.schedule, step)
            self.optimizer.step()
        return hardest

    def state_dict(self) -> dict[str, Any]:
        """The proxy and its optimiser."""
        return {"proxy": self.proxy.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        self.proxy.load_state_dict(state["proxy"])
        self.optimizer.load_state_dict(state["optimizer"])
