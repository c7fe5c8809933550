"""Values of a JSON document that anybody may have written: of the wanted type and within bounds, or absent."""

import math
from typing import Any

from engine import text


def as_text(value: Any, limit: int = 500, newlines: bool = False) -> str:
    """Cleaned text of at most `limit` characters, "" for anything else."""
    return text.clean(value[:limit], newlines=newlines) if isinstance(value, str) else ""


def as_number(value: Any) -> float | None:
    """A finite float of a JSON number, or None. JSON integers have no bound, floats do."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_figure(value: Any) -> float | None:
    """A measured figure: as `as_number`, but what is not finite stays, since that has been measured too."""
    return value if isinstance(value, float) else as_number(value)


def as_integer(value: Any) -> int | None:
    """An integer of 64 bits, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def as_object(value: Any) -> dict[str, Any]:
    """A JSON object, {} for anything else."""
    return value if isinstance(value, dict) else {}
