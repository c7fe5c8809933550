"""Lines of parts: text with a style each, laid out to the left and to the right of one row. Pure, without Textual."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style

from tui import glyphs
from tui.grid import Grid
from tui.theme import Palette

Part = tuple[str, Style]
MARGIN = 1
_FACTS_GAP = 2


def width_of(parts: Sequence[Part]) -> int:
    """Cells that the parts take."""
    return sum(cell_len(text) for text, _ in parts)


def lay_out(grid: Grid, row: int, left: Sequence[Part], right: Sequence[Part], margin: int = MARGIN) -> None:
    """Write `left` from the left margin and `right` up to the right one; where they meet, the left is cut."""
    start = max(grid.width - margin - width_of(right), margin)
    room = start - margin - (_FACTS_GAP if right else 0)
    grid.write_parts(row, margin, cut(left, room))
    grid.write_parts(row, start, right)


def cut(parts: Sequence[Part], width: int) -> list[Part]:
    """The parts in at most `width` cells, with an ellipsis where something was cut off."""
    if width_of(parts) <= width:
        return list(parts)
    ellipsis = glyphs.active().ellipsis
    room, kept = width - len(ellipsis), []
    if room < 0:
        return []
    for text, style in parts:
        piece = text if cell_len(text) <= room else _first_cells(text, room)
        room -= cell_len(piece)
        kept.append((piece, style))
        if piece != text:
            return [*kept, (ellipsis, style)]
    return kept


def _first_cells(text: str, width: int) -> str:
    end = len(text)
    while end and cell_len(text[:end]) > width:
        end -= 1
    return text[:end]


def bar(share: float | None, width: int, style: Style, palette: Palette) -> list[Part]:
    """A bar of `width` cells, `share` (0 to 1) of it done, to half a cell."""
    signs = glyphs.active()
    halves = round(min(max(share or 0.0, 0.0), 1.0) * width * 2)
    full, half = divmod(halves, 2)
    done = signs.bar_done * full + signs.bar_half * half
    return [(done, style), (signs.bar_rest * (width - full - half), palette.style("rule"))]


def pane_head(
    title: str, width: int, palette: Palette, facts: Sequence[Part] = (), *, focused: bool = False
) -> list[Part]:
    """`Title ───── facts`: title and rule are in the accent when the pane has the focus."""
    name = palette.style("accent", bold=True) if focused else palette.style("dim")
    rule = palette.style("accent" if focused else "rule")
    facts = cut(facts, max(width - cell_len(title) - _FACTS_GAP, 0))
    taken = cell_len(title) + 1 + (width_of(facts) + _FACTS_GAP if facts else 0)
    line = glyphs.active().rule * max(width - taken, 0)
    gap = " " * (_FACTS_GAP if facts else 0)
    return [(title, name), (" ", name), (line, rule), (gap, rule), *facts]


def keys_line(entries: Sequence[tuple[str, str]], palette: Palette, gap: int = 3) -> list[Part]:
    """`h cross-hair   S stop`: keys in the accent, words dim."""
    parts: list[Part] = []
    for index, (key, word) in enumerate(entries):
        parts.append((" " * gap if index else "", palette.style("dim")))
        parts.append((key, palette.style("accent", bold=True)))
        parts.append((f" {word}", palette.style("dim")))
    return parts
