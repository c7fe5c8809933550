"""The table of runs: its columns, which of them fit, the order of rows, and a row's cells. Plain functions of views."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len
from rich.style import Style

from engine.runs import RunView
from engine.tested import tested
from engine.text import shorten
from tui import format, glyphs
from tui.grid import Grid
from tui.plot.spark import spark
from tui.theme import Palette

NAME_LEAST, NAME_MOST = 20, 44
NAME_COLUMN = 5  # margin, mark, glyph, gap
GAP = 2

Key = Callable[[RunView], float | str | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table. `below` is the width of the table below which it is dropped; 0 stays always."""

    name: str
    head: str
    width: int
    key: Key
    right: bool = True
    below: int = 0
    gap: int = GAP
    text_first: bool = False  # ascending is what one expects at first


def _val(run: RunView) -> float | None:
    """Best validation figure so that more is better."""
    return -run.best if run.best is not None and "loss" in run.best_metric else run.best


COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("name", "name", NAME_LEAST, lambda run: run.name.lower(), right=False, text_first=True),
        Column("architecture", "architecture", 13, lambda run: run.architecture, False, 100, text_first=True),
        Column("params", "params", 7, lambda run: run.parameters, below=72),
        Column("macs", "MACs", 6, lambda run: run.macs, below=112),
        Column("epoch", "epoch", 7, lambda run: run.epoch),
        Column("trend", "trend", 10, lambda run: short_reason(run), False, 112, text_first=True),
        Column("val", "val %", 5, _val),
        Column("at", "@", 3, lambda run: run.best_epoch, below=66, gap=1),
        Column("test", "test %", 6, tested),
        Column("time", "time", 8, lambda run: run.active_s or None, below=100),
        Column("ended", "ended", 7, lambda run: run.ended or run.created),
        Column("tags", "tags", 10, lambda run: ",".join(run.tags) or None, False, 130, text_first=True),
        Column("augmentation", "augmentation", 13, lambda run: run.augmentation, False, 145, text_first=True),
        Column("optimizer", "optimiser", 12, lambda run: run.optimizer, False, 159, text_first=True),
        Column("data", "data", 8, lambda run: run.dataset, False, 169, text_first=True),
        Column("lr", "lr", 7, lambda run: run.lr, below=178),
        Column("batch", "batch", 5, lambda run: run.batch_size, below=185),
        Column("seed", "seed", 5, lambda run: run.seed, below=192),
        Column("speed", "img/s", 7, lambda run: run.images_s, below=200),
    )
}
USUAL = ("name", "architecture", "params", "macs", "epoch", "trend", "val", "at", "test", "time", "ended", "tags")
DROPPED_TOGETHER = (("trend", "macs"), ("architecture", "time"))


@dataclass(frozen=True, slots=True)
class Order:
    """What the table is sorted by."""

    column: str = "ended"
    descending: bool = True

    def chosen(self, column: str) -> "Order":
        """The order after a column was chosen: the same one again reverses."""
        if column == self.column:
            return Order(column, not self.descending)
        return Order(column, not COLUMNS[column].text_first)


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """What the table shows of the queue: its order, what is held, and whether it is paused."""

    order: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A column where it stands."""

    column: Column
    start: int
    width: int

    @property
    def end(self) -> int:
        return self.start + self.width


def place(names: Sequence[str], width: int) -> list[Placed]:
    """The columns that fit into a table of `width` cells, in their order. The name takes what is left."""
    shown = [COLUMNS[name] for name in names if name in COLUMNS and width >= COLUMNS[name].below]
    while len(shown) > 1 and _fixed(shown) + NAME_LEAST > width and (out := _next_out(shown)):
        shown = [column for column in shown if column.name not in out]
    left = width - _fixed(shown)
    name = min(max(left, 1), NAME_MOST)
    spare = max(left - name, 0)
    placed, at = [], NAME_COLUMN
    for index, column in enumerate(shown):
        at += column.gap if index else 0
        cells = name if column.name == "name" else column.width
        if index == len(shown) - 1 and not column.right and column.name != "name":
            cells += spare
        placed.append(Placed(column, at, cells))
        at += cells
    return placed


def _fixed(shown: Sequence[Column]) -> int:
    """Cells of all but the name: margins, gaps and the other columns."""
    others = [column for column in shown if column.name != "name"]
    gaps = sum(column.gap for column in shown[1:])
    return NAME_COLUMN + 1 + gaps + sum(column.width for column in others)


def _next_out(shown: Sequence[Column]) -> tuple[str, ...]:
    """Which columns go next: the one that is dropped at the greatest width, with those that go with it."""
    droppable = [column for column in shown if column.below]
    if not droppable:
        return ()
    first = max(droppable, key=lambda column: column.below).name
    return next((group for group in DROPPED_TOGETHER if first in group), (first,))


_LIVE_RANK = {"running": 0, "starting": 0, "paused": 1, "queued": 2}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows in their order: the first `live` are of live runs, and a rule parts them from the others."""

    runs: tuple[RunView, ...] = ()
    live: int = 0

    @property
    def rule(self) -> int | None:
        """The line of the rule; None where nothing needs to be parted."""
        return self.live if 0 < self.live < len(self.runs) else None

    @property
    def lines(self) -> int:
        return len(self.runs) + (self.rule is not None)

    def line_of(self, index: int) -> int:
        """The line on which a run stands."""
        return index + (self.rule is not None and index >= self.live)

    def run_at(self, line: int) -> int | None:
        """Which run stands on a line; None for the rule and beyond the end."""
        if self.rule is not None:
            if line == self.rule:
                return None
            line -= line > self.rule
        return line if 0 <= line < len(self.runs) else None

    def index(self, run_id: str) -> int | None:
        return next((index for index, run in enumerate(self.runs) if run.id == run_id), None)


def arrange(runs: Iterable[RunView], order: Order, waiting: Mapping[str, int] | None = None) -> Rows:
    """Sort: live runs first (running, paused, then waiting in the order of the queue), unknown figures last."""
    every = list(runs)
    live = [run for run in every if run.live]
    rest = [run for run in every if not run.live]
    queue = waiting or {}
    live = _sorted(live, order)
    live.sort(key=lambda run: (_LIVE_RANK.get(run.state, 0), _turn(run, queue)))
    return Rows((*live, *_sorted(rest, order)), len(live))


def _turn(run: RunView, queue: Mapping[str, int]) -> tuple[int, str]:
    return (queue.get(run.id, len(queue)), run.id) if run.state == "queued" else (0, "")


def _sorted(runs: list[RunView], order: Order) -> list[RunView]:
    key = COLUMNS[order.column].key
    known: list[tuple[Any, str, RunView]] = []
    unknown: list[tuple[Any, str, RunView]] = []
    for run in runs:
        value = key(run)
        absent = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
        (unknown if absent else known).append((value, run.id, run))
    known.sort(key=lambda item: item[:2], reverse=order.descending)
    unknown.sort(key=lambda item: item[1], reverse=True)
    return [run for _, _, run in [*known, *unknown]]


@dataclass(frozen=True)
class Look:
    """What a row is drawn with besides its run."""

    palette: Palette
    now: float
    order: Order = field(default_factory=Order)
    colours: Mapping[str, int | None] = field(default_factory=dict)
    marked: frozenset[str] = frozenset()
    plan: QueuePlan = QueuePlan()
    next_run: str = ""

    def name_style(self, run: RunView) -> Style:
        """The run's colour while it is live or marked."""
        if run.id in self.colours:
            return self.palette.run(self.colours[run.id]).solid
        return self.palette.style("dim" if run.problem or run.archived else "text")


def draw_head(grid: Grid, row: int, placed: Sequence[Placed], look: Look) -> None:
    """The names of the columns; that of the sorted one is bright and has an arrow."""
    signs = glyphs.active()
    arrow = signs.sorted_down if look.order.descending else signs.sorted_up
    for one in placed:
        sorted_by = one.column.name == look.order.column
        text = one.column.head
        if sorted_by:
            spaced = f"{text} {arrow}"
            text = spaced if len(spaced) <= one.width + one.column.gap - 1 else text + arrow
        start = one.end - len(text) if one.column.right else one.start
        grid.write(row, start, text, look.palette.style("text" if sorted_by else "dim"))


def draw_run(grid: Grid, row: int, placed: Sequence[Placed], run: RunView, look: Look, *, cursor: bool) -> None:
    """One run on one row."""
    palette, signs = look.palette, glyphs.active()
    if run.id in look.marked:
        grid.write(row, 1, signs.marked, look.name_style(run))
    sign, style = ("starting", palette.style("dim")) if run.problem else (run.state, state_style(run, palette))
    end = grid.write(row, 2, signs.state(sign), style)
    if run.quiet:
        grid.write(row, end, signs.quiet, palette.style("warn", bold=True))
    for one in placed:
        text, style = cell(one.column.name, run, one.width, look, cursor=cursor)
        start = one.end - cell_len(text) if one.column.right else one.start
        if one.column.name == "epoch":
            _draw_progress(grid, row, one, run, palette)
        grid.write(row, start, text, style)
    if cursor:
        select_row(grid, row, palette)


def state_style(run: RunView, palette: Palette) -> Style:
    """The colour of a run's state; what ended badly is bold."""
    return palette.state(run.state, bold=run.state in ("failed", "diverged", "crashed"))


def select_row(grid: Grid, row: int, palette: Palette) -> None:
    """Give a row the background of the cursor; what has a background of its own keeps it."""
    grid.cells[row] = [(text, palette.selected(style)) for text, style in grid.cells[row]]


def _draw_progress(grid: Grid, row: int, one: Placed, run: RunView, palette: Palette) -> None:
    """A tint behind the epoch, as wide as the part done."""
    if not run.live or not run.epochs or not palette.rich_in_colour:
        return
    share = min(max(run.epoch / run.epochs, 0.0), 1.0)
    for column in range(one.start - 1, one.start - 1 + int(share * (one.width + 1) + 0.5)):
        grid.tint(row, column, palette.colour("fill"))


def cell(name: str, run: RunView, width: int, look: Look, *, cursor: bool = False) -> tuple[str, Style]:
    """Text and style of one cell, in at most `width` cells."""
    text, style = _cell(name, run, width, look, cursor=cursor)
    return cut_end(text, width), style


def _cell(name: str, run: RunView, width: int, look: Look, *, cursor: bool) -> tuple[str, Style]:
    palette = look.palette
    text, dim = palette.style("text"), palette.style("dim")
    if run.problem and name not in ("name", "trend", "ended", "tags"):
        return "", dim
    match name:
        case "name":
            style = look.name_style(run)
            word = " archived" if run.archived else ""
            name = shorten(run.name or run.id, width - len(word), glyphs.active().ellipsis)
            return name + word, style + BOLD if cursor else style
        case "trend":
            return _trend(run, width, look)
        case "epoch":
            done = run.state == "finished"
            return epoch_of(run, width), dim if done else text
        case "val":
            return _figure(run, _shown_best(run)), text if run.best is not None else dim
        case "at":
            return _figure(run, f"{run.best_epoch:.0f}" if run.best_epoch is not None else None), dim
        case "test":
            accuracy = tested(run)
            shown = None if accuracy is None else format.accuracy(accuracy)
            return _figure(run, shown), dim if accuracy is None else text
        case "ended":
            return _when(run, look)
        case "tags":
            return cut_end(" ".join(run.tags), width), dim
        case _:
            return _setting(name, run, width), dim


BOLD = Style(bold=True)


def _setting(name: str, run: RunView, width: int) -> str:
    match name:
        case "params":
            return format.parameters(run.parameters) if run.parameters is not None else ""
        case "macs":
            return format.macs(run.macs) if run.macs is not None else ""
        case "time":
            return format.duration(run.active_s, table=True) if run.active_s else ""
        case "lr":
            return format.learning_rate(run.lr) if run.lr is not None else ""
        case "batch":
            return str(run.batch_size) if run.batch_size is not None else ""
        case "seed":
            return str(run.seed) if run.seed is not None else ""
        case "speed":
            return format.throughput(run.images_s, "") if run.images_s else ""
        case "data":
            return cut_end(run.dataset, width)
        case _:
            return shorten(str(getattr(run, name)), width, glyphs.active().ellipsis)


def _figure(run: RunView, text: str | None) -> str:
    """A figure; what a live run does not have yet is left blank, what another never got is a dash."""
    if text is None:
        return "" if run.live else format.unknown()
    return text


def _shown_best(run: RunView) -> str | None:
    if run.best is None:
        return None
    return format.loss(run.best) if "loss" in run.best_metric else format.accuracy(run.best)


def epoch_of(run: RunView, width: int = 7) -> str:
    """`137/200`; as a share where that is too long, nothing before the first step."""
    if not run.epochs or (run.step == 0 and run.epoch == 0):
        return ""
    whole = float(run.epochs).is_integer() and run.epochs >= 10
    text = format.progress(math.floor(run.epoch + 1e-6) if whole else run.epoch, run.epochs)
    return text if len(text) <= width else format.percent(100 * run.epoch / run.epochs)


def _trend(run: RunView, width: int, look: Look) -> tuple[str, Style]:
    palette = look.palette
    reason = short_reason(run)
    if reason:
        return cut_end(reason, width), palette.style("dim")
    if run.live and run.id in look.colours:
        return spark(run.spark, width), palette.run(look.colours[run.id]).solid
    faint = palette.tint(palette.colour("dim"), 0.6)
    return spark(run.spark, width), Style(color=faint) if faint else palette.style("dim")


_REASONS = (
    ("out of memory", "out of mem"),
    ("nan", "loss NaN"),
    ("infin", "loss inf"),
    ("never started", "no start"),
    ("reboot", "reboot"),
    ("exit code unknown", "vanished"),
    ("killed by ", ""),
)


def short_reason(run: RunView) -> str:
    """In a word or two why a run did not end well, or what is wrong with its folder; "" if nothing is."""
    if run.problem:
        return f"incomplete: {run.problem.replace(' is missing or unreadable', '')}"
    if run.state not in ("failed", "diverged", "crashed", "unknown"):
        return ""
    lowered = run.reason.lower()
    for found, said in _REASONS:
        if found in lowered:
            return said or run.reason[lowered.index(found) + len(found) :].partition(",")[0]
    return run.reason


def _when(run: RunView, look: Look) -> tuple[str, Style]:
    """When a run ended, or what comes next for a live one."""
    palette = look.palette
    dim, accent, warn = (palette.style(role) for role in ("dim", "accent", "warn"))
    if run.quiet:
        return "quiet", warn
    match run.state:
        case "running":
            return soon(run.eta_s), accent
        case "starting":
            return "starts", accent
        case "paused":
            return "paused", warn
        case "queued":
            if run.id in look.plan.held:
                return "held", warn
            if look.plan.paused:
                return "waits", warn
            return ("next" if run.id == look.next_run else "waits"), dim
        case "unknown":
            return "?", dim
        case _:
            return format.age(run.ended or run.created or None, look.now, table=True), dim


def soon(seconds: float | None) -> str:
    """A time to come in at most seven cells: `in 33 s`, `in 11 m`, `in 3 h`, `in 2 d`."""
    if seconds is None or not math.isfinite(seconds):
        return glyphs.active().ellipsis
    for unit, size, most in (("s", 1, 100), ("m", 60, 100), ("h", 3600, 48)):
        if seconds < size * most - size / 2:
            return f"in {max(round(seconds / size), 0)} {unit}"
    return f"in {min(round(seconds / 86400), 99)} d"


def cut_end(text: str, width: int) -> str:
    """A description in at most `width` cells, an ellipsis at its end where something was cut off."""
    if cell_len(text) <= width:
        return text
    ellipsis = glyphs.active().ellipsis
    while text and cell_len(text) + len(ellipsis) > width:
        text = text[:-1]
    return text.rstrip() + ellipsis if width >= len(ellipsis) else ""
