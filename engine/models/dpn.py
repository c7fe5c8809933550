"""Dual path network: Chen, Li, Xiao, Jin, Yan and Feng, "Dual Path Networks", NeurIPS 2017, arXiv 1707.01629.

Block: section 4, figure 2 (d). A block's output is split: the first channels are added to the residual path, the others
are appended to the dense path.
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.models.layers import ACTIVATIONS, conv, conv_norm_act, initialise
from engine.options.architecture import Dpn


def build(options: Dpn, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes)."""
    network = OrderedDict[str, nn.Module](stem=conv_norm_act(channels, options.stem, 3, 1, options.activation))
    inputs = options.stem
    strides = options.stage_strides
    for index, blocks in enumerate(options.blocks):
        stage = nn.Sequential()
        for block in range(blocks):
            stage.append(DualPathBlock(options, index, inputs, strides[index], first=block == 0))
            # The projection of a stage's first block brings one increment of dense channels of its own.
            inputs = options.channels[index] + (block + 2) * options.increments[index]
        network[f"stage{index + 1}"] = stage
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(inputs, classes)
    return initialise(nn.Sequential(network), options.initialization)


class DualPathBlock(nn.Module):
    """1x1, grouped 3x3 with the stride, 1x1; what comes out goes to both paths."""

    def __init__(self, options: Dpn, stage: int, inputs: int, stride: int, first: bool) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        inner = options.inner[stage]
        self.residual = options.channels[stage]
        outputs = self.residual + options.increments[stage]
        self.conv1 = conv(inputs, inner, 1)
        self.norm1 = nn.BatchNorm2d(inner)
        self.act1 = activation()
        self.conv2 = conv(inner, inner, 3, stride if first else 1, groups=options.groups)
        self.norm2 = nn.BatchNorm2d(inner)
        self.act2 = activation()
        self.conv3 = conv(inner, outputs, 1)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if first:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.act3 = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.act2(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        x = self.shortcut(x)
        d = self.residual
        paths = torch.cat([x[:, :d] + y[:, :d], x[:, d:], y[:, d:]], dim=1)
        result: torch.Tensor = self.act3(paths)
        return result
