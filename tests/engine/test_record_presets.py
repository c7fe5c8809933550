"""The speed-record recipes and the contenders: their networks' sizes, their lengths, and that they train."""

import pytest
import torch

from engine import device
from engine.counting import counted
from engine.data.dataset import Dataset
from engine.experiment import Experiment, load
from engine.models.airbench import AirbenchNet
from engine.training import Training

# Parameters and optimiser steps of the original scripts.
RECORDS = {"airbench94": (1_972_792, 200), "airbench94_record": (1_972_792, 243), "airbench96": (9_918_776, 2160)}
CONTENDERS = ("champion_5m", "champion_5m_long")

ON_A_CPU = [
    ("data.name", "shapes"),
    ("data.train_limit", "400"),
    ("train.device", "cpu"),
    ("train.compile", '"off"'),
    ("train.graph", '"off"'),
    ("train.threads", "1"),
    ("train.batch_size", "16"),
]


def parameters(experiment: Experiment) -> int:
    return counted(experiment.architecture, 3, 32, 10, 8, "fp32").parameters


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_has_the_original_network_and_length(name: str) -> None:
    experiment = load(name)
    assert (parameters(experiment), experiment.total_steps) == RECORDS[name]
    assert experiment.train.tta.startswith("flip_translate")


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_stays_under_five_million_parameters(name: str) -> None:
    experiment = load(name)
    assert parameters(experiment) < 5_000_000
    assert (experiment.train.watch, experiment.published) == ("none", None)


@pytest.mark.parametrize("name", [*RECORDS, *CONTENDERS])
def test_it_trains(name: str, small_data: Dataset) -> None:
    experiment = load(name, [*ON_A_CPU, ("train.steps", "2"), ("optimizer.warmup.epochs", "0")])
    training = Training(experiment, device.settle(experiment.train, experiment.total_steps), small_data)
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    plan = training.draw_epoch()
    for position in range(2):
        training.take_step(plan, position)
    figures = training.meters.read()
    assert figures.bad_step == -1
    assert figures.window.images == (16 if experiment.train.selection else 32)
    after = training.model.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_head_of_the_record_starts_with_unit_deviation(small_data: Dataset) -> None:
    experiment = load("airbench94", ON_A_CPU)
    training = Training(experiment, device.settle(experiment.train, experiment.total_steps), small_data)
    assert isinstance(training.model, AirbenchNet)
    assert float(training.model.head.weight.detach().std()) == pytest.approx(1.0, abs=1e-4)
