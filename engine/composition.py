"""From a preset's text to one plain tree: ingredients filled in, overrides applied, every key's origin remembered."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine import presets, strict_yaml
from engine.errors import UserError

KeyPath = tuple[str | int, ...]
Override = tuple[str, str]

# The key that says which family a mapping belongs to: where it differs, the other keys mean something else.
DISCRIMINATORS = ("family", "algorithm", "kind", "op")
_INDEX = re.compile("[0-9]{1,9}")  # Python refuses to read a number of over 4,300 digits


@dataclass(frozen=True)
class Change:
    """A value put in place of whatever stands at a dotted key; ``origin`` is where it was written."""

    key: str
    value: Any
    origin: str


@dataclass
class Tree:
    """A plain YAML tree and, for every key in it, where it came from (``file:line`` or the override).

    ``unfilled`` says of each ingredient that could not be filled in, why.
    """

    value: dict[str, Any]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    unfilled: dict[str, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> str:
        """Where the key at ``path`` came from, or its nearest ancestor that is known."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, "")


def compose(document: strict_yaml.Document, source: str, overrides: Sequence[Override] = ()) -> Tree:
    """Fill in the ingredients a preset names and apply ``--set`` overrides, in that order of precedence.

    A published figure stays with the ingredients it was published for.

    Raises UserError when an override cannot be applied.
    """
    changes = [Change(key, _parse_override(key, text), f"--set {key}") for key, text in overrides]
    written = read_tree(document, source)
    tree = completed(written, changes)
    if changes and _ingredients(tree) != _ingredients(completed(written)):
        tree.value = {key: value for key, value in tree.value.items() if key != "published"}
    return tree


def _ingredients(tree: Tree) -> list[Any]:
    return [tree.value.get(kind) for kind in presets.INGREDIENTS]


def read_tree(document: strict_yaml.Document, source: str) -> Tree:
    """A preset as it is written, with nothing filled in. Raises UserError unless it is a mapping."""
    if not isinstance(document.value, dict):
        raise UserError(f"{source}: found {_kind(document.value)}; a preset is a mapping of keys to values")
    return Tree(document.value, _origins(document, source))


def completed(written: Tree, changes: Sequence[Change] = ()) -> Tree:
    """``written`` with the changes made in order and its ingredients filled in; raises as ``compose`` does."""
    tree = Tree(written.value, dict(written.origins))
    for change in changes:
        _override(tree, change)
    for kind in presets.INGREDIENTS:
        try:
            _fill_in(tree, kind)
        except UserError as error:
            origin = tree.origin((kind,))
            where = origin if origin.startswith("--set ") else f"{origin}: {kind}"
            tree.unfilled[kind] = f"{where}: {error}"
    return tree


def load_ingredient(kind: presets.Kind, name: str) -> Tree:
    """One ingredient preset as a tree of options, with ``name`` set and ``about`` taken out."""
    path = presets.find(kind, name)
    document = presets.read(path)
    if not isinstance(document.value, dict):
        raise UserError(f"{path}: found {_kind(document.value)}; an ingredient is a mapping of options")
    value = {key: entry for key, entry in document.value.items() if key != "about"}
    return Tree({"name": name, **value}, _origins(document, str(path)))


def _fill_in(tree: Tree, kind: presets.Kind) -> None:
    chosen = tree.value.get(kind)
    if isinstance(chosen, str):
        chosen = {"use": chosen}
    if not isinstance(chosen, dict) or "use" not in chosen:
        return
    name = chosen["use"]
    if not isinstance(name, str):
        raise UserError(f"use: found {_kind(name)}; give the name of an {kind} preset")
    ingredient = load_ingredient(kind, name)
    changes = {key: value for key, value in chosen.items() if key != "use"}
    tree.value = {**tree.value, kind: merge(ingredient.value, changes)}
    for path, origin in ingredient.origins.items():
        tree.origins.setdefault((kind, *path), origin)


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` over it, mapping by mapping; another family's mapping replaces the old one whole."""
    return {**base, **{key: _merged(base.get(key), value) for key, value in changes.items()}}


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict) and not _other_family(old, new):
        return merge(old, new)
    if isinstance(old, list) and isinstance(new, dict) and new and new.keys() <= set(map(str, range(len(old)))):
        return [_merged(entry, new[str(i)]) if str(i) in new else entry for i, entry in enumerate(old)]
    return new


def _other_family(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return any(key in new and new[key] != old.get(key) for key in DISCRIMINATORS)


def _override(tree: Tree, change: Change) -> None:
    steps = tuple(change.key.split("."))
    if not all(steps):
        raise UserError(f"{change.origin}: an empty part in the key; write for example optimizer.lr=0.01")
    tree.value = _replaced(tree.value, steps, change.value, change.origin)
    place: KeyPath = tuple(int(step) if _INDEX.fullmatch(step) else step for step in steps)
    below = [path for path in tree.origins if path[: len(place)] == place]
    for path in below:
        del tree.origins[path]
    for length in range(1, len(place) + 1):
        tree.origins.setdefault(place[:length], change.origin)


def _replaced(node: Any, steps: KeyPath, value: Any, where: str) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(node, list):
        index = _index(str(step), node, where)
        return [_replaced(entry, rest, value, where) if i == index else entry for i, entry in enumerate(node)]
    if isinstance(node, str):
        node = {"use": node}
    if node is not None and not isinstance(node, dict):
        raise UserError(f"{where}: {step} lies inside {_kind(node)}, which has no keys")
    branch = dict(node or {})
    branch[str(step)] = _replaced(branch.get(str(step)), rest, value, where)
    return branch


def _index(step: str, node: list[Any], where: str) -> int:
    if not _INDEX.fullmatch(step) or int(step) >= len(node):
        raise UserError(f"{where}: {step} is no position in a list of {len(node)}; count from 0")
    return int(step)


def _parse_override(key: str, text: str) -> Any:
    return strict_yaml.parse(text, f"--set {key}").value


def _origins(document: strict_yaml.Document, source: str) -> dict[KeyPath, str]:
    return {path: f"{source}:{document.line(path)}" for path in _paths(document.value, ())}


def _paths(value: Any, prefix: KeyPath) -> list[KeyPath]:
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    if isinstance(value, list):
        entries = list(enumerate(value))
    found = [prefix]
    for key, entry in entries:
        found += _paths(entry, (*prefix, key))
    return found


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")
