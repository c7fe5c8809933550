"""Builders against torch's plain optimisers, parameter groups, learning rates per group, exact resume, SAM."""

import copy
import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import UserError
from engine.optim.groups import (
    can_capture,
    follow_schedule,
    learning_rate_table,
    set_learning_rates,
    use_tensor_learning_rates,
)
from engine.optim.sam import Sam, frozen_statistics
from engine.options.optimizer import OptimizerChoice, Sgd
from engine.options.optimizer import Sam as SamOptions
from engine.schedules import make_schedule

OPTIMIZER: TypeAdapter[OptimizerChoice] = TypeAdapter(OptimizerChoice)

EVERY_ALGORITHM: list[dict[str, Any]] = [
    {"algorithm": "sgd", "weight_decay": 5e-4},
    {"algorithm": "sgd", "nesterov": True},
    {"algorithm": "sgd", "momentum": 0.0},
    {"algorithm": "sgd", "dampening": 0.5},
    {"algorithm": "adam", "weight_decay": 5e-4, "amsgrad": True},
    {"algorithm": "adamw", "betas": [0.8, 0.95]},
    {"algorithm": "rmsprop", "momentum": 0.5, "centered": True},
    {"algorithm": "adagrad", "lr_decay": 0.1},
    {"algorithm": "adadelta"},
    {"algorithm": "muon", "weight_decay": 0.1},
    {"algorithm": "muon", "matrices": "all", "precision": "fp32", "rest": {"algorithm": "sgd", "lr": 0.01}},
    {"algorithm": "dessilbi", "lr": 0.01, "nu": 0.1, "group_lambda": 0.01, "lasso_lambda": 0.01},
    {"algorithm": "dessilbi", "base": "adam", "lr": 0.01, "nu": 1.0},
    {"algorithm": "dessilbi", "base": "adam_then_sgd", "lr": 0.01, "nu": 1.0},
]


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)
    )


def build(options: dict[str, Any], model: nn.Module) -> Optimizer:
    chosen = OPTIMIZER.validate_python(options)
    optimizer = chosen.resolve_builder()(chosen, list(model.named_parameters()))
    assert isinstance(optimizer, Optimizer)
    return optimizer


def images(step: int) -> Tensor:
    return torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step))


def train(model: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        model(images(step)).square().mean().backward()
        optimizer.step()


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


PLAIN: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
    (
        {"algorithm": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 5e-4},
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    ),
    (
        {"algorithm": "adam", "weight_decay": 5e-4, "amsgrad": True},
        torch.optim.Adam,
        {"lr": 1e-3, "weight_decay": 5e-4, "amsgrad": True},
    ),
    ({"algorithm": "adamw"}, torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
    ({"algorithm": "rmsprop", "lr": 1e-3}, torch.optim.RMSprop, {"lr": 1e-3}),
    ({"algorithm": "adagrad", "lr": 0.1}, torch.optim.Adagrad, {"lr": 0.1}),
    ({"algorithm": "adadelta", "lr": 0.1}, torch.optim.Adadelta, {"lr": 0.1}),
]


@pytest.mark.parametrize(("options", "plain", "arguments"), PLAIN, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_fast_kernels_take_the_plain_steps(
    options: dict[str, Any], plain: Any, arguments: dict[str, Any], memory_format: Any
) -> None:
    ours, theirs = small_net().to(memory_format=memory_format), small_net()
    train(ours, build(options, ours), range(10))
    train(theirs, plain(theirs.parameters(), foreach=False, **arguments), range(10))
    # The kernels round in different orders, which ten steps of a net with a batch norm magnify.
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("options", EVERY_ALGORITHM, ids=str)
def test_a_resumed_optimizer_goes_on_bit_for_bit(options: dict[str, Any], tmp_path: Any) -> None:
    unbroken = small_net().to(memory_format=torch.channels_last)
    train(unbroken, build(options, unbroken), range(9))

    before = small_net().to(memory_format=torch.channels_last)
    optimizer = build(options, before)
    train(before, optimizer, range(4))
    torch.save({"model": before.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")

    after = small_net().to(memory_format=torch.channels_last)
    resumed = build(options, after)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    after.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    train(after, resumed, range(4, 9))
    for a, b in zip(unbroken.parameters(), after.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("options", EVERY_ALGORITHM, ids=str)
def test_every_algorithm_lowers_the_loss(options: dict[str, Any]) -> None:
    model = small_net()
    start = model(images(0)).square().mean().item()
    train(model, build({**options, "lr": 0.003}, model), range(30))
    assert model(images(0)).square().mean().item() < start


def test_only_weights_decay_when_asked() -> None:
    optimizer = build({"algorithm": "sgd", "weight_decay": 0.1, "decay": "weights"}, small_net())
    decays = {name: g["weight_decay"] for g in optimizer.param_groups for name in g["param_names"]}
    assert decays == {"0.weight": 0.1, "1.weight": 0.0, "1.bias": 0.0, "4.weight": 0.1, "4.bias": 0.0}


def test_the_first_pattern_that_fits_gives_rate_and_decay() -> None:
    groups = [{"match": "bias", "lr_scale": 64.0, "weight_decay": 0.002}, {"match": "^1", "lr_scale": 2.0}]
    optimizer = build({"algorithm": "sgd", "lr": 0.1, "weight_decay": 0.1, "groups": groups}, small_net())
    found = {n: (g["lr_scale"], g["weight_decay"]) for g in optimizer.param_groups for n in g["param_names"]}
    assert found["1.bias"] == found["4.bias"] == (64.0, 0.002)
    assert found["1.weight"] == (2.0, 0.1)
    assert found["0.weight"] == (1.0, 0.1)
    follow_schedule(optimizer, make_schedule(Sgd(lr=0.05), 10, 5), 0)
    assert sorted(g["lr"] for g in optimizer.param_groups) == pytest.approx([0.05, 0.1, 3.2])


def test_frozen_parameters_are_left_out() -> None:
    model = small_net()
    model[0].requires_grad_(False)
    names = [name for group in build({"algorithm": "sgd"}, model).param_groups for name in group["param_names"]]
    assert "0.weight" not in names


def test_a_pattern_that_fits_nothing_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"optimizer\.groups\[0\]\.match 'embed'.*0\.weight"):
        build({"algorithm": "sgd", "groups": [{"match": "embed"}]}, small_net())


def test_a_model_without_parameters_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="no parameter to train"):
        build({"algorithm": "sgd"}, nn.Flatten())


def scheduled() -> tuple[Sgd, nn.Module, Optimizer]:
    groups = [{"match": "bias", "lr_scale": 4.0}, {"match": "^0", "ending": {"epoch": 1.0}}]
    values = {"algorithm": "sgd", "lr": 0.1, "groups": groups, "schedule": {"kind": "linear"}}
    options = OPTIMIZER.validate_python(values)
    model = small_net()
    optimizer = options.resolve_builder()(options, list(model.named_parameters()))
    assert isinstance(options, Sgd)
    return options, model, optimizer


def test_a_table_of_learning_rates_trains_as_the_schedule_does() -> None:
    options, by_hand, optimizer = scheduled()
    schedule = make_schedule(options, total_steps=20, steps_per_epoch=5)
    for step in range(20):
        follow_schedule(optimizer, schedule, step)
        train(by_hand, optimizer, range(step, step + 1))

    _, by_table, optimizer = scheduled()
    device = torch.device("cpu")
    table = learning_rate_table(optimizer, schedule, device)
    assert table is not None
    assert table.shape == (20, len(optimizer.param_groups))
    use_tensor_learning_rates(optimizer, device)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(20):
        set_learning_rates(optimizer, table[step])
        train(by_table, optimizer, range(step, step + 1))
    assert all(group["lr"] is rate for group, rate in zip(optimizer.param_groups, rates, strict=True))
    torch.testing.assert_close(weights(by_table), weights(by_hand), rtol=1e-4, atol=1e-6)


def test_an_ending_holds_its_parameters_still() -> None:
    options, model, optimizer = scheduled()
    schedule = make_schedule(options, total_steps=20, steps_per_epoch=5)
    first = model.get_parameter("0.weight")
    for step in range(8):
        before = first.detach().clone()
        follow_schedule(optimizer, schedule, step)
        train(model, optimizer, range(step, step + 1))
        assert torch.equal(before, first) == (step >= 5)


def test_plateau_has_no_table() -> None:
    options = Sgd.model_validate({"schedule": {"kind": "plateau"}})
    optimizer = build({"algorithm": "sgd"}, small_net())
    assert learning_rate_table(optimizer, make_schedule(options, 10, 5), torch.device("cpu")) is None


def test_adagrad_and_dampening_cannot_be_captured() -> None:
    undamped = [{**options, "dampening": 0.0} if "dampening" in options else options for options in EVERY_ALGORITHM]
    refused = {str(o["algorithm"]) for o in undamped if not can_capture(build(o, small_net()))}
    assert refused == {"adagrad"}
    assert not can_capture(build({"algorithm": "sgd", "momentum": 0.9, "dampening": 0.1}, small_net()))


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_climbs_as_the_paper_says_and_comes_back(adaptive: bool) -> None:
    model = small_net()
    sam = Sam(SamOptions(rho=0.3, adaptive=adaptive), model.parameters())
    model(images(0)).square().mean().backward()
    start = weights(model)
    gradients = [p.grad.double() for p in model.parameters() if p.grad is not None]
    sizes = [w.double().abs() if adaptive else torch.ones_like(w).double() for w in start]
    norm = math.sqrt(sum((s * g).square().sum().item() for s, g in zip(sizes, gradients, strict=True)))
    sam.climb()
    for p, w, g, s in zip(model.parameters(), start, gradients, sizes, strict=True):
        torch.testing.assert_close(p.double(), w + 0.3 * s * s * g / norm, rtol=1e-5, atol=1e-6)
        assert p.grad is None
    sam.descend()
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), start, strict=True))


def test_statistics_rest_in_the_second_pass() -> None:
    model = small_net()
    model(images(0))
    before = copy.deepcopy(model.state_dict())
    with frozen_statistics(model):
        model(images(1))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    model(images(1))
    assert model.state_dict()["1.num_batches_tracked"].item() == 2
