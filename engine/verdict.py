"""The state of a run and why, from what its processes left behind. Silence alone never ends a run."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from engine import atomic, attempts, metrics_log, process
from engine.untrusted import as_integer, as_number, as_text

State = Literal[
    "queued", "starting", "running", "paused", "finished", "stopped", "diverged", "failed", "crashed", "unknown"
]
STATES: tuple[State, ...] = get_args(State)
LIVE: frozenset[State] = frozenset({"queued", "starting", "running", "paused"})
ENDED: frozenset[State] = frozenset({"finished", "stopped", "diverged", "failed"})
PROMISE_S = 5.0  # a run that says nothing of its own promises a sign of life this often
QUIET_PROMISES = 3  # and is quiet after so many that were not kept


@dataclass(frozen=True)
class Verdict:
    """A derived state with its cause; ``settled`` when no process can change it any more."""

    state: State
    reason: str = ""
    settled: bool = False
    age_s: float | None = None
    quiet: bool = False
    host: str = ""


def describes(summary: dict[str, Any], attempt: attempts.Attempt | None) -> bool:
    """Whether the summary speaks of the newest attempt rather than of one before it."""
    number = as_integer(summary.get("attempt"))
    return number is None or number == (attempt.number if attempt else 0)


def derive(path: Path, summary: dict[str, Any], attempt: attempts.Attempt | None) -> Verdict:
    """The state of a run from the newest attempt alone. Silence never ends a run."""
    if as_text(summary.get("state")) == "queued" and (as_integer(summary.get("attempt")) or 0) >= (
        attempt.number if attempt else 0
    ):
        return Verdict("queued", as_text(summary.get("reason")))
    if attempt is None:
        return _before_first_attempt(path, summary)
    current = summary if describes(summary, attempt) else {}
    outcome = attempt.exit()
    if outcome is not None:
        return _from_exit(current, outcome)
    if as_text(current.get("state")) in ENDED:
        over = _process_gone(attempt.engine()) and _process_gone(attempt.supervisor())
        return _ended_verdict(current, "exit code unknown") if over else replace(_ended_verdict(current), settled=False)
    return _from_processes(path, current, attempt)


def _process_gone(identity: process.Identity | None) -> bool:
    return identity is None or process.status(identity) in ("dead", "reboot")


def _before_first_attempt(path: Path, summary: dict[str, Any]) -> Verdict:
    """Until there is an attempt, the process that made the run answers for it."""
    stored = as_text(summary.get("state"))
    if stored in ENDED:
        return _ended_verdict(summary)
    launcher = process.Identity.from_json(summary.get("launcher"))
    if stored not in LIVE or launcher is None:
        return _crashed("never started")
    match process.status(launcher):
        case "alive":
            return _alive(path, summary)
        case "elsewhere":
            return Verdict("unknown", f"being started on {as_text(launcher.host)}", host=as_text(launcher.host))
        case _:
            return _crashed("never started")


def _from_exit(current: dict[str, Any], outcome: dict[str, Any]) -> Verdict:
    if as_text(current.get("state")) in ENDED:
        return _ended_verdict(current)
    number = as_integer(outcome.get("signal"))
    if number is not None:
        if number in (signal.SIGTERM, signal.SIGINT):
            return Verdict("stopped", f"by {_signal_name(number)} before the engine could save", settled=True)
        cause = ", probably out of memory" if number == signal.SIGKILL and outcome.get("oom") is True else ""
        return _crashed(f"killed by {_signal_name(number)}{cause}")
    reason = as_text(current.get("reason"))
    match code := as_integer(outcome.get("code")):
        case None:
            return _crashed("exit code unknown")
        case 0:
            return Verdict("finished", reason, settled=True)
        case 130 | 143:
            return Verdict("stopped", reason, settled=True)
        case _:
            return Verdict("failed", reason or f"exit code {code}", settled=True)


def _ended_verdict(current: dict[str, Any], remark: str = "") -> Verdict:
    reason = "; ".join(part for part in (as_text(current.get("reason")), remark) if part)
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
        host = as_text(known[statuses.index("elsewhere")].host)
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
    promise = as_number(current.get("promise_s")) or PROMISE_S
    return Verdict(state, as_text(current.get("reason")), age_s=age, quiet=age > QUIET_PROMISES * promise)


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
    fresh = (as_number(record.get("t")) or 0.0) >= attempt.started()
    return record if record.get("kind") == "end" and as_text(record.get("state")) in ENDED and fresh else None


class _Silence:
    """How long a run has said nothing, by this machine's own monotonic clock, so that skewed clocks do no harm."""

    def __init__(self) -> None:
        self._changed: dict[Path, tuple[Any, float]] = {}

    def age(self, path: Path, summary: dict[str, Any]) -> float:
        """Seconds since the last sign of a process of this very boot, whose monotonic clock is ours too."""
        sign = as_number(summary.get("monotonic"))
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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
