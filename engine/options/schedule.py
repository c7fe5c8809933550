"""Options of the learning-rate schedules, discriminated by ``kind``, and of the warm-up before any of them."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.options.base import Floats, Options, option

WatchedMetric = Literal["watched_loss", "watched_accuracy", "train_loss", "train_accuracy"]


class Constant(Options):
    """The learning rate stays where it is."""

    kind: Literal["constant"] = option("constant", "The learning rate stays as it is.")


class MultiStep(Options):
    """He et al. 2016: divide at fixed moments."""

    kind: Literal["multistep"] = option("multistep", "The learning rate is multiplied by a factor at each milestone.")
    milestones: Floats = option(..., "When the learning rate changes, counted from the start of the run.", min_length=1)
    unit: Literal["epochs", "steps"] = option("epochs", "What the milestones are counted in.")
    factor: float = option(0.1, "What the learning rate is multiplied by at a milestone.", gt=0, le=1)

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        rising = all(earlier < later for earlier, later in pairwise(self.milestones))
        if self.milestones[0] <= 0 or not rising:
            raise ValueError(f"milestones are positive and rising, found {list(self.milestones)}")
        return self


class Cosine(Options):
    """Loshchilov and Hutter 2017, one period without restarts."""

    kind: Literal["cosine"] = option("cosine", "Half a cosine from the learning rate down to min_lr at the end.")
    min_lr: float = option(0.0, "The learning rate at the end.", ge=0)
    every: Literal["step", "epoch"] = option("step", "How often the learning rate moves along the curve.")


class OneCycle(Options):
    """Smith and Topin 2018: up to the learning rate, then far down."""

    kind: Literal["one_cycle"] = option("one_cycle", "Rises to the learning rate, then falls far below where it began.")
    rise: float = option(0.3, "The part of the run in which the learning rate rises.", gt=0, lt=1)
    start_division: float = option(25.0, "The run begins at the learning rate divided by this.", ge=1)
    end_division: float = option(1e4, "The run ends at its first learning rate divided by this.", ge=1)
    shape: Literal["cosine", "linear"] = option("cosine", "How it moves between the three points.")


class Linear(Options):
    """A straight line, as the record runs of airbench use it."""

    kind: Literal["linear"] = option("linear", "A straight line from the learning rate to a part of it at the end.")
    end: float = option(0.0, "The learning rate after the last step, as a part of the first.", ge=0, le=1)


class Triangle(Options):
    """Two straight lines, as in airbench's SGD recipes."""

    kind: Literal["triangle"] = option("triangle", "A straight line up to the learning rate and another one down.")
    start: float = option(0.2, "Where it begins, as a part of the learning rate.", ge=0, le=1)
    peak: float = option(0.23, "The part of the run after which it stands at the learning rate.", gt=0, lt=1)
    end: float = option(0.07, "Where it ends, as a part of the learning rate.", ge=0, le=1)


class Plateau(Options):
    """Reduce when a metric has stopped getting better; the rule of torch.optim.lr_scheduler.ReduceLROnPlateau."""

    kind: Literal["plateau"] = option("plateau", "Reduced when a metric has stopped getting better.")
    metric: WatchedMetric = option("watched_loss", "What is looked at after every epoch; watched: of train.watch.")
    factor: float = option(0.1, "What the learning rate is multiplied by.", gt=0, lt=1)
    patience: int = option(10, "How many epochs without improvement are borne; the next one reduces.", "epochs", ge=0)
    cooldown: int = option(0, "How many epochs after a reduction are not counted.", "epochs", ge=0)
    threshold: float = option(1e-4, "By how much a metric must be better to count as improved.", ge=0)
    threshold_mode: Literal["rel", "abs"] = option("rel", "Whether threshold is absolute or a part of the best value.")
    min_lr: float = option(0.0, "The learning rate is never reduced below this.", ge=0)


ScheduleChoice = Annotated[
    Constant | MultiStep | Cosine | OneCycle | Linear | Triangle | Plateau, Field(discriminator="kind")
]


class Ending(Options):
    """An early end for some parameters, as airbench ends the bias of its first layer after three epochs."""

    epoch: float = option(..., "Their learning rate is 0 from here on.", "epochs", gt=0)
    fade: bool = option(True, "Fall to it on a straight line from the start, in place of following the schedule.")


class Warmup(Options):
    """A linear rise before the schedule, or a wait at a small learning rate until the network has begun to learn."""

    epochs: float = option(0.0, "How long the learning rate rises.", "epochs", ge=0)
    steps: int = option(0, "How long the learning rate rises, when counted in steps.", "steps", ge=0)
    start: float = option(0.1, "Where it begins, as a part of the learning rate.", ge=0, le=1)
    until_accuracy: float | None = option(
        None, "Stay at the start until the training accuracy reaches this (He's ResNet-110: 20).", "%", gt=0, lt=100
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if sum((self.epochs > 0, self.steps > 0, self.until_accuracy is not None)) > 1:
            raise ValueError("a warm-up is given in epochs, in steps or by until_accuracy: choose one")
        return self
