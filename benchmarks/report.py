"""What every benchmark shares: the environment it ran in, CPU time with children, medians, a table, a JSON file."""

import json
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# What a CPU multiplies matrices with, the fastest first, and the word in /proc/cpuinfo that says so.
INSTRUCTIONS = {"amx": "amx_bf16", "avx512-bf16": "avx512_bf16", "avx512": "avx512f", "avx2": "avx2"}


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of several rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, form: str = ",.0f") -> str:
        """`108 (101–112)`."""
        return f"{self.median:{form}} ({self.least:{form}}–{self.greatest:{form}})"


def environment() -> dict[str, Any]:
    """Machine and versions that the figures belong to."""
    return {
        "when": time.strftime("%Y-%m-%d"),
        "cpu": _of_cpu("model name") or platform.processor(),
        "instructions": _instructions(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "kernel": platform.release(),
        **_torch(),
    }


def cpu_seconds() -> float:
    """CPU time of this process and of the children it has reaped, in seconds."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned first column, right-aligned others."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), line(["─" * width for width in widths]), *map(line, rows)])


def path(name: str, on_gpu: bool = False) -> Path:
    """benchmarks/results/MACHINE/NAME.json: figures of one machine never replace those of another.

    A machine is called by its GPU where that is what was measured, else by its CPU and that one's instructions.
    """
    machine = environment()
    gpu = machine.get("gpu") if on_gpu else None
    words = re.findall(r"[a-z0-9]+", (gpu or f"{machine['cpu']} {machine['instructions']}").lower())
    return RESULTS / ("-".join(words) or "unknown") / f"{name}.json"


def saved(name: str, on_gpu: bool = False) -> dict[str, Any]:
    """The figures that this machine's file holds already, without their environment."""
    file = path(name, on_gpu)
    figures: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    figures.pop("environment", None)
    return figures


def save(name: str, figures: dict[str, Any], on_gpu: bool = False) -> Path:
    """Write figures and environment to their `path` and say where."""
    written = path(name, on_gpu)
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps({"environment": environment(), **figures}, indent=1) + "\n")
    print(f"\nwritten to {written}")
    return written


def _instructions() -> str:
    flags = _of_cpu("flags").split()
    return next((name for name, flag in INSTRUCTIONS.items() if flag in flags), "")


def _of_cpu(field: str) -> str:
    return next((line for line in _lines("/proc/cpuinfo") if line.startswith(field)), "").partition(":")[2].strip()


def _torch() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"torch": str(torch.__version__), "gpu": gpu}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
