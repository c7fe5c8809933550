"""The settings of compared runs: which differ, and what each run has there. Pure functions of configurations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tui import configuration, format
from tui.comparison import Cell, Line, Row
from tui.configuration import Settings

_LABELS = ("name", "tags", "notes", "published")
_INGREDIENTS = ("architecture.name", "augmentation.name", "optimizer.name")
_OPERATION = re.compile(r"augmentation\.ops\.[0-9]+\.op")


@dataclass(frozen=True, slots=True)
class Difference:
    """The settings of all lines: those rows that are shown, out of so many keys."""

    rows: tuple[Row, ...]
    differing: int
    total: int


def settings_of(config: str) -> Settings:
    """A run's settings by dotted key, without its labels: the ingredients' names first, operations by their name.

    Items of a list are called by what they are, so that `augmentation.crop.padding` is compared with its like
    wherever it stands; `augmentation.ops` says in which order they come.
    """
    flat = configuration.flatten(config)
    named = {key.removesuffix(".name"): value for key, value in flat.items() if key in _INGREDIENTS and value}
    for key, value in flat.items():
        if key.partition(".")[0] not in _LABELS and key not in _INGREDIENTS:
            named[_by_operation(key, flat)] = value
    order = [value for key, value in flat.items() if _OPERATION.fullmatch(key)]
    return named | ({"augmentation.ops": ", ".join(order)} if order else {})


def _by_operation(key: str, flat: Settings) -> str:
    found = re.fullmatch(r"(augmentation\.ops\.([0-9]+))\.(.+)", key)
    if not found:
        return key
    name = flat.get(f"{found[1]}.op", found[2])
    earlier = sum(flat.get(f"augmentation.ops.{index}.op") == name for index in range(int(found[2])))
    return f"augmentation.{name}{earlier + 1 if earlier else ''}.{found[3]}"


def setting_rows(found: Sequence[Line], baseline: int, same: str = "", *, every: bool = False) -> Difference:
    """The settings in which lines differ (with `every`: all), `same` standing for the baseline's own value if given.

    The seeds of a group stand beside each other: `1 2 3`. Settings that only some networks or optimisers have come
    last, since that they are missing elsewhere says no more than the ingredient's name.
    """
    keys = dict.fromkeys(key for line in found for member in line.members for key in member.settings)
    values = {key: [_setting(line, key) for line in found] for key in keys}
    differing = [key for key in keys if len(set(values[key])) > 1]
    shown = sorted(keys if every else differing, key=lambda key: _rank(key, values[key]))
    rows = tuple(Row(key, _setting_cells(values[key], baseline, same)) for key in shown)
    return Difference(rows, len(differing), len(keys))


def _rank(key: str, values: Sequence[str | None]) -> tuple[bool, int]:
    part = key.partition(".")[0]
    order = ("optimizer", "train", "data", "augmentation", "architecture")
    return None in values, 0 if part == key else 1 + order.index(part) if part in order else len(order) + 1


def _setting(line: Line, key: str) -> str | None:
    distinct = dict.fromkeys(member.settings[key] for member in line.members if key in member.settings)
    return " ".join(distinct) if distinct else None


def _setting_cells(values: Sequence[str | None], baseline: int, same: str) -> tuple[Cell, ...]:
    base = values[baseline]
    return tuple(
        Cell(same if same and value == base and place != baseline else format.unknown() if value is None else value)
        for place, value in enumerate(values)
    )
