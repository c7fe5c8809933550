"""The queue screen's body as a grid: slots, what waits, what is done, on one set of columns. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.cells import cell_len
from rich.style import Style

from engine.run_view import RunView
from engine.tested import tested
from engine.text import shorten
from tui import chrome, format, glyphs, line
from tui.grid import Grid
from tui.line import Part
from tui.queue_figures import DoneRow, QueueFigures, SlotRow, WaitingRow, wait_words
from tui.run_table import epoch_of, select_row
from tui.theme import Palette

Entry = TypeVar("Entry")

PANES = ("slots", "waiting", "done")
NAME, NAME_LEAST, NAME_MOST = 5, 20, 44
_ARCHITECTURE, _PARAMS, _EPOCHS, _DEVICE, _TAKES, _STARTS, _ADDED = 15, 7, 7, 8, 11, 13, 14
_GAP = 2
_BAR = 15
_LEAST_ROWS = 3
_WITH_ADDED, _WITH_ARCHITECTURE, _WITH_MEMORY = 108, 92, 110


@dataclass(frozen=True, slots=True)
class Room:
    """How many rows each pane shows, without its heads, and the blank rows between panes."""

    slots: int
    waiting: int
    done: int
    gap: int


@dataclass(frozen=True, slots=True)
class Board:
    """What is drawn: the figures, the pane in focus with its cursor, the first row that each pane shows."""

    figures: QueueFigures
    colours: Mapping[str, int | None]
    now: float
    pane: str = "waiting"
    cursor: int = 0
    tops: tuple[int, int, int] = (0, 0, 0)
    keys: Sequence[tuple[str, str]] = ()


def rooms(board: Board, height: int) -> Room:
    """Rows for each pane: slots first, then what waits, then what is done; the pane in focus never goes."""
    figures = board.figures
    gap = int(height >= 18)
    slots = min(len(figures.slots), max(height // 3, 1))
    left = height - 1 - slots - gap - 2
    waiting = max(min(len(figures.waiting), left), 1)
    done = min(len(figures.done), left - waiting - 2 - gap)
    if board.pane == "done" or (figures.done and done < _LEAST_ROWS and waiting > 2 * _LEAST_ROWS):
        wanted = min(len(figures.done), left - 2 - gap - _LEAST_ROWS if board.pane == "done" else _LEAST_ROWS)
        waiting = max(min(waiting, left - 2 - gap - max(wanted, 1)), 1)
        done = min(len(figures.done), left - waiting - 2 - gap)
    return Room(slots, waiting, max(done, 0), gap)


def hit(board: Board, height: int, row: int) -> tuple[str, int | None]:
    """The pane that a row of the grid belongs to, and the place of the run there; None on heads and blank rows."""
    room, figures = rooms(board, height), board.figures
    start = 1
    panes = ((len(figures.slots), room.slots), (len(figures.waiting), room.waiting), (len(figures.done), room.done))
    for pane, (name, (count, shown)) in enumerate(zip(PANES, panes, strict=True)):
        if row < start + shown + room.gap or name == "done":
            top = min(board.tops[pane], max(count - shown, 0))
            index = row - start + top
            return name, index if row >= start and 0 <= row - start < shown and index < count else None
        start += shown + room.gap + 2  # a head and the names of the columns
    return "done", None


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the columns stand: starts of left-aligned ones, ends of the others; None for one that is dropped."""

    name: int
    architecture: int | None
    params: int
    epochs: int
    device: int
    takes: int
    starts: int
    added: int | None
    width: int

    @property
    def words(self) -> int:
        """Where the reason of a run begins that has no figures."""
        return self.params - _PARAMS + 2


def columns(width: int) -> _Columns:
    """The columns for a width; `added` and then the architecture go where there is no room."""
    added, architecture = width >= _WITH_ADDED, width >= _WITH_ARCHITECTURE
    fixed = _PARAMS + _EPOCHS + _DEVICE + _TAKES + _STARTS + 5 * _GAP - 1 + 1
    fixed += (_ADDED + _GAP if added else 0) + (_ARCHITECTURE + _GAP if architecture else 0)
    name = max(min(width - NAME - fixed, NAME_MOST), NAME_LEAST)
    at = NAME + name
    start = at + _GAP if architecture else None
    at += _GAP + _ARCHITECTURE if architecture else 0
    params = at + _GAP + _PARAMS
    epochs = params + 1 + _EPOCHS
    device = epochs + 3
    takes = device + _DEVICE + _TAKES
    starts = takes + _GAP + _STARTS - 1
    end = min(width - 1, starts + _GAP + _ADDED + 4)
    return _Columns(name, start, params, epochs, device, takes, starts, end if added else None, width)


def draw(board: Board, width: int, height: int, palette: Palette) -> Grid:
    """The three panes on a grid of exactly this size."""
    grid = Grid(width, height)
    pen, room, figures = _Pen(grid, board, palette, columns(width)), rooms(board, height), board.figures
    busy = sum(row.run is not None for row in figures.slots)
    hints = line.keys_line(board.keys, palette)
    count: Part = (f"{busy} of {figures.places} busy", palette.style("dim"))
    pen.head(0, "Slots", [*hints, ("   ", count[1]), count] if board.pane == "slots" else [count], "slots")
    row = 1
    for index, slot in pen.window(0, figures.slots, room.slots):
        pen.slot(row, slot, cursor=pen.has_cursor("slots", index))
        row += 1
    row += room.gap
    facts = hints if board.pane == "waiting" and figures.waiting else []
    pen.head(row, "Waiting", [*pen.beyond(1, len(figures.waiting), room.waiting), *facts], "waiting")
    row = _draw_waiting(pen, row + 1, room.waiting)
    if room.done:
        _draw_done(pen, row + room.gap, room.done)
    return grid


def _draw_waiting(pen: "_Pen", row: int, room: int) -> int:
    waiting = pen.board.figures.waiting
    if not waiting:
        pen.grid.write(row, NAME, pen.board.figures.empty, pen.palette.style("dim"))
        return row + 1
    pen.waiting_head(row)
    for index, entry in pen.window(1, waiting, room):
        row += 1
        pen.waiting(row, entry, cursor=pen.has_cursor("waiting", index))
    return row + 1


def _draw_done(pen: "_Pen", row: int, room: int) -> None:
    done = pen.board.figures.done
    facts: list[Part] = [(pen.board.figures.endings, pen.palette.style("dim"))]
    pen.head(row, "Done today", [*pen.beyond(2, len(done), room), *facts], "done")
    pen.done_head(row + 1)
    for place, (index, entry) in enumerate(pen.window(2, done, room)):
        pen.done(row + 2 + place, entry, cursor=pen.has_cursor("done", index))


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes rows of the panes onto the grid."""

    grid: Grid
    board: Board
    palette: Palette
    at: _Columns

    def has_cursor(self, pane: str, index: int) -> bool:
        return self.board.pane == pane and self.board.cursor == index

    def window(self, pane: int, entries: Sequence[Entry], room: int) -> list[tuple[int, Entry]]:
        """The entries in view with their places."""
        top = min(self.board.tops[pane], max(len(entries) - room, 0))
        return list(enumerate(entries))[top : top + room]

    def beyond(self, pane: int, count: int, room: int) -> list[Part]:
        """`3 more ↓` where not all rows are in view."""
        top = min(self.board.tops[pane], max(count - room, 0))
        below, signs = count - room - top, glyphs.active()
        text = f"{below} more {signs.down}   " if below > 0 else f"{top} more {signs.up}   " if top else ""
        return [(text, self.palette.style("accent"))] if text else []

    def head(self, row: int, title: str, facts: Sequence[Part], pane: str) -> None:
        focused = self.board.pane == pane
        parts = line.pane_head(title, self.grid.width - 2, self.palette, facts, focused=focused)
        self.grid.write_parts(row, 1, parts)

    def left(self, row: int, start: int, text: str, style: Style, width: int) -> None:
        self.grid.write(row, start, shorten(text, width, glyphs.active().ellipsis), style)

    def right(self, row: int, end: int, text: str, style: Style) -> None:
        self.grid.write(row, end - cell_len(text), text, style)

    def name(self, row: int, run: RunView, *, cursor: bool, dim: bool = False, end: int | None = None) -> None:
        """The run's name in its colour while it has one."""
        style = self.palette.style("dim" if dim else "text")
        if self.board.colours.get(run.id) is not None:
            style = self.palette.run(self.board.colours[run.id]).solid
        shown = end if end is not None else (self.at.architecture or self.at.params - _PARAMS)
        self.left(row, NAME, run.name or run.id, style + Style(bold=cursor or None), shown - NAME - _GAP)

    def slot(self, row: int, slot: SlotRow, *, cursor: bool) -> None:
        dim, text = self.palette.style("dim"), self.palette.style("text")
        wide, width = self.grid.width >= _WITH_MEMORY, self.grid.width
        self.grid.write(row, 1, slot.label, text)
        if slot.utilisation is not None:
            self.right(row, 14, format.percent(slot.utilisation), text)
        if wide and slot.memory is not None:
            self.right(row, 24, format.memory(slot.memory), dim)
        if wide and slot.celsius is not None:
            self.right(row, 31, format.temperature(slot.celsius), dim)
        start = (self.at.architecture or 33) if wide else 16
        if slot.run is None:
            words = "takes no runs" if slot.closed else "free"
            self.grid.write(row, start, words, dim)
        else:
            self._occupant(row, start, slot.run, width, cursor=cursor)
        if cursor:
            select_row(self.grid, row, self.palette)

    def _occupant(self, row: int, start: int, run: RunView, width: int, *, cursor: bool) -> None:
        """State, name, epoch, bar, best value and time left of a run in a slot."""
        dim, text = self.palette.style("dim"), self.palette.style("text")
        left, style = self._left(run)
        self.right(row, width - 1, left, style)
        end = width - 1 - max(cell_len(left), 13) - _GAP
        if run.best is not None and width >= 84:
            value = format.loss(run.best) if "loss" in run.best_metric else format.accuracy(run.best)
            label = run.best_metric.partition("_")[0] or "best"
            self.grid.write_parts(row, end - len(label) - 1 - len(value), [(f"{label} ", dim), (value, text)])
            end -= len(label) + 1 + len(value) + _GAP
        if run.epochs:
            share = min(max(run.epoch / run.epochs, 0.0), 1.0)
            self.right(row, end, format.percent(100 * share), text)
            end -= 7
            if width >= 100:
                style = self.palette.style("accent" if run.state == "running" else "warn")
                self.grid.write_parts(row, end - _BAR, line.bar(share, _BAR, style, self.palette))
                end -= _BAR + _GAP
            epoch = epoch_of(run, 9)
            self.right(row, end, epoch, text)
            end -= max(len(epoch), 7) + _GAP
        signs = glyphs.active()
        self.grid.write(row, start, signs.state(run.state), self.palette.state(run.state))
        colour = self.board.colours.get(run.id)
        style = self.palette.run(colour).solid if run.id in self.board.colours else text
        self.left(row, start + 2, run.name or run.id, style + Style(bold=cursor or None), end - start - 2)

    def _left(self, run: RunView) -> tuple[str, Style]:
        if run.quiet and run.heartbeat_age_s is not None:
            return f"last heard {format.duration(run.heartbeat_age_s)} ago", self.palette.style("warn")
        if run.state != "running":
            return run.state, self.palette.state(run.state)
        unknown = glyphs.active().ellipsis
        text = format.remaining(run.eta_s, "left") if run.eta_s is not None else unknown
        return text, self.palette.style("accent")

    def waiting_head(self, row: int) -> None:
        dim = self.palette.style("dim")
        self._common_head(row)
        self.right(row, 3, "#", dim)
        self.right(row, self.at.epochs, "epochs", dim)
        self.grid.write(row, self.at.device, "device", dim)
        self.right(row, self.at.takes, "takes", dim)
        self.right(row, self.at.starts, "starts", dim)
        if self.at.added is not None:
            self.right(row, self.at.added, "added", dim)

    def _common_head(self, row: int) -> None:
        dim = self.palette.style("dim")
        self.grid.write(row, NAME, "name", dim)
        if self.at.architecture is not None:
            self.grid.write(row, self.at.architecture, "architecture", dim)
        self.right(row, self.at.params, "params", dim)

    def _common(self, row: int, run: RunView) -> None:
        dim = self.palette.style("dim")
        if self.at.architecture is not None:
            self.left(row, self.at.architecture, run.architecture, dim, _ARCHITECTURE + 1)
        if run.parameters is not None:
            self.right(row, self.at.params, format.parameters(run.parameters), dim)

    def waiting(self, row: int, entry: WaitingRow, *, cursor: bool) -> None:
        dim, text, run = self.palette.style("dim"), self.palette.style("text"), entry.run
        self.right(row, 3, str(entry.number), dim)
        self.name(row, run, cursor=cursor, dim=entry.held and not cursor)
        self._common(row, run)
        self.right(row, self.at.epochs, format.epochs(run.epochs or None), text)
        self.left(row, self.at.device, entry.device, dim if entry.device == "any" else text, _DEVICE)
        length = entry.takes
        about = f"{glyphs.active().about} " if length and length.rough else ""
        taken = format.duration(length.seconds, table=True) if length else format.unknown()
        self.right(row, self.at.takes, about + taken, text if length else dim)
        self._starts(row, entry)
        if self.at.added is not None:
            self.right(row, self.at.added, format.age(run.created or None, self.board.now), dim)
        if cursor:
            select_row(self.grid, row, self.palette)

    def _starts(self, row: int, entry: WaitingRow) -> None:
        sign = f"{glyphs.active().state('held')} " if entry.held else ""
        room = self.at.starts - self.at.takes - 1 - len(sign)
        words = shorten(wait_words(entry), room, glyphs.active().ellipsis)
        role = "warn" if entry.word else "accent" if entry.number == 1 and entry.starts_s is not None else "text"
        self.right(row, self.at.starts, sign + words, self.palette.style(role))

    def done_head(self, row: int) -> None:
        dim = self.palette.style("dim")
        self._common_head(row)
        self.right(row, self.at.epochs, "val %", dim)
        self.right(row, self.at.epochs + 8, "test %", dim)
        self.right(row, self.at.takes, "time", dim)
        if self.at.added is not None:
            self.right(row, self.at.added, "ended", dim)

    def done(self, row: int, entry: DoneRow, *, cursor: bool) -> None:
        dim, text, run = self.palette.style("dim"), self.palette.style("text"), entry.run
        sign, _ = chrome.state_parts(run.state, self.palette)
        self.grid.write(row, 2, sign[0].strip(), sign[1])
        self.name(row, run, cursor=cursor)
        end = self.grid.width - 1
        if self.at.added is not None:
            age = format.age(run.ended, self.board.now)
            self.right(row, self.at.added, age, dim)
            end = self.at.added - cell_len(age) - _GAP
        if entry.words:
            if self.at.architecture is not None:
                self.left(row, self.at.architecture, run.architecture, dim, _ARCHITECTURE + 1)
            parts = line.cut([(entry.words, dim)], end - self.at.words)
            self.grid.write_parts(row, self.at.words, parts)
        else:
            self._common(row, run)
            self.right(row, self.at.epochs, _best(run), text)
            figure = tested(run)
            self.right(row, self.at.epochs + 8, format.accuracy(figure), text if figure is not None else dim)
            self.right(row, self.at.takes, format.duration(run.active_s or None, table=True), dim)
        if cursor:
            select_row(self.grid, row, self.palette)


def _best(run: RunView) -> str:
    if run.best is None:
        return format.unknown()
    return format.loss(run.best) if "loss" in run.best_metric else format.accuracy(run.best)
