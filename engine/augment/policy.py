"""Apply the operations that RandAugment and TrivialAugment have drawn, each image its own, the whole batch at once.

Levels are whole numbers 0…255 kept as floats, cut off after the point as torchvision does on bytes. Every operation is
worked out for the batch and kept for the images that drew it: a handful of cheap passes, and no branch on the data.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.augment.colour import luminance
from engine.augment.geometry import gather_affine
from engine.augment.magnitudes import KINDS


def apply_policy(draws: dict[str, Tensor], values: Tensor) -> Tensor:
    """Apply the k drawn operations in turn: ``values`` (n, H, W, C) scaled to 0…1, to the same."""
    levels = values.mul(255).round()
    for turn in range(draws["kind"].shape[1]):
        levels = gather_affine(levels, draws["matrix"][:, turn])
        levels = _change_levels(levels, draws["kind"][:, turn], draws["amount"][:, turn])
    return levels / 255


def _change_levels(levels: Tensor, kind: Tensor, amount: Tensor) -> Tensor:
    def drew(*names: str) -> Tensor:
        chosen = torch.zeros_like(kind, dtype=torch.bool)
        for name in names:
            chosen |= kind == KINDS.index(name)
        return chosen[:, None, None, None]

    strength = amount[:, None, None, None]
    grey = luminance(levels).floor()
    towards = torch.where(drew("color"), grey, torch.zeros_like(levels))
    towards = torch.where(drew("contrast"), grey.mean(dim=(1, 2), keepdim=True), towards)
    towards = torch.where(drew("sharpness"), _smoothed(levels), towards)
    blended = (levels * strength + towards * (1 - strength)).clamp(0, 255).floor()
    changed = torch.where(drew("brightness", "color", "contrast", "sharpness"), blended, levels)
    step = torch.exp2(strength)
    changed = torch.where(drew("posterize"), (levels / step).floor() * step, changed)
    changed = torch.where(drew("solarize") & (levels >= strength), 255 - levels, changed)
    changed = torch.where(drew("auto_contrast"), _auto_contrasted(levels), changed)
    return torch.where(drew("equalize"), _equalized(levels), changed)


def _smoothed(levels: Tensor) -> Tensor:
    """Each pixel averaged with its neighbours, itself five times; the border stays."""
    images = levels.permute(0, 3, 1, 2)
    inner = (9 * F.avg_pool2d(images, 3, stride=1) + 4 * images[:, :, 1:-1, 1:-1]) / 13
    smoothed = images.clone()
    smoothed[:, :, 1:-1, 1:-1] = inner.round()
    return smoothed.permute(0, 2, 3, 1)


def _auto_contrasted(levels: Tensor) -> Tensor:
    """Stretch each channel to 0…255; a channel of one level stays."""
    low, high = levels.amin(dim=(1, 2), keepdim=True), levels.amax(dim=(1, 2), keepdim=True)
    flat = low == high
    scale = torch.where(flat, 1.0, 255 / (high - low).clamp_min(1))
    return ((levels - low.masked_fill(flat, 0)) * scale).clamp(0, 255).floor()


def _equalized(levels: Tensor) -> Tensor:
    """Spread each channel's levels evenly by its cumulative histogram."""
    count, size, _, channels = levels.shape
    flat = levels.permute(0, 3, 1, 2).reshape(count * channels, size * size).long()
    histogram = torch.zeros(count * channels, 256, dtype=torch.int64, device=levels.device)
    histogram.scatter_add_(1, flat, torch.ones_like(flat))
    brightest = histogram.gather(1, flat.amax(dim=1, keepdim=True))
    step = (size * size - brightest) // 255
    below = histogram.cumsum(dim=1) - histogram
    table = ((below + step // 2) // step.clamp_min(1)).clamp(0, 255)
    spread = torch.where(step == 0, flat, table.gather(1, flat))
    return spread.view(count, channels, size, size).permute(0, 2, 3, 1).float()
