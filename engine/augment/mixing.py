"""Mixup and cutmix: every image meets the one before it in the batch, which the epoch's order has drawn for it."""

import torch
from torch import Tensor

from engine.options.augmentation import Cutmix, Mixup


def mix(
    operation: Mixup | Cutmix, draws: dict[str, Tensor], values: Tensor, targets: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """Mix finished images (n, H, W, C) and their targets; labels (n,) become probabilities (n, classes) float32."""
    soft = targets if targets.is_floating_point() else _one_hot(targets, classes)
    partner = values.roll(1, 0)
    if isinstance(operation, Mixup):
        weight = draws["weight"]
        share = weight[:, None, None, None]
        mixed = values * share + partner * (1 - share)
    else:
        pasted, weight = _pasted(draws["box"], values.shape[1])
        mixed = torch.where(pasted[..., None], partner, values)
    weight = weight[:, None]
    return mixed, soft * weight + soft.roll(1, 0) * (1 - weight)


def _pasted(box: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Which pixels come from the partner (n, H, W), and the share of the image that is left (n,)."""
    line = torch.arange(size, device=box.device)
    top, left, bottom, right = (box[:, side, None] for side in range(4))
    rows, columns = (line >= top) & (line < bottom), (line >= left) & (line < right)
    area = ((bottom - top) * (right - left))[:, 0]
    return rows[:, :, None] & columns[:, None, :], 1 - area / (size * size)


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()
