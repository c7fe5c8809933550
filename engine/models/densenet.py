"""DenseNet: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", CVPR 2017,
arXiv 1608.06993. Layer and transition: section 3 (DenseNet-BC); block sizes: table 1.

In the CIFAR form the stem is one 3x3 convolution, without BatchNorm or pooling.
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.errors import UserError
from engine.models.layers import ACTIVATIONS, conv, initialise
from engine.options.architecture import DenseNet


def build(options: DenseNet, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes). Raises UserError when the images do not fit."""
    if problem := options.misfit(channels, size):
        raise UserError(problem)
    network = OrderedDict[str, nn.Module](stem=conv(channels, options.stem, 3))
    width = options.stem
    for number, layers in enumerate(options.blocks, start=1):
        if number > 1:
            outputs = max(1, int(width * options.compression))
            network[f"transition{number - 1}"] = transition(options, width, outputs)
            width = outputs
        grown = [width + index * options.growth for index in range(layers)]
        network[f"block{number}"] = nn.Sequential(*[DenseLayer(options, inputs) for inputs in grown])
        width += layers * options.growth
    network["norm"] = nn.BatchNorm2d(width)
    network["act"] = ACTIVATIONS[options.activation]()
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(width, classes)
    return initialise(nn.Sequential(network), options.initialization)


def transition(options: DenseNet, inputs: int, outputs: int) -> nn.Sequential:
    """BatchNorm, activation, 1x1 convolution and 2x2 average pooling, between two blocks."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs), ACTIVATIONS[options.activation](), conv(inputs, outputs, 1), nn.AvgPool2d(2)
    )


class DenseLayer(nn.Module):
    """New features from all earlier ones, put before them: (N, inputs, H, W) to (N, growth + inputs, H, W)."""

    def __init__(self, options: DenseNet, inputs: int) -> None:
        super().__init__()
        layers = nn.Sequential(nn.BatchNorm2d(inputs), ACTIVATIONS[options.activation]())
        if options.bottleneck:
            inner = options.bottleneck * options.growth
            layers.extend([conv(inputs, inner, 1), nn.BatchNorm2d(inner), ACTIVATIONS[options.activation]()])
            inputs = inner
        self.layers = layers.append(conv(inputs, options.growth, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.layers(x), x], dim=1)
