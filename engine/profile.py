"""Where a run's time goes: data, forward, backward, optimiser, logging, evaluation; and a trace on request.

On a GPU the parts of a step are timed by events on its stream, which nothing waits for; what the host does (logging,
evaluation, checkpoints) is timed by its clock after the device has caught up. A step captured in a graph is one part.
"""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from engine import atomic
from engine.profile_table import table

ON_DEVICE = ("data", "forward", "backward", "optimizer", "averages", "captured step")
ON_HOST = ("logging", "evaluation", "checkpoint", "testing")
# Steps of a trace: left out while caches fill, warmed up, recorded.
TRACE_WAIT, TRACE_WARMUP, TRACE_ACTIVE = 10, 3, 10
MOST_PENDING = 4_000


class Profile:
    """Seconds and calls of every part of a run, written to ``folder`` at the end."""

    def __init__(self, device: torch.device, folder: Path, *, trace: bool) -> None:
        self._on_gpu = device.type == "cuda"
        self._folder = folder
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.steps = 0
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._trace = self._open_trace() if trace else None
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens within towards ``name``."""
        if self._on_gpu and name in ON_DEVICE:
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            began.record()
            yield
            ended.record()
            self._pending.append((name, began, ended))
            if len(self._pending) >= MOST_PENDING:
                self._settle()
            return
        if self._on_gpu:
            torch.cuda.synchronize()
        since = time.perf_counter()
        try:
            yield
        finally:
            self._count(name, time.perf_counter() - since)

    def end_step(self) -> None:
        """A step is over."""
        self.steps += 1
        if self._trace is not None:
            self._trace.step()

    def finish(self) -> str:
        """Write result.json and return its table. The rest is what no part covers: Python, waiting, launches."""
        self._settle()
        if self._trace is not None:
            self._trace.stop()
        whole = time.perf_counter() - self._began
        parts = [
            {"part": name, "seconds": self.seconds[name], "calls": self.calls[name]}
            for name in (*ON_DEVICE, *ON_HOST)
            if self.calls[name]
        ]
        parts.append({"part": "rest", "seconds": max(0.0, whole - sum(self.seconds.values())), "calls": 0})
        result = {"schema": 1, "written": time.time(), "seconds": whole, "steps": self.steps, "parts": parts}
        atomic.write_json(self._folder / "result.json", result)
        return table(result)

    def _open_trace(self) -> Any:
        schedule = torch.profiler.schedule(wait=TRACE_WAIT, warmup=TRACE_WARMUP, active=TRACE_ACTIVE, repeat=1)

        def write(profiler: Any) -> None:
            profiler.export_chrome_trace(str(self._folder / "trace.json"))

        profiler = torch.profiler.profile(schedule=schedule, on_trace_ready=write)
        profiler.start()
        return profiler

    def _settle(self) -> None:
        """Read the events that are waiting; the device has to catch up first."""
        if self._pending:
            torch.cuda.synchronize()
        for name, began, ended in self._pending:
            self._count(name, began.elapsed_time(ended) / 1e3)
        self._pending.clear()

    def _count(self, name: str, seconds: float) -> None:
        self.seconds[name] += seconds
        self.calls[name] += 1
