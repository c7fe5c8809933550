"""Tables as plain lines, aligned by terminal cells, for standard output."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine import text
from tui import glyphs

GAP = "  "


@dataclass(frozen=True)
class Column:
    """One column. The higher ``drop``, the sooner it goes where there is no room; 0 stays."""

    head: str
    right: bool = False
    drop: int = 0
    limit: int = 0


def render(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None = None) -> list[str]:
    """The lines of a table: heads, then rows. Whole columns go until it fits ``room`` cells (None: any width)."""
    kept, lines = fit(columns, rows, room)
    return [GAP.join(line[index] for index in kept).rstrip() for line in lines]


def fit(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None = None
) -> tuple[list[int], list[list[str]]]:
    """Positions of the columns that fit into ``room`` cells, and all lines, heads first, padded to equal widths."""
    heads = [column.head for column in columns]
    lines = [[_cut(cell, column) for cell, column in zip(row, columns, strict=True)] for row in (heads, *rows)]
    widths = [max(text.width(line[index]) for line in lines) for index in range(len(columns))]
    padded = [
        [_aligned(cell, width, column.right) for cell, width, column in zip(line, widths, columns, strict=True)]
        for line in lines
    ]
    return _kept(columns, widths, room), padded


def _cut(cell: str, column: Column) -> str:
    cleaned = text.clean(cell)
    return text.shorten(cleaned, column.limit, glyphs.active().ellipsis) if column.limit else cleaned


def _kept(columns: Sequence[Column], widths: Sequence[int], room: int | None) -> list[int]:
    kept = list(range(len(columns)))
    while room is not None and sum(widths[i] for i in kept) + len(GAP) * (len(kept) - 1) > room:
        droppable = [i for i in kept if columns[i].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda i: columns[i].drop))
    return kept


def _aligned(cell: str, width: int, right: bool) -> str:
    padding = " " * (width - text.width(cell))
    return padding + cell if right else cell + padding
