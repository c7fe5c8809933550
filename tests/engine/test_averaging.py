"""The moving average of weights and lookahead against their recurrences."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.optim.averaging import Ema, Lookahead
from engine.options.averaging import Ema as EmaOptions
from engine.options.averaging import Lookahead as LookaheadOptions


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@torch.no_grad()
def disturb(model: nn.Module, step: int) -> None:
    draw = torch.Generator().manual_seed(step)
    for p in model.parameters():
        p.add_(torch.randn(p.shape, generator=draw))
    model(torch.randn(4, 3, 8, 8, generator=draw))


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize("every", [1, 3])
def test_the_average_follows_its_recurrence(warmup: bool, every: int) -> None:
    model = small_net()
    ema = Ema(EmaOptions(decay=0.9, warmup=warmup, every=every), model)
    expected = {name: p.detach().double() for name, p in model.named_parameters()}
    updates = 0
    for step in range(12):
        disturb(model, step)
        ema.update(model, step)
        if step % every == every - 1:
            decay = min(0.9, (1 + updates) / (10 + updates)) if warmup else 0.9
            expected = {n: decay * expected[n] + (1 - decay) * p.double() for n, p in model.named_parameters()}
            updates += 1
    for name, value in expected.items():
        torch.testing.assert_close(ema.average[name].double(), value.detach(), rtol=1e-5, atol=1e-5)
    for name, buffer in model.named_buffers():
        assert torch.equal(ema.average[name], buffer)


def test_the_average_is_lent_and_the_weights_come_back() -> None:
    model = small_net()
    ema = Ema(EmaOptions(decay=0.9), model)
    disturb(model, 0)
    ema.update(model, 0)
    own, average = snapshot(model), {name: tensor.clone() for name, tensor in ema.average.items()}
    with ema.applied_to(model):
        assert all(torch.equal(tensor, average[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, average[name]) for name, tensor in ema.average.items())


def test_the_weights_come_back_after_a_mistake_too() -> None:
    model = small_net()
    ema = Ema(EmaOptions(decay=0.9), model)
    disturb(model, 0)
    own = snapshot(model)
    with pytest.raises(RuntimeError, match="evaluation failed"), ema.applied_to(model):
        raise RuntimeError("evaluation failed")
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


def test_lookahead_pulls_and_goes_there() -> None:
    model = small_net()
    lookahead = Lookahead(LookaheadOptions(decay=0.95, every=5, power=3.0), model, total_steps=20)
    slow = {name: p.detach().double() for name, p in model.named_parameters()}
    for step in range(20):
        disturb(model, step)
        fast = {name: p.detach().double() for name, p in model.named_parameters()}
        lookahead.update(model, step)
        if (step + 1) % 5 == 0:
            decay = 0.95**5 * ((step + 1) / 20) ** 3
            slow = {name: decay * slow[name] + (1 - decay) * fast[name] for name in slow}
            for name, p in model.named_parameters():
                torch.testing.assert_close(p.double(), slow[name], rtol=1e-5, atol=1e-5)
        else:
            assert all(torch.equal(p.double(), fast[name]) for name, p in model.named_parameters())
    disturb(model, 99)
    lookahead.finish(model)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.double(), slow[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["ema", "lookahead"])
def test_averages_resume_bit_for_bit(kind: str) -> None:
    def make(model: nn.Module) -> Any:
        if kind == "ema":
            return Ema(EmaOptions(decay=0.9, every=2), model)
        return Lookahead(LookaheadOptions(every=3), model, total_steps=12)

    unbroken = small_net()
    whole = make(unbroken)
    for step in range(12):
        disturb(unbroken, step)
        whole.update(unbroken, step)

    model = small_net()
    before = make(model)
    for step in range(7):
        disturb(model, step)
        before.update(model, step)
    state = copy.deepcopy(before.state_dict())
    after = make(model)
    after.load_state_dict(state)
    for step in range(7, 12):
        disturb(model, step)
        after.update(model, step)
    for name, tensor in unbroken.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    key = "average" if kind == "ema" else "slow"
    for name, tensor in whole.state_dict()[key].items():
        assert torch.equal(tensor, after.state_dict()[key][name])
