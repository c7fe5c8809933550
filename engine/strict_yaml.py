"""YAML as a person means it: the JSON-like core of YAML 1.2, read strictly and within bounds.

PyYAML alone reads YAML 1.1, where `1e-3` is text, `no` is False and `010` is 8; it keeps the last of two equal keys,
builds what a tag names, expands aliases without end, and recurses with every level until the stack overflows. Here its
parser only gives events; values are built from them in a loop that refuses all of these with file, line and column.
Scalars follow the core schema of YAML 1.2.2, section 10.3.2, except that keys are always text.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from engine.errors import UserError
from engine.text import clean, shorten

MAX_BYTES = 64 * 1024
MAX_DEPTH = 64
MAX_NODES = 20_000
_MAX_NUMBER = 100  # characters; Python itself refuses to read more than 4,300 digits

# libyaml is some fifteen times faster; both give the same events, and neither recurses while giving them.
_LOADER: Any = getattr(yaml, "CLoader", yaml.Loader)

Path = tuple[str | int, ...]
_SIMPLE = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True)
class Document:
    """One YAML document: `value` of dict, list, str, int, float, bool and None, and where each part of it stands."""

    value: Any
    source: str
    _positions: dict[Path, tuple[int, int]] = field(repr=False)

    def line(self, path: Path) -> int:
        """The line, from 1, of the key or item at `path`, or of the nearest thing that holds it if there is none."""
        while path and path not in self._positions:
            path = path[:-1]
        return self._positions.get(path, (1, 1))[0]

    def mapping(self) -> dict[str, Any]:
        """`value`, for a file that must hold keys and values. Raises UserError if it is empty or something else."""
        if isinstance(self.value, dict):
            return self.value
        found = "nothing" if self.value is None else f"a {_KIND.get(type(self.value), 'single value')}"
        _refuse(self.source, *self._positions.get((), (1, 1)), f"expected `key: value` lines at the top, found {found}")


_KIND: dict[type, str] = {list: "list", str: "text"}


def parse(data: bytes | str, source: str) -> Document:
    """Read one document. `source` names it in errors.

    Raises UserError, with source, line and column, for anything that is not UTF-8, not YAML, or not of the strict kind:
    duplicate keys, tags, anchors, aliases, merge keys, keys that are no text, a second document, control characters,
    more than MAX_BYTES, MAX_DEPTH or MAX_NODES, or a number of over a hundred characters.
    """
    text = _decode(data, source)
    return _Builder(source).build(_events(text, source))


def dump(value: Any) -> str:
    """YAML that `parse` reads back as an equal value, one key a line, lists of scalars on one line.

    Takes what `parse` gives, and tuples as lists. Raises TypeError for anything else. Lone surrogates become U+FFFD.
    """
    if isinstance(value, Mapping | list | tuple) and value:
        return "\n".join(_block(value)) + "\n"
    return _flow(value) + "\n"


def _refuse(source: str, line: int, column: int, problem: str) -> NoReturn:
    raise UserError(clean(f"{source}:{line}:{column}: {problem}"))


def _position(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


# What YAML 1.2.2 calls c-printable (production 1), from the other side.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _decode(data: bytes | str, source: str) -> str:
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_BYTES:
        _refuse(source, 1, 1, f"the file is {len(raw):,} bytes or more, allowed are {MAX_BYTES:,}")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse(source, 1, 1, "the file is in UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        found = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        _refuse(source, *_position(before, len(before)), found)
    if strange := _UNPRINTABLE.search(text):
        found = f"character U+{ord(strange[0]):04X} may not stand in YAML; is this a text file?"
        _refuse(source, *_position(text, strange.start()), found)
    return text


def _events(text: str, source: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        _refuse(source, line + 1, column + 1, _explain(error, text.splitlines()[line : line + 1]))
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as \UFFFFFFFF, which is no character
        _refuse(source, 1, 1, f"not YAML: {error}")


def _explain(error: yaml.MarkedYAMLError, written: list[str]) -> str:
    """The parser's words, or better ones where a person can know the cause from the line that was `written`."""
    problem = error.problem or ""
    if written and "\t" in written[0][: len(written[0]) - len(written[0].lstrip())]:
        return "a tab cannot indent; use spaces"
    if "cannot start any token" in problem:
        return "this character cannot begin a value; put the value in quotes"
    if "mapping values are not allowed" in problem:
        return "a second `: ` on one line; put text that holds it in quotes, or check the indentation"
    began = f" (which began on line {error.context_mark.line + 1})" if error.context and error.context_mark else ""
    return "not YAML: " + ", ".join(part for part in (f"{error.context or ''}{began}", problem) if part)


def _name(text: str | None) -> str:
    return f"`{shorten(clean(text or ''), 60)}`"


@dataclass
class _Open:
    """A mapping or sequence whose end has not been read."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None


class _Builder:
    """Builds the value from events, with a stack of its own."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.stack: list[_Open] = []
        self.root: Any = None
        self.positions: dict[Path, tuple[int, int]] = {}
        self.nodes = 0

    def build(self, events: Iterator[yaml.Event]) -> Document:
        documents = 0
        for event in events:
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        self.refuse(event, "a second document begins here; only one is allowed")
                case yaml.AliasEvent():
                    self.refuse(event, f"alias {_name(event.anchor)} is not allowed; write the value out")
                case yaml.NodeEvent():
                    self.add(event)
                case yaml.CollectionEndEvent():
                    self.stack.pop()
        return Document(self.root, self.source, self.positions)

    def refuse(self, event: Any, problem: str) -> NoReturn:
        _refuse(self.source, *_start(event), problem)

    def add(self, event: Any) -> None:
        self.check(event)
        parent = self.stack[-1] if self.stack else None
        if parent and isinstance(parent.value, dict) and parent.key is None:
            parent.key = self.key(event, parent)
            return
        path = self.place(event, parent)
        value = self.value(event)
        self.attach(parent, value)
        if not isinstance(event, yaml.ScalarEvent):
            self.stack.append(_Open(value, path))

    def check(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.refuse(event, f"more than {MAX_NODES:,} values")
        if len(self.stack) >= MAX_DEPTH and not isinstance(event, yaml.ScalarEvent):
            self.refuse(event, f"nested more than {MAX_DEPTH} levels deep")
        if event.anchor is not None:
            self.refuse(event, f"anchor {_name(event.anchor)} is not allowed")
        if event.tag is not None:
            self.refuse(event, f"tag {_name(event.tag)} is not allowed")

    def key(self, event: Any, parent: _Open) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self.refuse(event, "a key must be text, not a list or a mapping")
        key = self.text(event)
        plain = event.implicit[0]
        if plain and key == "<<":
            self.refuse(event, "merge key `<<` is not allowed; write the values out")
        if plain and not key:
            self.refuse(event, "a key is missing before `:`")
        if key in parent.value:
            first = self.positions[*parent.path, key][0]
            self.refuse(event, f"key {_name(key)} is here a second time, first on line {first}")
        self.positions[*parent.path, key] = _start(event)
        return key

    def place(self, event: Any, parent: _Open | None) -> Path:
        if parent is None:
            self.positions[()] = _start(event)
            return ()
        if parent.key is not None:
            return (*parent.path, parent.key)
        path = (*parent.path, len(parent.value))
        self.positions[path] = _start(event)
        return path

    def attach(self, parent: _Open | None, value: Any) -> None:
        if parent is None:
            self.root = value
        elif isinstance(parent.value, list):
            parent.value.append(value)
        else:
            assert parent.key is not None
            parent.value[parent.key] = value
            parent.key = None

    def value(self, event: Any) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        return {} if isinstance(event, yaml.MappingStartEvent) else []

    def text(self, event: Any) -> str:
        text: str = event.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.refuse(event, "half of a surrogate pair is no character")
        return text

    def scalar(self, event: Any) -> str | int | float | bool | None:
        text = self.text(event)
        if not event.implicit[0]:  # quoted or a block
            return text
        if len(text) > _MAX_NUMBER and (_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)):
            self.refuse(event, f"a number of {len(text):,} characters; allowed are {_MAX_NUMBER}")
        return _resolve(text)


def _start(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar."""
    if text in _SIMPLE:
        return _SIMPLE[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _NOT_FINITE.fullmatch(text):
        return math.nan if match[1] is None else float(f"{match[1]}inf")
    return text


# Writing -------------------------------------------------------------------------------------------------------------

# Text that needs no quotes anywhere: words that begin with a letter and hold nothing that YAML could read as syntax.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+-]+)*")
# What YAML 1.1 readers would take for something else than text.
_AMBIGUOUS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
# Text of several lines that a literal block gives back unchanged, and that reads well as one.
_LITERAL = re.compile(r"[!-~]([ -~]*[!-~])?(\n[!-~]([ -~]*[!-~])?)+")
_LINE_WIDTH = 100
_MAX_KEY = 1000  # characters; YAML reads a key without `?` up to 1,024
_ESCAPES = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _block(value: Any, depth: int = 0) -> Iterator[str]:
    """The lines of a mapping or sequence that is not empty, each indented by its own depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys are text, not {type(key).__name__}")
            quoted = _quote(key)
            if len(quoted) > _MAX_KEY:
                raise TypeError(f"a key of {len(quoted):,} characters cannot be written as YAML")
            yield from _entry(f"{quoted}:", item, depth)
    else:
        for item in value:
            yield from _entry("-", item, depth)


def _entry(lead: str, item: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if depth + 1 >= MAX_DEPTH and _is_collection(item):
        raise TypeError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(item, str) and _LITERAL.fullmatch(item):
        yield f"{indent}{lead} |-"
        yield from (f"{indent}  {line}" for line in item.split("\n"))
        return
    line = f"{indent}{lead} {_flow(item)}" if _is_inline(item) else ""
    if line and (len(line) <= _LINE_WIDTH or not _is_collection(item)):
        yield line
        return
    lines = _block(item, depth + 1)
    if lead == "-":  # the first line of what an item holds stands beside its dash
        yield f"{indent}- {next(lines).lstrip()}"
    else:
        yield f"{indent}{lead}"
    yield from lines


def _is_collection(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _is_inline(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return not any(map(_is_collection, value))
    return not (isinstance(value, Mapping) and value)


def _flow(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return _number(value)
        case float() if math.isfinite(value):
            return repr(value)
        case float():
            return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
        case str():
            return _quote(value)
        case Mapping():
            return "{}"
        case Sequence():
            return f"[{', '.join(map(_flow, value))}]"
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be written as YAML")


def _number(value: int) -> str:
    if abs(value) >= 10 ** (_MAX_NUMBER - 1):
        raise TypeError(f"an integer of over {_MAX_NUMBER} digits cannot be written as YAML")
    return str(value)


def _quote(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _AMBIGUOUS:
        return text
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if "\ud800" <= character <= "\udfff":
        return "\N{REPLACEMENT CHARACTER}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
