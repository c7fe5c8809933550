"""The palette: every action of the screen by name, filtered as one types."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from tui import keys
from tui.filter import fuzzy
from tui.grid import Grid
from tui.keys import Keymap
from tui.searched_list import SearchedList

WIDTH = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One action: its name in the code, what it says, where it belongs, its key."""

    name: str
    text: str
    group: str
    key: str


def entries(keymap: Keymap, scope: str, has: Sequence[str]) -> list[Entry]:
    """The actions of a screen that it can do (`has`), those of every screen last."""
    actions = sorted(keymap.on(scope), key=lambda action: action.scope == "everywhere")
    return [
        Entry(action.name, action.text, action.group, keys.display(action.keys[0]))
        for action in actions
        if action.name in has and action.name not in ("palette", "cursor_down", "cursor_up")
    ]


def matching(every: Sequence[Entry], typed: str) -> list[Entry]:
    """The entries whose words, group or name hold what was typed: those that begin with it first."""
    words = typed.lower().split()
    found = [
        entry
        for entry in every
        if all(fuzzy(word, f"{entry.text} {entry.group} {entry.name.replace('_', ' ')}") for word in words)
    ]
    return sorted(found, key=lambda entry: not entry.text.lower().startswith(typed.lower().strip()))


class PaletteOverlay(SearchedList[Entry]):
    """The answer is the action's name."""

    title_text = "Actions"

    def wanted_size(self) -> tuple[int, int]:
        return WIDTH, self.rows_wanted

    def matching(self, typed: str) -> list[Entry]:
        return matching(self._every, typed)

    def draw_entry(self, grid: Grid, row: int, column: int, entry: Entry, *, chosen: bool) -> None:
        palette = self.palette
        end = grid.write(row, column, entry.text, palette.style("text", bold=chosen))
        key_at = grid.width - 4 - cell_len(entry.key)
        group_at = max(grid.width - 28, end + 2)
        grid.write(row, group_at, entry.group[: max(key_at - group_at - 1, 0)], palette.style("dim"))
        grid.write(row, key_at, entry.key, palette.style("accent", bold=True))

    def value_of(self, entry: Entry) -> str:
        return entry.name
