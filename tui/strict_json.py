"""JSON as every parser takes it: no not-a-number, no bare control character."""

import json
import math
from typing import Any


def to_line(value: Any) -> str:
    """One line of strict JSON in ASCII: not-a-number and infinity are null, and no control character is left bare."""
    return json.dumps(finite(value), allow_nan=False, separators=(",", ":"))


def finite(value: Any) -> Any:
    """The value with null in place of each not-a-number and infinity, of which JSON knows nothing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
