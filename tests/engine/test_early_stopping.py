"""Early stopping: the strict gain, the counter, both directions, and a replay of a logged run's shape."""

import json
from typing import Any

import pytest

from engine.early_stopping import EarlyStopping
from engine.errors import UserError
from engine.options.early_stopping import EarlyStopping as Options


def stopping(**options: Any) -> EarlyStopping:
    return EarlyStopping(Options(**options))


def epochs_run(values: list[float], metric: str = "watched_accuracy", **options: Any) -> int:
    """How many epochs pass before the rule ends the run."""
    rule = stopping(metric=metric, **options)
    for epoch, value in enumerate(values, start=1):
        if rule.observe({metric: value}):
            return epoch
    return len(values)


def test_a_gain_of_exactly_min_delta_is_not_good() -> None:
    rule = stopping(patience=2, min_delta=0.25)
    assert [rule.observe({"watched_accuracy": value}) for value in (50.0, 50.25, 50.25)] == [False, False, True]


def test_a_gain_above_min_delta_resets_the_counter() -> None:
    assert epochs_run([50, 50, 50, 50, 50.2, 50, 50, 50, 50, 50, 99], patience=5) == 10


def test_small_gains_add_up_because_the_best_moves_only_on_a_good_epoch() -> None:
    rule = stopping(patience=9, min_delta=0.1)
    for value in (50.0, 50.06, 50.12):
        rule.observe({"watched_accuracy": value})
    assert (rule.best, rule.bad_epochs) == (50.12, 0)


def test_replay_of_the_rule_with_patience_five() -> None:
    """Best at the 13th epoch, then five bad ones: 18 epochs, as the baseline row of seed-c counts them."""
    climb = [40.0, 52.0, 60.0, 64.0, 68.0, 70.0, 72.0, 73.5, 75.0, 76.5, 77.2, 78.0, 78.7]
    assert epochs_run([*climb, 78.7, 77.1, 78.79, 78.0, 77.0, 90.0], patience=5, min_delta=0.1) == 18


def test_patience_beyond_the_run_never_stops() -> None:
    assert epochs_run([1.0] * 200, patience=999) == 200


def test_a_loss_is_better_when_it_is_smaller() -> None:
    assert epochs_run([1.0, 0.5, 0.2, 0.2, 0.2, 0.1], metric="watched_loss", patience=2, min_delta=0.05) == 5


def test_a_relative_gain_is_a_part_of_the_best() -> None:
    options: dict[str, Any] = {"patience": 1, "min_delta": 0.1, "min_delta_mode": "rel"}
    assert epochs_run([10.0, 11.5, 12.5], **options) == 3
    assert epochs_run([10.0, 11.5, 13.0], metric="watched_loss", **options) == 2


def test_warmup_epochs_are_not_counted() -> None:
    assert epochs_run([50.0] * 30, patience=5, warmup=15) == 20


def test_nan_is_never_good() -> None:
    rule = stopping(patience=2)
    rule.observe({"watched_accuracy": float("nan")})
    assert rule.observe({"watched_accuracy": 50.0}) is False
    assert rule.best == 50.0


def test_resumes_where_it_was() -> None:
    values = [50.0, 51.0, 50.0, 50.0, 52.0, 52.0, 52.0, 52.0]
    unbroken, before, after = stopping(patience=4), stopping(patience=4), stopping(patience=4)
    for value in values:
        unbroken.observe({"watched_accuracy": value})
    for value in values[:4]:
        before.observe({"watched_accuracy": value})
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    for value in values[4:]:
        after.observe({"watched_accuracy": value})
    assert after.state_dict() == unbroken.state_dict()


def test_a_metric_that_is_not_measured_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"train\.early_stopping follows watched_accuracy"):
        stopping().observe({"train_loss": 1.0})
