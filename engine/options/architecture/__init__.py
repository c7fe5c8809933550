"""Options of every network family, one class a family; which one a mapping means is told by its key ``family``."""

from typing import Annotated

from pydantic import Field

from engine.options.architecture.base import Activation, ArchitectureOptions, Initialization
from engine.options.architecture.branching import DenseNet, Dla, Dpn
from engine.options.architecture.plain import Airbench, LeNet, SlbiResNet, Vgg
from engine.options.architecture.residual import PreActResNet, PyramidNet, ResNet, ResNeXt, ShakeShake, WideResNet

ArchitectureChoice = Annotated[
    ResNet
    | PreActResNet
    | WideResNet
    | ResNeXt
    | DenseNet
    | Dpn
    | Dla
    | Vgg
    | LeNet
    | SlbiResNet
    | Airbench
    | ShakeShake
    | PyramidNet,
    Field(discriminator="family"),
]

__all__ = [
    "Activation",
    "Airbench",
    "ArchitectureChoice",
    "ArchitectureOptions",
    "DenseNet",
    "Dla",
    "Dpn",
    "Initialization",
    "LeNet",
    "PreActResNet",
    "PyramidNet",
    "ResNeXt",
    "ResNet",
    "ShakeShake",
    "SlbiResNet",
    "Vgg",
    "WideResNet",
]
