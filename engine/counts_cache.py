"""What counting a network yields, and its cache on disk: asked again, it is answered without loading torch."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from platformdirs import user_cache_path

from engine import atomic, ownership

if TYPE_CHECKING:
    from engine.options.architecture import ArchitectureOptions

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class LayerCount:
    """One layer as it was called: ``shape`` is its output for one image, without the batch dimension."""

    name: str
    kind: str
    detail: str
    shape: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def elements(self) -> int:
        """Numbers in the output for one image."""
        return prod(self.shape)


@dataclass(frozen=True)
class Counts:
    """Size and cost of a network.

    ``macs``: multiply-accumulates of convolutions and linear layers in one forward pass of one image, without biases;
    BatchNorm, activations, additions and pooling count as nothing. ``activation_bytes``: what autograd keeps of one
    batch between forward and backward in eager mode, the batch itself included; weights, gradients, optimiser state and
    the workspace of kernels come on top.
    """

    parameters: int
    trainable: int
    macs: int
    activation_bytes: int
    layers: tuple[LayerCount, ...]
    channels: int
    size: int
    classes: int
    batch: int
    precision: Precision

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass of one image: two for each multiply-accumulate."""
        return 2 * self.macs

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values, ``flops`` included."""
        return {**asdict(self), "flops": self.flops}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Counts":
        """The inverse of ``to_json``. Raises KeyError, TypeError or AttributeError for anything else."""
        fields = {key: item for key, item in value.items() if key != "flops"}
        layers = [LayerCount(**{**layer, "shape": tuple(layer["shape"])}) for layer in fields.pop("layers")]
        return cls(**fields, layers=tuple(layers))


def lookup(
    options: "ArchitectureOptions", channels: int, size: int, classes: int, batch: int, precision: Precision
) -> Counts | None:
    """The counts of an earlier call with the same network, image, batch and versions; None when there are none."""
    path = _path(options, channels, size, classes, batch, precision)
    value = atomic.read_json(path, limit=1 << 22) if ownership.is_ours(path.parent) else None
    if value is None:
        return None
    try:
        return Counts.from_json(value)
    except (KeyError, TypeError, AttributeError):
        return None


def store(options: "ArchitectureOptions", counts: Counts) -> None:
    """Keep the counts for later. A cache that cannot be written is no mistake: it is left alone."""
    path = _path(options, counts.channels, counts.size, counts.classes, counts.batch, counts.precision)
    try:
        ownership.make_folder(path.parent)
        atomic.write_json(path, counts.to_json())
    except OSError:
        return


def _path(
    options: "ArchitectureOptions", channels: int, size: int, classes: int, batch: int, precision: Precision
) -> Path:
    # The preset's name says nothing about the network: two names of one structure share their counts.
    structure = options.model_dump(mode="json", exclude={"name"})
    asked = [structure, options.builder, channels, size, classes, batch, precision, _versions()]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return user_cache_path("cifar-tui") / "counts" / f"{digest[:32]}.json"


@cache
def _versions() -> str:
    """The installed torch and a digest of our own sources, so that an edited network is counted anew."""
    from importlib.metadata import PackageNotFoundError, version  # reading a layer's figures need not wait for it

    try:
        torch_version = version("torch")
    except PackageNotFoundError:
        torch_version = "none"
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    folders = (here / "models", here / "options" / "architecture")
    sources = [
        here / "counting.py",
        Path(__file__),
        *(path for folder in folders for path in sorted(folder.glob("*.py"))),
    ]
    for path in sources:
        digest.update(path.read_bytes())
    return f"{torch_version} {digest.hexdigest()}"
