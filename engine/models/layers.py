"""Pieces that several families share: activations by name, convolutions, heads, and how weights start."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from engine.options.architecture import Activation, Initialization

# Of a CPU: 16 floats in 512 bits.
WIDEST_REGISTER = 16

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

    initial_images: int
    """How many training images it looks at for that, the first ones of the set."""

    def initialise_from_data(self, images: torch.Tensor) -> None:
        """Set those weights from ``images``: (N, C, H, W) float32, normalised as in training, without augmentation."""


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride, safe for few channels on a CPU.

    Where channels_last pixels are narrower than a vector register, oneDNN's own writes past its buffers in computing
    the gradient of the weights: crashes, hangs or wrong gradients (github.com/uxlfoundation/oneDNN/issues/6035). There
    the pixels that count are picked first, which comes to the same.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.device.type != "cpu" or self.in_channels >= WIDEST_REGISTER:
            return super().forward(input)
        rows, columns = self.stride
        picked = input[:, :, ::rows, ::columns]
        return nn.functional.conv2d(picked, self.weight, self.bias, groups=self.groups)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Convolution with same padding, without bias unless asked (a BatchNorm follows, whose shift takes its place)."""
    build = StridedPointwise if kernel == 1 and stride > 1 else nn.Conv2d
    return build(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)


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
