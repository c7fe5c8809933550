"""The lines and the side pane of the Run screen as styled parts, from plain figures. Pure, without Textual."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style

from engine.runs import RunView
from engine.tested import tested
from engine.text import shorten
from tui import chrome, format, glyphs, line
from tui.grid import Grid
from tui.layer_figures import Stage, shortened
from tui.line import Part
from tui.plot.spark import spark
from tui.plot.view_state import ViewState
from tui.run_figures import PHASES_UNSAID, Fact, Group
from tui.theme import STATE_ROLES, Palette

VALUES_END = 22  # cells of label and value in the side pane; remarks begin two further right
LEAST_BAR, GOOD_BAR = 4, 24


def state_line(view: RunView, width: int, palette: Palette, waited_s: float | None = None) -> tuple[list[Part], ...]:
    """State, what the run is made of, and at the right what it trains on; whole entries give way to the reason.

    `waited_s` is for how long the engine has been busy with what it last said.
    """
    narrow = width < 100
    state = [*chrome.state_parts(view.state, palette), *_quiet(view, palette), *_doing(view, palette, waited_s)]
    state += [("  archived", palette.style("dim"))] if view.archived else []
    reason = _reason(view, palette)
    made, facts, few = _ingredients(view, palette), _facts(view, palette), _seed(view, palette)
    room = width - 2 * line.MARGIN - 2
    for left, right in (
        ([*state, *reason, *made], few if narrow else facts),
        ([*state, *reason, *made], few),
        ([*state, *reason], few if narrow else facts),
        ([*state, *reason], few),
    ):
        if line.width_of(left) + line.width_of(right) <= room:
            return left, right
    return [*state, *reason], []


def _quiet(view: RunView, palette: Palette) -> list[Part]:
    if not view.quiet or view.heartbeat_age_s is None:
        return []
    return [(f"  last heard {format.duration(view.heartbeat_age_s)} ago", palette.style("warn"))]


def _doing(view: RunView, palette: Palette, waited_s: float | None) -> list[Part]:
    if not view.live or view.phase in PHASES_UNSAID:
        return []
    waited = f" for {format.duration(float(int(waited_s)))}" if waited_s is not None and waited_s >= 2 else ""
    return [(f"  {view.phase}{waited}", palette.style("dim"))]


def _reason(view: RunView, palette: Palette) -> list[Part]:
    told = "; ".join(part for part in (view.reason, view.problem) if part)
    style = palette.style("bad" if view.problem or view.state in ("failed", "diverged", "crashed") else "dim")
    parts = [(f"  {told}", style)] if told else []
    return [*parts, (f"  {view.notice}", palette.style("warn" if view.live else "dim"))] if view.notice else parts


def _ingredients(view: RunView, palette: Palette) -> list[Part]:
    parts: list[Part] = []
    for name in (view.architecture, view.augmentation, view.optimizer):
        if name:
            parts.append((" + " if parts else "   ", palette.style("dim")))
            parts.append((shorten(name, 28, glyphs.active().ellipsis), palette.style("text")))
    return parts


def _facts(view: RunView, palette: Palette) -> list[Part]:
    parts: list[Part] = [(view.dataset, palette.style("text"))]
    if view.batch_size is not None:
        parts += [("  ", palette.style("dim")), *chrome.labelled("batch", str(view.batch_size), palette)]
    parts += [("  ", palette.style("dim")), *_seed(view, palette)]
    if view.precision:
        parts.append((f"  {view.precision}", palette.style("text")))
    if view.tags:
        tags = shorten(" ".join(view.tags), 24, glyphs.active().ellipsis)
        word = "tag" if len(view.tags) == 1 else "tags"
        parts += [("   ", palette.style("dim")), *chrome.labelled(word, tags, palette)]
    return parts


def _seed(view: RunView, palette: Palette) -> list[Part]:
    return [] if view.seed is None else chrome.labelled("seed", str(view.seed), palette)


def progress_line(view: RunView, width: int, palette: Palette) -> list[Part]:
    """`epoch 137 / 200 ━━━ 68 %   step 48,224 / 70,400   elapsed 1 m 12 s   left 33 s`, exactly as wide as the screen.

    The elapsed time goes first where the bar would have no room, then the steps.
    """
    dim = palette.style("dim")
    left: list[Part] = [("epoch ", dim), (_epoch(view), palette.style("text", bold=True))]
    if view.epochs:
        left.append((f" / {format.epochs(view.epochs)}", dim))
    share = min(view.step / view.steps, 1.0) if view.steps else 0.0
    percent: list[Part] = [(f"{format.percent(math.floor(100 * share)):>5}", palette.style("text", bold=True))]
    steps, elapsed, ahead = _steps(view, palette), _elapsed(view, palette), _left_or_took(view, palette)
    for shown in ([*steps, *elapsed], steps, []):
        right = [*percent, *shown, *ahead]
        room = width - 2 * line.MARGIN - line.width_of(left) - line.width_of(right) - 4
        if room >= GOOD_BAR:
            break
    style = palette.style(STATE_ROLES[view.state] if view.live else "dim")
    return [*left, ("  ", dim), *line.bar(share, max(room, LEAST_BAR), style, palette), ("  ", dim), *right]


def _steps(view: RunView, palette: Palette) -> list[Part]:
    dim = palette.style("dim")
    done, total = format.thousands(view.step), format.thousands(view.steps)
    return [("    step ", dim), (done, palette.style("text")), (f" / {total}", dim)] if view.steps else []


def _elapsed(view: RunView, palette: Palette) -> list[Part]:
    if not view.live:
        return []
    return [("    elapsed ", palette.style("dim")), (format.duration(view.active_s), palette.style("text"))]


def _epoch(view: RunView) -> str:
    """Whole epochs; where they are few, with their tenths."""
    if view.epochs and view.epochs < 10 and view.live:
        return f"{math.floor(view.epoch * 10 + 1e-6) / 10:.1f}"
    return f"{math.floor(view.epoch + 1e-6)}" if view.live else format.epochs(view.epoch)


def _left_or_took(view: RunView, palette: Palette) -> list[Part]:
    dim = palette.style("dim")
    if not view.live:
        return [("    took ", dim), (format.duration(view.active_s), palette.style("text", bold=True))]
    if view.state == "paused":
        return [("    held at this step", palette.style("warn"))]
    left = format.remaining(view.eta_s, "") if view.eta_s is not None else glyphs.active().ellipsis
    return [("    left ", dim), (left, palette.style("accent", bold=True))]


def settings_line(state: ViewState, palette: Palette, shown: tuple[float, float] | None) -> list[Part]:
    """`x epoch   y linear   smooth 0.00   follow on   cross-hair 81`; `shown` is the part in view when it is one."""
    dim = palette.style("dim")
    entries = [
        ("x", f"{state.x} log" if state.log_x else state.x, "text"),
        ("y", state.y_scale, "text"),
        ("smooth", f"{state.smoothing:.2f}", "text"),
        ("follow", "on" if state.follow else "off", "text"),
    ]
    if shown is not None:
        ends = f" {format.unknown()} ".join(state.x_text(round(end, 2)) for end in shown)
        entries.append(("view", ends, "accent"))
    if state.cross_hair is not None:
        entries.append(("cross-hair", state.x_text(state.cross_hair), "accent"))
    parts: list[Part] = []
    for label, value, role in entries:
        parts += [("    " if parts else "", dim), (f"{label} ", dim), (value, palette.style(role))]
    return parts


def figures_line(view: RunView, rate: float | None, lr: float | None, width: int, palette: Palette) -> list[Part]:
    """What stays of the side pane where there is no room for it: as many entries as fit."""
    text, dim = palette.style("text"), palette.style("dim")
    entries: list[list[Part]] = []
    if view.best is not None:
        value = format.loss(view.best) if view.best_metric.endswith("loss") else f"{format.accuracy(view.best)} %"
        at = f" @ {format.epochs(view.best_epoch)}"
        entries.append([("best ", dim), (value, palette.style("text", bold=True)), (at, dim)])
    if (accuracy := tested(view)) is not None:
        entries.append([("test ", dim), (f"{format.accuracy(accuracy)} %", palette.style("text", bold=True))])
    if lr is not None:
        entries.append([("lr ", dim), (format.learning_rate(lr), text)])
    if rate is not None:
        entries.append([(format.throughput(rate), text)])
    if view.parameters is not None:
        entries.append([("params ", dim), (format.parameters(view.parameters), text)])
    if view.macs is not None:
        entries.append([("MACs ", dim), (format.macs(view.macs), text)])
    parts: list[Part] = []
    for entry in entries:
        longer = [*parts, *([("   ", dim)] if parts else []), *entry]
        parts = longer if line.width_of(longer) <= width else parts
    return parts


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the side pane: the head of a group, a fact, a remark, or a stage of the network."""

    group: Group | None = None
    fact: Fact | None = None
    stage: Stage | None = None
    note: str = ""
    heads: tuple[str, str] = ("", "")


def side_rows(groups: Sequence[Group], stages: Sequence[Stage], height: int, wide: bool) -> list[Row]:
    """The rows of the side pane for its height: gaps between groups go first, then groups from the end."""
    shown = list(groups)
    while len(shown) > 1 and _rows_of(shown) > height:
        shown.pop()
    gaps = _rows_of(shown) + len(shown) - 1 <= height
    rows: list[Row] = []
    for index, group in enumerate(shown):
        rows += [Row()] if gaps and index else []
        rows += [Row(group=group), *(Row(note=group.note) for _ in range(bool(group.note)))]
        rows += [Row(fact=fact) for fact in group.facts]
    room = height - len(rows) - 2
    if wide and stages and room >= 3 and len(shown) == len(groups):
        rows += [Row(), Row(heads=("parameters", "MACs"))]
        rows += [Row(stage=stage) for stage in shortened(stages, room)]
    return rows[:height]


def _rows_of(groups: Sequence[Group]) -> int:
    return sum(1 + bool(group.note) + len(group.facts) for group in groups)


def draw_side(grid: Grid, rows: Sequence[Row], column: int, width: int, palette: Palette) -> None:
    """Draw the side pane's rows from `column` on, `width` cells wide."""
    for index, row in enumerate(rows):
        if row.group is not None:
            grid.write_parts(index, column, line.pane_head(row.group.title, width, palette))
        elif row.fact is not None:
            _draw_fact(grid, index, row.fact, column, width, palette)
        elif row.stage is not None:
            _draw_stage(grid, index, row.stage, column, width, palette)
        elif row.note:
            grid.write_parts(index, column, line.cut([(row.note, palette.style("dim"))], width))
        elif row.heads[0]:
            _draw_stage_head(grid, index, row.heads, column, width, palette)


def _draw_fact(grid: Grid, row: int, fact: Fact, column: int, width: int, palette: Palette) -> None:
    value_style = palette.style(fact.role, bold=fact.strong)
    grid.write(row, column, fact.label, palette.style("dim"))
    grid.write(row, column + VALUES_END - cell_len(fact.value), fact.value, value_style)
    start = VALUES_END + 2
    if fact.spark:
        grid.write(row, column + start, spark(fact.spark, min(width - start, 13)), faint(palette))
    else:
        remark = line.cut([(fact.remark, palette.style("dim"))], width - start)
        grid.write_parts(row, column + start, remark)


def faint(palette: Palette) -> Style:
    """The style of sparks beside figures."""
    return palette.style("dim")


def _draw_stage_head(grid: Grid, row: int, heads: tuple[str, str], column: int, width: int, palette: Palette) -> None:
    dim = palette.style("dim")
    parameters_end, macs_end = column + width - 13, column + width
    rule = line.pane_head("Layers", parameters_end - len(heads[0]) - 2 - column, palette)
    grid.write_parts(row, column, rule)
    grid.write(row, parameters_end - len(heads[0]), heads[0], dim)
    grid.write(row, macs_end - len(heads[1]), heads[1], dim)


def _draw_stage(grid: Grid, row: int, stage: Stage, column: int, width: int, palette: Palette) -> None:
    text, dim = palette.style("text"), palette.style("dim")
    parameters, macs = format.thousands(stage.parameters), _macs(stage.macs)
    grid.write_parts(row, column, line.cut([(stage.label, dim)], width - 25))
    grid.write(row, column + width - 13 - len(parameters), parameters, text)
    grid.write(row, column + width - len(macs), macs, text)


def _macs(count: int) -> str:
    return format.macs(count, fact=True) if count else format.unknown()
