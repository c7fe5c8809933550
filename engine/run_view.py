"""What lists and screens show of a run: one frozen view, its state derived from what the processes left behind.

A folder may be half written, damaged, foreign or hostile. Whatever it holds becomes a view; nothing here raises for it.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine import atomic, attempts
from engine.ownership import private
from engine.untrusted import as_integer, as_number, as_object, as_text
from engine.verdict import LIVE, State, derive, describes

SCHEMA = 1
RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}", re.ASCII)
MOST_NOTES = 8
NEWER = "written by a newer version of cifar-tui"


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as it is now. Every text is cleaned; accuracies are in percent, times in unix seconds or seconds.

    ``settled`` says that it is over for good unless somebody resumes it: such a view may be remembered.
    A ``problem`` asks for something to be done, a ``notice`` is only good to know.
    """

    id: str
    path: Path
    state: State
    reason: str = ""
    problem: str = ""
    notice: str = ""
    read_only: bool = False
    settled: bool = False
    quiet: bool = False
    heartbeat_age_s: float | None = None
    attempt: int = 0
    exit_code: int | None = None
    by: str = ""
    host: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False
    architecture: str = ""
    augmentation: str = ""
    optimizer: str = ""
    dataset: str = ""
    seed: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    parameters: int | None = None
    macs: int | None = None
    epoch: float = 0.0
    epochs: float | None = None
    step: int = 0
    steps: int | None = None
    phase: str = ""
    spark: tuple[float, ...] = ()
    best: float | None = None
    best_epoch: float | None = None
    best_metric: str = ""
    last: dict[str, float] = field(default_factory=dict)
    test: float | None = None
    test_last: float | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    active_s: float = 0.0
    eta_s: float | None = None
    images_s: float | None = None
    device: str = ""
    precision: str = ""
    parent: str = ""
    sweep: str = ""
    sweep_row: int | None = None
    published: dict[str, float | str] = field(default_factory=dict)
    config_hash: str = ""
    group_hash: str = ""

    def __post_init__(self) -> None:
        """Ten thousand views share the words and figures that they have in common."""
        for name in _SHARED_TEXTS:
            object.__setattr__(self, name, sys.intern(getattr(self, name)))
        for name in _SHARED_FIGURES:
            object.__setattr__(self, name, _shared(getattr(self, name)))
        object.__setattr__(self, "spark", tuple(map(_shared, self.spark)))
        for name in ("last", "published"):
            object.__setattr__(self, name, getattr(self, name) or _NOTHING)

    @property
    def live(self) -> bool:
        """Whether it waits, starts, runs or is paused, as far as is known."""
        return self.state in LIVE


_SHARED_TEXTS = (
    "id",
    "reason",
    "notice",
    "by",
    "host",
    "architecture",
    "augmentation",
    "optimizer",
    "dataset",
    "phase",
    "best_metric",
    "device",
    "precision",
    "parent",
    "sweep",
    "group_hash",
)
_SHARED_FIGURES = ("lr", "epoch", "epochs", "best", "best_epoch", "test", "test_last")
_MOST_FIGURES = 20_000
_NOTHING: dict[str, Any] = {}
_figures: dict[float | None, float | None] = {}


def _shared(figure: float | None) -> float | None:
    if len(_figures) >= _MOST_FIGURES:
        _figures.clear()
    return _figures.setdefault(figure, figure)


def look(path: Path) -> RunView:
    """View the run folder at ``path`` (absolute)."""
    problems: list[str] = []
    summary = _read(path / "summary.json", problems)
    user = _read(path / "user.json", problems)
    if as_integer(summary.get("schema")) not in (None, SCHEMA):
        problems.append(NEWER)
    attempt = attempts.newest(path)
    verdict = derive(path, summary, attempt)
    if verdict.state in LIVE and as_text(summary.get("problem")):
        problems.append(as_text(summary.get("problem")))
    current = summary if describes(summary, attempt) else {}
    outcome = (attempt.exit() if attempt else None) or {}
    return RunView(
        path=path,
        id=path.name,
        state=verdict.state,
        reason=verdict.reason,
        settled=verdict.settled and not problems,
        quiet=verdict.quiet,
        heartbeat_age_s=verdict.age_s,
        host=verdict.host,
        problem="; ".join(problems),
        read_only=NEWER in problems or not private(path),
        attempt=attempt.number if attempt else 0,
        exit_code=as_integer(outcome.get("code")) if "code" in outcome else as_integer(current.get("exit")),
        created=_created(path.name),
        ended=None if verdict.state in LIVE else _ended(current, outcome),
        **_user_fields(user),
        **_summary_fields(summary),
    )


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    value = atomic.read_json(path)
    if value is None:
        problems.append(f"{path.name} is missing or unreadable")
    return value or {}


def _user_fields(user: dict[str, Any]) -> dict[str, Any]:
    tags = user.get("tags")
    return {
        "name": as_text(user.get("name")),
        "tags": tuple(as_text(tag) for tag in tags[:100] if isinstance(tag, str)) if isinstance(tags, list) else (),
        "note": as_text(user.get("note"), limit=20_000, newlines=True),
        "archived": user.get("archived") is True,
    }


def _summary_fields(summary: dict[str, Any]) -> dict[str, Any]:
    best, test, sweep = (as_object(summary.get(key)) for key in ("best", "test", "sweep"))
    return {
        **_each(summary, as_text, "by architecture augmentation optimizer dataset phase device precision parent"),
        **_each(summary, as_text, "config_hash group_hash"),
        **_each(summary, as_integer, "seed batch_size parameters macs steps"),
        **_each(summary, as_number, "lr epochs started images_s"),
        "epoch": as_number(summary.get("epoch")) or 0.0,
        "step": as_integer(summary.get("step")) or 0,
        "active_s": max(0.0, as_number(summary.get("active_s")) or 0.0),
        "eta_s": _not_negative(as_number(summary.get("eta_s"))),
        "spark": _spark(summary.get("spark")),
        "best": as_number(best.get("value")),
        "best_epoch": as_number(best.get("epoch")),
        "best_metric": as_text(best.get("metric")),
        "last": {as_text(k): n for k, v in as_object(summary.get("last")).items() if (n := as_number(v)) is not None},
        "test": as_number(test.get("best")),
        "test_last": as_number(test.get("last")),
        "sweep": as_text(sweep.get("name")),
        "sweep_row": as_integer(sweep.get("row")),
        "published": _published(summary.get("published")),
        "notice": "; ".join(filter(None, map(as_text, list(as_object(summary.get("notes")).values())[:MOST_NOTES]))),
    }


def _each(source: dict[str, Any], read: Callable[[Any], Any], names: str) -> dict[str, Any]:
    return {name: read(source.get(name)) for name in names.split()}


def _published(value: Any) -> dict[str, float | str]:
    published: dict[str, float | str] = {}
    for key, item in as_object(value).items():
        number = as_number(item)
        if number is not None or isinstance(item, str):
            published[as_text(key)] = as_text(item) if number is None else number
    return published


def _spark(value: Any) -> tuple[float, ...]:
    numbers = [as_number(item) for item in value[-64:]] if isinstance(value, list) else []
    # As much as one row of braille can show; rounded, many are equal.
    return tuple(float(f"{number:.4g}") for number in numbers if number is not None)


def _ended(current: dict[str, Any], outcome: dict[str, Any]) -> float | None:
    for candidate in (current.get("ended"), outcome.get("ended"), current.get("heartbeat")):
        ended = as_number(candidate)
        if ended is not None:
            return ended
    return None


def _created(run_id: str) -> float:
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _not_negative(value: float | None) -> float | None:
    return None if value is None else max(0.0, value)
