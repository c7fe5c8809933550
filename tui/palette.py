"""The palette: every action of the screen by name, filtered as one types."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events

from tui import glyphs, keys
from tui.dialogs import Overlay, TextLine
from tui.filter import fuzzy
from tui.grid import Grid
from tui.keys import Keymap
from tui.theme import Palette

WIDTH, ROWS = 64, 18


@dataclass(frozen=True, slots=True)
class Entry:
    """One action: its name in the code, what it says, where it belongs, its key."""

    name: str
    text: str
    group: str
    key: str


def entries(keymap: Keymap, scope: str, has: Sequence[str]) -> list[Entry]:
    """The actions of a screen that it can do (`has`), those of everywhere last."""
    found = [
        Entry(action.name, action.text, action.group, keys.display(action.keys[0]))
        for action in keymap.on(scope)
        if action.name in has and action.name not in ("palette", "cursor_down", "cursor_up")
    ]
    return sorted(found, key=lambda entry: entry.group == "Everywhere")


def matching(every: Sequence[Entry], typed: str) -> list[Entry]:
    """The entries whose words, group or name hold what was typed: those that begin with it first."""
    words = typed.lower().split()
    found = [
        entry
        for entry in every
        if all(fuzzy(word, f"{entry.text} {entry.group} {entry.name.replace('_', ' ')}") for word in words)
    ]
    return sorted(found, key=lambda entry: not entry.text.lower().startswith(typed.lower().strip()))


class PaletteOverlay(Overlay[str]):
    """Type, choose with up and down, enter does it; the answer is the action's name."""

    title_text = "Actions"

    def __init__(self, every: Sequence[Entry]) -> None:
        super().__init__()
        self._every = list(every)
        self._shown = self._every
        self._line = TextLine()
        self._cursor = 0

    def wanted_size(self) -> tuple[int, int]:
        return WIDTH, min(len(self._every), ROWS) + 4

    def draw(self, grid: Grid, palette: Palette) -> None:
        grid.write(1, 3, glyphs.active().chosen, palette.style("accent", bold=True))
        self._line.draw(grid, 1, 5, grid.width - 8, palette, focused=True)
        rows = grid.height - 5
        first = max(self._cursor - rows + 1, 0)
        for row, entry in enumerate(self._shown[first : first + rows], start=3):
            self._draw_entry(grid, row, entry, palette, chosen=first + row - 3 == self._cursor)
        if not self._shown:
            grid.write(3, 5, "nothing is called that", palette.style("dim"))

    def _draw_entry(self, grid: Grid, row: int, entry: Entry, palette: Palette, *, chosen: bool) -> None:
        if chosen:
            grid.write(row, 3, glyphs.active().chosen, palette.style("accent", bold=True))
        end = grid.write(row, 5, entry.text, palette.style("text", bold=chosen))
        key_at = grid.width - 4 - cell_len(entry.key)
        group_at = max(grid.width - 28, end + 2)
        grid.write(row, group_at, entry.group[: max(key_at - group_at - 1, 0)], palette.style("dim"))
        grid.write(row, key_at, entry.key, palette.style("accent", bold=True))

    def press(self, event: events.Key) -> None:
        if event.key in ("down", "up", "ctrl+n", "ctrl+p"):
            step = 1 if event.key in ("down", "ctrl+n") else -1
            self._cursor = (self._cursor + step) % max(len(self._shown), 1)
        elif event.key == "enter":
            if self._shown:
                self.dismiss(self._shown[self._cursor].name)
            return
        elif self._line.press(event):
            self._shown = matching(self._every, self._line.text)
            self._cursor = 0
        self.redraw()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._line.insert(event.text)
        self._shown = matching(self._every, self._line.text)
        self._cursor = 0
        self.redraw()

    def clicked(self, column: int, row: int) -> None:
        first = max(self._cursor - (self.inside[1] - 3) + 1, 0)
        if row - 3 >= 0 and first + row - 3 < len(self._shown):
            self.dismiss(self._shown[first + row - 3].name)
