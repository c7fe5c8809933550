"""Who may import whom: the terminal never loads torch, the engine never knows the terminal, nothing goes in circles."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "numpy", "torchvision", "matplotlib"}
# The modules, or whole packages, that run in an engine process alone.
TORCH_SIDE = {
    "engine.analysis.bn_study", "engine.analysis.compact", "engine.analysis.gradcam", "engine.analysis.inclusion",
    "engine.analysis.landscape", "engine.analysis.pruning", "engine.analysis.source", "engine.augment",
    "engine.checkpoint", "engine.counting", "engine.data.cifar", "engine.data.dataset", "engine.data.hashing",
    "engine.data.shapes", "engine.data.splits", "engine.data.statistics", "engine.device", "engine.evaluate",
    "engine.graph", "engine.loading", "engine.losses", "engine.meters", "engine.models", "engine.optim",
    "engine.profile", "engine.questions", "engine.selection", "engine.test_set", "engine.train", "engine.training",
    "engine.worker",
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for top in ("engine", "tui") for path in sorted((ROOT / top).rglob("*.py"))}


def needs_torch(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in TORCH_SIDE)


def imports(node: ast.AST, *, deferred: bool) -> Iterator[str]:
    """Modules that ``node`` imports at run time; with ``deferred`` inside functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = child.module or ""
            names = {f"{origin}.{alias.name}" for alias in child.names}
            yield from names & MODULES.keys() or {origin}
        elif deferred or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child, deferred=deferred)


def imported_by(module: str, *, deferred: bool) -> set[str]:
    return set(imports(ast.parse(MODULES[module].read_text("utf-8")), deferred=deferred))


def heavy_after_each(modules: list[str]) -> dict[str, list[str]]:
    """What of HEAVY a fresh interpreter holds after each import in turn; modules that bring nothing are left out."""
    code = (
        "import importlib, json, sys\nfound, known = {}, set()\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    new = ({HEAVY!r} & set(sys.modules)) - known\n"
        "    known |= new\n"
        "    if new: found[name] = sorted(new)\n"
        "print(json.dumps(found))"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_all_that_does_not_train_is_free_of_torch() -> None:
    light = [module for module in MODULES if not needs_torch(module) and not module.endswith("__main__")]
    assert heavy_after_each(light) == {}


@pytest.mark.mutant
def test_a_module_that_loads_numpy_would_be_found() -> None:
    assert "engine.data.hashing" in heavy_after_each(["engine.errors", "engine.data.hashing"])


def test_the_torch_side_names_modules_that_exist() -> None:
    assert MODULES.keys() >= TORCH_SIDE


def test_the_engine_never_imports_the_terminal() -> None:
    engine = [module for module in MODULES if module.startswith("engine")]
    assert [m for m in engine if any(f"{name}.".startswith("tui.") for name in imported_by(m, deferred=True))] == []


def test_imports_form_no_circle() -> None:
    graph = {module: (imported_by(module, deferred=False) & MODULES.keys()) - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
