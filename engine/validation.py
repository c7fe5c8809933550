"""From pydantic's errors to sentences: where, which key, what was found, what is allowed, the nearest spelling."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.composition import DISCRIMINATORS, KeyPath, Tree
from engine.text import clean

_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "null",
}


def sentences(error: ValidationError, tree: Tree, model: type[BaseModel]) -> list[str]:
    """One line for every problem: ingredients that could not be filled in, then the others in the file's order."""
    lines = [*tree.unfilled.values()]
    for detail in error.errors(include_url=False):
        path = _plain_path(detail["loc"], tree.value)
        if path and path[0] in tree.unfilled:
            continue
        if detail["type"] == "union_tag_invalid":
            path = (*path, detail["ctx"]["discriminator"].strip("'"))
        lines.append(_sentence(detail, path, tree, model))
    return list(dict.fromkeys(lines))


def _sentence(detail: ErrorDetails, path: KeyPath, tree: Tree, model: type[BaseModel]) -> str:
    where = tree.origin(path)
    key = ".".join(str(step) for step in path)
    if where.startswith("--set "):
        where = f"--set {key}"
    elif where and key:
        where = f"{where}: {key}"
    prefix = f"{where}: " if where else ""
    return prefix + _problem(detail, path, tree, model)


def _problem(detail: ErrorDetails, path: KeyPath, tree: Tree, model: type[BaseModel]) -> str:
    kind, context, found = detail["type"], detail.get("ctx", {}), _show(detail["input"])
    if kind == "extra_forbidden":
        return _unknown_key(path, tree, model)
    if kind == "missing":
        return "missing; it has no default"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"found {found}; allowed is {words} {_show(context[bound])}"
    if kind in ("literal_error", "union_tag_invalid"):
        allowed = _quoted(str(context.get("expected") or context.get("expected_tags")))
        given = context.get("tag", detail["input"])
        return f"found {_show(given)}; allowed are {', '.join(allowed)}{_nearest(str(given), allowed)}"
    if kind == "union_tag_not_found":
        return f"found {found}; it must name its {str(context['discriminator']).strip(chr(39))}"
    if kind == "string_pattern_mismatch":  # a choice of words, of which one ends in a number
        allowed = str(context["pattern"]).strip("^()$").replace(r"\d{1,3}", "N").split("|")
        return f"found {found}; allowed are {', '.join(allowed)}{_nearest(str(detail['input']), allowed)}"
    if kind in _TYPES:
        return f"found {found}; allowed is {_TYPES[kind]}"
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    return f"found {found}; {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _unknown_key(path: KeyPath, tree: Tree, model: type[BaseModel]) -> str:
    owner = _model_at(model, path[:-1], tree.value)
    known = [*owner.model_fields] if owner else []
    near = _nearest(str(path[-1]), known)
    return f"unknown key{near}" if near else f"unknown key; allowed are {', '.join(known)}"


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def _quoted(expected: str) -> list[str]:
    return [part for part in expected.split("'")[1::2] if part]


def _show(value: Any) -> str:
    """``value`` as it would stand in YAML, kept short."""
    words: dict[Any, str] = {None: "null", True: "true", False: "false"}
    scalar = isinstance(value, bool) or value is None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        value = int(value)
    text = clean(f'"{value}"' if isinstance(value, str) else words[value] if scalar else str(value))
    return text if len(text) <= 60 else text[:57] + "…"


def _plain_path(location: tuple[int | str, ...], value: Any) -> KeyPath:
    """Pydantic's location without the tags of unions, which are no keys of the file."""
    path: list[str | int] = []
    for position, step in enumerate(location):
        if _holds(value, step):
            path.append(step)
            value = value[step]
        elif position == len(location) - 1 and isinstance(value, dict) and step not in _tags(value):
            path.append(step)
    return tuple(path)


def _holds(value: Any, step: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value


def _tags(value: dict[str, Any]) -> set[Any]:
    return {value[key] for key in DISCRIMINATORS if isinstance(value.get(key), str)}


def _model_at(model: type[BaseModel], path: KeyPath, value: Any) -> type[BaseModel] | None:
    """The model that owns the keys at ``path``, choosing among a union's members by the tag in the file."""
    current: type[BaseModel] | None = model
    for step in path:
        value = value[step] if _holds(value, step) else None
        if isinstance(step, int):
            continue
        if current is None or step not in current.model_fields:
            return None
        members = list(_models(current.model_fields[step].annotation))
        current = next((member for member in members if _fits(member, value)), members[0] if members else None)
        if isinstance(value, list):
            current = _member_of_list(members, value, path, step)
    return current


def _member_of_list(
    members: list[type[BaseModel]], value: list[Any], path: KeyPath, step: str
) -> type[BaseModel] | None:
    after = path[path.index(step) + 1 :]
    entry = value[after[0]] if after and isinstance(after[0], int) and after[0] < len(value) else None
    return next((member for member in members if _fits(member, entry)), None)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models(argument)


def _fits(member: type[BaseModel], value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    for key in DISCRIMINATORS:
        info = member.model_fields.get(key)
        if info is not None and get_origin(info.annotation) is Literal:
            return value.get(key) in get_args(info.annotation)
    return not any(key in value for key in DISCRIMINATORS)
