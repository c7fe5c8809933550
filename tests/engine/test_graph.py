"""What a captured step must leave alone, as far as a CPU can show it. `test_training` holds the step itself."""

from dataclasses import replace

import pytest
import torch

import emulated_cuda
from engine import device
from engine.data import shapes
from engine.data.dataset import Dataset
from engine.experiment import loads
from engine.graph import DeviceStep, untouched
from engine.losses import Loss
from engine.training import Training

PRESET = """
architecture: {family: resnet, stem: 8, channels: [8], blocks: [1], pool: 0, head: [12], dropout: [0.3, 0.0]}
augmentation: {ops: [{op: crop, padding: 2}, {op: flip}, {op: normalize, statistics: half}]}
optimizer: {algorithm: adamw, lr: 0.01, amsgrad: true}
data: {name: shapes, validation: 1000, train_limit: 50}
train: {epochs: 2, batch_size: 20, seed: 3, device: cpu, precision: fp32, threads: 1}
"""


def training(**changes: str) -> Training:
    settings = loads(PRESET, overrides=[(f"train.{key}", value) for key, value in changes.items()])
    images, labels, *_ = shapes.draw(0, 50, 32, 3)
    pixels, answers = torch.from_numpy(images), torch.from_numpy(labels)
    data = Dataset(pixels, answers, pixels[:0], answers[:0], pixels[:8], answers[:8], shapes.CLASSES)
    return Training(settings, device.settle(settings.train, settings.total_steps), data)


def everything(trained: Training) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in trained.device_state()]


@pytest.mark.parametrize("fails", [False, True])
def test_a_warm_up_leaves_no_trace_even_when_it_fails(fails: bool) -> None:
    plain, warmed = training(), training()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    try:
        with untouched(warmed):
            step = DeviceStep(warmed, warmed.draw_epoch(), 20)
            for _ in range(3):
                step.point_at(warmed.draw_epoch(), 0, 0)
                step.run()
            assert not torch.equal(before, torch.get_rng_state())
            if fails:
                raise RuntimeError("cannot be captured")
    except RuntimeError:
        assert fails
    assert torch.equal(before, torch.get_rng_state())
    for trained in (plain, warmed):
        torch.manual_seed(5)
        plan = trained.draw_epoch()
        for position in range(3):
            trained.take_step(plan, position)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(everything(plain), everything(warmed), strict=True))


def test_a_step_pointed_at_anew_takes_the_batch_that_it_is_told() -> None:
    trained = training()
    plan = trained.draw_epoch()
    step = DeviceStep(trained, plan, 20)
    taken = []
    trained.advance = lambda index, *_: taken.append(index.tolist())  # type: ignore[method-assign]
    for position, number in ((0, 0), (0, 0), (1, 1), (0, 3)):
        step.point_at(plan, position, number)
        step.run()
    first, second = plan.order[:20].tolist(), plan.order[20:40].tolist()
    assert taken == [first, first, second, first]


def test_the_smaller_last_batch_of_an_epoch_is_not_compiled() -> None:
    trained = training()
    compiled = []

    def forward(images: torch.Tensor) -> torch.Tensor:
        compiled.append(len(images))
        return trained.model(images)  # type: ignore[no-any-return]

    trained.forward = forward
    plan = trained.draw_epoch()
    for position in trained.remaining_positions():
        trained.take_step(plan, position)
    assert compiled == [20, 20]
    assert trained.meters.read().window.images == 50


def test_the_emulation_repeats_operations_and_nothing_of_python() -> None:
    total, added, graph = torch.zeros(3), 1.0, emulated_cuda.Graph()
    with emulated_cuda.Capture(graph):
        total += added
        doubled = 2 * total
        middle = doubled[1:2]
    added = 5.0
    graph.replay()
    graph.replay()
    assert total.tolist() == [3.0, 3.0, 3.0]
    assert middle.tolist() == [6.0]


def test_the_emulation_refuses_what_a_real_capture_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    emulated_cuda.emulate(monkeypatch)
    trained = training()
    trained.runtime = replace(trained.runtime, graph=True)
    loss = trained.loss
    trained.loss = lambda logits, targets: loss(logits, targets) * (1 + logits.sum().item())
    before = everything(trained)
    assert trained.capture() == "operation not permitted when stream is capturing"
    assert trained.graphed is None
    assert all(torch.equal(a, b) for a, b in zip(before, everything(trained), strict=False))


def test_a_number_that_python_counts_is_fixed_by_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is why a step may hold none."""
    emulated_cuda.emulate(monkeypatch)
    counted, plain = training(), training()
    for trained in (counted, plain):
        trained.loss = counting(trained.loss)
    counted.runtime = replace(counted.runtime, graph=True)
    assert counted.capture() == ""
    for trained in (counted, plain):
        torch.manual_seed(5)
        plan = trained.draw_epoch()
        for position in range(2):
            trained.take_step(plan, position)
    assert not all(torch.allclose(a, b, atol=1e-5) for a, b in zip(everything(plain), everything(counted), strict=True))


def counting(loss: Loss) -> Loss:
    calls = iter(range(1, 1000))
    return lambda logits, targets: loss(logits, targets) * 10.0 ** next(calls)
