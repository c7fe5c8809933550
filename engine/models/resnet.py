"""ResNet: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385.

Blocks: figure 5. CIFAR form: section 4.2 (3x3 stem, three stages, global average). ImageNet form: table 1 (7x7 stem
with stride 2, max pooling). Bottlenecks carry the stride on the 3x3 convolution, as torchvision and later work do.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from engine.errors import UserError
from engine.models.layers import ACTIVATIONS, average_pool, conv, conv_norm_act, initialise, linear_head
from engine.options.architecture import ResNet


def build(options: ResNet, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes). Raises UserError when the images do not fit."""
    if problem := options.misfit(channels, size):
        raise UserError(problem)
    network = OrderedDict[str, nn.Module](stem=stem(options, channels))
    width = options.stem
    for number, (inner, blocks, stride) in enumerate(
        zip(options.channels, options.blocks, options.stage_strides, strict=True), start=1
    ):
        network[f"stage{number}"], width = stage(options, width, inner, blocks, stride)
    if options.extra:
        network["extra"] = nn.Sequential(
            conv(width, options.extra, 3, options.extra_stride), nn.BatchNorm2d(options.extra)
        )
        width = options.extra
    network["pool"] = average_pool(options.pool)
    network["flatten"] = nn.Flatten()
    side = options.final_size(size) // options.pool if options.pool else 1
    hidden_activation = options.activation if options.head_activation else None
    network["head"] = linear_head((width * side**2, *options.head, classes), options.dropout, hidden_activation)
    return initialise(nn.Sequential(network), options.initialization)


def stem(options: ResNet, channels: int) -> nn.Sequential:
    """First convolution, BatchNorm and activation, with max pooling after it in the ImageNet form."""
    layers = conv_norm_act(channels, options.stem, options.stem_kernel, options.stem_stride, options.activation)
    if options.stem_pool:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return layers


def stage(options: ResNet, inputs: int, inner: int, blocks: int, stride: int) -> tuple[nn.Sequential, int]:
    """Blocks of one width, the first with the stride; also the stage's output width."""
    block = Bottleneck if options.block == "bottleneck" else BasicBlock
    outputs = inner * options.output_expansion
    first = block(options, inputs, inner, outputs, stride)
    rest = [block(options, outputs, inner, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest), outputs


class BasicBlock(nn.Module):
    """Two convolutions, added to the shortcut before the last activation (figure 5, left)."""

    def __init__(self, options: ResNet, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        first, second = options.kernels
        self.conv1 = conv(inputs, inner, first, stride)
        self.norm1 = nn.BatchNorm2d(inner)
        self.act1 = activation()
        self.conv2 = conv(inner, outputs, second)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(options, inputs, outputs, stride)
        self.act2 = activation()
        if options.zero_init:
            nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: torch.Tensor = self.act2(y + self.shortcut(x))
        return result


class Bottleneck(nn.Module):
    """1x1 to the inner width, 3x3 with the stride, 1x1 to the output width (figure 5, right)."""

    def __init__(self, options: ResNet, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        self.conv1 = conv(inputs, inner, 1)
        self.norm1 = nn.BatchNorm2d(inner)
        self.act1 = activation()
        self.conv2 = conv(inner, inner, 3, stride)
        self.norm2 = nn.BatchNorm2d(inner)
        self.act2 = activation()
        self.conv3 = conv(inner, outputs, 1)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(options, inputs, outputs, stride)
        self.act3 = activation()
        if options.zero_init:
            nn.init.zeros_(self.norm3.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.act2(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        result: torch.Tensor = self.act3(y + self.shortcut(x))
        return result


def shortcut(options: ResNet, inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity where the shape stays, else option A or B of section 3.3."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if options.shortcut == "projection":
        return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
    if options.shortcut == "pool_pad":
        return PoolPad(outputs - inputs, stride)
    return SubsamplePad(outputs - inputs, stride)


class SubsamplePad(nn.Module):
    """Option A: every ``stride``-th pixel, new channels zero, half of them before the old ones and half after."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = new_channels // 2
        self.after = new_channels - self.before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class PoolPad(nn.Module):
    """Option A by max pooling over ``stride`` x ``stride`` windows, all new channels zero at the end."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.new_channels = new_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(self.pool(x), (0, 0, 0, 0, 0, self.new_channels))
