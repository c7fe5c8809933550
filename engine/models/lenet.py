"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of
the IEEE 86 (11), 1998, figure 2. Here with max pooling, the activation of the options, and a linear classifier.
"""

from collections import OrderedDict

from torch import nn

from engine.models.layers import ACTIVATIONS, initialise, linear_head
from engine.options.architecture import LeNet


def build(options: LeNet, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes); images below 32 pixels are padded to 32."""
    activation = ACTIVATIONS[options.activation]
    first, second, third = options.channels
    network = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(channels, first, 5, padding=options.padding(size)),
        act1=activation(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(first, second, 5),
        act2=activation(),
        pool2=nn.MaxPool2d(2),
        conv3=nn.Conv2d(second, third, 5),
        act3=activation(),
        flatten=nn.Flatten(),
    )
    features = third * options.final_size(size) ** 2
    network["head"] = linear_head((features, *options.head, classes), options.dropout, options.activation)
    return initialise(nn.Sequential(network), options.initialization)
