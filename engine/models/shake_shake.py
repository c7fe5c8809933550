"""Shake-Shake: Gastaldi, "Shake-Shake regularization", 2017, arXiv 1705.07485. Network: section 2.1, table 1 and its
caption; mixing of the branches: section 2.2, drawn for each image, independently forward and backward.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from engine.models.layers import ACTIVATIONS, conv, initialise
from engine.options.architecture import ShakeShake


def build(options: ShakeShake, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes)."""
    stem = nn.Sequential(conv(channels, options.stem, 3), nn.BatchNorm2d(options.stem))
    network = OrderedDict[str, nn.Module](stem=stem)
    width = options.stem
    for number, stride in enumerate((1, 2, 2), start=1):
        outputs = options.width * 2 ** (number - 1)
        first = ShakeBlock(options, width, outputs, stride)
        rest = [ShakeBlock(options, outputs, outputs, 1) for _ in range(options.blocks - 1)]
        network[f"stage{number}"] = nn.Sequential(first, *rest)
        width = outputs
    network["act"] = ACTIVATIONS[options.activation]()
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(width, classes)
    return initialise(nn.Sequential(network), options.initialization)


class ShakeBlock(nn.Module):
    """Two branches, mixed and added to the shortcut. Evaluation takes the mean of the branches."""

    def __init__(self, options: ShakeShake, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.options = options
        self.branch1 = branch(options, inputs, outputs, stride)
        self.branch2 = branch(options, inputs, outputs, stride)
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else ShiftedShortcut(options, inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.branch1(x), self.branch2(x)
        mixed = self.shake(first, second) if self.training else (first + second) / 2
        result: torch.Tensor = self.shortcut(x) + mixed
        return result

    def shake(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """alpha * first + (1 - alpha) * second, whose gradient is mixed by beta instead: both (N, 1, 1, 1)."""
        alpha = coefficients(first, self.options.forward)
        beta = alpha if self.options.backward == "keep" else coefficients(first, self.options.backward)
        backward = second + beta * (first - second)
        forward = second + alpha * (first - second)
        return backward + (forward - backward).detach()


def coefficients(like: torch.Tensor, mixing: str) -> torch.Tensor:
    """One number in [0, 1) for each image, or the half."""
    shape = (len(like), 1, 1, 1)
    if mixing == "even":
        return like.new_full(shape, 0.5)
    return torch.rand(shape, dtype=like.dtype, device=like.device)


def branch(options: ShakeShake, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Activation, 3x3 convolution and BatchNorm, twice."""
    activation = ACTIVATIONS[options.activation]
    return nn.Sequential(
        activation(),
        conv(inputs, outputs, 3, stride),
        nn.BatchNorm2d(outputs),
        activation(),
        conv(outputs, outputs, 3),
        nn.BatchNorm2d(outputs),
    )


class ShiftedShortcut(nn.Module):
    """Two 1x1 convolutions of half the width, one of every ``stride``-th pixel, one of those a pixel further."""

    def __init__(self, options: ShakeShake, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.act = ACTIVATIONS[options.activation]()
        self.conv1 = conv(inputs, outputs // 2, 1)
        self.conv2 = conv(inputs, outputs - outputs // 2, 1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x)
        shifted = F.pad(x, (-1, 1, -1, 1))
        halves = [
            self.conv1(x[:, :, :: self.stride, :: self.stride]),
            self.conv2(shifted[:, :, :: self.stride, :: self.stride]),
        ]
        result: torch.Tensor = self.norm(torch.cat(halves, dim=1))
        return result
