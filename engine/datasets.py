"""The data sets as they are released: what options, lists and screens need to know of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class DatasetFacts(NamedTuple):
    """Images to train on, the side of an image in pixels, its channels, and the number of classes."""

    train_images: int
    size: int
    channels: int
    classes: int


DATASETS: Mapping[str, DatasetFacts] = MappingProxyType(
    {
        "cifar10": DatasetFacts(50_000, 32, 3, 10),
        "cifar100": DatasetFacts(50_000, 32, 3, 100),
        "mnist": DatasetFacts(60_000, 28, 1, 10),
        "shapes": DatasetFacts(10_000, 32, 3, 10),
    }
)
