"""Options of the networks that concatenate: dense connections, dual paths, trees of aggregation."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.options.architecture.base import (
    ArchitectureOptions,
    Repeats,
    Strides,
    Width,
    Widths,
    check_stages,
    stage_strides,
)
from engine.options.base import option


class DenseNet(ArchitectureOptions):
    """DenseNet-BC (Huang et al., CVPR 2017): every layer sees all earlier ones of its block."""

    builder: ClassVar[str] = "engine.models.densenet:build"

    family: Literal["densenet"] = option("densenet", "DenseNet: every layer adds its features to those before it.")
    growth: Width = option(32, "Features that a layer adds.", unit="channels")
    blocks: Repeats = option((6, 12, 24, 16), "Layers in each dense block.", unit="layers", min_length=1)
    stem: Width = option(64, "Width of the first convolution; twice the growth in the paper.", unit="channels")
    bottleneck: int = option(
        4, "Width of the 1x1 convolution in a layer, over the growth; 0 for layers without one.", ge=0, le=16
    )
    compression: float = option(0.5, "Share of the features that a transition between blocks keeps.", gt=0, le=1)

    def misfit(self, channels: int, size: int) -> str | None:
        if size >> (len(self.blocks) - 1) >= 1:
            return None
        return f"{len(self.blocks) - 1} transitions halve a {size}x{size} image to nothing; choose fewer blocks"


class Dpn(ArchitectureOptions):
    """Dual path network (Chen et al., NeurIPS 2017): a residual path and a densely connected one side by side."""

    builder: ClassVar[str] = "engine.models.dpn:build"

    family: Literal["dpn"] = option("dpn", "Dual path network: residual and dense paths side by side.")
    stem: Width = option(64, "Width of the first convolution.", unit="channels")
    inner: Widths = option((96, 192, 384, 768), "Width of the 3x3 convolutions in each stage.", unit="channels")
    channels: Widths = option((256, 512, 1024, 2048), "Width of the residual path in each stage.", unit="channels")
    increments: Widths = option((16, 32, 24, 128), "Channels that a block adds to the dense path.", unit="channels")
    blocks: Repeats = option((2, 2, 2, 2), "Blocks in each stage.", unit="blocks")
    strides: Strides = option((), "Stride of each stage's first block; empty means 1, then 2 for each later stage.")
    groups: int = option(32, "Groups of the 3x3 convolutions.", unit="groups", ge=1, le=1024)

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of every stage's first block."""
        return stage_strides(self.strides, len(self.channels))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_stages(self.channels, self.strides, inner=self.inner, increments=self.increments, blocks=self.blocks)
        uneven = [width for width in self.inner if width % self.groups]
        if uneven:
            raise ValueError(f"inner width {uneven[0]} cannot be split into {self.groups} groups")
        return self


class Dla(ArchitectureOptions):
    """Deep layer aggregation (Yu et al., CVPR 2018): stages are trees whose roots see all their branches."""

    builder: ClassVar[str] = "engine.models.dla:build"

    family: Literal["dla"] = option("dla", "Deep layer aggregation: trees of residual blocks.")
    stem: Widths = option((16, 16, 32), "Widths of the first convolutions.", unit="channels", min_length=1)
    channels: Widths = option((64, 128, 256, 512), "Width of each tree.", unit="channels")
    levels: Repeats = option((1, 2, 2, 1), "Depth of each tree; a tree of level 1 has two blocks.", unit="levels")
    strides: Strides = option((), "Stride of each tree's first block; empty means 1, then 2 for each later tree.")

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of every tree's first block."""
        return stage_strides(self.strides, len(self.channels))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_stages(self.channels, self.strides, levels=self.levels)
        if max(self.levels) > 5:
            raise ValueError(f"a tree of level {max(self.levels)} has {2 ** max(self.levels)} blocks; choose 5 or less")
        return self
