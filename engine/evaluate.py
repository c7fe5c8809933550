"""Accuracy and loss of a network on a set it does not learn from, and the full account of the test set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.device import Runtime
from engine.losses import Loss

Views = Literal["none", "flip", "flip_translate", "flip_translate_even"]
# Weight of the image and of its mirror, and of each of the four shifted views.
VIEW_WEIGHTS: dict[Views, tuple[float, float]] = {
    "flip": (1 / 2, 0.0),
    "flip_translate": (1 / 4, 1 / 8),
    "flip_translate_even": (1 / 6, 1 / 6),
}
Normalise = Callable[[Tensor], Tensor]
WORST_KEPT = 200
CALIBRATION_BINS = 15


class LeftError(Exception):
    """The evaluation was left before its end, because that was asked for."""


@dataclass(frozen=True)
class Score:
    """Loss per image and accuracy in percent."""

    loss: float
    accuracy: float


@torch.inference_mode()
def logits_of(
    model: nn.Module,
    images: Tensor,
    normalise: Normalise,
    runtime: Runtime,
    batch_size: int,
    views: Views = "none",
    share: float = 1.0,
    leave: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Logits (N, classes) float32 for ``images`` (N, H, W, C) uint8, in evaluation mode, on their device.

    With ``share`` below 1 only that part of the images, those of least confidence, is looked at in several views.

    Raises:
        LeftError: ``leave``, asked before every batch, said so.
    """

    def logits(some: Tensor, views: Views) -> Tensor:
        parts = []
        for batch in torch.split(some, batch_size):
            if leave():
                raise LeftError
            parts.append(_forward(model, normalise(batch), runtime, views))
        return torch.cat(parts)

    was_training = model.training
    model.eval()
    try:
        if views == "none" or share == 1.0:
            return logits(images, views)
        result = logits(images, "none")
        unsure = result.softmax(1).amax(1).topk(max(1, round(share * len(images))), largest=False).indices
        result[unsure] = logits(images[unsure], views)
        return result
    finally:
        model.train(was_training)


def score(logits: Tensor, labels: Tensor, loss: Loss) -> Score:
    """Mean loss and accuracy of ``logits`` (N, classes) against ``labels`` (N,) int64."""
    hits = (logits.argmax(1) == labels).sum()
    mean_loss, right = torch.stack((loss(logits, labels).double(), hits.double())).tolist()
    return Score(mean_loss, 100.0 * right / len(labels))


def account(logits: Tensor, labels: Tensor, loss: Loss, classes: tuple[str, ...]) -> dict[str, Any]:
    """All that the results screen shows of one checkpoint on the test set, as plain values.

    ``confusion[i][j]`` counts images of class i answered as j. Calibration after Guo et al. 2017 (arXiv 1706.04599),
    eq. 3: equally wide bins of confidence; ``ece`` in percent. ``worst`` are the mistakes made with most confidence.
    """
    total = score(logits, labels, loss)
    probabilities = logits.softmax(1)
    confidence, answers = probabilities.max(1)
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    confusion.index_put_((labels.cpu(), answers.cpu()), torch.ones(len(labels), dtype=torch.int64), accumulate=True)
    per_class = 100.0 * confusion.diagonal() / confusion.sum(1).clamp(min=1)
    bins, ece = calibration(confidence, answers == labels)
    return {
        "accuracy": total.accuracy,
        "loss": total.loss,
        "per_class": per_class.tolist(),
        "confusion": confusion.tolist(),
        "calibration": bins,
        "ece": ece,
        "worst": _worst(probabilities, labels),
    }


def calibration(confidence: Tensor, right: Tensor) -> tuple[list[dict[str, float]], float]:
    """Reliability diagram and expected calibration error in percent. ``confidence``: (N,); ``right``: (N,) bool."""
    bins = []
    error = 0.0
    position = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    for index in range(CALIBRATION_BINS):
        inside = position == index
        count = int(inside.sum())
        mean_confidence = float(confidence[inside].double().mean()) if count else 0.0
        accuracy = float(right[inside].double().mean()) if count else 0.0
        error += count / len(confidence) * abs(accuracy - mean_confidence)
        bins.append({"count": count, "confidence": mean_confidence, "accuracy": accuracy})
    return bins, 100.0 * error


def _worst(probabilities: Tensor, labels: Tensor) -> list[dict[str, float | int]]:
    confidence, answers = probabilities.max(1)
    wrong = (answers != labels).nonzero().flatten()
    order = wrong[confidence[wrong].argsort(descending=True)][:WORST_KEPT]
    columns = (order, labels[order], answers[order], confidence[order], probabilities[order, labels[order]])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"index": index, "label": label, "answer": answer, "confidence": sure, "probability_of_label": own}
        for index, label, answer, sure, own in rows
    ]


def _forward(model: nn.Module, images: Tensor, runtime: Runtime, views: Views) -> Tensor:
    images = images.contiguous(memory_format=runtime.memory_format)
    with runtime.autocast:
        parts = [weight * model(view).float() for weight, view in _views(images, views)]
    return torch.stack(parts).sum(0)


def _views(images: Tensor, views: Views) -> Iterator[tuple[float, Tensor]]:
    """Views of a batch and their weights, which sum to 1.

    ``flip``: the image and its mirror. ``flip_translate``: these at half the weight, and both shifted by a pixel
    towards either corner of the diagonal, reflected at the border (airbench, "Multi-crop evaluation").
    ``flip_translate_even``: the same six, each at a sixth (hiverge/cifar10-speedrun).
    """
    if views == "none":
        yield 1.0, images
        return
    still, shifted = VIEW_WEIGHTS[views]
    yield still, images
    yield still, images.flip(3)
    if not shifted:
        return
    height, width = images.shape[2:]
    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    for shift in (0, 2):
        moved = padded[:, :, shift : shift + height, shift : shift + width]
        yield shifted, moved
        yield shifted, moved.flip(3)
