"""A network's layers as model.json has them, one by one and joined into its stages. Plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from engine.counts_cache import LayerCount
from engine.text import clean
from tui import glyphs


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers that belong together, with their sums."""

    label: str
    parameters: int
    macs: int


def layers(model: Mapping[str, Any]) -> list[LayerCount]:
    """The layers of model.json; what is not as it should be is left out."""
    listed = model.get("layers")
    found = [_layer(entry) for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    return [layer for layer in found if layer is not None]


def shape_text(layer: LayerCount) -> str:
    """`64 × 32 × 32`."""
    return f" {glyphs.active().times} ".join(map(str, layer.shape))


def _layer(entry: Mapping[str, Any]) -> LayerCount | None:
    shape = entry.get("shape")
    try:
        return LayerCount(
            clean(str(entry["name"])),
            clean(str(entry["kind"])),
            clean(str(entry.get("detail", ""))),
            tuple(int(side) for side in shape) if isinstance(shape, list) else (),
            int(entry["parameters"]),
            int(entry["macs"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def stages(network: Sequence[LayerCount]) -> list[Stage]:
    """The layers joined by the first part of their names, or the first two where there is only one first part.

    Those that neither weigh nor cost anything (pooling, activations) are left out.
    """
    depth = 1 if len({_prefix(layer, 1) for layer in network}) > 2 else 2
    joined = []
    for prefix, members in groupby(network, key=lambda layer: _prefix(layer, depth)):
        stage = _stage(prefix, list(members))
        if stage.parameters or stage.macs:
            joined.append(stage)
    return joined


def _prefix(layer: LayerCount, depth: int) -> str:
    return ".".join(layer.name.split(".")[:depth])


def _stage(prefix: str, members: list[LayerCount]) -> Stage:
    blocks = {layer.name.split(".")[1] for layer in members if layer.name.count(".") >= 2}
    repeated = f"  {glyphs.active().times}{len(blocks)}" if len(blocks) > 1 else ""
    widths = [layer.shape[0] for layer in members if layer.shape and (layer.parameters or layer.macs)]
    arrow = "→" if glyphs.active().utf8 else ">"
    linear = [layer for layer in members if layer.kind == "Linear"]
    if linear:
        inputs = linear[0].detail.partition(" ")[0]
        width = arrow.join([inputs, *(str(layer.shape[0]) for layer in linear if layer.shape)])
    else:
        width = str(widths[-1]) if widths else ""
    parameters, macs = sum(layer.parameters for layer in members), sum(layer.macs for layer in members)
    return Stage(f"{_spaced(prefix)}{repeated}  {width}".rstrip(), parameters, macs)


def _spaced(name: str) -> str:
    """`stage1` as `stage 1`."""
    word = name.rstrip("0123456789")
    return f"{word} {name[len(word) :]}" if word and word != name and not word.endswith(".") else name


def shortened(listed: Sequence[Stage], count: int) -> list[Stage]:
    """At most `count` stages: the first ones, and the rest as one."""
    if len(listed) <= count or count < 1:
        return list(listed[: max(count, 0)])
    rest = listed[count - 1 :]
    joined = Stage(f"{len(rest)} more", sum(stage.parameters for stage in rest), sum(stage.macs for stage in rest))
    return [*listed[: count - 1], joined]
