"""The networks of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498, section 3.

A frozen convolution whitens 2x2 patches of the training images (3.2), the other convolutions start as the identity
(3.3, "dirac"), BatchNorm has a shift but no trained scale, and the logits are scaled down.
"""

from collections import OrderedDict

import torch
from torch import nn

from engine.errors import UserError
from engine.models.layers import ACTIVATIONS, conv, initialise
from engine.options.architecture import Airbench


def build(options: Airbench, channels: int, size: int, classes: int) -> nn.Module:
    """Network from (N, channels, size, size) to (N, classes). Raises UserError when the images do not fit.

    Its ``initialise_from_data`` must be called before training; until then the first convolution is drawn at random.
    """
    if problem := options.misfit(channels, size):
        raise UserError(problem)
    return AirbenchNet(options, channels, classes)


class AirbenchNet(nn.Module):
    """Whitening, groups of convolutions, max pooling and a linear layer without bias."""

    def __init__(self, options: Airbench, channels: int, classes: int) -> None:
        super().__init__()
        self.initial_images = options.whiten_images
        self.whitening_eps = options.whiten_eps
        self.whitening_centred = options.whiten_centred
        self.logit_scale = options.logit_scale
        width = 2 * channels * options.whiten_kernel**2
        self.whiten = nn.Conv2d(channels, width, options.whiten_kernel, bias=options.whiten_bias != "none")
        self.whiten.weight.requires_grad = False
        self.act = ACTIVATIONS[options.first_activation or options.activation]()
        groups = OrderedDict[str, nn.Module]()
        for number, outputs in enumerate(options.channels, start=1):
            groups[f"group{number}"] = Group(options, width, outputs)
            width = outputs
        self.groups = nn.Sequential(groups)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(width, classes, bias=False)
        initialise(self, options.initialization)
        if options.whiten_bias == "zero":
            nn.init.zeros_(self.whiten.get_parameter("bias"))
        if options.dirac:
            start_as_identity(self.groups)
        if options.head_std:
            with torch.no_grad():
                self.head.weight.mul_(options.head_std / self.head.weight.std())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.groups(self.act(self.whiten(x)))
        logits: torch.Tensor = self.head(self.flatten(self.pool(x)))
        return logits * self.logit_scale

    @torch.no_grad()
    def initialise_from_data(self, images: torch.Tensor) -> None:
        """Set the whitening filters from images (N, C, H, W) as the network will see them."""
        first, kernel = images[: self.initial_images].float(), self.whiten.kernel_size[0]
        filters = whitening_filters(first, kernel, self.whitening_eps, self.whitening_centred)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


class Group(nn.Module):
    """Convolution with max pooling, then one more, or two more around which the input is added."""

    def __init__(self, options: Airbench, inputs: int, outputs: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        self.conv1 = conv(inputs, outputs, 3)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = norm(options, outputs)
        self.act1 = activation()
        self.conv2 = conv(outputs, outputs, 3)
        self.norm2 = norm(options, outputs)
        self.act2 = activation()
        self.residual = options.convolutions == 3
        if self.residual:
            self.conv3 = conv(outputs, outputs, 3)
            self.norm3 = norm(options, outputs)
            self.act3 = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.norm1(self.pool(self.conv1(x))))
        y: torch.Tensor = self.act2(self.norm2(self.conv2(x)))
        if self.residual:
            y = self.act3(x + self.norm3(self.conv3(y)))
        return y


def norm(options: Airbench, width: int) -> nn.BatchNorm2d:
    """BatchNorm whose scale stays 1 unless it is to be trained."""
    layer = nn.BatchNorm2d(width, eps=options.norm_eps, momentum=options.norm_momentum)
    layer.weight.requires_grad = options.norm_scale
    return layer


@torch.no_grad()
def start_as_identity(network: nn.Module) -> None:
    """In each convolution, let the first filters pass the input channels on; the further ones stay as drawn."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight[: module.in_channels])


def whitening_filters(images: torch.Tensor, kernel: int, eps: float, centred: bool) -> torch.Tensor:
    """Eigenvectors of the covariance of all patches over the square roots of their variances, the strongest first.

    What is not ``centred`` stands about 0 in place of the patches' mean, which for normalised images is near. images:
    (N, C, H, W) float32. Returns (C * kernel**2, C, kernel, kernel).
    """
    patches = images.unfold(2, kernel, 1).unfold(3, kernel, 1)  # (N, C, H', W', kernel, kernel)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * kernel**2)
    patches = patches - patches.mean(dim=0) if centred else patches
    covariance = (patches.T @ patches).double() / len(patches)
    variances, vectors = torch.linalg.eigh(covariance)  # ascending; vectors in columns
    filters: torch.Tensor = (vectors / torch.sqrt(variances + eps)).T.flip(0)
    return filters.reshape(-1, images.shape[1], kernel, kernel).to(images.dtype)
