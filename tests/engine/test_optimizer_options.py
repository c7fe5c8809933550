"""Options of optimisers, schedules and losses: bounds, discriminators, presets, and that torch stays out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from engine import strict_yaml
from engine.options.loss import LossChoice
from engine.options.optimizer import AdamW, Muon, OptimizerChoice, RestBySgd, Sgd
from engine.schedules import make_schedule

OPTIMIZER: TypeAdapter[OptimizerChoice] = TypeAdapter(OptimizerChoice)
LOSS: TypeAdapter[LossChoice] = TypeAdapter(LossChoice)
ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "presets" / "optimizer").glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    value = strict_yaml.parse(path.read_bytes(), str(path)).value
    assert isinstance(value, dict)
    return value


def test_the_algorithm_chooses_the_options() -> None:
    options = OPTIMIZER.validate_python({"algorithm": "adamw", "lr": 0.001, "betas": [0.9, 0.99], "amsgrad": True})
    assert isinstance(options, AdamW)
    assert options.betas == (0.9, 0.99)


def test_nested_choices_come_from_plain_values() -> None:
    values = {"algorithm": "muon", "rest": {"algorithm": "sgd", "lr": 0.5}, "groups": [{"match": "norm|bias"}]}
    options = OPTIMIZER.validate_python(values)
    assert isinstance(options, Muon)
    assert isinstance(options.rest, RestBySgd)
    assert options.groups[0].match == "norm|bias"


@pytest.mark.parametrize(
    "values",
    [
        {"algorithm": "sgd", "lr": 0},
        {"algorithm": "sgd", "lr": -0.1},
        {"algorithm": "sgd", "lr": "0.1"},
        {"algorithm": "sgd", "momentum": 1.0},
        {"algorithm": "sgd", "momentum": 0.0, "nesterov": True},
        {"algorithm": "sgd", "dampening": 0.5, "nesterov": True},
        {"algorithm": "sgd", "amsgrad": True},
        {"algorithm": "sgd", "groups": [{"match": "("}]},
        {"algorithm": "sgd", "schedule": {"kind": "multistep", "milestones": []}},
        {"algorithm": "sgd", "schedule": {"kind": "multistep", "milestones": [20, 10]}},
        {"algorithm": "sgd", "schedule": {"kind": "plateau", "factor": 1.0}},
        {"algorithm": "sgd", "schedule": {"kind": "exponential"}},
        {"algorithm": "sgd", "warmup": {"epochs": 1, "steps": 10}},
        {"algorithm": "adam", "betas": [0.9, 1.0]},
        {"algorithm": "adam", "betas": [0.9]},
        {"algorithm": "muon", "newton_schulz_coefficients": [0.0, -4.7, 2.0]},
        {"algorithm": "muon", "newton_schulz_coefficients": [3.4, -4.7]},
        {"algorithm": "muon", "normalize_every": {"first": 2, "last": 17}},
        {"algorithm": "muon", "normalize_filters": True, "normalize_every": {"first": 0}},
        {"algorithm": "muon", "decay_order": "never"},
        {"algorithm": "dessilbi", "nu": 0},
        {"algorithm": "dessilbi", "sparse": "["},
        {"algorithm": "sdg"},
        {"lr": 0.1},
    ],
)
def test_what_is_out_of_bounds_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OPTIMIZER.validate_python(values)


@pytest.mark.parametrize("values", [{"kind": "huber", "delta": 0}, {"kind": "cross_entropy", "label_smoothing": 1.0}])
def test_losses_have_bounds(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LOSS.validate_python(values)


def test_every_field_has_a_sentence_of_help() -> None:
    schema = OPTIMIZER.json_schema()
    fields = {f"{name}.{key}": field for name, m in schema["$defs"].items() for key, field in m["properties"].items()}
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_resolved_options_round_trip() -> None:
    for path in PRESETS:
        values = read(path)
        del values["about"]
        options = OPTIMIZER.validate_python(values)
        assert OPTIMIZER.validate_python(options.model_dump(mode="json")) == options


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_and_say_what_they_are(path: Path) -> None:
    values = read(path)
    about = values.pop("about")
    options = OPTIMIZER.validate_python(values)
    assert 20 < len(about) < 120
    rates = make_schedule(options, total_steps=2000, steps_per_epoch=100)
    assert all(0 <= rates.learning_rate(step) <= options.lr * (1 + 1e-12) for step in range(2001))


def test_the_plateau_preset_is_the_sources_recipe() -> None:
    values = read(next(path for path in PRESETS if path.stem == "sgd_plateau"))
    del values["about"]
    options = OPTIMIZER.validate_python(values)
    assert isinstance(options, Sgd)
    assert (options.lr, options.momentum, options.nesterov, options.weight_decay) == (0.1, 0.9, False, 5e-4)
    plateau = options.schedule.model_dump()
    assert (plateau["factor"], plateau["patience"], plateau["cooldown"], plateau["min_lr"]) == (0.5, 5, 5, 1e-6)


def test_options_and_schedules_leave_torch_out() -> None:
    modules = "engine.schedules, engine.early_stopping, engine.options.loss, engine.options.optimizer, engine.optim"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
