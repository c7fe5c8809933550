"""Where the parts of the Run screen stand for a size of terminal. Pure arithmetic."""

from dataclasses import dataclass
from typing import Literal

SizeClass = Literal["narrow", "normal", "wide"]

SIDE, SIDE_WIDE = 40, 47  # the side pane's rule, its margins and 37 (wide: 44) cells of text
PLOT_GAP = 2
NARROW_LOG, NORMAL_LOG, WIDE_LOG = 2, 3, 5
MOST_LOG = 12
UPPER_SHARE = 15 / 27  # accuracy over loss
LEAST_PLOT = 5
UPPER_TICKS_FROM = 14


@dataclass(frozen=True, slots=True)
class Place:
    """A plot's cells within the board of plots."""

    name: str
    column: int
    row: int
    width: int
    height: int
    x_axis: bool = True

    def holds(self, column: int, row: int) -> bool:
        return 0 <= column - self.column < self.width and 0 <= row - self.row < self.height


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Rows and columns of the parts. `log` counts its head (narrow: the rule and the line of figures)."""

    lines: int
    settings: bool
    board: int
    side: int
    log: int
    places: tuple[Place, ...]


def arrange(width: int, height: int, size: SizeClass, focused: str, whole_screen: bool) -> RunLayout:
    """The layout for a terminal of `width` by `height`, header and footer included."""
    settings = size != "narrow"
    lines = 2 + settings
    room = height - 2 - lines
    if whole_screen:
        place = Place(focused, 0, 0, width, room)
        return RunLayout(lines, settings, room, 0, 0, (place,))
    head = 1 if settings else 2
    least_log = {"narrow": NARROW_LOG, "normal": NORMAL_LOG, "wide": WIDE_LOG}[size]
    log_rows = min(max(least_log, (room - head - least_log) // 9), MOST_LOG)
    board = room - log_rows - head
    side = {"narrow": 0, "normal": SIDE, "wide": SIDE_WIDE}[size]
    places = _four(width - side, board) if size == "wide" else _two(width - side, board, focused)
    return RunLayout(lines, settings, board, side, log_rows + head, places)


def _two(width: int, height: int, focused: str) -> tuple[Place, ...]:
    """Accuracy over loss, or the one in focus where there is no room for both."""
    width = width - 1
    upper = round(height * UPPER_SHARE)
    names = ("accuracy", "loss") if focused in ("accuracy", "loss", "log") else (focused, "loss")
    if height - upper < LEAST_PLOT:
        return (Place(focused if focused != "log" else "accuracy", 0, 0, width, height),)
    ticks = height >= UPPER_TICKS_FROM
    if focused not in ("accuracy", "loss", "log"):
        names = ("lr", "throughput")
    return (
        Place(names[0], 0, 0, width, upper, x_axis=ticks),
        Place(names[1], 0, upper, width, height - upper),
    )


def _four(width: int, height: int) -> tuple[Place, ...]:
    """Accuracy and loss, under them learning rate and throughput, below one blank row where there is one to spare."""
    each = (width - 1 - PLOT_GAP) // 2
    top = height % 2
    half = (height - top) // 2
    right = each + PLOT_GAP
    return (
        Place("accuracy", 0, top, each, half),
        Place("loss", right, top, each, half),
        Place("lr", 0, top + half, each, half),
        Place("throughput", right, top + half, each, half),
    )
