"""Lists that narrow as one types: the base of the palette, and a choice among many."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rich.cells import cell_len
from textual import events

from tui import glyphs, line
from tui.dialogs import Choice, Option, Overlay, TextLine
from tui.filter import fuzzy
from tui.grid import Grid
from tui.line import Part
from tui.theme import Palette

Entry = TypeVar("Entry")

ROWS, MANY = 18, 10
_ABOVE, _BELOW = 3, 2  # rows around the entries: the frame, what is typed and a blank; a blank and the frame
_COLUMN = 5


class SearchedList(Overlay[str], Generic[Entry]):
    """Type, choose with up and down, enter takes it. Give `matching`, `draw_entry` and `value_of`."""

    none_found = "nothing is called that"

    def __init__(self, every: Sequence[Entry], cursor: int = 0) -> None:
        super().__init__()
        self._every = list(every)
        self._shown = self._every
        self._line = TextLine()
        self._cursor = cursor

    def matching(self, typed: str) -> list[Entry]:
        """The entries that hold what was typed, the best first."""
        raise NotImplementedError

    def draw_entry(self, grid: Grid, row: int, column: int, entry: Entry, *, chosen: bool) -> None:
        """Write one entry from `column` on."""
        raise NotImplementedError

    def value_of(self, entry: Entry) -> str:
        """The answer that choosing an entry gives."""
        raise NotImplementedError

    @property
    def rows_wanted(self) -> int:
        """Rows inside the frame."""
        return min(len(self._every), ROWS) + _ABOVE + _BELOW - 2

    def draw(self, grid: Grid, palette: Palette) -> None:
        accent = palette.style("accent", bold=True)
        grid.write(1, _COLUMN - 2, glyphs.active().chosen, accent)
        self._line.draw(grid, 1, _COLUMN, grid.width - _COLUMN - 3, palette, focused=True)
        first, rows = self._window()
        for row, entry in enumerate(self._shown[first : first + rows], start=_ABOVE):
            chosen = first + row - _ABOVE == self._cursor
            if chosen:
                grid.write(row, _COLUMN - 2, glyphs.active().chosen, accent)
            self.draw_entry(grid, row, _COLUMN, entry, chosen=chosen)
        if not self._shown:
            grid.write(_ABOVE, _COLUMN, self.none_found, palette.style("dim"))
        below = len(self._shown) - first - rows
        if below > 0:
            grid.write(grid.height - 1, _COLUMN - 2, f" {below} more {glyphs.active().down} ", palette.style("dim"))

    def _window(self) -> tuple[int, int]:
        """The first entry that is seen, and for how many there is room."""
        rows = max(self.inside[1] + 2 - _ABOVE - _BELOW, 1)
        return max(self._cursor - rows + 1, 0), rows

    def press(self, event: events.Key) -> None:
        if event.key in ("down", "up", "ctrl+n", "ctrl+p"):
            step = 1 if event.key in ("down", "ctrl+n") else -1
            self._cursor = (self._cursor + step) % max(len(self._shown), 1)
        elif event.key in ("pagedown", "pageup"):
            by = self._window()[1] * (1 if event.key == "pagedown" else -1)
            self._cursor = min(max(self._cursor + by, 0), max(len(self._shown) - 1, 0))
        elif event.key == "enter":
            if self._shown:
                self.dismiss(self.value_of(self._shown[self._cursor]))
            return
        elif self._line.press(event):
            self._narrow()
        self.redraw()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._line.insert(event.text)
        self._narrow()
        self.redraw()

    def _narrow(self) -> None:
        self._shown = self.matching(self._line.text)
        self._cursor = 0

    def clicked(self, column: int, row: int) -> None:
        first, rows = self._window()
        at = first + row - _ABOVE
        if _ABOVE <= row < _ABOVE + rows and at < len(self._shown):
            self.dismiss(self.value_of(self._shown[at]))


class SearchedChoice(SearchedList[Option]):
    """One of many, found by words of its label or remark."""

    def __init__(self, title: str, options: Sequence[Option], *, at: str = "") -> None:
        super().__init__(options, next((i for i, option in enumerate(options) if option.value == at), 0))
        self.title_text = title
        self._labels = _widest(options, lambda option: option.label)
        self._remarks = _widest(options, lambda option: option.remark)

    def wanted_size(self) -> tuple[int, int]:
        return max(self._labels + self._remarks + 2 * _COLUMN, len(self.title_text) + 20), self.rows_wanted

    def matching(self, typed: str) -> list[Option]:
        words = typed.lower().split()
        found = [
            option
            for option in self._every
            if all(fuzzy(word, option.label) or word in option.remark.lower() for word in words)
        ]
        return sorted(found, key=lambda option: not all(word in option.label.lower() for word in words))

    def draw_entry(self, grid: Grid, row: int, column: int, entry: Option, *, chosen: bool) -> None:
        parts: list[Part] = [
            (entry.label + " " * (self._labels - cell_len(entry.label) + 2), self.palette.style("text", bold=chosen)),
            (entry.remark, self.palette.style("dim")),
        ]
        grid.write_parts(row, column, line.cut(parts, grid.width - column - 3))

    def value_of(self, entry: Option) -> str:
        return entry.value


def choice(title: str, options: Sequence[Option], *, at: str = "") -> Overlay[str]:
    """Choose one of several: by its first letter, or by what one types where they are many."""
    return (SearchedChoice if len(options) > MANY else Choice)(title, options, at=at)


def _widest(options: Sequence[Option], text: Callable[[Option], str]) -> int:
    return max((cell_len(text(option)) for option in options), default=0)
