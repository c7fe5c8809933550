"""Losses of raw logits (N, classes) against labels (N,) int64 or class probabilities (N, classes) float.

All are computed in float32, whatever the logits came in.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional

from engine.options.loss import BinaryCrossEntropy, CrossEntropy, Huber, LossChoice, MeanSquaredError

Reduction = Literal["mean", "none"]
Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(options: LossChoice, classes: int, reduction: Reduction = "mean") -> Loss:
    """``loss(logits, targets)``: a scalar, the mean over the batch, or with "none" one value an image, (N,)."""
    loss: Loss = options.resolve_builder()(options, classes, reduction)
    return loss


def cross_entropy(options: CrossEntropy, classes: int, reduction: Reduction) -> Loss:
    """Softmax cross-entropy with label smoothing (Szegedy et al. 2016)."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits.float(), targets, reduction=reduction, label_smoothing=options.label_smoothing
        )

    return loss


def mean_squared_error(options: MeanSquaredError, classes: int, reduction: Reduction) -> Loss:
    """Squared error, the mean over batch and classes."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return _over_classes(functional.mse_loss(logits.float(), _probabilities(targets, classes), reduction=reduction))

    return loss


def binary_cross_entropy(options: BinaryCrossEntropy, classes: int, reduction: Reduction) -> Loss:
    """Sigmoid cross-entropy, the mean over batch and classes."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        probabilities = _probabilities(targets, classes)
        return _over_classes(
            functional.binary_cross_entropy_with_logits(logits.float(), probabilities, reduction=reduction)
        )

    return loss


def huber(options: Huber, classes: int, reduction: Reduction) -> Loss:
    """Huber's loss, the mean over batch and classes."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        probabilities = _probabilities(targets, classes)
        return _over_classes(
            functional.huber_loss(logits.float(), probabilities, reduction=reduction, delta=options.delta)
        )

    return loss


def _probabilities(targets: Tensor, classes: int) -> Tensor:
    return targets.float() if targets.is_floating_point() else functional.one_hot(targets, classes).float()


def _over_classes(values: Tensor) -> Tensor:
    return values.mean(dim=1) if values.dim() == 2 else values
