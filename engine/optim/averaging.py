"""Averages of weights over a run: the exponential moving average and lookahead."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.options.averaging import Ema as EmaOptions
from engine.options.averaging import Lookahead as LookaheadOptions


class LiveTensors:
    """A model's own tensors in two lists, parameters and buffers, in the order of given names.

    ``state_dict`` walks every module, which costs as much as a small network's step; so the lists are kept.
    """

    def __init__(self, model: nn.Module, names: Collection[str]):
        self.model = model
        parameters = dict(model.named_parameters(remove_duplicate=False))
        buffers = dict(model.named_buffers(remove_duplicate=False))
        self.parameters: list[Tensor] = [parameters[name] for name in names if name in parameters]
        self.buffers: list[Tensor] = [buffers[name] for name in names if name in buffers]


class Ema:
    """An exponential moving average of a model's parameters; its buffers (running statistics) are only copied."""

    def __init__(self, options: EmaOptions, model: nn.Module):
        self.options = options
        self.updates = 0
        self.average = _copy_of(model.state_dict())
        learned = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self._learned = [tensor for name, tensor in self.average.items() if name in learned]
        self._copied = [tensor for name, tensor in self.average.items() if name not in learned]
        self._live = LiveTensors(model, self.average)

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
        live = self._live_of(model)
        torch._foreach_lerp_(self._learned, live.parameters, 1 - self.decay)
        if live.buffers:
            torch._foreach_copy_(self._copied, live.buffers)
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

    def _live_of(self, model: nn.Module) -> LiveTensors:
        if self._live.model is not model:
            self._live = LiveTensors(model, self.average)
        return self._live

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
        self.slow = _copy_of(_floating(model))

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


def _copy_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@torch.no_grad()
def _copy_into(own: dict[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    for name, tensor in own.items():
        tensor.copy_(saved[name])
