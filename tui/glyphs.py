"""Every sign the screens use, once for a UTF-8 terminal and once for ASCII.

A set is chosen once at start-up (`choose`); whatever draws asks `active()` for it.
"""

import locale
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of signs. All are one cell wide, except those that ASCII can only spell."""

    utf8: bool
    states: Mapping[str, str]
    marked: str
    chosen: str
    breadcrumb: str
    bar_done: str
    bar_rest: str
    bar_half: str
    rule: str
    upright: str
    best: str
    cross_hair: str
    point: str
    quiet: str
    ellipsis: str
    sorted_down: str
    sorted_up: str
    enter: str
    up: str
    down: str
    left: str
    right: str
    minus: str
    times: str
    about: str
    plus_minus: str
    degree: str
    unknown: str
    infinity: str
    same: str
    legend: str
    legend_dashed: str
    corners: str

    def state(self, word: str) -> str:
        """The sign of a run's state; a word that is no state gets the sign of `unknown`."""
        return self.states.get(word, self.states["unknown"])


UTF8 = Glyphs(
    utf8=True,
    states=MappingProxyType(
        {
            "queued": "○",
            "starting": "◌",
            "running": "●",
            "paused": "‖",
            "held": "‖",
            "finished": "✓",
            "stopped": "■",
            "diverged": "∞",
            "failed": "✗",
            "crashed": "†",
            "unknown": "?",
        }
    ),
    marked="▌",
    chosen="›",
    breadcrumb="›",
    bar_done="━",
    bar_rest="━",
    bar_half="╸",
    rule="─",
    upright="│",
    best="◆",
    cross_hair="●",
    point="•",
    quiet="·",
    ellipsis="…",
    sorted_down="↓",
    sorted_up="↑",
    enter="⏎",
    up="↑",
    down="↓",
    left="←",
    right="→",
    minus="−",
    times="×",
    about="≈",
    plus_minus="±",
    degree="°",
    unknown="–",
    infinity="∞",
    same="·",
    legend="━",
    legend_dashed="╌",
    corners="┌┐└┘",
)

ASCII = Glyphs(
    utf8=False,
    states=MappingProxyType(
        {
            "queued": "o",
            "starting": "~",
            "running": ">",
            "paused": "=",
            "held": "=",
            "finished": "+",
            "stopped": "#",
            "diverged": "%",
            "failed": "x",
            "crashed": "!",
            "unknown": "?",
        }
    ),
    marked="*",
    chosen=">",
    breadcrumb=">",
    bar_done="#",
    bar_rest="-",
    bar_half="-",
    rule="-",
    upright="|",
    best="@",
    cross_hair="o",
    point="*",
    quiet=".",
    ellipsis="..",
    sorted_down="v",
    sorted_up="^",
    enter="enter",
    up="up",
    down="down",
    left="left",
    right="right",
    minus="-",
    times="x",
    about="~",
    plus_minus="+-",
    degree="",
    unknown="-",
    infinity="inf",
    same=".",
    legend="=",
    legend_dashed="-",
    corners="++++",
)

# The same width in cells, so that a finished line can be respelled without moving anything in it. Fixed words of the
# screens pass through here; signs with a longer ASCII spelling are spelled by the set above before they are laid out.
_NEAREST = str.maketrans(
    {
        "○": "o", "◌": "~", "●": ">", "‖": "=", "✓": "+", "■": "#", "∞": "%", "✗": "x", "†": "!",
        "▌": "*", "›": ">", "━": "#", "╸": "-", "╺": "-", "╌": "-", "─": "-", "│": "|", "◆": "@",
        "·": ".", "•": "*", "…": ".", "↓": "v", "↑": "^", "←": "<", "→": ">", "⏎": "<", "−": "-", "–": "-",
        "—": "-", "×": "x", "÷": "/", "≈": "~", "±": "~", "≥": ">", "≤": "<", "°": " ", "┌": "+", "┐": "+", "└": "+",
        "┘": "+", "▀": "#", "’": "'", "‘": "'", "“": '"', "”": '"',
    }
)  # fmt: skip

_active = UTF8


def active() -> Glyphs:
    """The set in use."""
    return _active


def choose(utf8: bool) -> Glyphs:
    """Use the UTF-8 or the ASCII set from now on, and return it."""
    global _active
    _active = UTF8 if utf8 else ASCII
    return _active


def terminal_is_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the locale says that the terminal shows UTF-8: LC_ALL, then LC_CTYPE, then LANG, as POSIX orders them."""
    named = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG")
    if named is None:
        return locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"
    return "utf8" in named.lower().replace("-", "")


def to_ascii(text: str) -> str:
    """Respell `text` in ASCII, character for character: the nearest sign, a braille pattern by the height of its dots,
    anything else `?`."""
    if text.isascii():
        return text
    return "".join(_ascii_character(character) for character in text.translate(_NEAREST))


def _ascii_character(character: str) -> str:
    if character.isascii():
        return character
    if "\u2800" <= character <= "\u28ff":
        return curve_ascii(ord(character) - 0x2800)
    return "?"


def curve_ascii(dots: int) -> str:
    """The ASCII sign of a braille pattern, bits as Unicode numbers them: `'` high, `.` low, `:` both."""
    upper, lower = dots & 0b00011011, dots & 0b11100100
    return (" ", "'", ".", ":")[bool(upper) + 2 * bool(lower)]
