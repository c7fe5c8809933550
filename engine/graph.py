"""One CUDA graph of the whole training step, so that the host issues a single launch where it issued hundreds.

Inside: choose the batch by a counter on the device, augment, forward, backward, optimiser with its learning rates read
from a table, meters. Outside stay what depends on Python numbers of the step: averages of weights, lookahead, and
learning rates that follow a metric. After "CUDA graphs" in the PyTorch manual, section "Whole-network capture".
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.augment import EpochPlan
from engine.checkpoint import restore_rng_state, rng_state
from engine.optim.composite import Composite
from engine.optim.groups import (
    follow_schedule,
    learning_rate_table,
    normalizing_table,
    set_learning_rates,
    set_normalizing,
    use_tensor_learning_rates,
)
from engine.schedules import Schedule

WARMUP_STEPS = 3


class Stepping(Protocol):
    """What the graph needs of a training."""

    device: torch.device
    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule

    def advance(self, index: Tensor, plan: EpochPlan, step: Tensor | int) -> None:
        """The device's share of one step."""

    def device_state(self) -> Iterator[Tensor]:
        """Every tensor that a step changes in place."""


class DeviceStep:
    """A step whose every input lies on the device: the batch's position, the step's number, the learning rates.

    Called without capture it is the plain step with other bookkeeping, which is how a test holds it to its counterpart.
    """

    def __init__(self, training: Stepping, plan: EpochPlan, batch_size: int) -> None:
        self._training = training
        self._plan = EpochPlan(plan.order.clone(), tuple({k: v.clone() for k, v in d.items()} for d in plan.draws))
        self._source: EpochPlan | None = None
        self._size = batch_size
        self._offsets = torch.arange(batch_size, device=training.device)
        self._position = torch.zeros((), dtype=torch.int64, device=training.device)
        self._step = torch.zeros((), dtype=torch.int64, device=training.device)
        self._expected = (0, 0)
        use_tensor_learning_rates(training.optimizer, training.device)
        self._table = learning_rate_table(training.optimizer, training.schedule, training.device)
        self._normalizing = normalizing_table(training.optimizer, training.schedule, training.device)

    def point_at(self, plan: EpochPlan, position: int, step: int) -> None:
        """Say which step comes next; costs nothing while steps follow one another."""
        if plan is not self._source:
            self._plan.copy_(plan)
            self._source = plan
        if (position, step) != self._expected:
            self._position.fill_(position)
            self._step.fill_(step)
        if self._table is None:
            follow_schedule(self._training.optimizer, self._training.schedule, step)
        self._expected = (position + 1, step + 1)

    def run(self) -> None:
        """The step itself, and the counters moved on."""
        if self._table is not None:
            set_learning_rates(self._training.optimizer, self._table.index_select(0, self._step[None])[0])
        if self._normalizing is not None:
            set_normalizing(self._training.optimizer, self._normalizing.index_select(0, self._step[None])[0])
        index = self._plan.order.index_select(0, self._position * self._size + self._offsets)
        self._training.advance(index, self._plan, self._step)
        self._position += 1
        self._step += 1


class GraphedStep:
    """A ``DeviceStep`` captured once and replayed. Raises RuntimeError when the step cannot be captured."""

    def __init__(self, training: Stepping, plan: EpochPlan, batch_size: int) -> None:
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(training.device)  # type: ignore[no-untyped-call]
        with untouched(training):
            self._step = DeviceStep(training, plan, batch_size)
            self._warm_up(training, plan, stream)
            with torch.cuda.graph(self._graph, stream=stream):
                self._step.run()
            self._gradients = [(parameter, parameter.grad) for parameter in training.model.parameters()]

    def __call__(self, plan: EpochPlan, position: int, step: int) -> None:
        """Take the step at ``position`` of ``plan``."""
        self._step.point_at(plan, position, step)
        self._graph.replay()

    def adopt_gradients(self) -> None:
        """Let the parameters hold the graph's own gradients again, after a step that was taken outside of it."""
        for parameter, gradient in self._gradients:
            parameter.grad = gradient

    def _warm_up(self, training: Stepping, plan: EpochPlan, stream: torch.cuda.Stream) -> None:
        """Let cuDNN choose, compilers compile and the optimiser make its state, on the stream of the capture, where
        libraries make their handles too. Always with the first batch: there may be no second.
        """
        stream.wait_stream(torch.cuda.current_stream(training.device))
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_STEPS):
                self._step.point_at(plan, 0, 0)
                self._step.run()
        torch.cuda.current_stream(training.device).wait_stream(stream)
        # Gradients that the capture makes anew lie in the graph's own memory.
        training.optimizer.zero_grad(set_to_none=True)


@contextlib.contextmanager
def untouched(training: Stepping) -> Iterator[None]:
    """Steps taken within leave no trace in weights, statistics, meters, optimiser and generators, not even by failing.

    All is put back in place. An optimiser that had taken no step yet had no state; zeros in it are the same to every
    optimiser that ``can_capture`` lets through.
    """
    generators = rng_state(training.device)
    kept = [tensor.clone() for tensor in training.device_state()]
    first_time = not list(optimizer_tensors(training.optimizer))
    try:
        yield
    finally:
        if training.device.type == "cuda":
            torch.cuda.synchronize(training.device)  # after a failure steps may still be under way on another stream
        if first_time:
            for tensor in optimizer_tensors(training.optimizer):
                tensor.zero_()
        for tensor, before in zip(training.device_state(), kept, strict=False):
            tensor.copy_(before)
        restore_rng_state(generators, training.device)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _tensors(entry)


def optimizer_tensors(optimizer: Optimizer) -> Iterator[Tensor]:
    """Every tensor of an optimiser's state, or of all its members' states, in a fixed order."""
    members = optimizer.optimizers if isinstance(optimizer, Composite) else [optimizer]
    for member in members:
        yield from _tensors(dict(member.state))
