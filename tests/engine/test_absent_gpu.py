"""The step on a GPU that is not there: every operation's shapes, types and devices are worked out as on a real one, and
nothing is computed.

What a CUDA graph cannot hold shows itself: a value that the host waits for, a size that depends on values, and memory
of the host. The backward pass alone is left out, since autograd asks a driver for its streams.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine import presets
from engine.composition import Override
from engine.data import statistics
from engine.data.dataset import Dataset
from engine.device import Runtime
from engine.evaluate import Views, logits_of
from engine.experiment import Experiment, load, loads
from engine.graph import DeviceStep
from engine.optim.groups import can_capture
from engine.options.data import Data
from engine.training import Training

pytestmark = pytest.mark.slow

GPU = Runtime(
    device="cuda:0",
    device_name="one that is not there",
    precision="bf16",
    channels_last=True,
    compile=False,
    graph=True,
    threads=1,
    deterministic=False,
    torch=str(torch.__version__),
)

PRESET = """
architecture: {family: resnet, stem: 8, channels: [8, 8], blocks: [1, 1], pool: 0, head: [12], dropout: [0.3, 0.0]}
augmentation: AUGMENTATION
optimizer: OPTIMIZER
data: {name: cifar10, validation: 5000}
train: {epochs: 200, batch_size: 8, loss: {kind: cross_entropy, label_smoothing: 0.1}, ema: {decay: 0.99}}
"""
EVERY_OPERATION = """{ops: [{op: crop, padding: 2}, {op: flip, mode: alternating}, {op: rotate, degrees: 10},
{op: cutout}, {op: color_jitter}, {op: random_resized_crop}, {op: rand_augment}, {op: normalize, statistics: half},
{op: brightness_contrast, brightness: 0.1, contrast: 0.1}, {op: cutmix}]}"""
EXTRAS = "sam: {rho: 0.05}, clip_norm: 1.0, lookahead: {every: 5}"
ONE_OF_EVERY_FAMILY = [
    *("airbench96", "densenet_bc_100_12", "dla", "dpn26", "lenet", "preact18", "pyramidnet110_a84"),
    *("resnet18_imagenet", "resnet32_pool_pad", "resnet_5m", "resnext29_2x32d", "shake_shake26_2x32d"),
    *("slbi_resnet", "vgg_a_bn", "wrn16_8"),
]
MADE_FOR_AIRBENCH = {"muon_airbench", "muon_record", "sgd_airbench94", "sgd_airbench96"}
SGD = "{algorithm: sgd, lr: 0.1, momentum: 0.9, nesterov: true, " + EXTRAS + "}"


class HostMemory(TorchDispatchMode):
    """Names every operation that touches a tensor outside of the GPU.

    The fused optimisers have no rule for tensors without values; they are asked for their devices and not run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.touched: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func)
        result = None if name.startswith("aten._fused_") else func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type != "cuda" for tensor in tensors):
            self.touched.add(name)
        return result


def moved(module: nn.Module, device: torch.device | None = None, memory_format: Any = None) -> nn.Module:
    """``nn.Module.to``, which cannot change parameters without values in place."""
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is None:
                    continue
                where = tensor.detach().to(device or tensor.device)
                if memory_format is not None and where.dim() == 4:
                    where = where.to(memory_format=memory_format)
                store[name] = nn.Parameter(where, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else where
    return module


@pytest.fixture
def _no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "to", moved)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(statistics, "measure", lambda images: statistics.NAMED["cifar10"])


@pytest.fixture
def host_memory_of(_no_driver: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., set[str]]]:
    """What one captured step of an experiment, and the averages after it, touch outside of the GPU."""

    def touched(experiment: Experiment, change: Callable[[Training], None] = lambda training: None) -> set[str]:
        training = Training(experiment, GPU, dataset(experiment.data, 2 * experiment.train.batch_size))
        monkeypatch.setattr(torch.autograd, "backward", lambda loss: give_gradients(training.model))
        change(training)
        if not can_capture(training.optimizer):
            pytest.skip("not captured: this optimiser decides on the host what its step is")
        plan = training.draw_epoch()
        step = DeviceStep(training, plan, experiment.train.batch_size)
        with HostMemory():
            step.point_at(plan, 0, 0)  # as the warm-up does: the optimiser makes its state
            step.run()
        step.point_at(plan, 1, 1)
        with HostMemory() as captured:
            step.run()
            training._average()
        return captured.touched

    with FakeTensorMode(allow_non_fake_inputs=True):
        yield touched


def dataset(of: Data, images: int) -> Dataset:
    pixels = torch.zeros(images, of.size, of.size, of.channels, dtype=torch.uint8)
    labels = torch.zeros(images, dtype=torch.int64)
    return Dataset(pixels, labels, pixels[:0], labels[:0], pixels[:8], labels[:8], tuple(map(str, range(of.classes))))


def give_gradients(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)


def experiment(augmentation: str = "crop_flip", optimizer: str = SGD, *overrides: Override) -> Experiment:
    return loads(PRESET.replace("AUGMENTATION", augmentation).replace("OPTIMIZER", optimizer), overrides=overrides)


def test_everything_at_once_stays_on_the_gpu(host_memory_of: Callable[..., set[str]]) -> None:
    assert host_memory_of(experiment(EVERY_OPERATION)) == set()


@pytest.mark.usefixtures("_no_driver")
@pytest.mark.parametrize("views", get_args(Views))
def test_an_evaluation_stays_on_the_gpu(views: Views) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        chosen = experiment("per_pixel_mean")
        training = Training(chosen, GPU, dataset(chosen.data, 40))
        images = training.data.train_images
        with HostMemory() as seen:
            logits = logits_of(training.model, images, training.normalise, GPU, 16, views, share=0.25)
    assert seen.touched == set()
    assert (logits.shape, logits.dtype, logits.device.type) == ((40, 10), torch.float32, "cuda")


@pytest.mark.parametrize(
    ("loss", "seen"),
    [
        (lambda logits, targets: logits.sum() * logits.sum().item(), DataDependentOutputException),
        (lambda logits, targets: logits[targets > 0].sum(), DynamicOutputShapeException),
        (lambda logits, targets: logits.sum() * torch.tensor(2.0, device="cuda"), "aten._to_copy.default"),
        (lambda logits, targets: logits.sum() * torch.tensor(2.0), "aten.mul.Tensor"),
    ],
)
def test_what_no_graph_can_hold_is_seen(host_memory_of: Callable[..., set[str]], loss: Any, seen: Any) -> None:
    def spoil(training: Training) -> None:
        training.loss = loss

    if isinstance(seen, str):
        assert seen in host_memory_of(experiment(), spoil)
    else:
        with pytest.raises(seen):
            host_memory_of(experiment(), spoil)


@pytest.mark.parametrize("name", presets.names("experiment"))
def test_the_step_of_a_preset_stays_on_the_gpu(host_memory_of: Callable[..., set[str]], name: str) -> None:
    chosen = load(presets.find("experiment", name))
    if chosen.train.selection:
        pytest.skip("not captured: the hard images of a batch are chosen outside of the graph")
    assert host_memory_of(chosen) == set()


@pytest.mark.parametrize("name", presets.names("optimizer"))
def test_an_optimiser_stays_on_the_gpu(host_memory_of: Callable[..., set[str]], name: str) -> None:
    needs_its_network = [("architecture", "airbench94")] if name in MADE_FOR_AIRBENCH else []
    assert host_memory_of(experiment("crop_flip", name, *needs_its_network)) == set()


@pytest.mark.parametrize("name", presets.names("augmentation"))
def test_an_augmentation_stays_on_the_gpu(host_memory_of: Callable[..., set[str]], name: str) -> None:
    assert host_memory_of(experiment(name)) == set()


@pytest.mark.parametrize("name", ONE_OF_EVERY_FAMILY)
def test_a_network_stays_on_the_gpu(host_memory_of: Callable[..., set[str]], name: str) -> None:
    assert host_memory_of(experiment("crop_flip", SGD, ("architecture", name))) == set()
