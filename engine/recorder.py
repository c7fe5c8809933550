"""The engine's clerk: metrics and summary into the run folder, requests and signals out of it. No torch here.

The training loop calls in and never waits for a disk: one thread looks for control files twice a second, one syncs the
log and one writes the summary, each once a second, so that a sync that takes long delays neither of the others. What
they write they copy under the lock and flush without it.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from engine.attempts import RESERVE_BYTES, free_reserve
from engine.errors import UserError
from engine.runs import MetricsWriter, RunFolder, SummaryWriter

TICK_S = 0.5
BEAT_S = 1.0
SLOW_SYNC_S = 2.0
SYNCS_REMEMBERED = 20
PROMISE_S = 5.0
SPARK_POINTS = 32
ECHO_S = 0.3
DISK = "disk"


class StopRequested(Exception):  # noqa: N818  (nothing went wrong)
    """Somebody asked the run to end; raised at a step boundary, after the checkpoint is written."""

    def __init__(self, by: str, code: int) -> None:
        super().__init__(by)
        self.by = by
        self.code = code


class Recorder:
    """Writes one run's records and keeps its summary true. One per engine process, used as a context manager."""

    def __init__(self, run: RunFolder, facts: dict[str, Any]) -> None:
        self._run = run
        self._metrics = MetricsWriter(run.path / "metrics.jsonl")
        self._summary = SummaryWriter(run.path / "summary.json")
        self._fields: dict[str, Any] = {**run.summary(), **facts}
        spark = self._fields.get("spark")
        self._spark: list[float] = list(spark) if isinstance(spark, list) else []
        notes = self._fields.get("notes")
        self._notes: dict[str, str] = {**notes, DISK: ""} if isinstance(notes, dict) else {}
        self._sync_s: deque[float] = deque(maxlen=SYNCS_REMEMBERED)
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._summaries = self._summaries_written = 0
        self._requests: deque[dict[str, Any]] = deque()
        self._signal: int | None = None
        self._signal_at = 0.0
        self._gone = False
        self._closed = threading.Event()
        turns = ((self._listen, TICK_S), (self.flush, BEAT_S), (self.write_summary, BEAT_S))
        self._threads = [
            threading.Thread(target=self._repeat, args=turn, name="recorder", daemon=True) for turn in turns
        ]

    def __enter__(self) -> "Recorder":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._metrics.sync()
        self._metrics.close()

    @property
    def offset(self) -> int:
        """Bytes of metrics.jsonl so far: what a checkpoint taken now will be resumed from, once they are flushed."""
        with self._lock:
            self._metrics.retry()
            return self._metrics.offset

    @property
    def step(self) -> int:
        """The step that the run was last said to be at."""
        return int(self._fields.get("step") or 0)

    def flush(self) -> None:
        """Make the log survive a power cut."""
        with self._lock:
            self._metrics.retry()
        with self._timed_sync():
            self._metrics.flush()

    def record(self, kind: str, **fields: Any) -> None:
        """Append one record to metrics.jsonl."""
        with self._lock:
            self._metrics.append({"kind": kind, "schema": 1, "t": round(time.time(), 3), **fields})

    def update(self, **fields: Any) -> None:
        """Change the summary; it reaches the disk with the next heartbeat."""
        with self._lock:
            self._fields.update(fields)

    def note(self, about: str, text: str) -> None:
        """Say beside the run what one should know of it, in place of what was said of the same before; "" says nothing.

        Unlike a problem it asks for nothing to be done, and it stays when the run has ended.
        """
        with self._lock:
            self._notes[about] = text

    def write_summary(self, **fields: Any) -> None:
        """Change the summary and write it now."""
        with self._lock:
            self._fields.update(fields, heartbeat=round(time.time(), 3), promise_s=PROMISE_S, schema=1)
            problems = [str(self._fields.get("problem", "")), self._metrics.problem]
            notes = {about: text for about, text in self._notes.items() if text}
            summary = {**self._fields, "problem": "; ".join(filter(None, problems)), "notes": notes}
            self._summaries += 1
            number = self._summaries
        with self._writing:
            if number < self._summaries_written:  # a later one of another thread came first
                return
            self._summaries_written = number
            try:
                with self._timed_sync():
                    self._summary.write(summary)
            except FileNotFoundError:
                self._gone = not self._run.path.is_dir()
                if not self._gone:
                    raise

    def add_spark(self, value: float) -> None:
        """Add an epoch's headline figure to the curve that lists draw, thinned to at most 32 points."""
        self._spark.append(value)
        stride = -(-len(self._spark) // SPARK_POINTS)
        self.update(spark=[round(point, 3) for point in self._spark[::-stride][::-1]])

    def end(self, state: str, reason: str = "", **fields: Any) -> None:
        """The last word on this attempt: a record and the summary, both on disk when this returns.

        A folder that was deleted meanwhile gets neither, and is not made again.
        """
        self.record("end", state=state, reason=reason, step=self.step)
        with self._lock:
            self._metrics.sync()
            if self._metrics.problem:  # half of the reserve for what still waits, half for the state and the verdict
                free_reserve(self._run.path)
                self._metrics.shrink(RESERVE_BYTES // 2)
                self._metrics.sync()
        self.note(DISK, "")
        last = {"state": state, "reason": reason, "ended": round(time.time(), 3), "eta_s": None}
        self.write_summary(**{**fields, **last})

    def requests(self) -> list[dict[str, Any]]:
        """Requests that came since the last call, oldest first; a signal counts as a request to stop.

        Raises UserError once the run folder is gone, since nothing that is computed could be kept.
        """
        if self._gone:
            raise UserError(f"the run folder {self._run.path} is gone; what was trained since cannot be kept")
        found = []
        while self._requests:
            found.append(self._requests.popleft())
        if self._signal is not None:
            by = "ctrl-c" if self._signal == signal.SIGINT else "signal"
            found.append({"request": "stop", "by": by, "code": 128 + self._signal})
        return found

    def end_is_asked(self) -> bool:
        """Whether a signal or a request to stop waits to be taken up."""
        return self._signal is not None or any(request["request"] == "stop" for request in tuple(self._requests))

    def leave_if_asked(self) -> None:
        """Raises StopRequested where the end was asked for and there is no step to finish and save."""
        asked = self.requests()
        stop = next((request for request in asked if request["request"] == "stop"), None)
        if stop is None:
            self._requests.extendleft(reversed(asked))  # for the training loop
            return
        self.answer(stop)
        raise StopRequested(str(stop.get("by", "")), int(stop.get("code", 143)))

    def answer(self, request: dict[str, Any]) -> None:
        """Note in the log that a request was carried out."""
        self.record("control", request=request["request"], id=request.get("id", ""), by=request.get("by", ""))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal, self._signal_at = number, time.monotonic()
            return
        # A shutdown signals supervisor and engine together, and the supervisor passes its own on.
        if time.monotonic() - self._signal_at < ECHO_S:
            return
        # The second signal means now: what is written stays, nothing more is computed.
        by = "ctrl-c" if number == signal.SIGINT else "signal"
        self.end("stopped", "left at once, without a checkpoint", by=by)
        os._exit(128 + number)

    def _repeat(self, turn: Callable[[], object], interval_s: float) -> None:
        while not self._closed.wait(interval_s):
            try:
                turn()
            except OSError as error:
                self.update(problem=f"{error.strerror}: {error.filename or self._run.path}")

    def _listen(self) -> None:
        self._requests.extend(self._run.take_requests())

    @contextmanager
    def _timed_sync(self) -> Iterator[None]:
        """Around what waits for the disk: when that took long of late, it is said beside the run."""
        began = time.monotonic()
        yield
        with self._lock:
            self._sync_s.append(time.monotonic() - began)
            slowest = max(self._sync_s)
            self.note(DISK, f"the disk is slow: a write took {slowest:.0f} s" if slowest >= SLOW_SYNC_S else "")
