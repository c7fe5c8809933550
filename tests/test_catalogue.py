"""The catalogue of faults names, for each, tests and trials that exist, or says why it is not shown."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
ENTRIES: dict[int, dict[str, Any]] = yaml.safe_load((HERE / "catalogue.yaml").read_text("utf-8"))
FAULTS = 110


@cache
def names_in(file: str) -> frozenset[str]:
    """``name`` and ``Class::name`` of every test in a file."""
    found = set()
    for node in ast.parse((HERE / file).read_text("utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        lead = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {f"{lead}{n.name}" for n in inside if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


@cache
def trials() -> frozenset[str]:
    """Keys of the table of trials of the torture program."""
    tree = ast.parse((HERE.parent / "benchmarks" / "torture" / "__main__.py").read_text("utf-8"))
    table = next(node for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict))
    assert isinstance(table.value, ast.Dict)
    return frozenset(key.value for key in table.value.keys if isinstance(key, ast.Constant))


def test_every_fault_is_listed_once() -> None:
    assert list(ENTRIES) == list(range(1, FAULTS + 1))


@pytest.mark.parametrize("number", range(1, FAULTS + 1))
def test_every_fault_is_shown_by_tests_that_exist_or_says_why_not(number: int) -> None:
    entry = ENTRIES[number]
    assert set(entry) <= {"fault", "tests", "torture", "not_shown", "note"}
    assert entry["fault"]
    assert bool(entry.get("tests") or entry.get("torture")) is not bool(entry.get("not_shown"))
    for test in entry.get("tests", ()):
        file, _, name = test.partition("::")
        assert name in names_in(file), test
    assert set(entry.get("torture", ())) <= trials()


def test_what_is_not_shown_is_little() -> None:
    assert sum("not_shown" in entry for entry in ENTRIES.values()) <= 1
