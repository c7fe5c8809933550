"""Pre-activation ResNet: He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016,
arXiv 1603.05027. Block: figure 1 (b) and figure 4 (e); details of the first and the last unit: appendix.

Where a block changes the shape, its shortcut is a 1x1 convolution of the block's first activation.
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.models.layers import ACTIVATIONS, conv, initialise
from engine.options.architecture import PreActResNet


def build(options: PreActResNet, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes)."""
    network = OrderedDict[str, nn.Module](stem=conv(channels, options.stem, 3))
    width = options.stem
    for number, (inner, blocks, stride) in enumerate(
        zip(options.channels, options.blocks, options.stage_strides, strict=True), start=1
    ):
        network[f"stage{number}"], width = stage(options, width, inner, blocks, stride)
    if options.final_norm:
        network["norm"] = nn.BatchNorm2d(width)
        network["act"] = ACTIVATIONS[options.activation]()
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(width, classes)
    return initialise(nn.Sequential(network), options.initialization)


def stage(options: PreActResNet, inputs: int, inner: int, blocks: int, stride: int) -> tuple[nn.Sequential, int]:
    """Blocks of one width, the first with the stride; also the stage's output width."""
    block, expansion = (Bottleneck, options.expansion) if options.block == "bottleneck" else (BasicBlock, 1)
    outputs = inner * expansion
    first = block(options, inputs, inner, outputs, stride)
    rest = [block(options, outputs, inner, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest), outputs


class BasicBlock(nn.Module):
    """BatchNorm, activation, 3x3 convolution, twice, added to the shortcut."""

    def __init__(self, options: PreActResNet, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        self.norm1 = nn.BatchNorm2d(inputs)
        self.act1 = activation()
        self.conv1 = conv(inputs, inner, 3, stride)
        self.norm2 = nn.BatchNorm2d(inner)
        self.act2 = activation()
        self.conv2 = conv(inner, outputs, 3)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.act1(self.norm1(x))
        y = self.conv2(self.act2(self.norm2(self.conv1(a))))
        result: torch.Tensor = y + (x if self.shortcut is None else self.shortcut(a))
        return result


class Bottleneck(nn.Module):
    """BatchNorm, activation and convolution, three times: 1x1, 3x3 with the stride, 1x1."""

    def __init__(self, options: PreActResNet, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        self.norm1 = nn.BatchNorm2d(inputs)
        self.act1 = activation()
        self.conv1 = conv(inputs, inner, 1)
        self.norm2 = nn.BatchNorm2d(inner)
        self.act2 = activation()
        self.conv2 = conv(inner, inner, 3, stride)
        self.norm3 = nn.BatchNorm2d(inner)
        self.act3 = activation()
        self.conv3 = conv(inner, outputs, 1)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.act1(self.norm1(x))
        y = self.conv2(self.act2(self.norm2(self.conv1(a))))
        y = self.conv3(self.act3(self.norm3(y)))
        result: torch.Tensor = y + (x if self.shortcut is None else self.shortcut(a))
        return result


def projection(inputs: int, outputs: int, stride: int) -> nn.Conv2d | None:
    """1x1 convolution where the shape changes; None stands for the identity of the raw input."""
    return None if inputs == outputs and stride == 1 else conv(inputs, outputs, 1, stride)
