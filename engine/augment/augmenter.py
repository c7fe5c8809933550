"""Raw images in, a network's input out: the operations of an augmentation, applied to whole batches."""

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Self

import torch
from torch import Tensor

from engine.augment.affine import sample_bilinear, source_positions
from engine.augment.colour import brightness_contrast, color_jitter
from engine.augment.geometry import gather, moves_pixels
from engine.augment.mixing import mix
from engine.augment.plan import Draws, EpochPlan, draw_epoch, draw_stretch
from engine.augment.policy import apply_policy
from engine.augment.resized_crop import random_resized_crop
from engine.data.statistics import mean_image, statistics
from engine.options.augmentation import (
    Augmentation,
    BrightnessContrast,
    ColorJitter,
    Cutmix,
    Mixup,
    Normalize,
    Operation,
    RandAugment,
    RandomResizedCrop,
    Rotate,
    TrivialAugment,
)


@dataclass(frozen=True)
class Augmenter:
    """Operations with the constants they need, on a device.

    ``scale`` (C,) and ``shift`` (C,) or (H, W, C), float32, turn a pixel scaled to 0…1 into ``pixel * scale - shift``.
    Save the two with a model: they are all that its evaluation needs.
    """

    operations: tuple[Operation, ...]
    size: int
    classes: int
    scale: Tensor
    shift: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same on ``device``."""
        return replace(self, scale=self.scale.to(device), shift=self.shift.to(device))

    def draw_epoch(self, seed: int, epoch: int, n: int) -> EpochPlan:
        """Order and draws of ``epoch`` (from 0) for ``n`` training images, on the augmenter's device."""
        return draw_epoch(self.operations, self.size, seed, epoch, n).to(self.scale.device)

    def draw_stretch(self, seed: int, epoch: int, n: int, length: int) -> EpochPlan:
        """As ``draw_epoch``, where an epoch is ``length`` images in passes over all ``n`` that follow one another."""
        return draw_stretch(self.operations, self.size, seed, epoch, n, length).to(self.scale.device)

    def __call__(self, images: Tensor, labels: Tensor, index: Tensor, plan: EpochPlan) -> tuple[Tensor, Tensor]:
        """The training batch of the images at ``index``: a function of tensors, without side effects.

        ``images`` (N, H, W, C) uint8, ``labels`` (N,) int64, ``index`` (n,) int64: inputs (n, C, H, W) float32 in
        channels_last order, and targets: (n,) int64, or (n, classes) float32 where the augmentation mixes images.
        """
        draws = [{name: drawn[index] for name, drawn in one.items()} for one in plan.draws]
        index = index % len(images)
        values, rows = images, index
        for moving, steps in self._runs():
            if moving:
                operations = [self.operations[step] for step in steps]
                values = gather(values, rows, operations, [draws[step] for step in steps])
            else:
                values = values.index_select(0, rows) if values is images else values
                for step in steps:
                    values = self._apply(self.operations[step], draws[step], values)
            rows = torch.arange(len(index), device=index.device)
        values = _to_unit(values.index_select(0, rows) if values is images else values)
        targets = labels.index_select(0, index)
        for operation, drawn in zip(self.operations, draws, strict=True):
            if isinstance(operation, Mixup | Cutmix):
                values, targets = mix(operation, drawn, values, targets, self.classes)
        return _channels_first(values), targets

    def normalize(self, images: Tensor) -> Tensor:
        """What evaluation sees: (n, H, W, C) uint8 to (n, C, H, W) float32 in channels_last order."""
        for operation in self.operations:
            if isinstance(operation, Normalize):
                return _channels_first(self._normalize(operation, images))
        return _channels_first(_to_unit(images))

    def _runs(self) -> list[tuple[bool, list[int]]]:
        """Positions of the operations, in runs that share a gather and runs that do not."""
        runs = groupby(range(len(self.operations)), key=lambda step: moves_pixels(self.operations[step]))
        return [(moving, list(steps)) for moving, steps in runs]

    def _apply(self, operation: Operation, draws: Draws, values: Tensor) -> Tensor:
        match operation:
            case Normalize():
                return self._normalize(operation, values)
            case Rotate():
                return _rotate_bilinear(draws, _to_unit(values))
            case RandomResizedCrop():
                return random_resized_crop(draws["box"], _to_unit(values))
            case ColorJitter():
                return color_jitter(draws["factor"], _to_unit(values))
            case BrightnessContrast():
                return brightness_contrast(draws["shift"], draws["factor"], values)
            case RandAugment() | TrivialAugment():
                return apply_policy(draws, _to_unit(values))
            case _:  # mixup and cutmix wait until the images are finished
                return values

    def _normalize(self, operation: Normalize, values: Tensor) -> Tensor:
        if operation.subtract == "per_image":
            values = _to_unit(values)
            return (values - values.mean(dim=(1, 2), keepdim=True)) * self.scale
        scale = self.scale / 255 if values.dtype == torch.uint8 else self.scale
        # Constants for every value, not every channel, since a CPU's loops over the last dimension are then long.
        scale, shift = (constant.expand(values.shape[1:]).contiguous() for constant in (scale, self.shift))
        return values.to(torch.float32, copy=True).mul_(scale).sub_(shift)


def build(options: Augmentation, size: int, channels: int, classes: int, train_images: Tensor | None) -> Augmenter:
    """The augmenter of ``options`` for images of ``size`` pixels; ``train_images`` (N, H, W, C) uint8 are measured only
    by the training set's own statistics and by its mean image.

    Raises:
        ValueError: these are asked for without ``train_images``.
    """
    normalize = next((operation for operation in options.ops if isinstance(operation, Normalize)), None)
    scale, shift = _constants(normalize, channels, train_images)
    return Augmenter(options.ops, size, classes, scale, shift)


def _constants(normalize: Normalize | None, channels: int, train_images: Tensor | None) -> tuple[Tensor, Tensor]:
    scale, shift = torch.ones(channels), torch.zeros(channels)
    if normalize is None:
        return scale, shift
    named = statistics(normalize.statistics, channels, train_images)
    if normalize.divide:
        scale = 1 / torch.tensor(named.std)
    if normalize.subtract == "per_channel":
        shift = torch.tensor(named.mean) * scale
    if normalize.subtract == "per_pixel":
        if train_images is None:
            raise ValueError("subtract 'per_pixel' needs the training images")
        shift = mean_image(train_images).cpu() * scale
    return scale, shift


def _channels_first(values: Tensor) -> Tensor:
    """(n, H, W, C) as (n, C, H, W) in channels_last order: nothing moves unless an operation left another order."""
    return values.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _to_unit(values: Tensor) -> Tensor:
    """Pixels scaled to 0…1; what is float already stays as it is."""
    return values.float().div_(255) if values.dtype == torch.uint8 else values


def _rotate_bilinear(draws: Draws, values: Tensor) -> Tensor:
    size = values.shape[1]
    line = torch.arange(size, device=values.device)
    source_y, source_x = source_positions(draws["matrix"], line[None, :, None], line[None, None, :], size)
    return sample_bilinear(values, source_y, source_x)
