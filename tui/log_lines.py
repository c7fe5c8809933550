"""Lines of a run's log as styled parts, and the search in them. Pure, without Textual."""

import re
from collections.abc import Sequence
from itertools import pairwise

from rich.style import Style

from engine.text import clean
from tui.line import Part
from tui.theme import Palette

REVERSE = Style(reverse=True)

_EPOCH = re.compile(r"(\d\d:\d\d:\d\d)(\s+)(epoch [\d.]+)(.*)")
_BAD = re.compile(r"(Traceback|\w*(Error|Exception)\b|error:)", re.ASCII)


def lines_of(log: str) -> list[str]:
    """The lines of a log, each without anything that a terminal would act on."""
    return [clean(text) for text in log.removesuffix("\n").split("\n")] if log else []


def log_parts(text: str, palette: Palette) -> list[Part]:
    """One line: of an epoch the number bright and the rest dim, others as text, errors in their colour."""
    found = _EPOCH.fullmatch(text)
    if found:
        moment, gap, epoch, rest = found.groups()
        dim = palette.style("dim")
        return [(moment + gap, dim), (epoch, palette.style("text")), (rest, dim)]
    return [(text, palette.style("bad" if _BAD.match(text) else "text"))]


def marked(parts: Sequence[Part], wanted: str, palette: Palette) -> list[Part]:
    """The parts with every occurrence of `wanted`, in either case, reversed in the accent."""
    text = "".join(piece for piece, _ in parts)
    spans = occurrences(text, wanted)
    if not spans:
        return list(parts)
    style = palette.style("accent", bold=True) + REVERSE
    cut: list[Part] = []
    position = 0
    for piece, plain in parts:
        end = position + len(piece)
        edges = sorted({position, end, *(edge for span in spans for edge in span if position < edge < end)})
        for start, stop in pairwise(edges):
            inside = any(first <= start and stop <= last for first, last in spans)
            cut.append((text[start:stop], style if inside else plain))
        position = end
    return cut


def occurrences(text: str, wanted: str) -> list[tuple[int, int]]:
    """Where `wanted` stands in the text, in either case."""
    if not wanted:
        return []
    return [found.span() for found in re.finditer(re.escape(wanted), text, re.IGNORECASE)]


def matching(lines: Sequence[str], wanted: str) -> list[int]:
    """Indices of the lines that hold `wanted`, in either case."""
    return [index for index, text in enumerate(lines) if occurrences(text, wanted)]
