"""ResNeXt: Xie, Girshick, Dollar, Tu and He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017,
arXiv 1611.05431. Block: figure 3 (c); the CIFAR networks: section 5.3 (three stages of three blocks, 8x64d and 16x64d).
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.models.layers import ACTIVATIONS, conv, conv_norm_act, initialise
from engine.options.architecture import ResNeXt


def build(options: ResNeXt, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes)."""
    stem = conv_norm_act(channels, options.stem, options.stem_kernel, 1, options.activation)
    network = OrderedDict[str, nn.Module](stem=stem)
    width, inner = options.stem, options.cardinality * options.width
    for number, (blocks, stride) in enumerate(zip(options.blocks, options.stage_strides, strict=True), start=1):
        outputs = round(inner * options.expansion)
        first = GroupedBottleneck(options, width, inner, outputs, stride)
        rest = [GroupedBottleneck(options, outputs, inner, outputs, 1) for _ in range(blocks - 1)]
        network[f"stage{number}"] = nn.Sequential(first, *rest)
        width, inner = outputs, 2 * inner
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(width, classes)
    return initialise(nn.Sequential(network), options.initialization)


class GroupedBottleneck(nn.Module):
    """1x1 to the inner width, grouped 3x3 with the stride, 1x1 to the output width, added to the shortcut."""

    def __init__(self, options: ResNeXt, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        self.conv1 = conv(inputs, inner, 1)
        self.norm1 = nn.BatchNorm2d(inner)
        self.act1 = activation()
        self.conv2 = conv(inner, inner, 3, stride, groups=options.cardinality)
        self.norm2 = nn.BatchNorm2d(inner)
        self.act2 = activation()
        self.conv3 = conv(inner, outputs, 1)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.act3 = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.act2(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        result: torch.Tensor = self.act3(y + self.shortcut(x))
        return result
