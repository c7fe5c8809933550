"""The preview of a run beside the table: two plots and its facts, drawn on one grid by plain functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from rich.cells import cell_len
from rich.style import Style

from engine import strict_yaml
from engine.curves import Axis, Points
from engine.datasets import DATASETS
from engine.errors import UserError
from engine.runs import RunView
from engine.text import shorten
from tui import format, glyphs, line
from tui.grid import Grid
from tui.line import Part
from tui.plot.canvas import render
from tui.plot.layout import frame
from tui.plot.model import Curve, Mark, Plot
from tui.run_table import epoch_of, short_reason
from tui.theme import Palette, RunColour

ROWS = 14  # of the preview below the table
FACTS = 34
LABEL = 15

Fact = tuple[str, str]


class Source(Protocol):
    """What the preview reads of a run: a feed, or a stand-in."""

    @property
    def view(self) -> RunView: ...
    @property
    def loaded(self) -> bool: ...
    @property
    def config(self) -> str: ...
    def series(self, name: str, x: Axis = "epoch") -> Points: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What the preview is drawn with."""

    palette: Palette
    colour: RunColour
    now: float


def draw_below(source: Source, width: int, height: int, setting: Setting) -> Grid:
    """Under the table: accuracy, loss, and the facts in 34 columns."""
    grid = Grid(width, height)
    line.lay_out(grid, 0, head_rule(source.view, width, setting), ())
    plot = (width - FACTS - 8) // 2
    _draw_pair(grid, source, ((1, 0), (1, plot + 2)), (plot, height - 1), setting)
    write_facts(grid, 1, width - FACTS, FACTS - 1, facts(source.view, source.config), setting.palette)
    return grid


def draw_beside(source: Source, width: int, height: int, setting: Setting) -> Grid:
    """At the right of a wide terminal: accuracy over loss, and below them the facts in full."""
    grid = Grid(width, height)
    view, palette = source.view, setting.palette
    name = shorten(view.name or view.id, max(width - 34, 8), glyphs.active().ellipsis)
    left = [(f"{glyphs.active().state(view.state)} ", palette.state(view.state)), (name, setting.colour.solid + _BOLD)]
    state, right = _progress(view, setting)
    right = line.cut(right, width // 2)
    room = width - line.width_of(right) - 2
    for parts in ([*left, ("   ", palette.style()), *state], left):  # how far it came gives way as a whole
        if line.width_of(parts) <= room or parts is left:
            grid.write_parts(1, 0, line.cut(parts, room))
            break
    grid.write_parts(1, width - line.width_of(right), right)
    listed = full_facts(view, source.config)
    plots = max((height - 6 - len(listed)) // 2, 6)
    rows = min(plots, 15)
    _draw_pair(grid, source, ((3, 0), (3 + rows + 1, 0)), (width, rows), setting)
    write_facts(grid, 3 + 2 * (rows + 1), 0, width, listed, palette)
    return grid


def draw_alone(source: Source, width: int, height: int, setting: Setting) -> Grid:
    """In place of the table on a narrow terminal: the plots side by side, the facts below them in two columns."""
    grid = Grid(width, height)
    line.lay_out(grid, 0, head_rule(source.view, width, setting), ())
    listed = facts(source.view, source.config)
    facts_rows = min((len(listed) + 1) // 2, max(height - 9, 0))
    rows, plot = height - 1 - facts_rows, (width - 2) // 2
    _draw_pair(grid, source, ((1, 0), (1, plot + 2)), (plot, rows), setting)
    half = width // 2
    write_facts(grid, 1 + rows, 1, half - 2, listed[:facts_rows], setting.palette)
    write_facts(grid, 1 + rows, half + 1, half - 2, listed[facts_rows : 2 * facts_rows], setting.palette)
    return grid


_BOLD = Style(bold=True)


def head_rule(view: RunView, width: int, setting: Setting) -> list[Part]:
    """`● best_5m-s3 ─────── epoch 137 of 200   68 %   33 s left`"""
    palette, signs = setting.palette, glyphs.active()
    state, ahead = _progress(view, setting)
    right = [*state, *([("   ", palette.style()), *line.cut(ahead, width // 2)] if ahead else [])]
    room = max(width - line.width_of(right) - 12, 8)
    name = shorten(view.name or view.id, room, signs.ellipsis)
    left: list[Part] = [
        (f"{signs.state(view.state)} ", palette.state(view.state)),
        (name, setting.colour.solid + _BOLD),
        (" ", palette.style()),
    ]
    rule = max(width - 2 * line.MARGIN - line.width_of(left) - line.width_of(right) - 2, 0)
    return [*left, (signs.rule * rule, palette.style("rule")), ("  ", palette.style()), *right]


def _progress(view: RunView, setting: Setting) -> tuple[list[Part], list[Part]]:
    """How far the run is, and what is ahead of it or how it ended."""
    palette = setting.palette
    text, dim = palette.style("text"), palette.style("dim")
    parts: list[Part] = []
    if view.epochs and (view.epoch or view.step):
        done, _, total = epoch_of(view, 99).partition("/")
        parts += [("epoch ", dim), (f"{done} of {total}", text)]
    if view.live:
        if view.epochs and view.epoch:
            parts.append((f"   {format.percent(100 * view.epoch / view.epochs)}", dim))
        return parts, _ahead(view, palette)
    if view.active_s:
        parts += [("   took ", dim), (format.duration(view.active_s), text)]
    ended = format.age(view.ended, setting.now) if view.ended else ""
    reason = short_reason(view)
    word = view.state if not reason else f"{view.state}: {reason}"
    away = ", archived" if view.archived else ""
    return parts, [(word, palette.state(view.state)), (f" {ended}{away}" if ended else away, dim)]


def _ahead(view: RunView, palette: Palette) -> list[Part]:
    if view.quiet and view.heartbeat_age_s is not None:
        return [(f"last heard {format.duration(view.heartbeat_age_s)} ago", palette.style("warn"))]
    if view.state == "running" and view.eta_s is not None:
        return [(f"{format.remaining(view.eta_s, '')} left", palette.style("accent"))]
    word = view.phase if view.phase and view.state in ("starting", "running") else ""
    return [(view.state + (f": {word}" if word else ""), palette.state(view.state))]


def plot_of(source: Source, what: str, setting: Setting) -> Plot:
    """Accuracy or loss: what is watched (validation, or test where that is) over train, the best marked."""
    view, colour = source.view, setting.colour
    accuracy = what == "accuracy"
    watched = "test" if len(source.series(f"test_{what}")[0]) and not len(source.series(f"val_{what}")[0]) else "val"
    form = format.accuracy if accuracy else format.loss
    train, seen = source.series(f"train_{what}"), source.series(f"{watched}_{what}")
    curves = (
        Curve(*seen, colour.solid, watched, value=_last(seen, form), layer=1),
        Curve(*train, colour.soft, "train", value=_last(train, form), strong=False, broken=True),
    )
    return Plot(
        title=what,
        unit="%" if accuracy else "",
        curves=tuple(curve for curve in curves if len(curve.xs)),
        marks=_best(view, seen, what, setting),
        x_range=(min(1.0, view.epochs / 2), view.epochs) if view.epochs else None,
        floor=0.0,
        ceiling=100.0 if accuracy else None,
        outliers="low" if accuracy else "high",
        form=form,
        quiet=True,
    )


def _draw_pair(
    grid: Grid, source: Source, places: tuple[tuple[int, int], tuple[int, int]], size: tuple[int, int], setting: Setting
) -> None:
    """Both plots at their (row, column), of one height so that their axes stand on one line."""
    plots = [plot_of(source, what, setting) for what in ("accuracy", "loss")]
    width, height = size
    for (row, column), plot in zip(places, plots, strict=True):
        part = render(plot, width, _common_height(plots, width, height), setting.palette)
        if not plot.curves and part.height > 2:
            parts = [(_remark(source), setting.palette.style("dim"))]
            part.write_parts(part.height // 2, 7, line.cut(parts, width - 8))
        grid.paste(row, column, part)


def _common_height(plots: Sequence[Plot], width: int, height: int) -> int:
    """The greatest height at which the plots have equally many rows: each takes what suits its ticks."""
    for candidate in range(height, max(height - 5, 3), -1):
        frames = [frame(plot, width, candidate) for plot in plots]
        rows = {place.rows for place in frames if place}
        if len(rows) == 1:
            return candidate
    return height


def _remark(source: Source) -> str:
    view = source.view
    if not source.loaded:
        return glyphs.active().ellipsis
    if view.live:
        return f"{view.state}: {view.phase}" if view.phase else f"{view.state}, no epoch yet"
    return "no epoch was finished"


def _last(points: Points, form: Any) -> str | None:
    return str(form(points[1][-1])) if len(points[1]) else None


def _best(view: RunView, seen: Points, what: str, setting: Setting) -> tuple[Mark, ...]:
    if view.best is None or view.best_epoch is None or not view.best_metric.endswith(what) or not len(seen[0]):
        return ()
    shown = format.accuracy(view.best) if what == "accuracy" else format.loss(view.best)
    label = f"best {format.best_at(shown, round(view.best_epoch, 2))}"
    return (Mark(view.best_epoch, view.best, label, setting.colour.solid),)


def write_facts(grid: Grid, row: int, column: int, width: int, listed: Sequence[Fact], palette: Palette) -> None:
    """Label dim, value bright, one a line; what does not fit below is left out."""
    for offset, (label, value) in enumerate(listed):
        if row + offset < grid.height:
            grid.write(row + offset, column, label, palette.style("dim"))
            room = width - LABEL
            value = value if cell_len(value) <= room else shorten(value, room, glyphs.active().ellipsis)
            grid.write(row + offset, column + LABEL, value, palette.style("text"))


@lru_cache(maxsize=16)
def _settings(config: str) -> Mapping[str, Any]:
    try:
        value = strict_yaml.parse(config, "config.yaml").value
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}


def _found(config: str, *path: str) -> Any:
    value: Any = _settings(config)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def facts(view: RunView, config: str) -> list[Fact]:
    """What a run was made of, in as many lines as stand below the table."""
    decay = _found(config, "optimizer", "weight_decay")
    every: list[Fact] = [
        ("architecture", view.architecture),
        ("augmentation", view.augmentation),
        ("optimiser", view.optimizer),
        ("learning rate", format.learning_rate(view.lr) if view.lr is not None else ""),
        ("weight decay", format.decay(decay) if isinstance(decay, int | float) else ""),
        ("data", _data(view, config, short=True)),
        ("batch", str(view.batch_size) if view.batch_size is not None else ""),
        ("seed", str(view.seed) if view.seed is not None else ""),
        ("precision", "  ".join(part for part in (view.precision, view.device.partition(" ")[0]) if part)),
        ("tags", " ".join(view.tags)),
        ("note", view.note.partition("\n")[0]),
        ("folder", view.problem),
        ("notice", view.notice),
        ("reason", view.reason if not view.live else ""),
    ]
    return [(label, value) for label, value in every if value]


def full_facts(view: RunView, config: str) -> list[Fact]:
    """The same with sizes and the engine's settings, where there is room."""
    listed = dict(facts(view, config))
    sizes: list[Fact] = [
        ("parameters", format.thousands(view.parameters) if view.parameters is not None else ""),
        ("MACs", f"{format.macs(view.macs, fact=True)}  per image" if view.macs is not None else ""),
    ]
    every = [("architecture", listed.pop("architecture", "")), *sizes, *listed.items()]
    merged = {**dict(every), "data": _data(view, config, short=False)}
    if view.batch_size is not None and view.seed is not None:
        merged["batch"] = f"{view.batch_size}, seed {view.seed}"
        merged.pop("seed", None)
    merged["device"] = view.device
    return [(label, value) for label, value in merged.items() if value]


def _data(view: RunView, config: str, *, short: bool) -> str:
    """`cifar10  45k / 5k`: the data set, how many images train the network, and how many are kept for validation."""
    held_out, limit = _found(config, "data", "validation"), _found(config, "data", "train_limit")
    held_out = held_out if isinstance(held_out, int) else 0
    known = DATASETS.get(view.dataset)
    trained = limit if isinstance(limit, int) else known.train_images - held_out if known else None
    counts = [(trained, " to train"), (held_out, " to validate")] if trained else []
    shown = [_images(count, short=short) + ("" if short else word) for count, word in counts if count]
    return "  ".join(part for part in (view.dataset, " / ".join(shown)) if part)


def _images(count: int, *, short: bool) -> str:
    """`45k` where there is little room and nothing is lost, else `45,000`."""
    return f"{count // 1000}k" if short and count % 1000 == 0 else format.thousands(count)
