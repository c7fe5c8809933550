"""Wide ResNet: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, arXiv 1605.07146.

Structure: table 1, with N blocks a stage. Block: figure 1 (d), BatchNorm and activation before each convolution and
dropout between them (section 2.4).
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.models.layers import ACTIVATIONS, conv, initialise
from engine.options.architecture import WideResNet


def build(options: WideResNet, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes)."""
    network = OrderedDict[str, nn.Module](stem=conv(channels, options.stem, 3, bias=options.conv_bias))
    width = options.stem
    for number, (outputs, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        outputs *= options.widen
        first = WideBlock(options, width, outputs, stride)
        rest = [WideBlock(options, outputs, outputs, 1) for _ in range(options.blocks - 1)]
        network[f"stage{number}"] = nn.Sequential(first, *rest)
        width = outputs
    network["norm"] = nn.BatchNorm2d(width)
    network["act"] = ACTIVATIONS[options.activation]()
    network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    network["head"] = nn.Linear(width, classes)
    return initialise(nn.Sequential(network), options.initialization)


class WideBlock(nn.Module):
    """Two wide 3x3 convolutions with dropout between them, added to the shortcut."""

    def __init__(self, options: WideResNet, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        bias = options.conv_bias
        self.norm1 = nn.BatchNorm2d(inputs)
        self.act1 = activation()
        self.conv1 = conv(inputs, outputs, 3, stride, bias=bias)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.act2 = activation()
        self.dropout = nn.Dropout(options.dropout) if options.dropout else nn.Identity()
        self.conv2 = conv(outputs, outputs, 3, bias=bias)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else conv(inputs, outputs, 1, stride, bias=bias)
        self.shortcut_takes_raw = options.shortcut_input == "raw"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.act1(self.norm1(x))
        y = self.act2(self.norm2(self.conv1(a)))
        y = self.conv2(self.dropout(y))
        if self.shortcut is None:
            result: torch.Tensor = y + x
            return result
        result = y + self.shortcut(x if self.shortcut_takes_raw else a)
        return result
