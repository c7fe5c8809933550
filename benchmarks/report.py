"""What every benchmark shares: the environment it ran in, CPU time with children, medians, a table, a JSON file."""

import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


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
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ":").partition(":")[2]
    return {
        "when": time.strftime("%Y-%m-%d"),
        "cpu": cpu.strip() or platform.processor(),
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


def save(name: str, figures: dict[str, Any]) -> Path:
    """Write figures and environment to benchmarks/results/NAME.json and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), **figures}, indent=1) + "\n")
    print(f"\nwritten to {path}")
    return path


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
