"""The number of parameters that a network should not exceed: remembered, and shown wherever sizes are judged."""

from tui.settings import Settings

USUAL = 5_000_000
_NAME = "parameter_budget"


def remembered(settings: Settings) -> int:
    """The budget a person has set, else the usual five million."""
    return read(settings.text(_NAME, "")) or USUAL


def remember(settings: Settings, budget: int) -> None:
    settings.put(**{_NAME: str(budget)})


def read(text: str) -> int | None:
    """`5 M`, `5,000,000` or `300k` as a number of parameters; None for anything else."""
    text = text.replace(",", "").replace(" ", "").lower()
    scale = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:], 1.0)
    try:
        value = float(text.rstrip("kmg")) * scale
    except ValueError:
        return None
    return round(value) if 1 <= value <= 1e12 else None


def shown(budget: int) -> str:
    """`5 M`, `300 k`, `4.5 M`"""
    for scale, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if budget >= scale:
            return f"{budget / scale:.4g}{unit}"
    return str(budget)
