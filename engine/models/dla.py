"""Deep layer aggregation: Yu, Wang, Shelhamer and Darrell, "Deep Layer Aggregation", CVPR 2018, arXiv 1707.06484.

Hierarchical aggregation: section 3.2, figure 2 (d) to (f). Here the subtree of a tree is fed like the tree itself, its
output goes on to the tree's last two blocks, and the root sees the blocks, the subtrees and one extra first block. The
aggregation nodes are 1x1 convolutions without residual.
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.models.layers import ACTIVATIONS, conv, conv_norm_act, initialise
from engine.options.architecture import Activation, Dla


def build(options: Dla, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes)."""
    stem = nn.Sequential()
    width = channels
    for outputs in options.stem:
        stem.append(conv_norm_act(width, outputs, 3, 1, options.activation))
        width = outputs
    network = OrderedDict[str, nn.Module](stem=stem)
    for number, (outputs, level, stride) in enumerate(
        zip(options.channels, options.levels, options.stage_strides, strict=True), start=1
    ):
        network[f"stage{number}"] = Tree(options.activation, width, outputs, level, stride)
        width = outputs
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(width, classes)
    return initialise(nn.Sequential(network), options.initialization)


class Tree(nn.Module):
    """Subtrees of every lower level, one feeding the next, two blocks after them, and a root over all of these."""

    def __init__(self, activation: Activation, inputs: int, outputs: int, level: int, stride: int) -> None:
        super().__init__()
        self.first = Block(activation, inputs, outputs, stride) if level > 1 else None
        self.subtrees = nn.ModuleList()
        width = inputs
        for lower in reversed(range(1, level)):
            self.subtrees.append(Tree(activation, width, outputs, lower, stride))
            width, stride = outputs, 1
        self.left = Block(activation, width, outputs, stride)
        self.right = Block(activation, outputs, outputs, 1)
        branches = (level > 1) + len(self.subtrees) + 2
        self.root = conv_norm_act(branches * outputs, outputs, 1, 1, activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [] if self.first is None else [self.first(x)]
        for part in (*self.subtrees, self.left, self.right):
            x = part(x)
            branches.append(x)
        result: torch.Tensor = self.root(torch.cat(branches, dim=1))
        return result


class Block(nn.Module):
    """Two 3x3 convolutions added to a shortcut, as in ResNet."""

    def __init__(self, activation: Activation, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.act1 = ACTIVATIONS[activation]()
        self.conv2 = conv(outputs, outputs, 3)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.act2 = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: torch.Tensor = self.act2(y + self.shortcut(x))
        return result
