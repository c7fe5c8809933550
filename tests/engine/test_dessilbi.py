"""DessiLBI against the published update written out in float64, its path, its resume."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.optim.dessilbi import DessiLbi, build_dessilbi, shrink_entries, shrink_filters
from engine.options.optimizer import DessiLbi as Options

SHAPES = {"conv.weight": (5, 3, 3, 3), "conv.bias": (5,), "fc.weight": (4, 6), "fc.bias": (4,)}
SETTINGS: dict[str, Any] = {"lr": 0.3, "kappa": 2.0, "nu": 5.0, "group_lambda": 0.6, "lasso_lambda": 0.15}


def parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(5)
    return {name: nn.Parameter(torch.randn(shape, dtype=torch.float64)) for name, shape in SHAPES.items()}


def gradient(weight: Tensor, target: Tensor) -> Tensor:
    """Of a quadratic loss with its minimum at ``target``."""
    return weight - target


def targets() -> dict[str, Tensor]:
    torch.manual_seed(6)
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in SHAPES.items()}


def run(options: Options, steps: int, weights: dict[str, nn.Parameter] | None = None) -> tuple[DessiLbi, list[Any]]:
    weights = weights or parameters()
    optimizer = build_dessilbi(options, list(weights.items()))
    assert isinstance(optimizer, DessiLbi)
    aims, history = targets(), []
    for _ in range(steps):
        for name, weight in weights.items():
            weight.grad = gradient(weight.detach(), aims[name])
        optimizer.step()
        history.append({name: weight.detach().clone() for name, weight in weights.items()})
    return optimizer, history


def entered(optimizer: DessiLbi) -> dict[str, Tensor]:
    """After how many steps what is coupled entered Gamma, by the weight's name."""
    return {
        name: optimizer.state[weight]["entered"]
        for group in optimizer.param_groups
        for name, weight in zip(group["param_names"], group["params"], strict=True)
        if "gamma" in optimizer.state[weight]
    }


def prox(v: Tensor, options: Options) -> Tensor:
    if v.dim() == 2:
        return torch.sign(v) * (v.abs() - options.lasso_lambda).maximum(torch.zeros_like(v))
    out = torch.zeros_like(v)
    for f in range(len(v)):
        out[f] = max(0.0, 1 - options.group_lambda / max(v[f].norm().item(), 1e-300)) * v[f]
    return out


def adam_direction(moments: list[Tensor], g: Tensor, k: int, options: Options) -> Tensor:
    b1, b2 = options.betas
    moments[0] = b1 * moments[0] + (1 - b1) * g
    moments[1] = b2 * moments[1] + (1 - b2) * g * g
    return (moments[0] / (1 - b1**k)) / ((moments[1] / (1 - b2**k)).sqrt() + options.eps)


def published(options: Options, steps: int) -> list[dict[str, Tensor]]:
    """The equations, one weight at a time."""
    a, kappa, nu, m = options.lr, options.kappa, options.nu, options.momentum
    aims = targets()
    history: list[dict[str, Tensor]] = [{} for _ in range(steps)]
    for name, start in parameters().items():
        w = start.detach().clone()
        v, big_gamma, buffer = torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)
        moments = [torch.zeros_like(w), torch.zeros_like(w)]
        decay = options.weight_decay if w.dim() > 1 else 0.0
        for k in range(1, steps + 1):
            g = gradient(w, aims[name])
            if options.base == "adam_then_sgd":
                w = w - a * adam_direction(moments, g + decay * w, k, options)
            g = g + decay * w
            buffer = m * buffer + g
            d = g + m * buffer if options.nesterov else buffer
            if options.base == "adam":
                d = adam_direction(moments, g, k, options)
            if w.dim() > 1:
                old = w
                w = old - kappa * a * (d + (old - big_gamma) / nu)
                v = v - (a / nu) * (big_gamma - old)
                big_gamma = kappa * prox(v, options)
            else:
                w = w - kappa * a * d
            history[k - 1] |= {name: w, f"{name} v": v, f"{name} gamma": big_gamma}
    return history


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"momentum": 0.0},
        {"nesterov": True},
        {"weight_decay": 0.01},
        {"kappa": 1.0, "nu": 20.0, "group_lambda": 1.0, "lasso_lambda": 1.0},
        {"base": "adam", "weight_decay": 0.01},
        {"base": "adam_then_sgd", "momentum": 0.0, "weight_decay": 0.01},
    ],
    ids=str,
)
def test_every_step_is_the_published_one(variant: dict[str, Any]) -> None:
    options = Options.model_validate({**SETTINGS, "lr": 0.05, **variant})
    expected = published(options, 60)
    for steps in (1, 2, 3, 60):
        optimizer, history = run(options, steps)
        for group in optimizer.param_groups:
            for name, weight in zip(group["param_names"], group["params"], strict=True):
                torch.testing.assert_close(history[-1][name], expected[steps - 1][name], rtol=1e-9, atol=1e-11)
                for key in ("v", "gamma") if weight.dim() > 1 else ():
                    theirs = expected[steps - 1][f"{name} {key}"]
                    torch.testing.assert_close(optimizer.state[weight][key], theirs, rtol=1e-9, atol=1e-11)


def test_the_path_records_the_first_step_in_gamma() -> None:
    options = Options.model_validate({**SETTINGS, "lr": 0.05, "group_lambda": 1.2})
    optimizer, _ = run(options, 80)
    history = published(options, 80)
    path = entered(optimizer)
    assert set(path) == {"conv.weight", "fc.weight"}
    for f in range(5):
        inside = [k for k, state in enumerate(history, start=1) if state["conv.weight gamma"][f].abs().sum() > 0]
        assert path["conv.weight"][f].item() == (inside[0] if inside else 0)
    for i in range(4):
        for j in range(6):
            inside = [k for k, state in enumerate(history, start=1) if state["fc.weight gamma"][i, j] != 0]
            assert path["fc.weight"][i, j].item() == (inside[0] if inside else 0)
    assert len(set(path["conv.weight"].tolist())) > 1


def test_a_resume_keeps_path_and_subgradient_exactly() -> None:
    options = Options.model_validate({**SETTINGS, "lr": 0.05})
    unbroken, _ = run(options, 50)
    weights = parameters()
    before, _ = run(options, 20, weights)
    after = build_dessilbi(options, list(weights.items()))
    after.load_state_dict(before.state_dict())
    assert isinstance(after, DessiLbi)
    aims = targets()
    for _ in range(30):
        for name, weight in weights.items():
            weight.grad = gradient(weight.detach(), aims[name])
        after.step()
    for name, path in entered(unbroken).items():
        assert torch.equal(path, entered(after)[name])
    (kept,), (resumed,) = unbroken.param_groups, after.param_groups
    for ours, theirs in zip(kept["params"], resumed["params"], strict=True):
        for key, tensor in unbroken.state[ours].items():
            assert torch.equal(tensor, after.state[theirs][key]), key


def test_only_weights_whose_name_fits_get_a_partner() -> None:
    optimizer, _ = run(Options.model_validate({**SETTINGS, "sparse": "^conv"}), 2)
    assert set(entered(optimizer)) == {"conv.weight"}


def test_a_pattern_that_fits_no_weight_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"optimizer\.sparse 'conv9'"):
        build_dessilbi(Options(sparse="conv9"), list(parameters().items()))


def test_proximal_maps_minimise_what_they_should() -> None:
    """prox(v) has a smaller 1/2 ||x - v||^2 + threshold * norm(x) than any point nearby."""
    torch.manual_seed(7)
    v = torch.randn(6, 2, 3, 3, dtype=torch.float64)

    def filters(x: Tensor) -> float:
        return float((x - v).square().sum() / 2 + 4.0 * x.flatten(1).norm(dim=1).sum())

    def entries(x: Tensor) -> float:
        return float((x - v).square().sum() / 2 + 0.5 * x.abs().sum())

    for objective, best in ((filters, shrink_filters(v, 4.0)), (entries, shrink_entries(v, 0.5))):
        assert 0 < (best == 0).double().mean() < 1
        for _ in range(200):
            assert objective(best) <= objective(best + 0.05 * torch.randn_like(v))


def test_zeros_shrink_to_zeros() -> None:
    zeros = torch.zeros(2, 1, 3, 3)
    assert torch.equal(shrink_filters(zeros, 1.0), zeros)
    assert torch.equal(shrink_filters(zeros, 0.0), zeros)
