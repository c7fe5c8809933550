"""The budget of parameters: what is read, what is remembered, how it is shown."""

from pathlib import Path

import pytest

from tui import parameter_budget
from tui.settings import Settings


def test_a_budget_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    settings = Settings(path)
    assert parameter_budget.remembered(settings) == 5_000_000
    parameter_budget.remember(settings, 300_000)
    settings.wait()
    assert parameter_budget.remembered(Settings(path)) == 300_000


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("5 M", 5_000_000),
        ("4,779,530", 4_779_530),
        ("300k", 300_000),
        ("0", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
def test_a_budget_is_read_as_people_write_it(text: str, budget: int | None) -> None:
    assert parameter_budget.read(text) == budget


@pytest.mark.parametrize(("budget", "text"), [(5_000_000, "5 M"), (4_500_000, "4.5 M"), (300_000, "300 k"), (12, "12")])
def test_a_budget_is_shown_in_short(budget: int, text: str) -> None:
    assert parameter_budget.shown(budget) == text
