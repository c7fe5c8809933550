"""Options of the networks made of residual blocks."""

from itertools import pairwise
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.options.architecture.base import (
    ArchitectureOptions,
    Kernel,
    Kernels,
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
        0, "Width of a further 3x3 convolution with BatchNorm and no activation after the last stage; 0 for none.",
        unit="channels", ge=0, le=16384,
    )  # fmt: skip
    extra_stride: int = option(2, "Stride of that further convolution.", unit="pixels", ge=1, le=4)
    pool: int = option(0, "Side of the average pooling window before the head; 0 averages the whole map.",
                       unit="pixels", ge=0, le=512)  # fmt: skip
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
        check_stages(self.channels, blocks=self.blocks, strides=self.strides)
        if len(self.blocks) != len(self.channels):
            raise ValueError("blocks is empty; give the number of blocks of every stage")
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
