"""Shapes: the same bytes everywhere, and a task that is neither trivial nor hopeless."""

import hashlib

import numpy as np
import pytest
import torch

from engine.data import shapes
from engine.data.dataset import load
from engine.options.data import Data


@pytest.mark.parametrize(
    ("size", "channels", "sha256"),
    [
        (32, 3, "ca1df87f6daa519922cbd35b76cf15b27e76206395d82188ec6bbe612779218f"),
        (28, 1, "de8174bce9c03b699fbf1914143a07036845970a730556db2a8f5b1b26569798"),
    ],
)
def test_every_machine_draws_the_same_bytes(size: int, channels: int, sha256: str) -> None:
    images, labels = shapes.draw(0, 12_000, size, channels)
    assert images.shape == (12_000, size, size, channels)
    assert hashlib.sha256(images.tobytes()).hexdigest() == sha256
    assert labels.tolist() == [index % 10 for index in range(12_000)]


def test_an_image_depends_on_seed_and_index_alone() -> None:
    many, _ = shapes.draw(0, 600, 32, 3)
    few, labels = shapes.draw(123, 50, 32, 3)
    assert np.array_equal(few, many[123:173])
    assert labels[0] == 3
    other, _ = shapes.draw(123, 50, 32, 3, seed=1)
    assert not np.array_equal(few, other)


def test_parts_of_the_data_set() -> None:
    data = load(Data(name="shapes", validation=1_000), None)
    assert (len(data.train_images), len(data.validation_images), len(data.test_images)) == (9_000, 1_000, 2_000)
    for labels in (data.train_labels, data.validation_labels, data.test_labels):
        assert len(labels.bincount().unique()) == 1
    assert len(data.classes) == 10
    everything = torch.cat((data.train_images, data.validation_images, data.test_images)).flatten(1)
    assert len(everything.unique(dim=0)) == 12_000


def test_drawn_at_the_size_asked_for() -> None:
    data = load(Data(name="shapes", image_size=28, grey=True), None)
    assert data.train_images.shape == (10_000, 28, 28, 1)
    assert data.train_images.dtype == torch.uint8


@pytest.mark.slow
def test_a_linear_model_stays_under_60_percent() -> None:
    data = load(Data(name="shapes"), None)

    def features(images: torch.Tensor) -> torch.Tensor:
        pixels = images.flatten(1).float() / 255 - 0.5
        return torch.cat((pixels, torch.ones(len(pixels), 1)), dim=1)

    inputs, targets = features(data.train_images), torch.nn.functional.one_hot(data.train_labels, 10).float()
    ridge = 100 * torch.eye(inputs.shape[1])
    weights = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets)
    predicted = (features(data.test_images) @ weights).argmax(dim=1)
    assert (predicted == data.test_labels).float().mean() < 0.6
