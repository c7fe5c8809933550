"""A grid of styled cells that can be compared with the one shown before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from engine.text import clean

Cell = tuple[str, Style]
BLANK: Cell = (" ", Style.null())


@dataclass(frozen=True, slots=True)
class Span:
    """Some cells of a row."""

    row: int
    column: int
    width: int


class Grid:
    """Cells by row and column. Whatever is written outside of it is left out."""

    def __init__(self, width: int, height: int) -> None:
        self.width = max(width, 0)
        self.height = max(height, 0)
        self.cells: list[list[Cell]] = [[BLANK] * self.width for _ in range(self.height)]
        # What a cell's background becomes when something is written over it: a band shows through a curve.
        self._under: dict[tuple[int, int], str | None] = {}
        self._wide = False  # whether there may be characters of two cells, whose second one holds ""

    def put(self, row: int, column: int, character: str, style: Style) -> None:
        """Write one character; the background of what was there stays where `style` has none."""
        if 0 <= row < self.height and 0 <= column < self.width:
            below = self._under.get((row, column))
            if below is not None and style.bgcolor is None:
                style = style + Style(bgcolor=below)
            self.cells[row][column] = (character, style)
            if self._wide:
                self._part(row, column)
                self._part(row, column + 1)

    def write(self, row: int, column: int, text: str, style: Style) -> int:
        """Write text; returns the column after it. A wide character takes two cells, a combining one none.

        Whatever its way here was, nothing of it that a terminal would act on is put into a cell.
        """
        for character in text if text.isprintable() else clean(text):
            cells = 1 if character.isascii() else cell_len(character)
            if cells == 0:
                self._combine(row, column - 1, character)
                continue
            if cells == 1:
                self.put(row, column, character, style)
            else:
                self._put_wide(row, column, character, style)
            column += cells
        return column

    def _put_wide(self, row: int, column: int, character: str, style: Style) -> None:
        """Write a character of two cells; where only one of them is on the grid, that is left blank."""
        self.put(row, column, " ", style)
        self.put(row, column + 1, " ", style)
        if 0 <= row < self.height and 0 <= column < self.width - 1:
            self._wide = True
            for place, half in ((column, character), (column + 1, "")):
                self.cells[row][place] = (half, self.cells[row][place][1])

    def _part(self, row: int, column: int) -> None:
        """Blank the half of a wide character whose other half, across the left edge of this cell, was written over."""
        if not 0 <= column <= self.width:
            return
        cells = self.cells[row]
        before, its_style = cells[column - 1] if column else BLANK
        after, style = cells[column] if column < self.width else BLANK
        if after == "" and cell_len(before) < 2:
            cells[column] = (" ", style)
        elif after != "" and cell_len(before) == 2:
            cells[column - 1] = (" ", its_style)

    def _combine(self, row: int, column: int, character: str) -> None:
        if 0 <= row < self.height and 0 <= column < self.width:
            column -= self.cells[row][column][0] == "" and column > 0  # the second cell of a wide character
            base, style = self.cells[row][column]
            self.cells[row][column] = (base + character, style)

    def write_parts(self, row: int, column: int, parts: Sequence[tuple[str, Style]]) -> int:
        for text, style in parts:
            column = self.write(row, column, text, style)
        return column

    def fill(self, row: int, column: int, width: int, character: str, style: Style) -> None:
        self.write(row, column, character * width, style)

    def tint(self, row: int, column: int, colour: str) -> None:
        """Give a cell a background, now and under whatever is written there later."""
        if 0 <= row < self.height and 0 <= column < self.width:
            character, style = self.cells[row][column]
            self.cells[row][column] = (character, style + Style(bgcolor=colour))
            self._under[row, column] = colour

    def edge(self, row: int, column: int, block: str, style: Style, under: str | None) -> None:
        """Write a block that fills part of a cell; what is written there later has the background `under`."""
        if 0 <= row < self.height and 0 <= column < self.width:
            self.cells[row][column] = (block, style)
            self._under[row, column] = under

    def paste(self, row: int, column: int, part: "Grid") -> None:
        """Copy another grid into this one, its first cell to (row, column); what lies outside is left out."""
        for offset, cells in enumerate(part.cells):
            if 0 <= row + offset < self.height:
                kept = cells[: max(self.width - column, 0)]
                self.cells[row + offset][column : column + len(kept)] = kept
                if self._wide or part._wide:
                    self._part(row + offset, column)
                    self._part(row + offset, column + len(kept))
        self._wide |= part._wide

    def segments(self, row: int) -> list[Segment]:
        """A row as runs of equal style."""
        runs = groupby(self.cells[row], key=lambda cell: cell[1])
        return [Segment("".join(character for character, _ in run), style) for style, run in runs]

    def text(self) -> str:
        """The characters alone, rows without trailing blanks."""
        return "\n".join("".join(character for character, _ in row).rstrip() for row in self.cells)


def changed_spans(before: Grid, after: Grid, join: int = 4) -> Iterator[Span]:
    """The spans of cells that differ between two grids of one size.

    Spans in a row that are fewer than `join` cells apart are one: moving the cursor there costs as much as the cells.
    """
    for row, (old, new) in enumerate(zip(before.cells, after.cells, strict=True)):
        if old == new:
            continue
        start = end = -1
        for column, (was, now) in enumerate(zip(old, new, strict=True)):
            if was == now:
                continue
            if start >= 0 and column - end >= join:
                yield Span(row, start, end - start)
                start = -1
            if start < 0:
                start = column - (now[0] == "" or was[0] == "")
            end = column + 1
        yield Span(row, start, end - start)
