"""Where the time goes, told at the end; nothing of it unless asked for. And how many cores are ours to use."""

import json
import os
from pathlib import Path

import pytest

from engine import device, profile_table
from engine.data.dataset import Dataset
from engine.experiment import loads
from engine.profile import Profile
from engine.training import Training

TINY = """
architecture: {family: vgg, channels: [8], convolutions: [1], batch_norm: true, global_pool: true, head: []}
augmentation: none
optimizer: {algorithm: sgd, lr: 0.05}
data: {name: shapes}
train: {steps: 30, batch_size: 10, seed: 1, threads: 1, device: cpu, precision: fp32, ema: {}}
"""


@pytest.fixture
def training(small_data: Dataset) -> Training:
    experiment = loads(TINY)
    return Training(experiment, device.settle(experiment.train, experiment.total_steps), small_data)


def take(training: Training, steps: int) -> None:
    plan = training.draw_epoch()
    for position in range(steps):
        training.take_step(plan, position)


def test_every_part_of_a_step_is_counted_once(training: Training, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "profile"
    folder.mkdir(parents=True)
    training.profile = Profile(training.device, folder, trace=False)
    take(training, 4)
    with training.timed("logging"):
        pass
    lines = training.profile.finish().splitlines()
    parts = ("data", "forward", "backward", "optimizer", "averages")
    assert {name: training.profile.calls[name] for name in parts} == dict.fromkeys(parts, 4)
    assert [line.split()[0] for line in lines] == ["part", *parts, "logging", "rest", "whole"]
    assert "\n".join(lines) == profile_table.read(tmp_path)
    result = json.loads((folder / "result.json").read_text())
    assert sum(part["seconds"] for part in result["parts"]) == pytest.approx(result["seconds"], rel=1e-6)
    assert result["steps"] == 4


def test_a_trace_holds_the_steps_after_the_first_ones(training: Training, tmp_path: Path) -> None:
    training.profile = Profile(training.device, tmp_path, trace=True)
    take(training, 25)
    training.profile.finish()
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any("conv" in str(event.get("name")) for event in events)


def test_without_a_profile_nothing_is_timed(training: Training, tmp_path: Path) -> None:
    assert training.timed("data").__enter__() is None
    take(training, 2)
    assert training.profile is None
    assert profile_table.read(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 64), ("250000 100000", 2), ("50000 100000", 1), ("nonsense", 64), (None, 64)]
)
def test_a_containers_quota_limits_the_threads(
    quota: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    assert device.usable_cores(tmp_path) == cores
