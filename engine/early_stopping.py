"""Early stopping, without torch."""

import math
from collections.abc import Mapping
from typing import Any

from engine.options.early_stopping import EarlyStopping as EarlyStoppingOptions
from engine.schedules import watched_value


class EarlyStopping:
    """Counts epochs in a row that were not better than the best one by more than ``min_delta``.

    The best value moves only when an epoch is good, so that many small gains add up to a good one.
    """

    def __init__(self, options: EarlyStoppingOptions):
        self.options = options
        self.epochs = 0
        self.best: float | None = None
        self.bad_epochs = 0

    @property
    def should_stop(self) -> bool:
        """Whether ``patience`` bad epochs have come in a row."""
        return self.bad_epochs >= self.options.patience

    def observe(self, metrics: Mapping[str, float]) -> bool:
        """Take in the metrics of an epoch that has ended; True says that the run should stop."""
        value = watched_value(metrics, self.options.metric, "train.early_stopping")
        self.epochs += 1
        if self._is_good(value):
            self.best = value
            self.bad_epochs = 0
        elif self.epochs > self.options.warmup:
            self.bad_epochs += 1
        return self.should_stop

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beside the options."""
        return {"epochs": self.epochs, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        self.epochs = state["epochs"]
        self.best = state["best"]
        self.bad_epochs = state["bad_epochs"]

    def _is_good(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        gain = value - self.best if self.options.metric.endswith("accuracy") else self.best - value
        relative = self.options.min_delta_mode == "rel"
        return gain > self.options.min_delta * (abs(self.best) if relative else 1.0)
