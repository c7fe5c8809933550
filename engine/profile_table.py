"""The table of a run's profile, for the log and for the command line; no torch here."""

from pathlib import Path
from typing import Any

from engine import atomic


def read(run: Path) -> str | None:
    """The table of the profile in a run's folder, or None where there is none."""
    result = atomic.read_json(run / "results" / "profile" / "result.json")
    return table(result) if result else None


def table(result: dict[str, Any]) -> str:
    """A profile's result as lines of text: seconds, share, and milliseconds a step of every part."""
    whole, steps = result["seconds"], max(1, result["steps"])
    lines = [f"{'part':<14}{'seconds':>10}{'share':>8}{'ms a step':>11}"]
    for part in result["parts"]:
        seconds = part["seconds"]
        lines.append(f"{part['part']:<14}{seconds:>10.2f}{seconds / whole:>8.1%}{1e3 * seconds / steps:>11.3f}")
    lines.append(f"{'whole':<14}{whole:>10.2f}{'':>8}{1e3 * whole / steps:>11.3f}   {result['steps']:,} steps")
    return "\n".join(lines)
