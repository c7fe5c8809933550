"""Text from files, users and programs, made safe and aligned for a terminal: the one place that cleans.

Neither Textual nor Rich takes escape sequences out of the text it is given, so everything that was not written in this
source tree passes through `clean` before it is shown, printed or put into an error message.
"""

import re
import unicodedata
from functools import lru_cache

# ECMA-48 (5th edition) sections 5.3 to 5.6, each in its 7-bit form (ESC and a letter) and its 8-bit form (C1).
# A control string that never ends is cut at the end of its line: terminals would swallow what follows.
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x9c|\x1b\\)?"  # OSC, DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI
    r"|\x1b[ -/]*[0-~]?"  # the other two- and three-byte sequences, and a bare ESC
)
_LINE_BREAK = re.compile("\r*\n|[\r\v\f\x85\u2028\u2029]")

# Printable by category, yet nothing to see: variation selectors, joiners and the vowel signs that Unicode calls default
# ignorable. Terminals disagree on their width, and skin tones on whether they merge with the emoji before them.
_INVISIBLE = re.compile(
    "[\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff]"
)
# Signs that Unicode 16 made two cells wide: what a terminal draws depends on its age. And numbers in black squares,
# which the C library takes for two cells.
_DISPUTED_WIDTH = re.compile("[\u2630-\u2637\u268a-\u268f\u3248-\u324f\u4dc0-\u4dff\U0001d300-\U0001d376]")
# The letters that flags are made of: a pair is two cells everywhere, one alone one or two.
_FLAG_LETTERS = {ord("\N{REGIONAL INDICATOR SYMBOL LETTER A}") + place: chr(ord("A") + place) for place in range(26)}
_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0"  # Hangul fillers: letters without ink, as wide as two cells
_JOINED_JAMO = re.compile("[\u1160-\u11ff\ud7b0-\ud7ff]")  # vowels and finals, drawn into the syllable before them

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MARKS_PER_LETTER = 4  # Hebrew with points and accents needs four; more is a pile that covers the lines above


def clean(text: str, newlines: bool = False) -> str:
    """`text` without anything that a terminal would act on.

    Escape sequences go as a whole, then every control character, DEL, bidirectional and zero-width format character.
    A tab or any other white space becomes one space. A line break (LF, CR LF, CR, VT, FF, NEL, LS, PS) becomes a space
    too, or LF when `newlines` is set. Lone surrogates, private and unassigned characters become U+FFFD, and flags the
    letters they are made of, so that the result can be encoded as UTF-8 and every character in it has one known width.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_BREAK.sub("\n", _ESCAPE_SEQUENCE.sub("", text))
    if not newlines:
        text = text.replace("\n", " ")
    if text.isascii():
        return text.translate(_ASCII_CONTROLS)
    text = _DISPUTED_WIDTH.sub(_REPLACEMENT, _INVISIBLE.sub("", text)).translate(_FLAG_LETTERS)
    return _limit_marks("".join(map(_visible, text)))


def width(text: str) -> int:
    """Terminal cells that one line of cleaned text takes: 2 for East Asian wide characters, 0 for combining marks."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Cleaned text cut in its middle to at most `width` cells. Both ends stay, as that is where names differ."""
    if _fits(text, width):
        return text
    room = width - _width(ellipsis)
    if room < 0:
        return _head(ellipsis, width)
    head = _head(text, room - room // 2)
    return head + ellipsis + _tail(text, room - _width(head))


_width = width  # `shorten` has a parameter of that name

_ASCII_CONTROLS = dict.fromkeys([*range(32), 127]) | {ord("\t"): " ", ord("\n"): "\n"}


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    """What stands for one character: itself, a space, U+FFFD, or nothing."""
    if character in "\t" + _BLANK_LETTERS:
        return " "
    if character == "\n" or character.isprintable():
        return character
    match unicodedata.category(character):
        case "Cc" | "Cf":
            return ""
        case "Zs" | "Zl" | "Zp":
            return " "
        case _:
            return _REPLACEMENT


def _limit_marks(text: str) -> str:
    """Without the combining marks that have no letter under them, or too many marks of the same letter above."""
    kept: list[str] = []
    marks = _MARKS_PER_LETTER
    for character in text:
        marks = marks + 1 if _cells(character) == 0 else 0
        if marks <= _MARKS_PER_LETTER and not (marks and not kept):
            kept.append(character)
        if character == "\n":
            marks = _MARKS_PER_LETTER
    return "".join(kept)


@lru_cache(maxsize=4096)
def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Mc", "Cf", "Cc") or _JOINED_JAMO.match(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fits(text: str, width: int) -> bool:
    return len(text) * 2 <= width or _width(text) <= width


def _head(text: str, room: int) -> str:
    """The longest beginning of `text` of at most `room` cells."""
    used = 0
    for index, character in enumerate(text):
        used += _cells(character)
        if used > room:
            return text[:index]
    return text


def _tail(text: str, room: int) -> str:
    """The longest end of `text` of at most `room` cells that begins with a letter, not with a mark of one cut off."""
    used, start = 0, len(text)
    for index in range(len(text) - 1, -1, -1):
        cells = _cells(text[index])
        used += cells
        if used > room:
            break
        if cells:
            start = index
    return text[start:]
