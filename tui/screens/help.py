"""The keys of a screen, made from the table of actions."""

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events

from tui import glyphs, keys
from tui.dialogs import Overlay
from tui.grid import Grid
from tui.keys import Keymap
from tui.screens.base import shown_path
from tui.theme import Palette

COLUMN = 32
KEYS = 9
_INDENT = 2

Lines = list[tuple[str, str]]
Group = tuple[str, Lines]

NAMES = {
    "runs": "Runs", "empty": "Runs", "new": "New run", "run": "Run", "log": "Log", "compare": "Compare",
    "queue": "Queue", "results": "Results",
}  # fmt: skip
FILTER = (
    ("resnet", "name, architecture or tag, letters in order"),
    ("lr>=0.01  params<5M  val>92", "numbers; k M G and % are understood"),
    ("status:live,failed  -note:debug", "one of several words; a minus leaves out"),
    ("wrn | densenet", "either; a space means both"),
)


def columns_of(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Groups in columns from left to right, each put where there is least so far."""
    columns: list[list[Group]] = [[] for _ in range(count)]
    for group in groups:
        min(columns, key=_height).append(group)
    return columns


def _height(column: Sequence[Group]) -> int:
    return sum(len(lines) + 2 for _, lines in column)


def draw_help(keymap: Keymap, scope: str, width: int, keys_file: str, palette: Palette) -> Grid:
    """All of the help in `width` columns, as many rows as it takes."""
    *groups, everywhere = keymap.help(scope)
    count = max(min(width // COLUMN, len(groups), 3), 1)
    column = width // count
    columns = columns_of(groups, count)
    tallest = max(map(_height, columns))
    per_column = -(-len(everywhere[1]) // count)
    filters = FILTER if scope == "runs" else ()
    grid = Grid(width, tallest + per_column + 2 + (len(filters) + 2 if filters else 0) + 3)
    for index, stacked in enumerate(columns):
        row = 0
        for heading, lines in stacked:
            _draw_heading(grid, row, index * column, column - 3, heading, palette)
            _draw_lines(grid, row + 1, index * column, column, lines, palette)
            row += len(lines) + 2
    row = tallest
    _draw_heading(grid, row, 0, width - 1, everywhere[0], palette)
    for index in range(count):
        part = everywhere[1][index * per_column : (index + 1) * per_column]
        _draw_lines(grid, row + 1, index * column, column, part, palette)
    row += per_column + 2
    if filters:
        row = _draw_filter(grid, row, width, filters, palette)
    end = grid.write(row, 0, "What changes a run is upper case.", palette.style("dim"))
    place = (row, max(40, end + 3)) if end + 3 + 16 + cell_len(keys_file) <= width else (row + 1, 0)
    grid.write(place[0], grid.write(*place, "Change a key in ", palette.style("dim")), keys_file, palette.style("text"))
    grid.height = place[0] + 1
    del grid.cells[grid.height :]
    return grid


def _draw_heading(grid: Grid, row: int, column: int, width: int, heading: str, palette: Palette) -> None:
    end = grid.write(row, column, heading, palette.style("text", bold=True)) + 1
    grid.fill(row, end, max(column + width - end, 0), glyphs.active().rule, palette.style("rule"))


def _draw_lines(grid: Grid, row: int, column: int, width: int, lines: Lines, palette: Palette) -> None:
    widest = max((cell_len(key) for key, _ in lines), default=0)
    gap = max(KEYS, widest + 2)
    for offset, (key, text) in enumerate(lines):
        grid.write(row + offset, column, key, palette.style("accent", bold=True))
        grid.write(row + offset, column + gap, text[: max(width - gap - 1, 0)], palette.style("text"))


def _draw_filter(grid: Grid, row: int, width: int, examples: Sequence[tuple[str, str]], palette: Palette) -> int:
    _draw_heading(grid, row, 0, width - 1, "Filter", palette)
    for offset, (example, text) in enumerate(examples, start=1):
        grid.write(row + offset, 0, example, palette.style("accent"))
        grid.write(row + offset, 40, text[: max(width - 40, 0)], palette.style("dim"))
    return row + len(examples) + 2


class HelpOverlay(Overlay[None]):
    """The keys of one screen. What does not fit scrolls."""

    def __init__(self, scope: str, keymap: Keymap, keys_file: str) -> None:
        super().__init__()
        self.title_text = f"Keys: {NAMES.get(scope, scope)}"
        self._scope, self._keymap, self._file = scope, keymap, keys_file
        self._top = 0

    def _content(self, width: int) -> Grid:
        return draw_help(self._keymap, self._scope, width, self._file, self.palette)

    def wanted_size(self) -> tuple[int, int]:
        width = min(3 * COLUMN, self.app.size.width - 6 - 2 * _INDENT)
        return width + 2 * _INDENT - 1, self._content(width).height + 2

    def draw(self, grid: Grid, palette: Palette) -> None:
        content = self._content(grid.width - 2 - 2 * _INDENT + 1)
        rows = grid.height - 4
        self._top = max(min(self._top, content.height - rows), 0)
        content.cells = content.cells[self._top : self._top + rows]
        grid.paste(2, 1 + _INDENT, content)
        if self._top + rows < content.height:
            grid.write(grid.height - 1, 3, f" {glyphs.active().down} more ", palette.style("dim"))

    def press(self, event: events.Key) -> None:
        steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pagedown": 10, "ctrl+d": 10, "pageup": -10, "ctrl+u": -10}
        if event.key in steps:
            self._top += steps[event.key]
            self.redraw()
        elif event.character in ("?", "q"):
            self.dismiss(None)


def overlay(scope: str, keymap: Keymap, environ: dict[str, str]) -> HelpOverlay:
    """The help of a screen."""
    return HelpOverlay(scope, keymap, shown_path(keys.user_file(environ)))
