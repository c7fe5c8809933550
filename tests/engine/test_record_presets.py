"""The speed-record recipes and the contenders: their networks' sizes, their lengths, and that they train."""

import pytest
import torch

from engine import device
from engine.counting import counted
from engine.data.dataset import Dataset
from engine.experiment import Experiment, load
from engine.models.airbench import AirbenchNet
from engine.optim.groups import learning_rates
from engine.schedules import make_schedule
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


# What the scripts say of filters, norms' biases, first layer's bias and head. They step by the sum of a batch's losses
# and we by its mean, so that their rates of SGD come times the images learnt from: 2,000, 1,536 and 512.
FILTERS, NORM, WHITEN, HEAD = "groups.group2.conv1.weight", "groups.group1.norm2.bias", "whiten.bias", "head.weight"
# 9 a 1,024 images, over what Nesterov's momentum of .85 makes of a gradient that stays the same.
KILOSTEP = 1024 * (1 + 1 / 0.15)
RATES: dict[str, dict[int, dict[str, float]]] = {
    "airbench94": {
        0: {FILTERS: 0.24, NORM: 0.053 * 2000, WHITEN: 0.053 * 2000, HEAD: 0.67 * 2000},
        37: {FILTERS: 0.1956, NORM: 86.39, WHITEN: 106 * 38 / 75, HEAD: 1092.1},
        75: {FILTERS: 0.15, NORM: 66.25, WHITEN: 0.0, HEAD: 837.5},
        199: {FILTERS: 0.0012, NORM: 0.53, WHITEN: 0.0, HEAD: 6.7},
    },
    "airbench94_record": {
        0: {FILTERS: 0.205, NORM: 0.0573 * 1536, WHITEN: 0.0573 * 1536, HEAD: 0.5415 * 1536},
        6: {FILTERS: 0.205 * 237 / 243, NORM: 88.0128 * 237 / 243, WHITEN: 88.0128 / 7, HEAD: 831.744 * 237 / 243},
        7: {FILTERS: 0.205 * 236 / 243, NORM: 88.0128 * 236 / 243, WHITEN: 0.0, HEAD: 831.744 * 236 / 243},
        242: {FILTERS: 0.205 / 243, NORM: 88.0128 / 243, WHITEN: 0.0, HEAD: 831.744 / 243},
    },
    "airbench96": {
        step: {
            part: factor * 9 / KILOSTEP * 512 * (64 if part == NORM else 1) for part in (FILTERS, NORM, WHITEN, HEAD)
        }
        for step, factor in {0: 0.2, 108: 0.6, 216: 1.0, 1188: 0.5, 2159: 1 / 1944}.items()
    },
}
# By how much a step at the full rate shrinks them; Muon's filters by weight_decay times the rate.
DECAYS: dict[str, dict[str, float]] = {
    "airbench94": {FILTERS: 0.0, NORM: 2e-6 * 2000, WHITEN: 2e-6 * 2000, HEAD: 2e-6 * 2000},
    "airbench94_record": {
        FILTERS: 0.205 * 1.0418e-6 * 1536,
        **dict.fromkeys((NORM, WHITEN, HEAD), 1.0418e-6 * 1536),
    },
    "airbench96": dict.fromkeys((FILTERS, NORM, WHITEN, HEAD), 0.012 * 1024 / KILOSTEP),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_learns_and_decays_as_its_script(name: str) -> None:
    experiment = load(name)
    network = experiment.architecture.resolve_builder()(experiment.architecture, 3, 32, 10)
    optimizer = experiment.optimizer.resolve_builder()(experiment.optimizer, list(network.named_parameters()))
    schedule = make_schedule(experiment.optimizer, experiment.total_steps, experiment.steps_per_epoch)

    def of_each(values: list[float]) -> dict[str, float]:
        pairs = zip(optimizer.param_groups, values, strict=True)
        return {name: value for group, value in pairs for name in group["param_names"]}

    for step, expected in RATES[name].items():
        found = of_each(learning_rates(optimizer, schedule, step))
        assert {part: found[part] for part in expected} == pytest.approx(expected, rel=1e-12)
    shrinking = of_each([group["lr"] * group["weight_decay"] for group in optimizer.param_groups])
    assert {part: shrinking[part] for part in DECAYS[name]} == pytest.approx(DECAYS[name], rel=1e-12)


def test_the_biases_of_airbench96_start_at_zero_and_the_proxy_has_none_in_its_first_layer(small_data: Dataset) -> None:
    experiment = load("airbench96", ON_A_CPU)
    training = Training(experiment, device.settle(experiment.train, experiment.total_steps), small_data)
    assert training.selection is not None
    assert torch.equal(training.model.get_parameter("whiten.bias"), torch.zeros(24))
    assert "whiten.bias" not in training.selection.proxy.state_dict()


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_stays_under_five_million_parameters(name: str) -> None:
    experiment = load(name)
    assert parameters(experiment) < 5_000_000
    assert (experiment.train.watch, experiment.published) == ("none", None)


@pytest.mark.slow
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
