"""Asks the process that knows torch, without ever waiting for it on the thread that draws.

`EngineClient.ask` returns at once. A thread starts ``python -P -m engine --serve`` when the first question comes, keeps
it warm, and hands every answer to the app's own thread. Of the questions on one topic only the newest waits: whoever
moves a cursor down a list is not answered about what it passed. Counts that are known are read from their cache, so
that they need no process.
"""

import json
import logging
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import IO, TYPE_CHECKING, Any

from engine.text import clean

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from engine.options.architecture import ArchitectureOptions

_LOG = logging.getLogger("cifar-tui")

COMMAND = (sys.executable, "-P", "-m", "engine", "--serve")
START_S = 120.0  # a cold disk may take long to give up torch
ANSWER_S = 120.0
REST_S = 30.0  # after a process died twice over a question
TRIES = 2
_PIECE = 1 << 16
_ERRORS_BYTES = 4096

Question = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the value, or the one sentence that says why there is none."""

    value: Any = None
    error: str = ""


Answered = Callable[[Answer], object]
Deliver = Callable[[Callable[[], object]], object]


class EngineGoneError(Exception):
    """The process ended, or was ended for taking too long; the message says which."""


class EngineClient:
    """One process of the engine and the thread that talks to it. `deliver` runs a function on the app's thread."""

    def __init__(self, deliver: Deliver, command: Sequence[str] = COMMAND, answer_s: float = ANSWER_S) -> None:
        self._deliver = deliver
        self._command = command
        self._answer_s = answer_s
        self._waiting: dict[str, tuple[Question, Answered]] = {}
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process: _Process | None = None
        self._resting: tuple[float, str] = (0.0, "")

    def ask(self, question: Question, answered: Answered, topic: str = "") -> None:
        """Ask, in place of a question on the same topic (by default its kind) that still waits for its turn.

        `answered` is called on the app's thread, unless the question was replaced or the client closed before.
        """
        with self._news:
            if self._closed:
                return
            self._waiting[topic or str(question.get("ask"))] = (question, answered)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine client", daemon=True)
                self._thread.start()
            self._news.notify()

    def forget(self, topic: str) -> None:
        """Drop the question on a topic that still waits for its turn."""
        with self._news:
            self._waiting.pop(topic, None)

    def close(self) -> None:
        """End the process; nothing is answered any more. Does not wait."""
        with self._news:
            self._closed = True
            self._waiting.clear()
            process = self._process
            self._news.notify()
        if process is not None:
            process.kill()

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._waiting and not self._closed:
                    self._news.wait()
                if self._closed:
                    return
                topic = next(iter(self._waiting))
                question, answered = self._waiting.pop(topic)
            answer = self._answer(question)
            if not self._closed:
                self._deliver(partial(answered, answer))

    def _answer(self, question: Question) -> Answer:
        try:
            return known_answer(question) or self._ask_process(question)
        except Exception as error:  # whoever asked is told; the thread lives on
            _LOG.exception("asking the engine")
            return Answer(error=f"{type(error).__name__}: {clean(str(error))}")

    def _ask_process(self, question: Question) -> Answer:
        """The process's answer. One that crashed is started once more, then the question is given up for a while."""
        until, reason = self._resting
        if time.monotonic() < until:
            return Answer(error=reason)
        for _ in range(TRIES):
            try:
                return self._running().ask(question, self._answer_s)
            except (EngineGoneError, OSError) as error:
                reason = f"the helper process cannot answer: {error}"
                _LOG.warning("%s", reason)
                self._end_process()
            if self._closed:
                return Answer(error="closed")
        self._resting = (time.monotonic() + REST_S, reason)
        return Answer(error=reason)

    def _running(self) -> "_Process":
        """The process, started anew where it has ended, which it does by itself when nobody asks for long."""
        if self._process is not None and not self._process.lives:
            self._end_process()
        if self._process is None:
            process = _Process(self._command)
            with self._news:
                self._process = process
                closed = self._closed
            if closed:
                process.kill()
            process.wait_until_ready()
        return self._process

    def _end_process(self) -> None:
        with self._news:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.close()


def known_answer(question: Question) -> Answer | None:
    """Counts that are in the cache on disk; None for everything else."""
    if question.get("ask") != "count":
        return None
    from pydantic import ValidationError

    from engine import counts_cache

    try:
        options = _architectures().validate_python(question["architecture"])
    except (ValidationError, KeyError):
        return None
    image = (question.get("channels", 3), question.get("size", 32), question.get("classes", 10))
    counts = counts_cache.lookup(options, *image, question.get("batch", 1), question.get("precision", "auto"))
    return Answer(counts.to_json()) if counts else None


@cache
def _architectures() -> "TypeAdapter[ArchitectureOptions]":
    # Here and not above: pydantic takes long to import, and the first screen needs neither.
    from pydantic import TypeAdapter

    from engine.options.architecture import ArchitectureChoice

    return TypeAdapter(ArchitectureChoice)


class _Process:
    """One ``engine --serve``. Only `kill` may be called from another thread."""

    def __init__(self, command: Sequence[str]) -> None:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
            bufsize=0,
        )
        self._held = b""
        self._number = 0

    @property
    def lives(self) -> bool:
        return self._popen.poll() is None

    def wait_until_ready(self) -> None:
        if self._read(time.monotonic() + START_S) != {"ready": True}:
            raise EngineGoneError("it did not say that it is ready")

    def ask(self, question: Question, seconds: float) -> Answer:
        self._number += 1
        line = json.dumps({"id": self._number, **question}) + "\n"
        self._write(line.encode())
        deadline = time.monotonic() + seconds
        while True:
            reply = self._read(deadline)
            if reply.get("id") == self._number:
                return Answer(reply.get("ok"), clean(str(reply.get("error", ""))))
            if reply.get("id") is None:
                raise EngineGoneError(clean(str(reply.get("error", "it spoke out of turn"))))

    def kill(self) -> None:
        with suppress(OSError):
            self._popen.kill()

    def close(self) -> None:
        """After `kill`: leave no zombie and no open file."""
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout, self._errors):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _write(self, data: bytes) -> None:
        if self._popen.stdin is None:
            raise EngineGoneError("it has no input")
        rest = memoryview(data)
        while rest:
            rest = rest[self._popen.stdin.write(rest) or 0 :]

    def _read(self, deadline: float) -> dict[str, Any]:
        line = self._read_line(deadline)
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise EngineGoneError(f"it said {clean(line[:60].decode(errors='replace'))!r}")
        return reply

    def _read_line(self, deadline: float) -> bytes:
        if self._popen.stdout is None:
            raise EngineGoneError("it has no output")
        descriptor = self._popen.stdout.fileno()
        while b"\n" not in self._held:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise EngineGoneError("it took too long")
            piece = os.read(descriptor, _PIECE)
            if not piece:
                raise EngineGoneError(self._how_it_ended())
            self._held += piece
        line, _, self._held = self._held.partition(b"\n")
        return line

    def _how_it_ended(self) -> str:
        code = self._popen.wait()
        how = f"it was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _ERRORS_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {clean(lines[-1])}" if lines else how
