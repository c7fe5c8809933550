"""Options of early stopping."""

from typing import Literal

from engine.options.base import Options, option
from engine.options.schedule import WatchedMetric


class EarlyStopping(Options):
    """Stop after ``patience`` epochs in a row that were not better than the best one by more than ``min_delta``."""

    metric: WatchedMetric = option("watched_accuracy", "What is looked at after every epoch; watched: of train.watch.")
    patience: int = option(5, "The run ends after so many epochs in a row that brought nothing.", "epochs", ge=1)
    min_delta: float = option(0.1, "By how much an epoch must be better than the best one.", ge=0)
    min_delta_mode: Literal["abs", "rel"] = option("abs", "Whether min_delta is absolute or a part of the best value.")
    warmup: int = option(0, "How many epochs are not counted at the start.", "epochs", ge=0)
