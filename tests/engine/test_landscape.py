"""The BatchNorm study: what is measured at a step, held to arithmetic by hand, and how a study goes on when stopped."""

import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.analysis import bn_study, landscape, source
from engine.analysis.landscape import LayerTrack, Point
from engine.compiling import CACHE
from engine.errors import UserError
from engine.experiment import loads
from engine.ownership import is_ours

SMALL = """\
name: small
architecture: {family: vgg, channels: [4, 6], convolutions: [1, 1], batch_norm: true, global_pool: true, head: [5]}
augmentation: none
optimizer: {algorithm: sgd, lr: 0.05}
data: {name: shapes, train_limit: 400}
train: {steps: 9, batch_size: 20, seed: 1, threads: 1, device: cpu, precision: fp32}
"""


def test_on_a_quadratic_every_quantity_is_known() -> None:
    """L(w) = w'Hw / 2 with H = diag(1, 4): the gradient Hw changes by H eta g, so beta is ||Hg|| / ||g||."""
    H = torch.tensor([1.0, 4.0], dtype=torch.float64)
    w = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    point = landscape.probe([w], lambda: (H * w * w).sum() / 2, [0.1, 0.2])
    g = H * torch.tensor([2.0, -1.0], dtype=torch.float64)
    losses = [float((H * (torch.tensor([2.0, -1.0]) - eta * g) ** 2).sum() / 2) for eta in (0.1, 0.2)]
    changes = [eta * float((H * g).norm()) for eta in (0.1, 0.2)]
    assert (point.loss_low, point.loss_high) == pytest.approx((min(losses), max(losses)), rel=1e-12)
    assert (point.gradient_low, point.gradient_high) == pytest.approx((min(changes), max(changes)), rel=1e-12)
    assert point.beta == pytest.approx(float((H * g).norm() / g.norm()), rel=1e-12)


def test_a_probe_leaves_weights_and_statistics_bit_for_bit() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randn(6, 3, 8, 8)
    with bn_study.frozen_statistics(network):
        landscape.probe(list(network.parameters()), lambda: network(images).square().mean(), [0.1, 0.4])
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_flat_place_has_no_beta() -> None:
    w = torch.zeros(2, requires_grad=True)
    assert landscape.probe([w], lambda: (w * 0).sum(), [0.1]) == Point(0.0, 0.0, 0.0, 0.0, 0.0)


def tracked(aligned: bool) -> list[tuple[float, float]]:
    """Weights 0, 1, 3, 4 with gradients 1, 4, 2 taken before each step."""
    weights = [torch.tensor([float(value)]) for value in (0, 1, 3, 4)]
    gradients = [torch.tensor([float(value)]) for value in (1, 4, 2)]
    track = LayerTrack(aligned)
    return [track.update(gradients[t], weights[t], weights[t + 1]) for t in range(3)]


def test_the_source_divides_by_the_step_that_follows() -> None:
    first, second, third = tracked(aligned=False)
    assert all(math.isnan(value) for value in first)
    assert second == (3.0, 3.0 / 2.0)  # ||w_2 - w_1|| = 2, though the gradients are 1 apart
    assert third == (2.0, 2.0 / 1.0)


def test_aligned_divides_by_the_way_between_the_gradients() -> None:
    _, second, third = tracked(aligned=True)
    assert second == (3.0, 3.0 / 1.0)
    assert third == (2.0, 2.0 / 2.0)


def test_the_envelope_spans_its_members() -> None:
    nan = math.nan
    members = [[Point(1, 1, nan, nan, nan), Point(2, 2, 5, 5, 9)], [Point(3, 3, 4, 4, 7), Point(1, 1, 6, 6, 8)]]
    assert landscape.envelope(members) == [Point(1, 3, 4, 4, 7), Point(1, 2, 5, 6, 9)]


@pytest.fixture
def on_small_data(small_data: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(source, "trained_data", lambda data: small_data)
    preset = tmp_path / "small.yaml"
    preset.write_text(SMALL)
    return preset


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bn_study, "draw", lambda result, folder: [])


def ask(preset: Path, **study: str) -> dict[str, Any]:
    changes = [(f"study.{key}", value) for key, value in {"every": "3", **study}.items()]
    runs = str(preset.parent / "runs")
    return bn_study.answer({"preset": str(preset), "runs": runs, "set": [], "study": changes})


def test_along_the_gradient_both_networks_are_probed_on_one_path(on_small_data: Path) -> None:
    result = ask(on_small_data, probes="2")
    assert [network["name"] for network in result["networks"]] == ["VGG", "VGG + BatchNorm"]
    for network in result["networks"]:
        assert network["step"] == [1, 4, 7]
        for quantity in ("loss", "gradient"):
            assert all(low <= high for low, high in zip(*network[quantity].values(), strict=True))
        assert all(beta > 0 for beta in network["beta"])
    folder = Path(result["files"][0]).parent
    assert folder.parent == on_small_data.parent / "runs" / "studies"
    expected = {f"{name}.{suffix}" for name in ("loss", "gradient", "beta") for suffix in ("png", "svg")}
    assert expected | {"result.json"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "result.json").read_text())["networks"] == result["networks"]


def test_a_probed_training_is_the_training_without_probes(on_small_data: Path, small_data: Any) -> None:
    """The probes change nothing: weights after a study's steps are those of plain steps."""
    from engine import device
    from engine.options.bn_study import BatchNormStudy
    from engine.training import Training

    experiment = loads(SMALL)
    runtime = device.settle(experiment.train, experiment.total_steps)
    weights = []
    for every in (1, 100):
        training = Training(experiment, runtime, small_data)
        plan = training.draw_epoch()
        for position in range(4):
            bn_study._step(training, BatchNormStudy(every=every, probes=2), LayerTrack(False), plan, position)
        weights.append([tensor.clone() for tensor in training.model.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


@pytest.mark.usefixtures("without_figures")
def test_the_envelope_trains_each_network_with_each_rate(on_small_data: Path) -> None:
    result = ask(on_small_data, method="envelope", learning_rates="[0.1, 0.01]", every="1")
    folder = Path(result["files"][0]).parent
    members = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert members == ["vgg-lr0.01", "vgg-lr0.1", "vgg_bn-lr0.01", "vgg_bn-lr0.1"]
    series = [json.loads((folder / name / "series.json").read_text())["points"] for name in members[:2]]
    plain = result["networks"][0]
    for place in range(1, 9):
        losses = [points[place][0] for points in series]
        assert (plain["loss"]["low"][place], plain["loss"]["high"][place]) == (min(losses), max(losses))
        assert plain["beta"][place] == max(points[place][4] for points in series)
    assert not list(folder.glob("*/ckpt"))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("method", ["gradient", "envelope"])
def test_an_interrupted_study_goes_on_to_the_same_result(
    on_small_data: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    options = {"method": method, "every": "1", "probes": "2"}
    whole = ask(on_small_data, **options)
    study = Path(whole["files"][0]).parent
    study.rename(study.with_name("whole"))

    real, steps = bn_study._step, 0
    event = threading.Event()

    @contextmanager
    def stopping() -> Iterator[threading.Event]:
        yield event

    def step(*given: Any) -> Point | None:
        nonlocal steps
        steps += 1
        if steps == 5:
            event.set()
        return real(*given)

    monkeypatch.setattr(source, "stopping_between_steps", stopping)
    monkeypatch.setattr(bn_study, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        ask(on_small_data, **options)
    event.clear()
    steps = 100
    resumed = ask(on_small_data, **options)
    assert _same(resumed, whole)
    members = 2 if method == "gradient" else 8
    assert steps == 100 + members * 9 - 5


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal to the last bit, not-a-number included."""
    return json.dumps(one["networks"]) == json.dumps(other["networks"])


@pytest.mark.usefixtures("without_figures")
def test_a_finished_study_is_not_trained_again(on_small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, "")
    first = ask(on_small_data, probes="1")
    monkeypatch.setattr(bn_study, "_step", None)
    again = ask(on_small_data, probes="1")
    assert _same(first, again)
    assert is_ours(Path(os.environ[CACHE])), "torch would make a folder in /tmp, where anybody can take its name"


def test_a_study_is_not_written_into_a_runs_folder_of_others(on_small_data: Path, tmp_path: Path) -> None:
    root, ours = tmp_path / "theirs", tmp_path / "ours"
    for folder in (root, ours):
        folder.mkdir()
    (root / "studies").symlink_to(ours)
    root.chmod(0o1777)
    with pytest.raises(UserError, match="shared by all"):
        bn_study.answer({"preset": str(on_small_data), "runs": str(root), "set": [], "study": []})
    assert list(ours.iterdir()) == []


def test_only_a_vgg_can_be_studied(tmp_path: Path) -> None:
    base = loads(SMALL.replace(SMALL.splitlines()[1], "architecture: resnet20"))
    with pytest.raises(UserError, match="takes a VGG, with and without"):
        bn_study.plan(base, bn_study.read_study([]), tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("study.evry", "3", "--set study.evry: unknown"),
        ("study.every", "0", "--set study.every:.*at least 1"),
        ("study.method", "both", "--set study.method:.*gradient"),
    ],
)
def test_a_mistake_in_the_study_is_a_sentence(key: str, value: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        bn_study.read_study([(key, value)])


def test_the_last_linear_layer_is_the_classifier() -> None:
    experiment = loads(SMALL)
    network: nn.Module = experiment.architecture.resolve_builder()(experiment.architecture, 3, 32, 10)
    weight: Tensor = bn_study.last_linear(network).weight
    assert weight.shape == (10, 5)
