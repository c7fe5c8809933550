"""How numbers are written. Every screen, table export and headless line takes its numbers from here.

Every function takes `None` for a figure that is not known (written `–`), and any float (`NaN` and infinity are written
as such). None of them pads: alignment belongs to whoever lays out.
"""

import math
from datetime import datetime

from tui import glyphs

_KIBI = 1024.0
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_AGE_IN_DAYS_UNTIL = 7


def unknown() -> str:
    """What stands for a figure that nobody knows. One that is only not known yet is an ellipsis."""
    return glyphs.active().unknown


def _odd(value: float | None) -> str | None:
    """The text of a value that is no finite number, else None."""
    if value is None:
        return unknown()
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        signs = glyphs.active()
        return signs.infinity if value > 0 else signs.minus + signs.infinity
    return None


def _fixed(value: float, decimals: int) -> str:
    """Fixed decimals with the typographic minus, and never a minus before zero."""
    text = f"{value:.{decimals}f}"
    if text.startswith("-"):
        digits = text[1:]
        return digits if float(digits) == 0.0 else glyphs.active().minus + digits
    return text


def _scientific(value: float, decimals: int) -> str:
    """`8.2e-4`: Python's exponent without its padding."""
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa.replace('-', glyphs.active().minus)}e{int(exponent)}"


def thousands(count: float | None) -> str:
    """A count in full: `4,779,530`."""
    return _odd(count) or f"{round(count or 0):,}".replace("-", glyphs.active().minus)


def parameters(count: float | None) -> str:
    """A parameter count for lists: `4.78 M`, `36.49 M`, `78.0 k`."""
    odd = _odd(count)
    if odd or count is None:
        return odd or unknown()
    if count < 999.5:
        return f"{count:.0f}"
    if count < 99_950:
        return f"{count / 1e3:.1f} k"
    if count < 999_995_000:
        return f"{count / 1e6:.2f} M"
    return f"{count / 1e9:.2f} G"


def macs(count: float | None, *, fact: bool = False) -> str:
    """Multiply-accumulates of one image: `265 M`, `6.3 M`, `5.24 G` in lists; in facts `265.0 M`."""
    odd = _odd(count)
    if odd or count is None:
        return odd or unknown()
    if count < 999.5:
        return f"{count:.0f}"
    if count < 999_500:
        return f"{count / 1e3:.0f} k"
    if count < (999_950_000 if fact else 999_500_000):
        millions = count / 1e6
        return f"{millions:.1f} M" if fact or millions < 9.95 else f"{millions:.0f} M"
    if count < 999_995_000_000:
        return f"{count / 1e9:.2f} G"
    return f"{count / 1e12:.2f} T"


def accuracy(percent: float | None) -> str:
    """Percent to two decimals, without its sign: `92.49`."""
    return _odd(percent) or _fixed(percent or 0.0, 2)


def percent(value: float | None, decimals: int = 0) -> str:
    """A share with its sign: `97 %`, `95.6 %`."""
    return _odd(value) or f"{_fixed(value or 0.0, decimals)} %"


def delta(points: float | None, decimals: int = 2) -> str:
    """A difference with its sign: `+0.37`, `−0.09`, `±0.00`; hundreds with one decimal, from ten thousand `+1.2e4`."""
    odd = _odd(points)
    if odd or points is None:
        return odd or unknown()
    if decimals and abs(points) >= 100:
        decimals = 1
    text = _scientific(points, 1) if decimals and abs(points) >= 1e4 else _fixed(points, decimals)
    if float(f"{points:.{decimals}f}") == 0.0:
        return glyphs.active().plus_minus + text
    return text if points < 0 else "+" + text


def loss(value: float | None, decimals: int = 3) -> str:
    """Three decimals (the log asks for four); below 0.001 `8.2e-4`; from ten thousand `1.2e4`."""
    odd = _odd(value)
    if odd or value is None:
        return odd or unknown()
    size = abs(value)
    if 0.0 < size < 1e-3 or size >= 1e4:
        return _scientific(value, 1)
    return _fixed(value, decimals)


def learning_rate(value: float | None) -> str:
    """`1.00e-3`, `1.00e-1`; nought is `0`."""
    odd = _odd(value)
    if odd or value is None:
        return odd or unknown()
    return "0" if value == 0 else _scientific(value, 2)


def decay(value: float | None) -> str:
    """Weight decay and its kin, one decimal: `5.0e-4`; nought is `0`."""
    odd = _odd(value)
    if odd or value is None:
        return odd or unknown()
    return "0" if value == 0 else _scientific(value, 1)


def memory(size: float | None) -> str:
    """Bytes: `338 MiB`, `4.1 GiB`, from 100 GiB without decimals."""
    odd = _odd(size)
    if odd or size is None:
        return odd or unknown()
    amount, unit = size, "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if round(amount) < _KIBI:
            break
        amount, unit = amount / _KIBI, larger
    decimals = 1 if unit in {"GiB", "TiB"} and amount < 99.95 else 0
    return f"{amount:.{decimals}f} {unit}"


def memory_used(used: float | None, total: float | None) -> str:
    """Used of total in the unit of the total: `4.1 / 80.0 GiB`."""
    if used is None or total is None or not (math.isfinite(used) and math.isfinite(total)):
        return unknown()
    amount, _, unit = memory(total).partition(" ")
    scale = _KIBI ** ("B", "KiB", "MiB", "GiB", "TiB").index(unit)
    decimals = 1 if unit in {"GiB", "TiB"} else 0
    return f"{used / scale:.{decimals}f} / {amount} {unit}"


def epochs(count: float | None) -> str:
    """`3`, or `2.5` where a run ends or is judged inside an epoch: hundredths at the most."""
    return _odd(count) or f"{round(count or 0.0, 2):g}"


def progress(epoch: float, total: float | None, between: str = "/") -> str:
    """`3.4/8`: how many epochs of how many, in tenths as long as there are some to come."""
    done = epoch if total is not None and epoch >= total else round(epoch, 1)
    return f"{epochs(done)}{between}{epochs(total)}"


def throughput(images_per_second: float | None, unit: str = " img/s") -> str:
    """`92.4 k img/s`; in a fact, with unit `/s`, `92.4 k/s`."""
    odd = _odd(images_per_second)
    if odd or images_per_second is None:
        return odd or unknown()
    if images_per_second < 99.95:
        return f"{images_per_second:.1f}{unit}"
    if images_per_second < 999.5:
        return f"{images_per_second:.0f}{unit}"
    if images_per_second < 999_950:
        return f"{images_per_second / 1e3:.1f} k{unit}"
    return f"{images_per_second / 1e6:.2f} M{unit}"


def duration(seconds: float | None, *, table: bool = False) -> str:
    """Time taken: `0.52 s`, `2.1 s`, `48 s`, `1 m 12 s`, `1 h 04 m`, `2 d 3 h`.

    From ten minutes on a table has room for the minutes alone: `16 m`.
    """
    odd = _odd(seconds)
    if odd or seconds is None:
        return odd or unknown()
    seconds = max(seconds, 0.0)
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        if table and whole >= 10 * _MINUTE:
            return f"{min(round(whole / _MINUTE), 59)} m"
        return f"{whole // 60} m {whole % 60:02d} s"
    minutes = round(seconds / _MINUTE)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} m"
    hours = round(seconds / _HOUR)
    return f"{hours // 24} d {hours % 24} h"


def age(moment: float | None, now: float, *, table: bool = False) -> str:
    """How long ago `moment` was, both unix seconds: `just now`, `3 min ago`, `1 h ago`, `2 d ago`, then `2026-11-21`.

    A table leaves `ago` out and shortens the date to seven cells: `21 Nov`, in other years `2025-11`.
    """
    if moment is None or not math.isfinite(moment):
        return unknown()
    seconds = max(now - moment, 0.0)
    ago = "" if table else " ago"
    if seconds < _MINUTE:
        return "now" if table else "just now"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min{ago}"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h{ago}"
    if seconds < _AGE_IN_DAYS_UNTIL * _DAY:
        return f"{seconds // _DAY:.0f} d{ago}"
    return _date(moment, now, table)


def _date(moment: float, now: float, table: bool) -> str:
    try:
        day, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    except (OverflowError, OSError, ValueError):
        return unknown()
    if not table:
        return f"{day:%Y-%m-%d}"
    return f"{day.day} {day:%b}" if day.year == today.year else f"{day:%Y-%m}"


def remaining(seconds: float | None, word: str = "in", *, estimate: bool = False, table: bool = False) -> str:
    """Time to come after `word`: `in 33 s`, `left 33 s`, `in ≈ 5 m 12 s` where no past run stands behind it."""
    if seconds is None or not math.isfinite(seconds):
        return unknown()
    # Nobody can use tenths of a second of a future.
    span = duration(max(float(round(seconds)), 0.0), table=table) if seconds >= 9.5 else f"{max(round(seconds), 0)} s"
    about = f"{glyphs.active().about} " if estimate else ""
    return f"{word} {about}{span}" if word else f"{about}{span}"


def spread(mean: float | None, deviation: float | None, decimals: int = 2) -> str:
    """Mean and standard deviation: `92.45 ± 0.09`. Say n once, elsewhere."""
    if mean is None:
        return unknown()
    value = _odd(mean) or _fixed(mean, decimals)
    if deviation is None or not math.isfinite(deviation):
        return value
    return f"{value} {glyphs.active().plus_minus} {_fixed(deviation, decimals)}"


def best_at(value: str, epoch: float | None) -> str:
    """A best figure, already written, and the epoch it was reached at: `92.67 @ 110`."""
    return value if epoch is None else f"{value} @ {epochs(epoch)}"


def factor(ratio: float | None) -> str:
    """A ratio of sizes: `× 2.34`, from ten on `× 23.4`."""
    odd = _odd(ratio)
    if odd or ratio is None:
        return odd or unknown()
    decimals = 2 if abs(ratio) < 9.995 else 1 if abs(ratio) < 99.95 else 0
    return f"{glyphs.active().times} {ratio:.{decimals}f}"


def temperature(celsius: float | None) -> str:
    """`61 °C`."""
    return _odd(celsius) or f"{celsius:.0f} {glyphs.active().degree}C"


def power(watts: float | None) -> str:
    """`402 W`."""
    return _odd(watts) or f"{watts:.0f} W"
