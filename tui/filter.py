"""The filter of runs: `resnet lr>=0.01 status:finished tag:paper -note:debug | name:"my run"`.

Terms that stand side by side must all hold; `|` parts alternatives; `-` before a term turns it round. A bare word looks
for a run by its name (fuzzily) or by its ingredients; `key:text` asks whether a text contains another, `key=text`
whether it is that. Either takes several, `status:live,finished`, of which one must do (a comma in quotes is part of the
text); `live` is every state that is not over. A figure is compared by `= != < <= > >=` and may have a unit
(`params<5M`, `time>1h`). A figure that a run does not have matches no comparison.
"""

import operator
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.run_view import RunView

Test = Callable[["RunView"], bool]

_TEXTS = {
    "name": "name",
    "id": "id",
    "status": "state",
    "state": "state",
    "tag": "tags",
    "tags": "tags",
    "note": "note",
    "architecture": "architecture",
    "arch": "architecture",
    "augmentation": "augmentation",
    "aug": "augmentation",
    "optimizer": "optimizer",
    "opt": "optimizer",
    "dataset": "dataset",
    "data": "dataset",
    "device": "device",
    "precision": "precision",
    "reason": "reason",
    "sweep": "sweep",
    "parent": "parent",
}
_FIGURES = {
    "lr": "lr",
    "seed": "seed",
    "batch": "batch_size",
    "batch_size": "batch_size",
    "params": "parameters",
    "parameters": "parameters",
    "macs": "macs",
    "epoch": "epoch",
    "epochs": "epochs",
    "step": "step",
    "steps": "steps",
    "val": "best",
    "best": "best",
    "best_epoch": "best_epoch",
    "test": "test",
    "images_s": "images_s",
    "time": "active_s",
    "age": "created",
}
_WORD_FIELDS = ("id", "architecture", "augmentation", "optimizer", "dataset")

_TIMES = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_COUNTS = {"k": 1e3, "m": 1e6, "g": 1e9, "%": 1.0}
_TIMED = frozenset({"time", "age"})

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
    ":": operator.eq,
}
_TOKEN = re.compile(r'\||(?:"[^"]*"?|[^\s"|])+')
_TERM = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)(?P<op><=|>=|!=|[<>=:])(?P<value>.*)", re.DOTALL)
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # those outside of quotes
_NUMBER = re.compile(r"(?P<digits>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?P<unit>[a-z%]?)", re.IGNORECASE)


class FilterError(ValueError):
    """What is wrong with a filter, and where: `lr>> at character 4: expected a number after >`."""


@dataclass(frozen=True)
class Filter:
    """A parsed filter: alternatives, each a tuple of tests that must all hold. Without any it matches every run."""

    text: str
    alternatives: tuple[tuple[Test, ...], ...]

    def matches(self, run: "RunView") -> bool:
        """Whether the run gets through."""
        if not self.alternatives:
            return True
        return any(all(test(run) for test in tests) for tests in self.alternatives)


def parse(text: str, now: float | None = None) -> Filter:
    """Parse a filter; ``now`` (unix seconds) is what ages are counted from. Raises FilterError."""
    moment = time.time() if now is None else now
    alternatives: list[list[Test]] = [[]]
    bar = 0
    for token in _TOKEN.finditer(text):
        if token.group() != "|":
            alternatives[-1].append(_test(token.group(), token.start() + 1, moment))
            continue
        bar = token.start() + 1
        if not alternatives[-1]:
            raise FilterError(f"| at character {bar}: expected a term before |")
        alternatives.append([])
    if len(alternatives) > 1 and not alternatives[-1]:
        raise FilterError(f"| at character {bar}: expected a term after |")
    return Filter(text, tuple(tuple(tests) for tests in alternatives if tests))


def fuzzy(pattern: str, name: str) -> bool:
    """Whether ``pattern`` is in ``name``, or its letters are there in order, each beside the last or at a word's start.

    ``b5s3`` finds ``best_5m-s3``. Both are compared without regard to case.
    """
    pattern, name = pattern.lower(), name.lower()
    return pattern in name or (_in_order(pattern, name) and _by_words(pattern, name))


def _in_order(pattern: str, name: str) -> bool:
    position = 0
    for letter in pattern:
        position = name.find(letter, position) + 1
        if position == 0:
            return False
    return True


def _by_words(pattern: str, name: str) -> bool:
    starts = {i for i in range(len(name)) if i == 0 or not name[i - 1].isalnum()}
    ends: set[int] = {i for i in starts if name[i] == pattern[0]}
    for letter in pattern[1:]:
        if not ends:
            return False
        first = min(ends)
        reachable = {end + 1 for end in ends} | {i for i in starts if i > first}
        ends = {i for i in reachable if i < len(name) and name[i] == letter}
    return bool(ends)


def _test(term: str, place: int, now: float) -> Test:
    if term.startswith("-") and len(term) > 1:
        test = _test(term[1:], place + 1, now)
        return lambda run: not test(run)
    if term == "-":
        raise FilterError(f"- at character {place}: expected a term after -")
    match = _TERM.fullmatch(term)
    if match is None:
        return _word(_unquoted(term, place))
    key, sign, value = match["key"].lower(), match["op"], match["value"]
    if key in _FIGURES:
        return _comparison(key, sign, _number(key, sign, value, term, place + match.start("value")), now)
    if key in _TEXTS:
        return _texts_test(key, sign, value, term, place + match.start("op"))
    near = get_close_matches(key, [*_TEXTS, *_FIGURES], n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted({*_TEXTS, *_FIGURES}))}"
    raise FilterError(f"{term} at character {place}: nothing is called {key}; {hint}")


def _unquoted(value: str, place: int) -> str:
    if value.count('"') % 2:
        quote = value.rindex('"')
        raise FilterError(f'{value} at character {place + quote}: expected another " to end the text')
    return value.replace('"', "")


def _word(word: str) -> Test:
    lowered = word.lower()

    def test(run: "RunView") -> bool:
        return any(lowered in str(getattr(run, field)).lower() for field in _WORD_FIELDS) or fuzzy(word, run.name)

    return test


def _texts_test(key: str, sign: str, value: str, term: str, place: int) -> Test:
    """The test of a term whose value is one text or several parted by commas: one of them must do."""
    if sign not in (":", "=", "!="):
        raise FilterError(f"{term} at character {place}: {key} is text; expected : = or != after it")
    tests: list[Test] = []
    at = place + len(sign)
    for part in _COMMA.split(value):
        text = _unquoted(part, at).lower()
        if not text:
            raise FilterError(f"{term} at character {at}: expected a text after {',' if tests else sign}")
        tests.append(_text(_TEXTS[key], sign, text))
        at += len(part) + 1
    return _negated(sign, lambda run: any(test(run) for test in tests))


def _text(field: str, sign: str, wanted: str) -> Test:
    if field == "state":
        return lambda run: run.state.startswith(wanted) or (wanted == "live" and run.live)
    if sign == ":":
        return lambda run: any(wanted in text for text in _texts(run, field))
    return lambda run: wanted in _texts(run, field)


def _negated(sign: str, test: Test) -> Test:
    return (lambda run: not test(run)) if sign == "!=" else test


def _texts(run: "RunView", field: str) -> list[str]:
    """The texts of a field in lower case: each of the tags, or the one text."""
    value = getattr(run, field)
    if isinstance(value, tuple):
        return [str(entry).lower() for entry in value]
    return [str(value).lower()]


def _number(key: str, sign: str, value: str, term: str, place: int) -> float:
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise FilterError(f"{term} at character {place}: expected a number after {sign}")
    units = _TIMES if key in _TIMED else _COUNTS
    unit = match["unit"].lower()
    if unit and unit not in units:
        raise FilterError(f"{term} at character {place + match.end('digits')}: expected {' '.join(units)} or no unit")
    return float(match["digits"]) * units.get(unit, 1.0)


def _comparison(key: str, sign: str, number: float, now: float) -> Test:
    field, compare = _FIGURES[key], _OPERATORS[sign]

    def test(run: "RunView") -> bool:
        value = getattr(run, field)
        if value is None:
            return False
        return compare(now - value if key == "age" else float(value), number)

    return test
