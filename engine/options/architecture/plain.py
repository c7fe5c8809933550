"""Options of the networks without residual stages."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.options.architecture.base import (
    Activation,
    ArchitectureOptions,
    Rate,
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
        check_dropout(self.dropout, self.head)
        return self

    def misfit(self, channels: int, size: int) -> str | None:
        if self.final_size(size) >= 1:
            return None
        return (
            f"{len(self.channels)} stages halve a {size}x{size} image to nothing; "
            f"choose at most {size.bit_length() - 1} stages"
        )


class LeNet(ArchitectureOptions):
    """LeNet-5 (LeCun et al., Proceedings of the IEEE 1998) with max pooling."""

    builder: ClassVar[str] = "engine.models.lenet:build"

    family: Literal["lenet"] = option("lenet", "LeNet-5: three 5x5 convolutions and two linear layers.")
    channels: Widths = option((6, 16, 120), "Widths of the three convolutions.", unit="channels", min_length=3)
    head: Widths = option((84,), "Widths of the hidden linear layers, each with the activation.", unit="features")
    dropout: Rates = option((), "Dropout rate before each linear layer, the classifier included; empty means none.")

    def padding(self, size: int) -> int:
        """Pixels on each side that bring images below 32 pixels to 32, as LeCun's own were."""
        return max(0, -(-(32 - size) // 2))

    def final_size(self, size: int) -> int:
        """Side in pixels of the map after the third convolution."""
        first = (size + 2 * self.padding(size) - 4) // 2
        return (first - 4) // 2 - 4

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.channels) != 3:
            raise ValueError(f"channels has length {len(self.channels)}; LeNet has three convolutions")
        check_dropout(self.dropout, self.head)
        return self


class SlbiResNet(ArchitectureOptions):
    """A plain network with one residual block and wide linear layers, used to compare Adam with SLBI."""

    builder: ClassVar[str] = "engine.models.slbi_resnet:build"

    family: Literal["slbi_resnet"] = option(
        "slbi_resnet", "Three convolutions, one residual convolution, linear layers."
    )
    channels: Widths = option((64, 128, 256), "Widths of the convolutions.", unit="channels", min_length=3)
    head: Widths = option(
        (4096, 1024), "Widths of the hidden linear layers, each with the activation.", unit="features"
    )
    dropout: Rate = option(0.5, "Dropout rate after each hidden linear layer.")

    def final_size(self, size: int) -> int:
        """Side in pixels of the map that the linear layers see."""
        return size // 8

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.channels) != 3:
            raise ValueError(f"channels has length {len(self.channels)}; this network has three widths")
        return self

    def misfit(self, channels: int, size: int) -> str | None:
        if size >= 8:
            return None
        return f"three poolings halve a {size}x{size} image to nothing; the images need at least 8 pixels"


class Airbench(ArchitectureOptions):
    """The networks of airbench (Jordan, 2024): a frozen whitening convolution, then groups of convolutions."""

    younger: ClassVar[frozenset[str]] = frozenset(
        {"first_activation", "whiten_images", "whiten_centred", "whiten_bias"}
    )
    builder: ClassVar[str] = "engine.models.airbench:build"

    family: Literal["airbench"] = option(
        "airbench", "airbench: whitening convolution from the data, then three groups."
    )
    activation: Activation = option("gelu", "Activation used everywhere in the network.")
    first_activation: Activation | None = option(
        None, "Another activation after the whitening convolution; null for the same."
    )
    channels: Widths = option((64, 256, 256), "Width of each group.", unit="channels", min_length=1)
    convolutions: int = option(
        2, "Convolutions in each group, the first followed by max pooling; a third is residual.", ge=2, le=3
    )
    whiten_kernel: int = option(2, "Kernel of the whitening convolution.", unit="pixels", ge=1, le=5)
    whiten_eps: float = option(
        5e-4, "Added to the variances before whitening, against noise in the faint directions.", gt=0, le=1
    )
    whiten_images: int = option(
        5000, "Training images whose patches the whitening is computed from.", unit="images", ge=1, le=20_000
    )
    whiten_centred: bool = option(
        True, "Whiten by the patches' covariance; else by their second moment about 0, as airbench does."
    )
    whiten_bias: Literal["drawn", "zero", "none"] = option(
        "drawn", "How the whitening convolution's bias starts: drawn by torch, or at 0; or that there is none."
    )
    dirac: bool = option(True, "Start the convolutions as the identity on their first channels.")
    norm_momentum: float = option(0.4, "Share of a new batch in BatchNorm's running statistics.", gt=0, le=1)
    norm_eps: float = option(1e-12, "Added to the variance in BatchNorm.", gt=0, le=1)
    norm_scale: bool = option(False, "Train the scale of BatchNorm too, not its shift alone.")
    logit_scale: float = option(0.1111111111, "Factor on the logits.", gt=0, le=100)
    head_std: float = option(
        0.0, "Standard deviation that the head's first weights are scaled to; 0 leaves them as drawn.", ge=0, le=100
    )

    def final_size(self, size: int) -> int:
        """Side in pixels of the map that reaches the last max pooling."""
        return (size - self.whiten_kernel + 1) >> len(self.channels)

    def misfit(self, channels: int, size: int) -> str | None:
        if self.final_size(size) >= 1:
            return None
        return f"{len(self.channels)} groups halve a {size}x{size} image to nothing; choose fewer or larger images"
