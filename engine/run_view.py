"""What lists and screens show of a run: one frozen view, its state derived from what the processes left behind.

A folder may be half written, damaged, foreign or hostile. Whatever it holds becomes a view; nothing here raises for it.
"""

import math
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from engine import atomic, attempts, metrics_log, process, text

SCHEMA = 1
RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}", re.ASCII)
State = Literal[
    "queued", "starting", "running", "paused", "finished", "stopped", "diverged", "failed", "crashed", "unknown"
]
STATES: tuple[State, ...] = (
    "queued",
    "starting",
    "running",
    "paused",
    "finished",
    "stopped",
    "diverged",
    "failed",
    "crashed",
    "unknown",
)
LIVE: frozenset[State] = frozenset({"queued", "starting", "running", "paused"})
ENDED: frozenset[State] = frozenset({"finished", "stopped", "diverged", "failed"})
PROMISE_S = 5.0
NEWER = "written by a newer version of cifar-tui"
QUIET_PROMISES = 3


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as it is now. Every text is cleaned; accuracies are in percent, times in unix seconds or seconds.

    ``settled`` says that it is over for good unless somebody resumes it: such a view may be remembered.
    """

    id: str
    path: Path
    state: State
    reason: str = ""
    problem: str = ""
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
        return self.state in LIVE


_SHARED_TEXTS = (
    "id",
    "reason",
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


@dataclass(frozen=True)
class Verdict:
    """A derived state with its cause; ``settled`` when no process can change it any more."""

    state: State
    reason: str = ""
    settled: bool = False
    age_s: float | None = None
    quiet: bool = False
    host: str = ""


def look(path: Path) -> RunView:
    """View the run folder at ``path`` (absolute)."""
    problems: list[str] = []
    summary = _read(path / "summary.json", problems)
    user = _read(path / "user.json", problems)
    if _integer(summary.get("schema")) not in (None, SCHEMA):
        problems.append(NEWER)
    attempt = attempts.newest(path)
    verdict = derive(path, summary, attempt)
    if verdict.state in LIVE and _text(summary.get("problem")):
        problems.append(_text(summary.get("problem")))
    current = summary if _describes(summary, attempt) else {}
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
        exit_code=_integer(outcome.get("code")) if "code" in outcome else _integer(current.get("exit")),
        created=_created(path.name),
        ended=None if verdict.state in LIVE else _ended(current, outcome),
        **_user_fields(user),
        **_summary_fields(summary),
    )


def private(path: Path) -> bool:
    """Whether the run and its root are ours and nobody else can write there; otherwise neither is to be trusted."""
    return is_ours(path) and is_ours(path.parent)


def is_ours(folder: Path) -> bool:
    """Whether a folder (no link) belongs to this user and nobody else can write there."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    writable_by_others = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    return status.st_uid == os.geteuid() and not writable_by_others and stat.S_ISDIR(status.st_mode)


def _describes(summary: dict[str, Any], attempt: attempts.Attempt | None) -> bool:
    """Whether the summary speaks of the newest attempt rather than of one before it."""
    number = _integer(summary.get("attempt"))
    return number is None or number == (attempt.number if attempt else 0)


def derive(path: Path, summary: dict[str, Any], attempt: attempts.Attempt | None) -> Verdict:
    """The state of a run from the newest attempt alone. Silence never ends a run."""
    if _text(summary.get("state")) == "queued" and (_integer(summary.get("attempt")) or 0) >= (
        attempt.number if attempt else 0
    ):
        return Verdict("queued", _text(summary.get("reason")))
    if attempt is None:
        return _before_first_attempt(path, summary)
    current = summary if _describes(summary, attempt) else {}
    outcome = attempt.exit()
    if outcome is not None:
        return _from_exit(current, outcome)
    if _text(current.get("state")) in ENDED:
        over = process_gone(attempt.engine()) and process_gone(attempt.supervisor())
        return _ended_verdict(current, "exit code unknown") if over else replace(_ended_verdict(current), settled=False)
    return _from_processes(path, current, attempt)


def process_gone(identity: process.Identity | None) -> bool:
    return identity is None or process.status(identity) in ("dead", "reboot")


def _before_first_attempt(path: Path, summary: dict[str, Any]) -> Verdict:
    """Until there is an attempt, the process that made the run answers for it."""
    stored = _text(summary.get("state"))
    if stored in ENDED:
        return _ended_verdict(summary)
    launcher = process.Identity.from_json(summary.get("launcher"))
    if stored not in LIVE or launcher is None:
        return _crashed("never started")
    match process.status(launcher):
        case "alive":
            return _alive(path, summary)
        case "elsewhere":
            return Verdict("unknown", f"being started on {_text(launcher.host)}", host=_text(launcher.host))
        case _:
            return _crashed("never started")


def _from_exit(current: dict[str, Any], outcome: dict[str, Any]) -> Verdict:
    if _text(current.get("state")) in ENDED:
        return _ended_verdict(current)
    number = _integer(outcome.get("signal"))
    if number is not None:
        if number in (signal.SIGTERM, signal.SIGINT):
            return Verdict("stopped", f"by {_signal_name(number)} before the engine could save", settled=True)
        cause = ", probably out of memory" if number == signal.SIGKILL and outcome.get("oom") is True else ""
        return _crashed(f"killed by {_signal_name(number)}{cause}")
    reason = _text(current.get("reason"))
    match code := _integer(outcome.get("code")):
        case None:
            return _crashed("exit code unknown")
        case 0:
            return Verdict("finished", reason, settled=True)
        case 130 | 143:
            return Verdict("stopped", reason, settled=True)
        case _:
            return Verdict("failed", reason or f"exit code {code}", settled=True)


def _ended_verdict(current: dict[str, Any], remark: str = "") -> Verdict:
    reason = "; ".join(part for part in (_text(current.get("reason")), remark) if part)
    return Verdict(current["state"], reason, settled=True)


def _crashed(reason: str) -> Verdict:
    return Verdict("crashed", reason, settled=True)


def _from_processes(path: Path, current: dict[str, Any], attempt: attempts.Attempt) -> Verdict:
    engine, supervisor = attempt.engine(), attempt.supervisor()
    known = [identity for identity in (engine, supervisor) if identity is not None]
    statuses = [process.status(identity) for identity in known]
    if "alive" in statuses:
        return _alive(path, current)
    if "elsewhere" in statuses:
        host = _text(known[statuses.index("elsewhere")].host)
        age = _silence.since_change(path, current.get("heartbeat"))
        return Verdict("unknown", f"on {host}, last sign {age:.0f} s ago", age_s=age, host=host)
    end = _end_record(path, attempt)
    if end is not None:
        return _ended_verdict(end, "exit code unknown")
    if "reboot" in statuses:
        return _crashed("lost in a reboot of the machine")
    return _crashed("exit code unknown" if engine else "never started")


def _alive(path: Path, current: dict[str, Any]) -> Verdict:
    stored = current.get("state")
    state: State = stored if stored in ("running", "paused") else "starting"
    if state == "starting":
        return Verdict(state)
    age = _silence.age(path, current)
    promise = _number(current.get("promise_s")) or PROMISE_S
    return Verdict(state, _text(current.get("reason")), age_s=age, quiet=age > QUIET_PROMISES * promise)


def _end_record(path: Path, attempt: attempts.Attempt) -> dict[str, Any] | None:
    """The record with which the newest attempt ended, for a summary that could no longer be written."""
    try:
        fd = atomic.open_regular(path / "metrics.jsonl", os.O_RDONLY)
    except OSError:
        return None
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, metrics_log.RECORD_BYTES, max(0, size - metrics_log.RECORD_BYTES))
    except OSError:
        return None
    finally:
        os.close(fd)
    tail = metrics_log.MetricsTail(path / "metrics.jsonl")
    records = tail.decode(data[: data.rfind(b"\n") + 1])
    record = records[-1] if records else {}
    fresh = (_number(record.get("t")) or 0.0) >= attempt.started()
    return record if record.get("kind") == "end" and _text(record.get("state")) in ENDED and fresh else None


class _Silence:
    """How long a run has said nothing, by this machine's own monotonic clock, so that skewed clocks do no harm."""

    def __init__(self) -> None:
        self._changed: dict[Path, tuple[Any, float]] = {}

    def age(self, path: Path, summary: dict[str, Any]) -> float:
        """Seconds since the last sign of a process of this very boot, whose monotonic clock is ours too."""
        sign = _number(summary.get("monotonic"))
        now = time.monotonic()
        if sign is not None and sign <= now:
            return now - sign
        return self.since_change(path, summary.get("heartbeat"))

    def since_change(self, path: Path, heartbeat: Any) -> float:
        """Seconds since this process first saw the present heartbeat."""
        now = time.monotonic()
        seen = self._changed.get(path)
        if seen is None or seen[0] != heartbeat:
            self._changed[path] = seen = (heartbeat, now)
        return now - seen[1]


_silence = _Silence()


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    value = atomic.read_json(path)
    if value is None:
        problems.append(f"{path.name} is missing or unreadable")
    return value or {}


def _user_fields(user: dict[str, Any]) -> dict[str, Any]:
    tags = user.get("tags")
    return {
        "name": _text(user.get("name")),
        "tags": tuple(_text(tag) for tag in tags[:100] if isinstance(tag, str)) if isinstance(tags, list) else (),
        "note": _text(user.get("note"), limit=20_000, newlines=True),
        "archived": user.get("archived") is True,
    }


def _summary_fields(summary: dict[str, Any]) -> dict[str, Any]:
    best, test, sweep = (_object(summary.get(key)) for key in ("best", "test", "sweep"))
    return {
        **_each(summary, _text, "by architecture augmentation optimizer dataset phase device precision parent"),
        **_each(summary, _text, "config_hash group_hash"),
        **_each(summary, _integer, "seed batch_size parameters macs steps"),
        **_each(summary, _number, "lr epochs started images_s"),
        "epoch": _number(summary.get("epoch")) or 0.0,
        "step": _integer(summary.get("step")) or 0,
        "active_s": max(0.0, _number(summary.get("active_s")) or 0.0),
        "eta_s": _not_negative(_number(summary.get("eta_s"))),
        "spark": _spark(summary.get("spark")),
        "best": _number(best.get("value")),
        "best_epoch": _number(best.get("epoch")),
        "best_metric": _text(best.get("metric")),
        "last": {_text(k): n for k, v in _object(summary.get("last")).items() if (n := _number(v)) is not None},
        "test": _number(test.get("best")),
        "test_last": _number(test.get("last")),
        "sweep": _text(sweep.get("name")),
        "sweep_row": _integer(sweep.get("row")),
        "published": _published(summary.get("published")),
    }


def _each(source: dict[str, Any], read: Callable[[Any], Any], names: str) -> dict[str, Any]:
    return {name: read(source.get(name)) for name in names.split()}


def _published(value: Any) -> dict[str, float | str]:
    published: dict[str, float | str] = {}
    for key, item in _object(value).items():
        number = _number(item)
        if number is not None or isinstance(item, str):
            published[_text(key)] = _text(item) if number is None else number
    return published


def _spark(value: Any) -> tuple[float, ...]:
    numbers = [_number(item) for item in value[-64:]] if isinstance(value, list) else []
    # As much as one row of braille can show; rounded, many are equal.
    return tuple(float(f"{number:.4g}") for number in numbers if number is not None)


def _ended(current: dict[str, Any], outcome: dict[str, Any]) -> float | None:
    for candidate in (current.get("ended"), outcome.get("ended"), current.get("heartbeat")):
        ended = _number(candidate)
        if ended is not None:
            return ended
    return None


def _created(run_id: str) -> float:
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text(value: Any, limit: int = 500, newlines: bool = False) -> str:
    return text.clean(value[:limit], newlines=newlines) if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """A finite float of a JSON number, or None. JSON integers have no bound, floats do."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def _not_negative(value: float | None) -> float | None:
    return None if value is None else max(0.0, value)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
