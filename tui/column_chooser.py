"""Two overlays of the table of runs: what to sort by, and which columns to show in which order."""

from collections.abc import Callable, Sequence

from textual import events

from tui import glyphs, line
from tui.dialogs import Choice, Option, Overlay
from tui.grid import Grid
from tui.run_table import COLUMNS, USUAL, Order
from tui.theme import Palette

NAME = "name"  # always shown


class SortChoice(Choice):
    """Choose a column to sort by; the present one again, or its key a second time, reverses."""

    def __init__(self, order: Order, key: str) -> None:
        options = [Option(column.name, column.head, _direction(order, column.name)) for column in COLUMNS.values()]
        super().__init__("Sort by", options, at=order.column)
        self._order, self._key = order, key
        self.hint = f"{key} reverses   esc close"

    def press(self, event: events.Key) -> None:
        if event.character == self._key:
            self.dismiss(self._order.column)
        elif event.key in ("enter", "up", "down", "j", "k"):
            super().press(event)


def _direction(order: Order, column: str) -> str:
    if column != order.column:
        return ""
    return f"{glyphs.active().sorted_down if order.descending else glyphs.active().sorted_up} now"


class ColumnChooser(Overlay[None]):
    """Space shows or hides a column, J and K move it, s sorts by it; every change is seen at once behind the panel."""

    title_text = "Columns"

    def __init__(self, shown: Sequence[str], order: Order, apply: Callable[[tuple[str, ...], Order], object]) -> None:
        super().__init__()
        hidden = [name for name in COLUMNS if name not in shown]
        self._names = [*(name for name in shown if name in COLUMNS), *hidden]
        self._shown = set(shown)
        self._order, self._apply = order, apply
        self._cursor = 0

    def wanted_size(self) -> tuple[int, int]:
        return 44, len(self._names) + 4

    def draw(self, grid: Grid, palette: Palette) -> None:
        signs = glyphs.active()
        rows = max(grid.height - 6, 1)
        first = min(max(self._cursor - rows + 1, 0), max(len(self._names) - rows, 0))
        for row, name in enumerate(self._names[first : first + rows]):
            at, on = first + row == self._cursor, name in self._shown
            arrow = signs.sorted_down if self._order.descending else signs.sorted_up
            grid.write(2 + row, 2, signs.chosen if at else " ", palette.style("accent", bold=True))
            grid.write(2 + row, 4, signs.state("finished") if on else " ", palette.style("good"))
            grid.write(2 + row, 6, COLUMNS[name].head, palette.style("text" if on else "dim", bold=at))
            grid.write(2 + row, 22, arrow if name == self._order.column else "", palette.style("text"))
        keys = line.keys_line([("space", "show"), ("J K", "move"), ("s", "sort"), ("0", "usual")], palette, gap=2)
        grid.write_parts(grid.height - 2, 2, keys)

    def press(self, event: events.Key) -> None:
        name = self._names[self._cursor]
        match event.character if event.character and event.character.isprintable() else event.key:
            case "j" | "down":
                self._cursor = min(self._cursor + 1, len(self._names) - 1)
            case "k" | "up":
                self._cursor = max(self._cursor - 1, 0)
            case "J":
                self._move(1)
            case "K":
                self._move(-1)
            case " " if name != NAME:
                self._shown ^= {name}
            case "s":
                self._order = self._order.chosen(name)
            case "0":
                self._names = [*USUAL, *(other for other in COLUMNS if other not in USUAL)]
                self._shown, self._order = set(USUAL), Order()
            case "enter" | "C":
                self.dismiss(None)
                return
            case _:
                return
        self._apply(tuple(name for name in self._names if name in self._shown), self._order)
        self.redraw()

    def _move(self, step: int) -> None:
        place = self._cursor + step
        if 0 <= place < len(self._names):
            self._names[self._cursor], self._names[place] = self._names[place], self._names[self._cursor]
            self._cursor = place
