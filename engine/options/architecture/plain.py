"""Options of the networks without residual stages."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.options.architecture.base import (
    ArchitectureOptions,
    Rates,
    Repeats,
    Widths,
    check_dropout,
    check_stages,
)
from engine.options.base import option


class Vgg(ArchitectureOptions):
    """VGG (Simonyan and Zisserman, ICLR 2015): 3x3 convolutions and max pooling, with or without BatchNorm."""

    builder: ClassVar[str] = "engine.models.vgg:build"

    family: Literal["vgg"] = option("vgg", "VGG: stages of 3x3 convolutions, each ended by 2x2 max pooling.")
    channels: Widths = option((64, 128, 256, 512, 512), "Width of each stage.", unit="channels")
    convolutions: Repeats = option((1, 1, 2, 2, 2), "Convolutions in each stage.", unit="convolutions")
    batch_norm: bool = option(False, "BatchNorm after each convolution.")
    conv_bias: bool = option(True, "Biases on the convolutions, also where a BatchNorm follows.")
    global_pool: bool = option(False, "Average the last map to one pixel before the head, instead of flattening it.")
    head: Widths = option((512, 512), "Widths of the hidden linear layers, each with the activation.", unit="features")
    dropout: Rates = option((), "Dropout rate before each linear layer, the classifier included; empty means none.")

    def final_size(self, size: int) -> int:
        """Side in pixels of the map after the last stage."""
        return size >> len(self.channels)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_stages(self.channels, convolutions=self.convolutions)
        if len(self.convolutions) != len(self.channels):
            raise ValueError("convolutions is empty; give the number of convolutions of every stage")
        check_dropout(self.dropout, self.head)
        return self

    def misfit(self, channels: int, size: int) -> str | None:
        if self.final_size(size) >= 1:
            return None
        return (
            f"{len(self.channels)} stages halve a {size}x{size} image to nothing; "
            f"choose at most {size.bit_length() - 1} stages"
        )
