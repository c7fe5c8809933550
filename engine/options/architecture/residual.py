"""Options of the networks made of residual blocks."""

from itertools import pairwise
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.options.architecture.base import (
    MAX_WIDTH,
    ArchitectureOptions,
    Kernel,
    Kernels,
    Rate,
    Rates,
    Repeats,
    Strides,
    Width,
    Widths,
    check_dropout,
    check_stages,
    pool_misfit,
    stage_strides,
    strided,
)
from engine.options.base import option

Block = Literal["basic", "bottleneck"]
Shortcut = Literal["projection", "subsample_pad", "pool_pad"]


class ResNet(ArchitectureOptions):
    """ResNet (He et al., CVPR 2016) with free stages, in its CIFAR and its ImageNet form."""

    builder: ClassVar[str] = "engine.models.resnet:build"

    family: Literal["resnet"] = option("resnet", "ResNet: residual blocks, activation after the addition.")
    stem: Width = option(64, "Width of the first convolution.", unit="channels")
    stem_kernel: Kernel = option(3, "Kernel of the first convolution; 7 in the ImageNet form.", unit="pixels")
    stem_stride: int = option(1, "Stride of the first convolution; 2 in the ImageNet form.", unit="pixels", ge=1, le=4)
    stem_pool: bool = option(False, "3x3 max pooling with stride 2 after the first convolution, as for ImageNet.")
    channels: Widths = option(
        (64, 128, 256, 512), "Width of each stage; a bottleneck puts out `expansion` times as many.", unit="channels"
    )
    blocks: Repeats = option((2, 2, 2, 2), "Residual blocks in each stage.", unit="blocks")
    strides: Strides = option((), "Stride of each stage's first block; empty means 1, then 2 for each later stage.")
    block: Block = option("basic", "Basic block of two convolutions, or bottleneck of 1x1, 3x3, 1x1.")
    expansion: int = option(
        4, "Output width of a bottleneck over its inner width; no effect on basic blocks.", ge=1, le=16
    )
    kernels: Kernels = option(
        (3, 3), "Kernels of a basic block's two convolutions; the first carries the stride.", unit="pixels"
    )
    shortcut: Shortcut = option(
        "projection",
        "Where a block changes the shape: 1x1 convolution and BatchNorm (option B), or without parameters (option A) "
        "every second pixel with zero channels on both sides, or 2x2 max pooling with zero channels at the end.",
    )
    zero_init: bool = option(False, "Start each block as the identity: the scale of its last BatchNorm starts at 0.")
    extra: int = option(
        0,
        "Width of a further 3x3 convolution with BatchNorm and no activation after the last stage; 0 for none.",
        unit="channels",
        ge=0,
        le=MAX_WIDTH,
    )
    extra_stride: int = option(2, "Stride of that further convolution.", unit="pixels", ge=1, le=4)
    pool: int = option(
        0, "Side of the average pooling window before the head; 0 averages the whole map.", unit="pixels", ge=0, le=512
    )
    head: Widths = option((), "Widths of hidden linear layers before the classifier.", unit="features")
    head_activation: bool = option(False, "Put the activation after each hidden linear layer.")
    dropout: Rates = option((), "Dropout rate before each linear layer, the classifier included; empty means none.")

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of every stage's first block."""
        return stage_strides(self.strides, len(self.channels))

    def final_size(self, size: int) -> int:
        """Side in pixels of the map that reaches the pooling, for images of side ``size``."""
        stem = strided(size, self.stem_stride, 2 if self.stem_pool else 1)
        return strided(stem, *self.stage_strides, self.extra_stride if self.extra else 1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_stages(self.channels, self.strides, blocks=self.blocks)
        if len(self.kernels) != 2:
            raise ValueError("kernels needs two sizes, one for each convolution of a basic block")
        if self.block == "bottleneck" and self.kernels != (3, 3):
            raise ValueError("kernels belongs to basic blocks; a bottleneck is always 1x1, 3x3, 1x1")
        check_dropout(self.dropout, self.head)
        return self._shortcut_fits()

    def _shortcut_fits(self) -> Self:
        """Shortcuts without parameters can only add channels, and only halve the map."""
        if self.shortcut == "projection":
            return self
        widths = (self.stem, *[width * self.output_expansion for width in self.channels])
        if any(later < earlier for earlier, later in pairwise(widths)):
            raise ValueError(f"shortcut {self.shortcut} pads with zero channels and cannot narrow; use projection")
        if self.shortcut == "pool_pad" and max(self.stage_strides) > 2:
            raise ValueError("shortcut pool_pad halves the map by 2x2 pooling; strides above 2 need another shortcut")
        return self

    @property
    def output_expansion(self) -> int:
        """Output width of a block over the width of its stage."""
        return self.expansion if self.block == "bottleneck" else 1

    def misfit(self, channels: int, size: int) -> str | None:
        return pool_misfit(self.pool, self.final_size(size), size)


class PreActResNet(ArchitectureOptions):
    """Pre-activation ResNet (He et al., ECCV 2016): BatchNorm and activation before each convolution."""

    builder: ClassVar[str] = "engine.models.preact_resnet:build"

    family: Literal["preact_resnet"] = option("preact_resnet", "ResNet with pre-activation blocks.")
    stem: Width = option(64, "Width of the first convolution.", unit="channels")
    channels: Widths = option(
        (64, 128, 256, 512), "Width of each stage; a bottleneck puts out `expansion` times as many.", unit="channels"
    )
    blocks: Repeats = option((2, 2, 2, 2), "Residual blocks in each stage.", unit="blocks")
    strides: Strides = option((), "Stride of each stage's first block; empty means 1, then 2 for each later stage.")
    block: Block = option("basic", "Basic block of two 3x3 convolutions, or bottleneck of 1x1, 3x3, 1x1.")
    expansion: int = option(
        4, "Output width of a bottleneck over its inner width; no effect on basic blocks.", ge=1, le=16
    )
    final_norm: bool = option(True, "BatchNorm and activation after the last block, as in the paper.")

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of every stage's first block."""
        return stage_strides(self.strides, len(self.channels))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_stages(self.channels, self.strides, blocks=self.blocks)
        return self


class WideResNet(ArchitectureOptions):
    """WRN-depth-widen (Zagoruyko and Komodakis, BMVC 2016)."""

    builder: ClassVar[str] = "engine.models.wide_resnet:build"

    family: Literal["wide_resnet"] = option("wide_resnet", "Wide ResNet: few pre-activation blocks of great width.")
    depth: int = option(28, "Convolutions in depth: 6n + 4, with n blocks in each of three stages.", ge=10, le=2404)
    widen: int = option(10, "Width of the stages over that of ResNet (16, 32, 64).", ge=1, le=64)
    stem: Width = option(16, "Width of the first convolution.", unit="channels")
    dropout: Rate = option(0.0, "Dropout rate between the two convolutions of a block.")
    conv_bias: bool = option(False, "Biases on the convolutions; the paper has none.")
    shortcut_input: Literal["activated", "raw"] = option(
        "activated", "What a 1x1 shortcut is fed with: the block's first activation, as in the paper, or its raw input."
    )

    @property
    def blocks(self) -> int:
        """Residual blocks in each stage."""
        return (self.depth - 4) // 6

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.depth - 4) % 6:
            nearest = 6 * round((self.depth - 4) / 6) + 4
            raise ValueError(f"depth {self.depth} is not 6n + 4; the nearest that is, is {nearest}")
        return self


class ResNeXt(ArchitectureOptions):
    """ResNeXt (Xie et al., CVPR 2017): bottlenecks whose 3x3 convolution is split into groups."""

    builder: ClassVar[str] = "engine.models.resnext:build"

    family: Literal["resnext"] = option("resnext", "ResNeXt: bottlenecks with grouped convolutions.")
    cardinality: int = option(8, "Groups of the 3x3 convolutions.", unit="groups", ge=1, le=256)
    width: int = option(
        64, "Channels of a group in the first stage; doubled with each stage.", unit="channels", ge=1, le=1024
    )
    expansion: float = option(
        0.5,
        "Output width of a block over its inner width (cardinality x width); 0.5 gives 8x64d the paper's 256.",
        gt=0,
        le=16,
    )
    blocks: Repeats = option((3, 3, 3), "Bottlenecks in each stage.", unit="blocks", min_length=1)
    stem: Width = option(64, "Width of the first convolution.", unit="channels")
    stem_kernel: Kernel = option(3, "Kernel of the first convolution.", unit="pixels")
    strides: Strides = option((), "Stride of each stage's first block; empty means 1, then 2 for each later stage.")

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of every stage's first block."""
        return stage_strides(self.strides, len(self.blocks))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.strides and len(self.strides) != len(self.blocks):
            raise ValueError(
                f"strides has length {len(self.strides)} and blocks has length {len(self.blocks)}; give one each"
            )
        if self.cardinality * self.width * self.expansion % 1:
            raise ValueError(
                f"expansion {self.expansion:g} of {self.cardinality * self.width} channels is no whole number"
            )
        return self


class PyramidNet(ArchitectureOptions):
    """PyramidNet (Han et al., CVPR 2017): every block is a little wider than the one before."""

    builder: ClassVar[str] = "engine.models.pyramidnet:build"

    family: Literal["pyramidnet"] = option("pyramidnet", "PyramidNet: width grows by the same amount with every block.")
    depth: int = option(110, "Layers in depth: 6n + 2 of basic blocks, 9n + 2 of bottlenecks.", ge=8, le=2000)
    alpha: int = option(84, "Channels added from the first to the last block.", unit="channels", ge=1, le=2000)
    stem: Width = option(16, "Width of the first convolution.", unit="channels")
    block: Block = option("basic", "Basic block of two 3x3 convolutions, or bottleneck of 1x1, 3x3, 1x1.")
    expansion: int = option(
        4, "Output width of a bottleneck over its inner width; no effect on basic blocks.", ge=1, le=16
    )

    @property
    def blocks(self) -> int:
        """Blocks in each of the three stages."""
        return (self.depth - 2) // self._layers_of_a_step

    @property
    def _layers_of_a_step(self) -> int:
        return 9 if self.block == "bottleneck" else 6

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        step = self._layers_of_a_step
        if (self.depth - 2) % step:
            nearest = step * max(1, round((self.depth - 2) / step)) + 2
            raise ValueError(f"depth {self.depth} is not {step}n + 2; the nearest that is, is {nearest}")
        return self


class ShakeShake(ArchitectureOptions):
    """Shake-Shake (Gastaldi, 2017): two branches a block, mixed at random while training."""

    builder: ClassVar[str] = "engine.models.shake_shake:build"

    family: Literal["shake_shake"] = option("shake_shake", "Shake-Shake: two residual branches mixed at random.")
    blocks: int = option(4, "Blocks in each of the three stages; 4 give the 26 layers of 26 2xNd.", ge=1, le=100)
    width: Width = option(32, "Width of each branch in the first stage; doubled with each stage.", unit="channels")
    stem: Width = option(16, "Width of the first convolution.", unit="channels")
    forward: Literal["shake", "even"] = option(
        "shake", "Mixing in the forward pass: drawn for each image, or by halves."
    )
    backward: Literal["shake", "even", "keep"] = option(
        "shake", "Mixing of the gradient: drawn anew for each image, by halves, or as it was in the forward pass."
    )
