"""The filter as one types it: the last good one stays, terms are coloured, and what is wrong is said."""

import re
from dataclasses import dataclass

from tui import filter as run_filter
from tui import glyphs
from tui.dialogs import TextLine
from tui.filter import Filter, FilterError
from tui.line import Part
from tui.theme import Palette

LONGEST = 500
_TOKEN = re.compile(r'\s+|\||(?:"[^"]*"?|[^\s"|])+')
_TERM = re.compile(r"(-?[A-Za-z_][A-Za-z0-9_]*)(<=|>=|!=|[<>=:])(.*)", re.DOTALL)


@dataclass
class FilterBox:
    """A line of text and the last filter that could be read from it."""

    line: TextLine
    good: Filter
    error: str = ""

    @classmethod
    def empty(cls) -> "FilterBox":
        return cls(TextLine(), run_filter.parse(""))

    @property
    def text(self) -> str:
        return self.line.text

    @property
    def active(self) -> bool:
        """Whether anything is filtered out."""
        return bool(self.good.alternatives)

    def read(self) -> bool:
        """Read the line; whether the filter is another one now."""
        if len(self.line.text) > LONGEST:
            self.line.set(self.line.text[:LONGEST])
        text = self.line.text.strip()
        try:
            found = run_filter.parse(text)
        except FilterError as error:
            self.error = str(error)
            return False
        self.error = ""
        changed = found.text != self.good.text
        self.good = found
        return changed

    def clear(self) -> None:
        self.line.set("")
        self.read()


def parts_of(text: str, palette: Palette) -> list[Part]:
    """A filter with its keys dim and its values bright: `status:` `live`."""
    parts: list[Part] = []
    bright, dim = palette.style("text"), palette.style("dim")
    for token in _TOKEN.findall(text):
        term = _TERM.fullmatch(token)
        if term and term[2] == ":":
            parts += [(term[1] + term[2], dim), (term[3], bright)]
        elif term:
            parts += [(term[1], dim), (term[2] + term[3], bright)]
        else:
            parts.append((token, dim if token == "|" else bright))
    return parts


def prompt(palette: Palette) -> Part:
    """The sign before the filter."""
    return "/ ", palette.style("accent", bold=True)


def cut_note(text: str) -> str:
    """A filter in a sentence."""
    return text if len(text) <= 40 else text[:39] + glyphs.active().ellipsis
