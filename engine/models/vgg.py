"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
arXiv 1409.1556. Configurations: table 1 (A has 1, 1, 2, 2, 2 convolutions).

For 32x32 images the hidden linear layers are 512 wide. With BatchNorm it is the network of Santurkar et al., "How Does
Batch Normalization Help Optimization?", NeurIPS 2018.
"""

from collections import OrderedDict

from torch import nn

from engine.errors import UserError
from engine.models.layers import ACTIVATIONS, conv, initialise, linear_head
from engine.options.architecture import Vgg


def build(options: Vgg, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes). Raises UserError when the images do not fit."""
    if problem := options.misfit(channels, size):
        raise UserError(problem)
    network = OrderedDict[str, nn.Module]()
    inputs = channels
    for number, (outputs, convolutions) in enumerate(zip(options.channels, options.convolutions, strict=True), start=1):
        network[f"stage{number}"] = stage(options, inputs, outputs, convolutions)
        inputs = outputs
    if options.global_pool:
        network["pool"] = nn.AdaptiveAvgPool2d(1)
    network["flatten"] = nn.Flatten()
    side = 1 if options.global_pool else options.final_size(size)
    network["head"] = linear_head((inputs * side**2, *options.head, classes), options.dropout, options.activation)
    return initialise(nn.Sequential(network), options.initialization)


def stage(options: Vgg, inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    """Convolutions of one width, then max pooling."""
    layers = nn.Sequential()
    for _ in range(convolutions):
        layers.append(conv(inputs, outputs, 3, bias=options.conv_bias))
        if options.batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(ACTIVATIONS[options.activation]())
        inputs = outputs
    return layers.append(nn.MaxPool2d(2))
