"""Which images a run sees, and how they are divided; free of torch."""

from typing import Literal, Self

from pydantic import model_validator

from engine.datasets import DATASETS
from engine.options.base import Options, option

DatasetName = Literal["cifar10", "cifar100", "mnist", "shapes"]


class Data(Options):
    """The data set, the validation images held out of its training set, and limits for small trials."""

    name: DatasetName = option("cifar10", "The data set; shapes is drawn on the spot and needs no download.")
    validation: int = option(0, "Images held out of the training set, equally many of every class.", "images", ge=0)
    split_seed: int = option(
        0, "Seed of the split alone: every architecture sees the same validation images.", ge=0, lt=2**63
    )
    train_limit: int | None = option(
        None, "Train on this many images only, equally many of every class; unset means all.", "images", ge=1
    )
    image_size: int | None = option(
        None, "Side the images are resized to (shapes are drawn at it); unset means their own.", "pixels", ge=8, le=512
    )
    grey: bool = option(False, "One grey channel instead of red, green and blue.")

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        facts = DATASETS[self.name]
        available = facts.train_images - self.validation
        if available < 1:
            raise ValueError(
                f"validation={self.validation} leaves nothing to train on: {self.name} has {facts.train_images} "
                "training images"
            )
        if self.train_limit is not None and self.train_limit > available:
            raise ValueError(
                f"train_limit={self.train_limit} is more than the {available} training images that {self.name} "
                f"has beside validation={self.validation}"
            )
        return self

    @property
    def train_images(self) -> int:
        """Images a run trains on, after validation and limit."""
        available = DATASETS[self.name].train_images - self.validation
        return available if self.train_limit is None else self.train_limit

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.image_size or DATASETS[self.name].size

    @property
    def channels(self) -> int:
        """1 for grey images, else 3."""
        return 1 if self.grey else DATASETS[self.name].channels

    @property
    def classes(self) -> int:
        """Number of classes."""
        return DATASETS[self.name].classes
