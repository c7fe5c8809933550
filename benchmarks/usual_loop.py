"""The loop that most CIFAR code has, written here on its own: per-image transforms, DataLoader, fp32, two reads a step.

It shares nothing with the engine but the network it is given.
"""

from typing import Any

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Images (N, 32, 32, 3) uint8 as PIL pictures through a transform, as torchvision's CIFAR10 gives them."""

    def __init__(self, images: np.ndarray, labels: list[int], *, rotate: bool = False) -> None:
        self._images, self._labels = images, labels
        steps: list[Any] = [T.RandomRotation(5)] if rotate else []
        steps += [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
        self._transform = T.Compose(steps)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def loader(pictures: Pictures, batch_size: int, workers: int) -> DataLoader[tuple[torch.Tensor, int]]:
    """Shuffled batches from worker processes."""
    return DataLoader(pictures, batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=True)


def train(network: nn.Module, batches: DataLoader[tuple[torch.Tensor, int]], device: str) -> tuple[float, int]:
    """One pass; returns mean loss and how many images were seen."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    network.train()
    total, right, seen = 0.0, 0, 0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = network(images)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        right += outputs.max(1)[1].eq(labels).sum().item()
        seen += len(labels)
    return total / max(1, seen), seen
