"""The account of the test set against sums written out by hand, and predictions in several views."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import device, evaluate
from engine.device import Runtime
from engine.losses import make_loss
from engine.options.loss import CrossEntropy
from engine.options.training import Train

CLASSES = ("a", "b", "c", "d")


@pytest.fixture
def runtime() -> Runtime:
    return device.settle(Train(device="cpu", precision="fp32", threads=1), 1)


def logits_and_labels(count: int = 500) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(4, (count,), generator=generator)
    logits = 2 * torch.randn(count, 4, generator=generator)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels


def make_account(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    return evaluate.account(logits, labels, make_loss(CrossEntropy(), 4), CLASSES)


def softmax_by_hand(logits: Tensor) -> np.ndarray:
    values = np.exp(logits.double().numpy())
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def test_accuracy_loss_confusion_and_classes_are_counted_by_hand() -> None:
    logits, labels = logits_and_labels()
    account = make_account(logits, labels)
    probabilities = softmax_by_hand(logits)
    confusion = [[0] * 4 for _ in range(4)]
    for row, label in zip(probabilities, labels.tolist(), strict=True):
        confusion[label][int(np.argmax(row))] += 1
    assert account["confusion"] == confusion
    right = sum(confusion[index][index] for index in range(4))
    assert account["accuracy"] == pytest.approx(100 * right / 500)
    per_class = [100 * confusion[index][index] / sum(confusion[index]) for index in range(4)]
    assert account["per_class"] == pytest.approx(per_class, rel=1e-6)
    losses = [-math.log(row[label]) for row, label in zip(probabilities, labels.tolist(), strict=True)]
    assert account["loss"] == pytest.approx(sum(losses) / 500, rel=1e-6)


def test_calibration_is_equation_3_of_guo_and_others() -> None:
    logits, labels = logits_and_labels()
    account = make_account(logits, labels)
    probabilities = softmax_by_hand(logits)
    confidence, answer = probabilities.max(axis=1), probabilities.argmax(axis=1)
    edges = np.linspace(0, 1, evaluate.CALIBRATION_BINS + 1)
    error = 0.0
    for index, found in enumerate(account["calibration"]):
        inside = (confidence >= edges[index]) & (confidence < edges[index + 1])
        assert found["count"] == inside.sum()
        if inside.any():
            accuracy = float(np.mean(answer[inside] == labels.numpy()[inside]))
            assert found["accuracy"] == pytest.approx(accuracy)
            assert found["confidence"] == pytest.approx(float(confidence[inside].mean()), rel=1e-6)
            error += inside.sum() / 500 * abs(accuracy - float(confidence[inside].mean()))
    assert account["ece"] == pytest.approx(100 * error, rel=1e-5)


def test_every_image_is_in_one_bin_and_full_confidence_is_in_the_last() -> None:
    confidence = torch.tensor([0.0, 0.5, 1.0, 1.0])
    bins, error = evaluate.calibration(confidence, torch.tensor([False, True, True, False]))
    assert sum(entry["count"] for entry in bins) == 4
    assert bins[-1] == {"count": 2, "confidence": 1.0, "accuracy": 0.5}
    assert error == pytest.approx(100 * (0.25 * 0.0 + 0.25 * 0.5 + 0.5 * 0.5))


def test_a_perfectly_calibrated_answer_has_no_error() -> None:
    confidence = torch.full((10,), 0.7, dtype=torch.float64)
    _, error = evaluate.calibration(confidence, torch.arange(10) < 7)
    assert error == pytest.approx(0.0, abs=1e-9)


def test_the_worst_are_the_surest_mistakes() -> None:
    logits, labels = logits_and_labels()
    worst = make_account(logits, labels)["worst"]
    probabilities = softmax_by_hand(logits)
    answer = probabilities.argmax(axis=1)
    wrong = [index for index in range(500) if answer[index] != labels[index]]
    expected = sorted(wrong, key=lambda index: -probabilities[index].max())[: evaluate.WORST_KEPT]
    assert [entry["index"] for entry in worst] == expected
    for entry in worst:
        index, label = entry["index"], entry["label"]
        assert label == labels[index]
        assert entry["answer"] == answer[index]
        assert entry["confidence"] == pytest.approx(probabilities[index].max(), rel=1e-5)
        assert entry["probability_of_label"] == pytest.approx(probabilities[index][label], rel=1e-4)


def test_at_most_200_mistakes_are_kept_and_none_where_all_is_right() -> None:
    labels = torch.zeros(500, dtype=torch.int64)
    wrong = torch.zeros(500, 4)
    wrong[:, 1] = torch.linspace(1, 5, 500)
    assert len(make_account(wrong, labels)["worst"]) == evaluate.WORST_KEPT
    right = torch.zeros(500, 4)
    right[:, 0] = 5
    account = make_account(right, labels)
    assert account["worst"] == []
    assert account["accuracy"] == 100.0
    assert account["per_class"] == [100.0, 0.0, 0.0, 0.0]


class Sums(nn.Module):
    """Logits that tell left from right and notice the border."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.arange(x.shape[3], dtype=x.dtype) + 1
        first = (x.sum((1, 2)) * weights).sum(1)
        return torch.stack((first, x.amax((1, 2, 3))), dim=1)


def views_by_hand(images: Tensor, views: evaluate.Views) -> Tensor:
    network = Sums()
    plain = (network(images) + network(images.flip(3))) / 2
    if views == "flip":
        return plain
    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    size = images.shape[2]
    corners = [padded[:, :, :size, :size], padded[:, :, 2:, 2:]]
    moved = [(network(corner) + network(corner.flip(3))) / 2 for corner in corners]
    if views == "flip_translate_even":
        return (plain + moved[0] + moved[1]) / 3
    return plain / 2 + (moved[0] + moved[1]) / 4


@pytest.mark.parametrize("views", ["flip", "flip_translate", "flip_translate_even"])
def test_views_are_averaged_with_their_weights(runtime: Runtime, views: evaluate.Views) -> None:
    images = torch.randint(256, (5, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def normalise(batch: Tensor) -> Tensor:
        return batch.permute(0, 3, 1, 2).float() / 255

    found = evaluate.logits_of(Sums(), images, normalise, runtime, 2, views)
    torch.testing.assert_close(found, views_by_hand(normalise(images), views), rtol=1e-5, atol=1e-5)


def test_batches_change_nothing_and_the_mode_is_put_back(runtime: Runtime) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 4))
    images = torch.randint(256, (7, 8, 8, 3), dtype=torch.uint8)

    def normalise(batch: Tensor) -> Tensor:
        return batch.permute(0, 3, 1, 2).float() / 255

    network.train()
    statistics = network[1].running_mean.clone()
    whole = evaluate.logits_of(network, images, normalise, runtime, 100)
    parts = evaluate.logits_of(network, images, normalise, runtime, 3)
    torch.testing.assert_close(parts, whole)
    assert network.training
    assert torch.equal(network[1].running_mean, statistics)
