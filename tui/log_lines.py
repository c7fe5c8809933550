"""Lines of a run's log as styled parts, and the search in them. Pure, without Textual."""

import re
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len, chop_cells
from rich.style import Style

from engine.text import clean
from tui.line import Part
from tui.theme import Palette

REVERSE = Style(reverse=True)

_EPOCH = re.compile(r"(\d\d:\d\d:\d\d)(\s+)(epoch [\d.]+)(.*)")
_COLUMN = "   "
_BAD = re.compile(r"(Traceback|\w*(Error|Exception)\b|error:)", re.ASCII)


def lines_of(log: str) -> list[str]:
    """The lines of a log, each without anything that a terminal would act on."""
    return [clean(text) for text in log.removesuffix("\n").split("\n")] if log else []


def log_parts(text: str, palette: Palette, width: int | None = None) -> list[Part]:
    """One line: of an epoch the number bright and the rest dim, others as text, errors in their colour.

    An epoch's line that is longer than `width` loses whole columns at its end.
    """
    found = _EPOCH.fullmatch(text)
    if not found:
        return [(text, palette.style("bad" if _BAD.match(text) else "text"))]
    while width is not None and len(text) > width and text.count(_COLUMN) > 1:
        text = text.rpartition(_COLUMN)[0]
    moment, gap, epoch, _ = found.groups()
    dim = palette.style("dim")
    rest = text[found.end(3) :]
    return [(moment + gap, dim), (epoch, palette.style("text")), (rest, dim)]


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


def rows_of(text: str, width: int) -> int:
    """Rows of `width` cells that a line takes."""
    return 1 if len(text) * 2 <= width or cell_len(text) <= width else len(chop_cells(text, width))


def first_shown(lines: Sequence[str], width: int, height: int) -> int:
    """The first of the last lines that fill the height; a line that fits only in part is left out."""
    first, room = len(lines), height
    while first > 0 and room >= (rows := rows_of(lines[first - 1], width)):
        room -= rows
        first -= 1
    return min(first, max(len(lines) - 1, 0))


def wrapped(parts: Sequence[Part], width: int) -> list[list[Part]]:
    """The parts over rows of at most `width` cells."""
    pieces = chop_cells("".join(text for text, _ in parts), max(width, 2)) or [""]
    rows: list[list[Part]] = []
    waiting = list(parts)
    for piece in pieces:
        row: list[Part] = []
        room = len(piece)
        while room and waiting:
            text, style = waiting.pop(0)
            row.append((text[:room], style))
            if text[room:]:
                waiting.insert(0, (text[room:], style))
            room -= len(row[-1][0])
        rows.append(row)
    return rows
