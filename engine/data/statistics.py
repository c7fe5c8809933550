"""Means and standard deviations of channels, by name, for pixels scaled to 0…1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.options.augmentation import StatisticsName


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


NAMED: dict[str, Statistics] = {
    # The set that most CIFAR-10 code on the web carries: its deviations are means of the images' own deviations.
    "cifar10_copied": Statistics((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar10": Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Statistics((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "half": Statistics((0.5,), (0.5,)),
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": Statistics((0.1307,), (0.3081,)),
}


def measure(images: Tensor) -> Statistics:
    """Exact statistics of ``images`` (N, H, W, C) uint8 over all pixels, from a histogram of each channel."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[3]):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in torch.split(images, 4096):
            counts += torch.bincount(part[..., channel].flatten().cpu(), minlength=256)
        shares = counts / counts.sum()
        mean = (shares * levels).sum()
        means.append(float(mean))
        deviations.append(float((shares * (levels - mean) ** 2).sum().sqrt()))
    return Statistics(tuple(means), tuple(deviations))


def statistics(name: StatisticsName, channels: int, train_images: Tensor | None) -> Statistics:
    """The statistics called ``name``, spread over ``channels``.

    Grey images take the mean over the three channels of a colour set. ``train`` measures ``train_images``.

    Raises:
        ValueError: ``train`` is asked for without training images.
    """
    if name == "train":
        if train_images is None:
            raise ValueError("statistics 'train' need the training images")
        return measure(train_images)
    found = NAMED[name]
    if len(found.mean) == channels:
        return found
    mean, std = sum(found.mean) / len(found.mean), sum(found.std) / len(found.std)
    return Statistics((mean,) * channels, (std,) * channels)


def mean_image(images: Tensor) -> Tensor:
    """Mean over ``images`` (N, H, W, C) uint8, scaled to 0…1: (H, W, C) float32."""
    total = torch.zeros(images.shape[1:], dtype=torch.int64, device=images.device)
    for part in torch.split(images, 4096):
        total += part.sum(dim=0, dtype=torch.int64)
    return (total.double() / (255 * len(images))).float()
