"""Options of the losses, discriminated by ``kind``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from engine.options.base import Buildable, option


class CrossEntropy(Buildable):
    """Softmax cross-entropy, the mean over the batch."""

    builder: ClassVar[str] = "engine.losses:cross_entropy"
    kind: Literal["cross_entropy"] = option("cross_entropy", "Softmax cross-entropy.")
    label_smoothing: float = option(0.0, "The part of the target that is spread over all classes.", ge=0, lt=1)


class MeanSquaredError(Buildable):
    """Squared distance of the raw logits from the one-hot target."""

    builder: ClassVar[str] = "engine.losses:mean_squared_error"
    kind: Literal["mse"] = option("mse", "Mean squared error of the raw logits against the one-hot target.")


class BinaryCrossEntropy(Buildable):
    """One sigmoid cross-entropy a class."""

    builder: ClassVar[str] = "engine.losses:binary_cross_entropy"
    kind: Literal["bce"] = option("bce", "Sigmoid cross-entropy of every class against the one-hot target.")


class Huber(Buildable):
    """Squared near the target, linear far from it."""

    builder: ClassVar[str] = "engine.losses:huber"
    kind: Literal["huber"] = option("huber", "Huber loss of the raw logits against the one-hot target.")
    delta: float = option(1.0, "The distance at which the loss turns from squared to linear.", gt=0)


LossChoice = Annotated[CrossEntropy | MeanSquaredError | BinaryCrossEntropy | Huber, Field(discriminator="kind")]
