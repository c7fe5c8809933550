"""Several optimisers that step as one."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Composite(Optimizer):
    """Optimisers of disjoint parameters behind the interface of one: their groups in a row, their states in a list."""

    def __init__(self, optimizers: list[Optimizer]):
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of each."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """The members' states, in order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        # Loading replaces the members' group dictionaries.
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
