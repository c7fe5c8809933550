"""PyramidNet: Han, Kim and Kim, "Deep Pyramidal Residual Networks", CVPR 2017, arXiv 1610.02915.

Additive widening: equation 3. Block: figure 6 (d), BatchNorm first, one activation fewer, BatchNorm last. Shortcuts
without parameters: section 3.2, average pooling and zero channels at the end.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from engine.models.layers import ACTIVATIONS, conv, initialise
from engine.options.architecture import PyramidNet


def build(options: PyramidNet, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes)."""
    stem = nn.Sequential(conv(channels, options.stem, 3), nn.BatchNorm2d(options.stem))
    network = OrderedDict[str, nn.Module](stem=stem)
    block, expansion = (Bottleneck, options.expansion) if options.block == "bottleneck" else (BasicBlock, 1)
    width, total = options.stem, 3 * options.blocks
    for stage in range(3):
        layers = nn.Sequential()
        for index in range(options.blocks):
            step = stage * options.blocks + index + 1
            inner = options.stem + round_half_up(options.alpha * step / total)
            stride = 2 if stage and not index else 1
            layers.append(block(options, width, inner, inner * expansion, stride))
            width = inner * expansion
        network[f"stage{stage + 1}"] = layers
    network["norm"] = nn.BatchNorm2d(width)
    network["act"] = ACTIVATIONS[options.activation]()
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(width, classes)
    return initialise(nn.Sequential(network), options.initialization)


def round_half_up(value: float) -> int:
    """Nearest whole number of channels."""
    return int(value + 0.5)


class BasicBlock(nn.Module):
    """BatchNorm, 3x3, BatchNorm, activation, 3x3, BatchNorm, added to the padded shortcut."""

    def __init__(self, options: PyramidNet, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            conv(inputs, inner, 3, stride),
            nn.BatchNorm2d(inner),
            ACTIVATIONS[options.activation](),
            conv(inner, outputs, 3),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = PaddedShortcut(outputs - inputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x) + self.shortcut(x)
        return result


class Bottleneck(nn.Module):
    """As the basic block with 1x1, 3x3 and 1x1 convolutions and no activation before the first."""

    def __init__(self, options: PyramidNet, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            conv(inputs, inner, 1),
            nn.BatchNorm2d(inner),
            activation(),
            conv(inner, inner, 3, stride),
            nn.BatchNorm2d(inner),
            activation(),
            conv(inner, outputs, 1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = PaddedShortcut(outputs - inputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x) + self.shortcut(x)
        return result


class PaddedShortcut(nn.Module):
    """The input, averaged over 2x2 pixels where the block halves the map, with zero channels at the end."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.new_channels = new_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(self.pool(x), (0, 0, 0, 0, 0, self.new_channels))
