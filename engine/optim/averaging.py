"""Averages of weights over a run: the exponential moving average and lookahead."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.options.averaging import Ema as EmaOptions
from engine.options.averaging import Lookahead as LookaheadOptions


class Ema:
    """An exponential moving average of a model's parameters; its buffers (running statistics) are only copied."""

    def __init__(self, options: EmaOptions, model: nn.Module):
        self.options = options
        self.updates = 0
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._learned = [name for name, _ in model.named_parameters()]

    @property
    def decay(self) -> float:
        """How much of the average the next update keeps."""
        if not self.options.warmup:
            return self.options.decay
        return min(self.options.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after the step with this index, counted from 0, when its turn has come."""
        if (step + 1) % self.options.every:
            return
        current = model.state_dict()
        learned = [current.pop(name) for name in self._learned]
        torch._foreach_lerp_([self.average[name] for name in self._learned], learned, 1 - self.decay)
        for name, buffer in current.items():
            self.average[name].copy_(buffer)
        self.updates += 1

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Within, the model holds the average; after, its own weights again, bit for bit."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def state_dict(self) -> dict[str, Any]:
        """Updates made so far, and the average: the same names as the model's own state."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        self.updates = state["updates"]
        _copy_into(self.average, state["average"])

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(kept)


class Lookahead:
    """Lookahead's slow weights, of parameters and floating buffers alike, as airbench keeps them."""

    def __init__(self, options: LookaheadOptions, model: nn.Module, total_steps: int):
        self.options = options
        self.total_steps = total_steps
        self.slow = {name: tensor.detach().clone() for name, tensor in _floating(model).items()}

    def update(self, model: nn.Module, step: int) -> None:
        """After the step with this index, counted from 0: when its turn has come, pull the slow weights, go there."""
        done = step + 1
        if done % self.options.every == 0:
            rise = (done / self.total_steps) ** self.options.power
            self._pull(model, rise * self.options.decay**self.options.every)

    def finish(self, model: nn.Module) -> None:
        """After the last step: the model takes the slow weights."""
        self._pull(model, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """The slow weights, by name."""
        return {"slow": self.slow}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        _copy_into(self.slow, state["slow"])

    @torch.no_grad()
    def _pull(self, model: nn.Module, decay: float) -> None:
        fast = list(_floating(model).values())
        slow = list(self.slow.values())
        torch._foreach_lerp_(slow, fast, 1 - decay)
        torch._foreach_copy_(fast, slow)


def _floating(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


@torch.no_grad()
def _copy_into(own: dict[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    for name, tensor in own.items():
        tensor.copy_(saved[name])
