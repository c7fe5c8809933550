"""Muon against torch.optim.Muon on a matrix, and Newton-Schulz against a float64 reference."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.optim.groups import (
    follow_schedule,
    learning_rate_table,
    normalizing_table,
    set_learning_rates,
    set_normalizing,
    use_tensor_learning_rates,
)
from engine.optim.muon import build_muon, orthogonalize
from engine.options.optimizer import NEWTON_SCHULZ
from engine.options.optimizer import Muon as MuonOptions
from engine.schedules import make_schedule

MATRICES = {"tall": (40, 12), "wide": (12, 40), "square": (16, 16)}


def build(parameters: dict[str, nn.Parameter], **options: Any) -> Any:
    return build_muon(MuonOptions.model_validate(options), list(parameters.items()))


def give_gradient(parameter: nn.Parameter, step: int) -> None:
    parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))


def matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=torch.Generator().manual_seed(99)))


def reference(matrix: Tensor, steps: int, coefficients: tuple[float, float, float] = NEWTON_SCHULZ) -> Tensor:
    """The polynomial applied to the singular values, in float64."""
    a, b, c = coefficients
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    orthogonal: Tensor = u @ torch.diag(s) @ vh
    return orthogonal


@pytest.mark.parametrize("shape", MATRICES.values(), ids=MATRICES.keys())
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_on_a_matrix_it_is_torchs(shape: tuple[int, int], nesterov: bool, scale: str) -> None:
    ours, theirs = matrix(*shape), matrix(*shape)
    muon = build({"w": ours}, matrices="all", lr=0.05, weight_decay=0.1, nesterov=nesterov, scale=scale)
    torchs: Any = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn=scale)
    for step in range(6):
        give_gradient(ours, step)
        give_gradient(theirs, step)
        muon.step()
        torchs.step()
    # Both iterate in bfloat16, whose rounding may depend on the order of a product's sums.
    assert ((ours - theirs).norm() / (theirs - matrix(*shape)).norm()).item() < 0.01


@pytest.mark.parametrize("shape", MATRICES.values(), ids=MATRICES.keys())
@pytest.mark.parametrize("steps", [3, 5])
def test_newton_schulz_is_its_polynomial_on_singular_values(shape: tuple[int, int], steps: int) -> None:
    batch = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([reference(m, steps) for m in batch])
    torch.testing.assert_close(
        orthogonalize(batch, steps, NEWTON_SCHULZ, torch.float32).double(), expected, rtol=1e-4, atol=1e-4
    )
    half = orthogonalize(batch, steps, NEWTON_SCHULZ, torch.bfloat16).double()
    assert (half - expected).norm() / expected.norm() < 0.05


RECORD = (3.4576, -4.7391, 2.0843)


def test_the_coefficients_are_the_polynomials() -> None:
    batch = torch.randn(2, 12, 40, generator=torch.Generator().manual_seed(3))
    expected = torch.stack([reference(m, 3, RECORD) for m in batch])
    found = orthogonalize(batch, 3, RECORD, torch.float32)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, orthogonalize(batch, 3, NEWTON_SCHULZ, torch.float32), atol=1e-2)


def test_half_precision_does_not_lose_small_gradients() -> None:
    """The smallest number of fp16 is 6e-8."""
    batch = 1e-9 * torch.randn(2, 12, 40, generator=torch.Generator().manual_seed(4))
    expected = torch.stack([reference(m, 3) for m in batch])
    found = orthogonalize(1e3 * batch, 3, NEWTON_SCHULZ, torch.float16)
    assert found.dtype == torch.float16
    assert (found.double() - expected).norm() / expected.norm() < 0.01


def test_singular_values_end_near_one() -> None:
    batch = torch.randn(2, 24, 60, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalize(batch, 5, NEWTON_SCHULZ, torch.float32))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_gradient_of_zeros_moves_nothing() -> None:
    weight = nn.Parameter(torch.ones(4, 3, 3, 3))
    weight.grad = torch.zeros_like(weight)
    build({"w": weight}).step()
    assert torch.equal(weight, torch.ones(4, 3, 3, 3))


def test_filters_are_flattened_and_batched_without_mixing() -> None:
    """Two banks of one shape in one batch, in channels_last, step as each alone as a matrix."""
    options: dict[str, Any] = {"lr": 0.1, "precision": "fp32", "scale": "original"}
    banks = {name: nn.Parameter(torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)) for name in "ab"}
    flat = {name: nn.Parameter(p.detach().flatten(1).clone()) for name, p in banks.items()}
    together = build(banks, **options)
    alone = [build({name: p}, matrices="all", **options) for name, p in flat.items()]
    for step in range(3):
        for i, name in enumerate("ab"):
            give_gradient(flat[name], 10 * step + i)
            gradient = flat[name].grad
            assert gradient is not None
            banks[name].grad = gradient.view(8, 4, 3, 3).to(memory_format=torch.channels_last)
        together.step()
        for optimizer in alone:
            optimizer.step()
    for name in "ab":
        torch.testing.assert_close(banks[name].flatten(1), flat[name], rtol=1e-5, atol=1e-5)


def test_normalized_filters_keep_their_norm() -> None:
    """airbench94_muon: ||W|| = sqrt(filters) before each step of lr times a nearly orthogonal matrix."""
    weight = nn.Parameter(7 * torch.randn(16, 8, 3, 3))
    give_gradient(weight, 0)
    build({"w": weight}, lr=1e-9, normalize_filters=True, scale="none").step()
    assert weight.norm().item() == pytest.approx(4.0, rel=1e-5)


SCRIPT: dict[str, Any] = {
    "lr": 0.2, "momentum": 0.655, "weight_decay": 0.5, "newton_schulz_steps": 3, "scale": "none", "precision": "fp32",
    "newton_schulz_coefficients": RECORD, "normalize_filters": True, "normalize_every": {"first": 2, "last": 17},
    "schedule": {"kind": "linear", "end": 0.0},
}  # fmt: skip
BANKS = {"wide": (8, 4, 3, 3), "same": (8, 4, 3, 3), "tall": (24, 2, 2, 2)}
STEPS = 30
# A step t is one when 2 + int(15 t / 30) have passed since the last.
NORMALIZED = (3, 9, 21)


def by_the_formula(decay_order: str) -> dict[str, Tensor]:
    """The script's step on every bank by itself, in float64: a momentum that is a sum, not a mean."""
    banks = {name: bank(name).double() for name in BANKS}
    sums = {name: torch.zeros_like(w) for name, w in banks.items()}
    for step in range(STEPS):
        lr = 0.2 * (1 - step / STEPS)
        for i, (name, w) in enumerate(banks.items()):
            gradient = gradient_of(w.shape, 10 * step + i).double()
            sums[name] = 0.655 * sums[name] + gradient
            direction = (gradient + 0.655 * sums[name]).flatten(1)
            if step + 1 in NORMALIZED:
                w = w * len(w) ** 0.5 / w.norm()
            if decay_order == "before":
                w = w * (1 - lr * 0.5)
            w = w - lr * reference(direction, 3, RECORD).view(w.shape)
            banks[name] = w * (1 - lr * 0.5) if decay_order == "after" else w
    return banks


def bank(name: str) -> Tensor:
    return torch.randn(BANKS[name], generator=torch.Generator().manual_seed(len(name)))


def gradient_of(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("decay_order", ["before", "after"])
@pytest.mark.parametrize("told_by", ["host", "device"])
def test_a_step_is_the_published_formula(decay_order: str, told_by: str) -> None:
    """hiverge/cifar10-speedrun: rescale in some steps, step by the orthogonalised momentum, decay after it."""
    banks = {name: nn.Parameter(bank(name)) for name in BANKS}
    muon = build(banks, **SCRIPT, decay_order=decay_order)
    schedule = make_schedule(MuonOptions.model_validate(SCRIPT), STEPS, STEPS)
    rates = learning_rate_table(muon, schedule, torch.device("cpu"))
    normalizing = normalizing_table(muon, schedule, torch.device("cpu"))
    assert rates is not None
    assert normalizing is not None
    if told_by == "device":
        use_tensor_learning_rates(muon, torch.device("cpu"))
    for step in range(STEPS):
        if told_by == "host":
            follow_schedule(muon, schedule, step)
        else:
            set_learning_rates(muon, rates[step])
            set_normalizing(muon, normalizing[step])
        for i, p in enumerate(banks.values()):
            p.grad = gradient_of(p.shape, 10 * step + i)
        muon.step()
    for name, expected in by_the_formula(decay_order).items():
        torch.testing.assert_close(banks[name].double(), expected, rtol=1e-3, atol=1e-3)


def test_a_flag_on_the_device_is_written_in_place() -> None:
    muon = build({"w": nn.Parameter(bank("wide"))}, **SCRIPT)
    use_tensor_learning_rates(muon, torch.device("cpu"))
    flag = muon.param_groups[0]["normalize"]
    set_normalizing(muon, torch.tensor(True))
    assert bool(flag)
    set_normalizing(muon, False)
    assert not bool(flag)
    assert muon.param_groups[0]["normalize"] is flag


def test_without_an_interval_every_step_rescales_and_no_schedule_is_asked() -> None:
    muon = build({"w": nn.Parameter(bank("wide"))}, normalize_filters=True)
    schedule = make_schedule(MuonOptions(), STEPS, STEPS)
    assert normalizing_table(muon, schedule, torch.device("cpu")) is None
    assert "normalize" not in muon.param_groups[0]


def test_the_rest_learns_at_its_own_rate() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    rest = {"algorithm": "sgd", "lr": 0.5, "momentum": 0.0, "weight_decay": 0.25}
    groups = [{"match": "^2.weight", "lr_scale": 3.0}]
    optimizer = build(dict(model.named_parameters()), lr=0.1, weight_decay=0.01, rest=rest, groups=groups)
    found = {n: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for n in g["param_names"]}
    assert found["0.weight"] == (0.1, 0.01)
    assert found["0.bias"] == found["2.bias"] == pytest.approx((0.5, 0.25))
    assert found["2.weight"] == pytest.approx((1.5, 0.25))


def test_a_learning_rate_set_after_a_resume_reaches_both_parts() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    optimizer = build(dict(model.named_parameters()))
    optimizer.load_state_dict(optimizer.state_dict())
    set_learning_rates(optimizer, [0.0] * len(optimizer.param_groups))
    before = [p.detach().clone() for p in model.parameters()]
    for step, p in enumerate(model.parameters()):
        give_gradient(p, step)
    optimizer.step()
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), before, strict=True))


def test_excluded_matrices_are_left_to_the_rest() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    optimizer = build(dict(model.named_parameters()), matrices="all", exclude="^2")
    assert [n for g in optimizer.optimizers[0].param_groups for n in g["param_names"]] == ["0.weight"]


def test_a_model_without_matrices_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"optimizer\.matrices to all"):
        build(dict(nn.Linear(3, 4).named_parameters()))
