"""A data set as training sees it: whole, in memory, one tensor a part."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.data import cifar, shapes
from engine.data.download import Report, checksums, download
from engine.data.releases import RELEASES, data_root, locate
from engine.data.splits import stratified_split
from engine.options.data import Data


@dataclass(frozen=True)
class Dataset:
    """Images (N, H, W, C) uint8 and labels (N,) int64 of the three parts, and the names of the classes.

    Channels come last because the gather that augments a batch then moves whole pixels, and its result already is a
    channels_last batch: viewing it as (N, C, H, W) moves nothing. Without validation images that part has length 0.
    """

    train_images: Tensor
    train_labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]

    def to(self, device: torch.device | str) -> Self:
        """The same data on ``device``."""
        tensors = [field.name for field in fields(self) if field.name != "classes"]
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def load(data: Data, root: Path | None = None, report: Report = print) -> Dataset:
    """Read (or draw) ``data``, downloading it when it is not in ``root``; ``report`` gets a line at each step of that.

    Raises:
        UserError: the data cannot be had, or is not what was published.
    """
    if data.name == "shapes":
        images, labels = shapes.draw(0, shapes.TRAIN_IMAGES + shapes.TEST_IMAGES, data.size, data.channels)
        train = slice(None, shapes.TRAIN_IMAGES)
        test = slice(shapes.TRAIN_IMAGES, None)
        return _divide(data, (images[train], labels[train], images[test], labels[test], shapes.CLASSES))
    release = RELEASES[data.name]
    folder = locate(data, root) or download(data.name, data_root(root), report)
    contents = cifar.read_checked(folder, release.title, checksums(data.name))
    return _divide(data, cifar.READERS[data.name](contents))


def _divide(data: Data, arrays: cifar.Arrays) -> Dataset:
    images, labels, test_images, test_labels, classes = arrays
    train, validation = stratified_split(labels, data.validation, data.train_limit, data.split_seed)
    whole = len(train) == len(labels)
    return Dataset(
        train_images=_finish(images if whole else images[train], data),
        train_labels=torch.from_numpy(labels[train]),
        validation_images=_finish(images[validation], data),
        validation_labels=torch.from_numpy(labels[validation]),
        test_images=_finish(test_images, data),
        test_labels=torch.from_numpy(test_labels),
        classes=classes,
    )


def _finish(images: cifar.Bytes, data: Data) -> Tensor:
    """Bring images to the channels and the size that ``data`` asks for: (N, size, size, channels) uint8."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    if pixels.shape[3] > data.channels:
        pixels = _grey(pixels)
    if pixels.shape[1] != data.size:
        pixels = _resized(pixels, data.size)
    return pixels


def _grey(images: Tensor) -> Tensor:
    """Luminance (ITU-R BT.601) of (N, H, W, 3) uint8, rounded: (N, H, W, 1) uint8."""
    red, green, blue = (images[..., channel].int() for channel in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).to(torch.uint8)[..., None]


def _resized(images: Tensor, size: int) -> Tensor:
    """(N, H, W, C) uint8 to (N, size, size, C) uint8, bilinear with antialiasing, as torchvision resizes."""
    resized = torch.empty(len(images), size, size, images.shape[3], dtype=torch.uint8)
    for part, target in zip(torch.split(images, 500), torch.split(resized, 500), strict=True):
        values = F.interpolate(part.permute(0, 3, 1, 2).float(), size=(size, size), mode="bilinear", antialias=True)
        target.copy_(values.round_().clamp_(0, 255).permute(0, 2, 3, 1))
    return resized
