"""Colours and attributes sent only where they change.

Textual writes each piece of text with its whole style before it and a reset after it: two thirds of the bytes of a
screen say again what the terminal knows. `compact` keeps what is seen and leaves out the rest: a table of 500 runs in
160x48 is sent with 16 kB instead of 50 kB.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_UNSEEN = re.compile(r"(?:[\r\n]|\x1b\[[0-9;]*H)*")  # line ends and moves of the cursor
# What an attribute is ended by.
_OFF = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "7": "27", "8": "28", "9": "29", "21": "24", "53": "55"}
_SEEN_ON_BLANKS = frozenset({"4", "7", "9", "21", "53"})


@dataclass(frozen=True, slots=True)
class _State:
    """What the terminal writes with: colours as the codes that set them."""

    attributes: frozenset[str] = frozenset()
    foreground: str = "39"
    background: str = "49"

    @property
    def plain(self) -> bool:
        """Whether a blank shows nothing but its background."""
        return not self.attributes & _SEEN_ON_BLANKS


_RESET = _State()


def compact(sequence: str) -> str:
    """The same screen with fewer codes. It begins and ends with the terminal reset, as what it is given."""
    first, *rest = _SGR.split(sequence)
    shown, wanted = _RESET, _RESET
    out = [first]
    for codes, text in zip(rest[::2], rest[1::2], strict=True):
        known = _after(wanted, codes)
        if known is None:
            return sequence
        wanted = known
        if text and not _UNSEEN.fullmatch(text):
            needed = wanted
            if wanted.plain and shown.plain and not text.strip(" "):
                needed = _State(shown.attributes, shown.foreground, wanted.background)
            if needed != shown:
                out.append(_change(shown, needed))
                shown = needed
        out.append(text)
    if shown != _RESET:
        out.append("\x1b[0m")
    return "".join(out)


@lru_cache(maxsize=4096)
def _after(state: _State, codes: str) -> _State | None:
    """The state after the codes of one sequence; None where one of them is not known here."""
    attributes, foreground, background = set(state.attributes), state.foreground, state.background
    for code in _grouped(codes):
        kind = code.partition(";")[0]
        if kind in ("", "0"):
            attributes, foreground, background = set(), "39", "49"
        elif kind in _OFF:
            attributes.add(kind)
        elif kind == "38" or "30" <= kind <= "37" or kind == "39" or (len(kind) == 2 and kind[0] == "9"):
            foreground = code
        elif kind == "48" or "40" <= kind <= "47" or kind == "49" or (len(kind) == 3 and kind[:2] == "10"):
            background = code
        else:
            return None
    return _State(frozenset(attributes), foreground, background)


def _grouped(codes: str) -> Iterator[str]:
    """The codes one by one, `38;5;N` and `38;2;R;G;B` as one."""
    parts = iter(codes.split(";"))
    for part in parts:
        if part in ("38", "48"):
            form = next(parts, "")
            yield ";".join([part, form, *(next(parts, "") for _ in range(3 if form == "2" else 1))])
        else:
            yield part


@lru_cache(maxsize=4096)
def _change(before: _State, after: _State) -> str:
    """The shorter of what ends and begins what differs, and a reset with all of what comes after."""
    ended = {_OFF[code] for code in before.attributes - after.attributes}
    begun = {code for code in after.attributes if code not in before.attributes or _OFF[code] in ended}
    step = [*sorted(ended), *sorted(begun), *_colours(before, after)]
    anew = ["0", *sorted(after.attributes), *_colours(_RESET, after)]
    return f"\x1b[{min(';'.join(step), ';'.join(anew), key=len)}m"


def _colours(before: _State, after: _State) -> list[str]:
    pairs = ((before.foreground, after.foreground), (before.background, after.background))
    return [new for old, new in pairs if new != old]
