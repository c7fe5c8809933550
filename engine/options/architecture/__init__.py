"""Options of every network family, one class a family; which one a mapping means is told by its key ``family``."""

from typing import Annotated

from pydantic import Field

from engine.options.architecture.base import Activation, ArchitectureOptions, Initialization
from engine.options.architecture.plain import Vgg
from engine.options.architecture.residual import ResNet

ArchitectureChoice = Annotated[ResNet | Vgg, Field(discriminator="family")]

__all__ = ["Activation", "ArchitectureChoice", "ArchitectureOptions", "Initialization", "ResNet", "Vgg"]
