"""Pieces that several families share: activations by name, convolutions, heads, and how weights start."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from engine.options.architecture import Activation, Initialization

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
}


@runtime_checkable
class DataInitialised(Protocol):
    """A network of which some weights are computed from training images before the first step."""

    def initialise_from_data(self, images: torch.Tensor) -> None:
        """Set those weights from ``images``: (N, C, H, W) float32, normalised as in training, without augmentation."""


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Convolution with same padding, without bias unless asked (a BatchNorm follows, whose shift takes its place)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)


def conv_norm_act(inputs: int, outputs: int, kernel: int, stride: int, activation: Activation) -> nn.Sequential:
    """Convolution, BatchNorm, activation."""
    return nn.Sequential(conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs), ACTIVATIONS[activation]())


def average_pool(window: int) -> nn.Module:
    """Average over windows of ``window`` pixels, or over the whole map where it is 0."""
    return nn.AvgPool2d(window) if window else nn.AdaptiveAvgPool2d(1)


def linear_head(widths: Sequence[int], dropout: Sequence[float], activation: Activation | None) -> nn.Sequential:
    """Linear layers from ``widths[0]`` features through the hidden ones to ``widths[-1]`` classes.

    ``dropout`` holds the rate before each layer (empty: none); ``activation`` follows each but the last (None: none).
    """
    rates = dropout or [0.0] * (len(widths) - 1)
    layers: list[nn.Module] = []
    for index, ((inputs, outputs), rate) in enumerate(zip(pairwise(widths), rates, strict=True)):
        if index and activation:
            layers.append(ACTIVATIONS[activation]())
        if rate:
            layers.append(nn.Dropout(rate))
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def initialise(network: nn.Module, scheme: Initialization) -> nn.Module:
    """Start the weights of all convolutions and linear layers by the scheme, with zero biases, and return the network.

    ``he_fan_out``: normal, variance 2 / fan-out (He et al., ICCV 2015, eq. 14). ``xavier``: normal, variance
    2 / (fan-in + fan-out) (Glorot and Bengio, AISTATS 2010, eq. 12). ``torch`` leaves them as they are.
    """
    if scheme == "torch":
        return network
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if scheme == "he_fan_out":
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return network
