"""Parameters, MACs and activation memory of a network, by forward hooks over one image.

The weights are single zeros expanded to their shapes, so that nothing is initialised and next to nothing allocated. The
meta device and dispatch modes would do without the arithmetic too, but their first use costs over a second of imports.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from engine import counts_cache
from engine.counts_cache import Counts, LayerCount, Precision
from engine.options.architecture import ArchitectureOptions

# Sizes of a floating-point activation. "auto" is counted as fp32: an upper bound wherever it ends.
_FLOAT_BYTES: dict[Precision, int] = {"auto": 4, "fp32": 4, "bf16": 2}


def counted(
    options: ArchitectureOptions, channels: int, size: int, classes: int, batch: int, precision: Precision
) -> Counts:
    """As ``count``, from the cache on disk where the same was asked before."""
    known = counts_cache.lookup(options, channels, size, classes, batch, precision)
    if known is None:
        known = count(options, channels, size, classes, batch, precision)
        counts_cache.store(options, known)
    return known


def count(
    options: ArchitectureOptions, channels: int, size: int, classes: int, batch: int, precision: Precision
) -> Counts:
    """Count the network for images of (channels, size, size) in batches of ``batch``.

    Leaves the random generators as they were. Raises UserError when the images do not fit the network.
    """
    with torch.random.fork_rng(devices=[]):
        with _uninitialised():
            plain = options.model_copy(update={"initialization": "torch"})
            network: nn.Module = plain.resolve_builder()(plain, channels, size, classes)
        parameters = [parameter.numel() for parameter in network.parameters()]
        trainable = [parameter.numel() for parameter in network.parameters() if parameter.requires_grad]
        _hollow(network)
        layers, kept = _pass(network, torch.zeros(1, channels, size, size))
    return Counts(
        parameters=sum(parameters),
        trainable=sum(trainable),
        macs=sum(layer.macs for layer in layers),
        activation_bytes=batch * kept.bytes(_FLOAT_BYTES[precision]),
        layers=tuple(layers),
        channels=channels,
        size=size,
        classes=classes,
        batch=batch,
        precision=precision,
    )


def cost(network: nn.Module, channels: int, size: int) -> tuple[int, int]:
    """Parameters and MACs an image of a network as it is, say a pruned one, which no options describe."""
    layers, _ = _pass(copy.deepcopy(network), torch.zeros(1, channels, size, size))
    return sum(parameter.numel() for parameter in network.parameters()), sum(layer.macs for layer in layers)


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Within, convolutions, linear layers and norms do not draw their first weights."""
    originals = {kind: kind.reset_parameters for kind in (_ConvNd, nn.Linear, _BatchNorm)}
    for kind in originals:
        setattr(kind, "reset_parameters", lambda self: None)  # noqa: B010
    try:
        yield
    finally:
        for kind, original in originals.items():
            setattr(kind, "reset_parameters", original)  # noqa: B010


def _hollow(network: nn.Module) -> None:
    """Replace every parameter's numbers by one zero. BatchNorm goes to eval: it cannot train on a single pixel."""
    for parameter in network.parameters():
        parameter.data = torch.zeros(()).expand(parameter.shape)
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


@dataclass
class _Kept:
    """What autograd keeps for the backward pass: every storage once, the network's own tensors left out."""

    own: set[int]
    floats: dict[int, int] = field(default_factory=dict)  # address -> elements
    others: dict[int, int] = field(default_factory=dict)  # address -> bytes (indices of max pooling, masks)

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address in self.own:
            return tensor
        if tensor.is_floating_point():
            self.floats[address] = storage.nbytes() // tensor.element_size()
        else:
            self.others[address] = storage.nbytes()
        return tensor

    def bytes(self, float_bytes: int) -> int:
        return float_bytes * sum(self.floats.values()) + sum(self.others.values())


def _pass(network: nn.Module, image: torch.Tensor) -> tuple[list[LayerCount], _Kept]:
    """Send one image through; the layers in the order of their calls, and what autograd kept of it."""
    layers: list[LayerCount] = []
    seen: set[nn.Module] = set()

    def record(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            parameters = 0 if module in seen else sum(parameter.numel() for parameter in module.parameters())
            seen.add(module)
            layers.append(_layer(name, module, output, parameters))

        return hook

    for name, module in network.named_modules():
        if not any(module.children()) and not isinstance(module, nn.Identity):
            module.register_forward_hook(record(name))
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept = _Kept(own)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
        # An address names a storage only while that storage lives: the output holds the graph, and the graph them.
        output = network(image)
        del output
    return layers, kept


def _layer(name: str, module: nn.Module, output: torch.Tensor, parameters: int) -> LayerCount:
    macs, detail = 0, ""
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        macs = output[0].numel() * module.in_channels // module.groups * height * width
        detail = _conv_detail(module)
    elif isinstance(module, nn.Linear):
        macs = output[0].numel() * module.in_features
        detail = f"{module.in_features} to {module.out_features}"
    elif isinstance(module, nn.Dropout):
        detail = f"rate {module.p:g}"
    return LayerCount(name, type(module).__name__, detail, tuple(output.shape[1:]), parameters, macs)


def _conv_detail(conv: nn.Conv2d) -> str:
    """Such as "3x3, stride 2, 32 groups, bias"."""
    parts = ["x".join(str(side) for side in conv.kernel_size)]
    if conv.stride != (1, 1):
        parts.append(f"stride {conv.stride[0]}")
    if conv.groups > 1:
        parts.append(f"{conv.groups} groups")
    if conv.bias is not None:
        parts.append("bias")
    return ", ".join(parts)
