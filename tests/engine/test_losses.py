"""Losses against their formulas in float64, for labels and for class probabilities."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from engine.losses import make_loss
from engine.options.loss import LossChoice

CLASSES = 7
ADAPTER: TypeAdapter[LossChoice] = TypeAdapter(LossChoice)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(target * (logits - logits.logsumexp(1, keepdim=True))).sum(1)


def smoothed(logits: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(logits, 0.8 * target + 0.2 / CLASSES)


def squared(logits: Tensor, target: Tensor) -> Tensor:
    return (logits - target).square().mean(1)


def binary(logits: Tensor, target: Tensor) -> Tensor:
    p = 1 / (1 + (-logits).exp())
    return -(target * p.log() + (1 - target) * (1 - p).log()).mean(1)


def huber(logits: Tensor, target: Tensor, delta: float = 0.5) -> Tensor:
    distance = (logits - target).abs()
    return torch.where(distance <= delta, distance.square() / 2, delta * (distance - delta / 2)).mean(1)


FORMULAS: list[tuple[dict[str, Any], Callable[[Tensor, Tensor], Tensor]]] = [
    ({"kind": "cross_entropy"}, cross_entropy),
    ({"kind": "cross_entropy", "label_smoothing": 0.2}, smoothed),
    ({"kind": "mse"}, squared),
    ({"kind": "bce"}, binary),
    ({"kind": "huber", "delta": 0.5}, huber),
]


@pytest.mark.parametrize(("options", "formula"), FORMULAS)
@pytest.mark.parametrize("soft", [False, True])
def test_each_loss_is_its_formula(
    options: dict[str, Any], formula: Callable[[Tensor, Tensor], Tensor], soft: bool
) -> None:
    torch.manual_seed(3)
    logits = 2 * torch.randn(33, CLASSES)
    labels = torch.randint(CLASSES, (33,))
    target = torch.rand(33, CLASSES).softmax(1) if soft else torch.eye(CLASSES)[labels]
    given = target if soft else labels
    expected = formula(logits.double(), target.double())
    chosen = ADAPTER.validate_python(options)
    torch.testing.assert_close(
        make_loss(chosen, CLASSES)(logits, given).double(), expected.mean(), rtol=1e-5, atol=1e-6
    )
    each = make_loss(chosen, CLASSES, "none")(logits, given)
    torch.testing.assert_close(each.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("options", "formula"), FORMULAS)
def test_half_precision_logits_lose_nothing_in_the_loss(
    options: dict[str, Any], formula: Callable[[Tensor, Tensor], Tensor]
) -> None:
    torch.manual_seed(4)
    logits = torch.randn(16, CLASSES).bfloat16()
    labels = torch.randint(CLASSES, (16,))
    loss = make_loss(ADAPTER.validate_python(options), CLASSES)(logits, labels)
    assert loss.dtype == torch.float32
    expected = formula(logits.double(), torch.eye(CLASSES, dtype=torch.float64)[labels]).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
