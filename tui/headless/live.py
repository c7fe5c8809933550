"""A run drawn live where the cursor is: progress of epoch and run, curves, best so far. Rich places, plotext draws.

It takes no screen of its own, so that what was there before stays, and the last picture too when the run is over.
"""

import os
import time
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from engine.curves import Curves
from engine.runs import RunView
from engine.text import shorten
from tui import format, glyphs
from tui.headless.follow import Record
from tui.headless.plain import outcome
from tui.plot import canvas
from tui.plot.model import Curve, Mark, Plot
from tui.theme import Palette, palette, terminal_depth

DEFAULT_FPS, LITE_FPS = 2.0, 0.5
PLOT_ROWS, LEAST_PLOT_ROWS = 14, 6
FRAME_ROWS = 7  # everything but the plots, with the line that the shell's prompt will need
SIDE_BY_SIDE = 100
GAP = 2
LABEL = 7


class LiveDisplay:
    """Draws at most ``fps`` times a second, and only when something has changed."""

    def __init__(self, hint: str, fps: float | None = None, lite: bool = False, console: Console | None = None) -> None:
        self._hint = hint
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._interval = 1 / (fps or (LITE_FPS if lite else DEFAULT_FPS))
        # The terminal's own colours: nobody has told us what its background is.
        self._palette = palette("dark", "none" if terminal_depth(os.environ) == "none" else "16")
        self._live: Live | None = None
        self._curves: Curves | None = None
        self._drawn: object = None
        self._due = 0.0
        self._changed = False

    def show(self, view: RunView, records: list[Record], restarted: bool) -> None:
        """Take in what is new; draw when it is time."""
        if self._curves is None or restarted:
            self._curves = Curves(view.path / "metrics.jsonl")
        self._curves.feed(records)
        self._changed |= bool(records) or self._drawn != _unchanging(view)
        if self._changed and time.monotonic() >= self._due:
            self._draw(view)

    def close(self, view: RunView) -> None:
        """Leave the last picture, and below it how the run ended."""
        self._draw(view)
        if self._live is not None:
            self._live.stop()
        for line in outcome(view):
            self._console.print(Text(line))

    def _draw(self, view: RunView) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._due = time.monotonic() + self._interval
        self._drawn = _unchanging(view)
        self._changed = False
        width, height = self._console.size
        self._live.update(picture(view, self._curves, width, height, self._palette, self._hint), refresh=True)


def _unchanging(view: RunView) -> object:
    """The view without what changes although nothing has happened."""
    return replace(view, heartbeat_age_s=None)


def picture(
    view: RunView, curves: Curves | None, width: int, height: int, colours: Palette, hint: str = ""
) -> RenderableType:
    """All lines for a terminal of ``width`` by ``height`` cells; ``hint`` is shown while the run is live."""
    lines = [_headline(view, width, colours), *_progress(view, width, colours), Text()]
    if curves is not None:
        lines += _plots(view, curves, width, height - FRAME_ROWS, colours)
    lines.append(_figures(view, width, colours, hint))
    return Group(*lines)


def _line(parts: list[tuple[str, str]], width: int, colours: Palette) -> Text:
    line = Text.assemble(*((text, colours.style(role, bold=role == "text")) for text, role in parts))
    line.truncate(width)
    line.no_wrap = True
    return line


def _headline(view: RunView, width: int, colours: Palette) -> Text:
    sign = glyphs.active().state(view.state)
    network = " ".join(part for part in (view.architecture, f"on {view.dataset}" if view.dataset else "") if part)
    facts = [network, view.augmentation, view.optimizer, "" if view.seed is None else f"seed {view.seed}"]
    line = Text(f"{sign} {_busy(view)}", colours.state(view.state, bold=True))
    line.append(f"  {shorten(view.name or view.id, 40)}", colours.style("text", bold=True))
    line.append("  " + f" {glyphs.active().same} ".join(fact for fact in facts if fact), colours.style("dim"))
    line.append(f"  {view.device} {view.precision}".rstrip(), colours.style("dim"))
    line.truncate(width)
    return line


def _busy(view: RunView) -> str:
    """The state, and what the engine is doing while that is not training."""
    quiet = f", last heard {format.duration(view.heartbeat_age_s)} ago" if view.quiet else ""
    phase = f": {view.phase}" if view.live and view.phase not in ("", "training") else ""
    return f"{view.state}{phase}{quiet}"


def _progress(view: RunView, width: int, colours: Palette) -> list[Text]:
    left = format.remaining(view.eta_s, "left") if view.live else f"took {format.duration(view.active_s)}"
    run = f"epoch {format.progress(view.epoch, view.epochs)}  {left}"
    step, steps = _step_of_epoch(view)
    epoch = f"step {step}/{steps}  {format.throughput(view.images_s)}"
    room = max(len(run), len(epoch))
    bar = max(8, min(60, width - LABEL - room - GAP))
    done = view.step / view.steps if view.steps else 0.0
    return [
        _bar("run", done, bar, run, width, colours),
        _bar("epoch", step / steps if steps else 0.0, bar, epoch, width, colours),
    ]


def _step_of_epoch(view: RunView) -> tuple[int, int]:
    """Steps done of this epoch, and how many it has. A whole epoch counts as done, not as the next one's beginning."""
    if not (view.steps and view.epochs):
        return 0, 0
    an_epoch = max(1, round(view.steps / view.epochs))
    return (view.step - 1) % an_epoch + 1 if view.step else 0, an_epoch


def _bar(label: str, share: float, cells: int, remark: str, width: int, colours: Palette) -> Text:
    signs = glyphs.active()
    halves = round(min(max(share, 0.0), 1.0) * cells * 2)
    half = signs.bar_half if halves % 2 else ""
    line = Text(f"{label:{LABEL}}", colours.style("dim"))
    line.append(signs.bar_done * (halves // 2) + half, colours.style("accent"))
    line.append(signs.rule * (cells - halves // 2 - len(half)), colours.style("rule"))
    line.append(" " * GAP + remark, colours.style("text"))
    line.truncate(width)
    return line


def _plots(view: RunView, curves: Curves, width: int, rows: int, colours: Palette) -> list[Text]:
    accuracy = _plot("Accuracy", "%", "accuracy", view, curves, colours)
    loss = _plot("Loss", "", "loss", view, curves, colours)
    if width < SIDE_BY_SIDE:
        # One above the other where there is room, else accuracy alone.
        shown = [accuracy, loss] if rows >= 2 * LEAST_PLOT_ROWS else [accuracy] if rows >= LEAST_PLOT_ROWS else []
        each = min(PLOT_ROWS, rows // max(1, len(shown)))
        return [line for plot in shown for line in canvas.texts(canvas.render(plot, width, each, colours))]
    half, each = (width - GAP) // 2, min(PLOT_ROWS, rows)
    if each < LEAST_PLOT_ROWS:
        return []
    pair = [canvas.texts(canvas.render(plot, half, each, colours)) for plot in (accuracy, loss)]
    return [left + Text(" " * GAP) + right for left, right in zip(*pair, strict=True)]


def _plot(title: str, unit: str, metric: str, view: RunView, curves: Curves, colours: Palette) -> Plot:
    """Training by steps in the soft form, the watched set by epochs over it, the best epoch marked."""
    percent = metric == "accuracy"
    form = format.accuracy if percent else format.loss
    watched = "test" if curves.series(f"test_{metric}")[0] else "val"
    run = colours.run(0)
    drawn = []
    for name, legend, style in ((metric, "train", run.soft), (f"{watched}_{metric}", watched, run.solid)):
        xs, ys = curves.series(name, x="epoch")
        if len(xs):
            train = legend == "train"
            drawn.append(Curve(xs, ys, style, legend, value=form(ys[-1]), strong=not train, broken=train))
    return Plot(
        title,
        tuple(drawn),
        unit=unit,
        marks=_best(view, f"{watched}_{metric}", colours),
        x_range=(0.0, view.epochs) if view.epochs else None,
        floor=0.0,
        ceiling=100.0 if percent else None,
        outliers="low" if percent else "high",
        form=form,
    )


def _best(view: RunView, metric: str, colours: Palette) -> tuple[Mark, ...]:
    if view.best is None or view.best_epoch is None or view.best_metric != metric:
        return ()
    value = format.loss(view.best) if "loss" in metric else format.accuracy(view.best)
    label = f"best {format.best_at(value, view.best_epoch)}"
    return (Mark(view.best_epoch, view.best, label, colours.style("text", bold=True)),)


def _figures(view: RunView, width: int, colours: Palette, hint: str) -> Text:
    parts: list[tuple[str, str]] = []
    if view.best is not None:
        value = format.loss(view.best) if "loss" in view.best_metric else format.accuracy(view.best)
        parts += [(f"best {view.best_metric.replace('_', ' ')} ", "dim"), (value, "text")]
        parts += [(f" @ {format.epochs(view.best_epoch)}   ", "dim")]
    for name, form in (("train_loss", format.loss), ("val_loss", format.loss), ("lr", format.learning_rate)):
        if name in view.last:
            parts += [(f"{name.replace('_', ' ')} ", "dim"), (f"{form(view.last[name])}   ", "text")]
    if view.notice:
        parts.append((view.notice, "warn"))
    elif view.live and sum(len(part) for part, _ in parts) + len(hint) <= width:
        parts.append((hint, "dim"))
    return _line(parts, width, colours)
