"""The CIFAR network on which Adam is compared with split linearised Bregman iteration (Fu et al., "DessiLBI: Exploring
Structural Sparsity of Deep Networks via Differential Inclusion Paths", ICML 2020, arXiv 2007.02010).

Not a paper's network: three convolutions with pooling, one residual convolution, and wide linear layers.
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.errors import UserError
from engine.models.layers import ACTIVATIONS, conv, initialise
from engine.options.architecture import Activation, SlbiResNet


def build(options: SlbiResNet, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes). Raises UserError when the images do not fit."""
    if problem := options.misfit(channels, size):
        raise UserError(problem)
    first, second, third = options.channels
    network = OrderedDict[str, nn.Module](
        conv1=conv_stage(channels, first, options.activation),
        pool1=nn.MaxPool2d(2),
        conv2=conv_stage(first, second, options.activation),
        pool2=nn.MaxPool2d(2),
        conv3=conv_stage(second, third, options.activation),
        residual=Residual(conv_stage(third, third, options.activation)),
        pool3=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
    )
    network["head"] = head(options, third * options.final_size(size) ** 2, classes)
    return initialise(nn.Sequential(network), options.initialization)


def conv_stage(inputs: int, outputs: int, activation: Activation) -> nn.Sequential:
    """3x3 convolution with bias, BatchNorm, activation."""
    return nn.Sequential(conv(inputs, outputs, 3, bias=True), nn.BatchNorm2d(outputs), ACTIVATIONS[activation]())


def head(options: SlbiResNet, features: int, classes: int) -> nn.Sequential:
    """Linear layers, each hidden one followed by the activation and then dropout."""
    layers = nn.Sequential()
    for width in options.head:
        layers.extend([nn.Linear(features, width), ACTIVATIONS[options.activation](), nn.Dropout(options.dropout)])
        features = width
    return layers.append(nn.Linear(features, classes))


class Residual(nn.Module):
    """A branch added to its own input."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.branch(x)
        return result
