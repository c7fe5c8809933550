"""A pruned network made really smaller: channels that are zero for every input are taken out of the layers.

The network is traced with torch.fx. Tensors that meet in an addition must keep the same channels, so that a channel
goes only where everything added to it is zero too. Nothing is taken out of what is concatenated, padded by channels or
read by a grouped convolution. What is left computes the same function.
"""

import copy
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

# Zero in, zero out; channels stay in their order.
KEEP_ZERO = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Identity,
    nn.Flatten,
    nn.Dropout,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
ADD = (operator.add, operator.iadd, torch.add)
SCALE = (operator.mul, operator.truediv)


class Channels:
    """Channels shared by several tensors. ``used`` (channels,) bool: which can be other than zero in any of them."""

    def __init__(self, used: Tensor) -> None:
        self._used = used.clone()
        self._joined: Channels | None = None

    @property
    def root(self) -> "Channels":
        """Whoever speaks for all that were joined."""
        return self if self._joined is None else self._joined.root

    @property
    def used(self) -> Tensor:
        """As the class says; one channel is always kept."""
        used = self.root._used.clone()
        used[0] |= not used.any()
        return used

    def use(self, used: Tensor | bool) -> None:
        """These can be other than zero; True stands for all."""
        self.root._used |= used

    def join(self, other: "Channels") -> None:
        """From now on both are one."""
        mine, theirs = self.root, other.root
        if mine is not theirs:
            mine.use(theirs._used)
            theirs._joined = mine


@dataclass
class Traced:
    """For every layer by name, the channels it reads and writes; None where nothing may be taken out."""

    reads: dict[str, Channels | None]
    writes: dict[str, Channels | None]
    norm_after: dict[str, str]


class _Tracer(fx.Tracer):
    """Looks into no convolution, whatever kind it is."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def trace(network: nn.Module) -> Traced:
    """Follow the channels through the network. ``norm_after`` names the BatchNorm that alone reads a convolution."""
    found = Traced({}, {}, {})
    channels: dict[fx.Node, Channels | None] = {}
    modules = dict(network.named_modules())
    for node in _Tracer().trace(network).nodes:
        inputs = [channels[source] for source in node.all_input_nodes]
        if node.op == "call_module":
            channels[node] = _through_module(found, str(node.target), modules, inputs[0])
            _note_norm(found, node, modules)
        elif node.op == "call_function" and node.target in ADD:
            channels[node] = _joined(inputs)
        elif node.op == "call_function" and node.target in SCALE and len(inputs) == 1:
            channels[node] = inputs[0]
        else:
            _keep_all(inputs)
            channels[node] = None
    return found


def shrink(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode without the channels that are zero for every input; its outputs are the same."""
    traced = trace(network)
    weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    for name, module in network.named_modules():
        if name in traced.writes:
            _slice(weights, name, traced.writes[name])
        if name in traced.reads and isinstance(module, nn.Conv2d | nn.Linear):
            _slice_inputs(weights, name, traced.reads[name])
    return fitted(network, weights)


def fitted(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """A copy of the network, in evaluation mode, whose layers have the sizes of ``weights``, with these weights."""
    smaller = copy.deepcopy(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            weight = weights.get(f"{name}.weight")
            if weight is not None and weight.shape != module.weight.shape:
                smaller.set_submodule(name, _resized(module, weight.shape).to(weight))
    smaller.load_state_dict(weights)
    return smaller.eval()


def _through_module(found: Traced, name: str, modules: dict[str, nn.Module], given: Channels | None) -> Channels | None:
    module = modules[name]
    if isinstance(module, nn.Conv2d | nn.Linear):
        if name in found.reads or (isinstance(module, nn.Conv2d) and module.groups > 1):
            _keep_all([given, found.writes.get(name)])
            found.reads[name] = found.writes[name] = None
            return None
        found.reads[name] = given
        found.writes[name] = Channels(_nonzero(module))
        return found.writes[name]
    if isinstance(module, nn.BatchNorm2d) and given is not None:
        given.use(_of_zero(module) != 0)
        found.writes[name] = given
        return given
    if isinstance(module, KEEP_ZERO):
        return given
    _keep_all([given])
    return None


def _note_norm(found: Traced, node: fx.Node, modules: dict[str, nn.Module]) -> None:
    source = node.all_input_nodes[0]
    if isinstance(modules[str(node.target)], nn.BatchNorm2d) and source.op == "call_module" and len(source.users) == 1:
        found.norm_after[str(source.target)] = str(node.target)


def _joined(inputs: list[Channels | None]) -> Channels | None:
    known = [channels for channels in inputs if channels is not None]
    if len(known) < len(inputs):
        _keep_all(inputs)
        return None
    for other in known[1:]:
        known[0].join(other)
    return known[0]


def _keep_all(inputs: list[Channels | None]) -> None:
    for channels in inputs:
        if channels is not None:
            channels.use(True)


def _nonzero(module: nn.Conv2d | nn.Linear) -> Tensor:
    used = (module.weight.detach() != 0).flatten(1).any(1)
    return used if module.bias is None else used | (module.bias.detach() != 0)


def _of_zero(norm: nn.BatchNorm2d) -> Tensor:
    """What the norm makes of a channel of zeros, in evaluation mode."""
    size = norm.num_features
    zeros = norm.weight.new_zeros(1, size, 1, 1)
    return nn.functional.batch_norm(
        zeros, norm.running_mean, norm.running_var, norm.weight.detach(), norm.bias.detach(), eps=norm.eps
    ).flatten()


def _slice(weights: dict[str, Tensor], name: str, channels: Channels | None) -> None:
    if channels is None:
        return
    for part in ("weight", "bias", "running_mean", "running_var"):
        key = f"{name}.{part}"
        if key in weights:
            weights[key] = weights[key][channels.used]


def _slice_inputs(weights: dict[str, Tensor], name: str, channels: Channels | None) -> None:
    if channels is None:
        return
    weight = weights[f"{name}.weight"]
    # Behind a Flatten each channel is a stretch of features.
    used = channels.used.repeat_interleave(weight.shape[1] // len(channels.used))
    weights[f"{name}.weight"] = weight[:, used]


def _resized(module: nn.Conv2d | nn.BatchNorm2d | nn.Linear, shape: torch.Size) -> nn.Module:
    if isinstance(module, nn.BatchNorm2d):
        return nn.BatchNorm2d(shape[0], eps=module.eps, momentum=module.momentum)
    if isinstance(module, nn.Linear):
        return nn.Linear(shape[1], shape[0], bias=module.bias is not None)
    settings: dict[str, Any] = {
        name: getattr(module, name) for name in ("kernel_size", "stride", "padding", "dilation")
    }
    build = type(module)
    return build(shape[1], shape[0], bias=module.bias is not None, padding_mode=module.padding_mode, **settings)
