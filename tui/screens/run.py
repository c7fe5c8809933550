"""One run, live or past: its curves, its figures, its log, and what one can ask of it."""

import time
from collections.abc import Mapping, Sequence
from functools import cache, partial

from textual.app import ComposeResult
from textual.containers import Horizontal

from engine import atomic
from engine.curves import Axis, Reading
from engine.runs import RunFolder, RunView
from engine.tested import beyond_published, tested
from tui import format, glyphs, parameter_budget, run_lines, run_plots
from tui.chrome import Kind, PartsLine
from tui.configuration import flatten
from tui.layer_figures import Stage, layers, stages
from tui.log_lines import lines_of
from tui.plot.model import Range
from tui.plot.view_state import ViewState
from tui.run_actions import RunActions, called
from tui.run_figures import About, groups, last_finite, unreadable_words, waiting_for
from tui.run_layout import RunLayout, arrange
from tui.run_plots import Drawing, Series
from tui.screens.layers import LayersOverlay
from tui.screens.log import LogScreen
from tui.screens.plot_keys import PlotKeys
from tui.screens.run_panes import LogPane, PlotBoard, SidePane
from tui.services import LOG_BYTES, RunFeed

MODEL_BYTES = 8 << 20
HALF_PAGE = 10


class RunScreen(PlotKeys, RunActions):
    """Curves, figures and log of one run; the same for a run that is over."""

    scope = "run"

    DEFAULT_CSS = """
    RunScreen PartsLine { height: 1; }
    RunScreen #middle { width: 100%; }
    RunScreen .-gone { display: none; }
    """

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.state = ViewState()
        self._feed: RunFeed | None = None
        self._pane = "accuracy"
        self._whole_screen = False
        self._about = About()
        self._stages: list[Stage] = []
        self._about_of: object = None
        self._reading: Reading | None = None
        self._asked: tuple[float | None, Axis] = (None, "epoch")
        self._time_end = 0.0
        self._layout: RunLayout | None = None
        self._phase = ("", 0.0)
        self._state_before = ""
        self._lacks = ""

    def compose_body(self) -> ComposeResult:
        for name in ("state", "progress", "settings"):
            yield PartsLine(palette=self.palette, id=name)
        with Horizontal(id="middle"):
            yield PlotBoard()
            yield SidePane()
        yield LogPane()

    def on_mount(self) -> None:
        self._feed = self.app.services.feed(self.run_id)
        self.set_crumbs("Runs", self._feed.view.name or self.run_id)

    def on_unmount(self) -> None:
        if self._feed is not None:
            self.app.services.release(self._feed)

    @property
    def feed(self) -> RunFeed:
        assert self._feed is not None
        return self._feed

    @property
    def run_view(self) -> RunView:
        """The run as it was last seen."""
        return self.feed.view

    def chosen(self) -> list[RunView]:
        return [self.run_view]

    def gone(self, deleted: Sequence[RunView]) -> None:
        self.app.back()

    def footer_words(self) -> Mapping[str, str]:
        return {} if self.run_view.live else {"stop": ""}

    # Drawing.

    def refresh_size(self) -> None:
        width, height = self.app.size
        self._layout = placed = arrange(width, height, self.size_class, self._pane, self._whole_screen)
        self.query_one("#settings").set_class(not placed.settings, "-gone")
        self.query_one("#middle").styles.height = placed.board
        side = self.query_one(SidePane)
        side.set_class(not placed.side, "-gone")
        side.styles.width = placed.side
        log = self.query_one(LogPane)
        log.set_class(not placed.log, "-gone")
        log.styles.height = placed.log

    def tick(self) -> None:
        feed, view = self.feed, self.run_view
        self._learn(view)
        self._tell_end(view)
        self._tell_lacks()
        self.set_crumbs("Runs", view.name or self.run_id)
        series: Series = cache(feed.series)
        drawing = self._drawing(view, series)
        self._show_lines(view, drawing)
        self._show_plots(drawing)
        self._show_side(view, series)
        self._show_log(view, series)

    def _drawing(self, view: RunView, series: Series) -> Drawing:
        axis = self.state.x
        if axis == "time":
            self._time_end = run_plots.time_end(self._time_end, view, run_plots.newest(series, "time"))
        whole = run_plots.whole_range(view, series, axis, self._time_end)
        self.state = self.state.following(run_plots.newest(series, axis), whole)
        colour = self.app.services.colour(view, self.palette)
        return Drawing(view, series, self.state, whole, self.palette, colour, self._about.loss, self._reading)

    def _show_lines(self, view: RunView, drawing: Drawing) -> None:
        width, palette = self.app.size.width, self.palette
        left, right = run_lines.state_line(view, width, palette, self._waited(view))
        self.query_one("#state", PartsLine).show(left, right)
        self.query_one("#progress", PartsLine).show(run_lines.progress_line(view, width, palette))
        shown = None if self.state.window is None else self.state.shown(drawing.whole)
        self.query_one("#settings", PartsLine).show(run_lines.settings_line(self.state, palette, shown))

    def _waited(self, view: RunView) -> float | None:
        """For how long the engine has been at what it last said."""
        if view.phase != self._phase[0]:
            self._phase = (view.phase, time.monotonic())
        return time.monotonic() - self._phase[1] if view.live else None

    def _show_plots(self, drawing: Drawing) -> None:
        if self._layout is None:
            return
        places = self._layout.places
        plots = run_plots.plots(drawing, [place.name for place in places], self._pane)
        remark = waiting_for(drawing.view, self._waited(drawing.view), self.feed.unreadable)
        self.query_one(PlotBoard).show(plots, places, self.palette, remark)

    def _show_side(self, view: RunView, series: Series) -> None:
        if self._layout is None or not self._layout.side:
            return
        budget = parameter_budget.remembered(self.app.settings)
        shown = groups(view, series, self.feed.system, self._about, budget)
        rows = run_lines.side_rows(shown, self._stages, self._layout.board, self.size_class == "wide")
        self.query_one(SidePane).show(rows, self.palette)

    def _show_log(self, view: RunView, series: Series) -> None:
        lines = lines_of(self.feed.log)
        count = f"{format.thousands(len(lines))} line{'' if len(lines) == 1 else 's'}"
        if len(self.feed.log) >= LOG_BYTES // 2:
            count = f"last {count}"
        figures = None
        if self.size_class == "narrow":
            rate, lr = last_finite(series, "images_s"), last_finite(series, "lr")
            figures = run_lines.figures_line(view, rate, lr, self.app.size.width - 2, self.palette)
        self.query_one(LogPane).show(lines, count, self.palette, focused=self._pane == "log", figures=figures)

    # What is read once, in a thread of its own.

    def _learn(self, view: RunView) -> None:
        """Read the configuration and the model when the run is first seen, and again when there is news of them."""
        wanted = (view.attempt, view.parameters)
        if wanted != self._about_of:
            self._about_of = wanted
            folder = self.feed.folder
            self.in_thread(lambda: read_about(folder), self._take_about)

    def _take_about(self, about: About) -> None:
        self._about, self._stages = about, stages(layers(about.model))
        self.changed()

    def _read_exact(self) -> None:
        """Ask for the exact values at the cross-hair, which has moved."""
        self._asked = asked = place, axis = self.state.cross_hair, self.state.x
        self._reading = None
        if place is not None:
            self.in_thread(lambda: self.feed.exact(place, axis), partial(self._take_reading, asked))

    def _take_reading(self, asked: tuple[float | None, Axis], reading: Reading | None) -> None:
        if self._asked == asked:
            self._reading = reading
            self.changed()

    def _tell_end(self, view: RunView) -> None:
        """Say it when the run ends before one's eyes."""
        before, self._state_before = self._state_before, view.state
        if before in ("running", "paused", "starting") and not view.live and view.state != "unknown":
            keymap = self.app.keymap
            words, kind = ending(view, keymap.shown("results", "run"), keymap.shown("resume", "run"))
            self.say(words, kind, glyphs.active().state(view.state))

    def _tell_lacks(self) -> None:
        """Say it once that the folder is gone, or that its curves lack something."""
        said, self._lacks = self._lacks, lacks(self.feed, self.app.keymap.shown("back", "run"))
        if self._lacks and self._lacks != said:
            self.say(self._lacks, "warn", "!")

    # What the keys of the plots ask.

    def plot_whole(self) -> Range:
        return self._drawing(self.run_view, self.feed.series).whole

    def plot_places(self) -> Sequence[float]:
        return run_plots.places(self._drawing(self.run_view, cache(self.feed.series)))

    def plot_newest(self) -> float | None:
        return run_plots.newest(self.feed.series, self.state.x)

    def plot_columns(self) -> int:
        shown = [place.name for place in self._layout.places] if self._layout else []
        name = self._pane if self._pane in shown else next(iter(shown), "")
        return self.query_one(PlotBoard).columns_of(name)

    def plot_translate(self, x: float, axis: Axis) -> float | None:
        return run_plots.translate(self.feed.series, x, self.state.x, axis)

    def show_state(self) -> None:
        if self._asked != (self.state.cross_hair, self.state.x):
            self._read_exact()
        self._tick_now()

    def action_follow(self) -> None:
        self.query_one(LogPane).to_end()
        super().action_follow()

    def on_plot_board_pointed(self, message: PlotBoard.Pointed) -> None:
        self._focus_pane(message.name)
        if message.x is not None:
            self.state = self.state.pointed(message.x)
            self.show_state()

    # Panes.

    def _focus_pane(self, pane: str) -> None:
        self._pane = pane
        self._lay_out()

    def _panes(self) -> tuple[str, ...]:
        if self._whole_screen:
            return run_plots.PLOTS
        return (*run_plots.PLOTS, "log")

    def action_next_pane(self) -> None:
        panes = self._panes()
        self._focus_pane(panes[(panes.index(self._pane) + 1) % len(panes)])

    def action_previous_pane(self) -> None:
        panes = self._panes()
        self._focus_pane(panes[(panes.index(self._pane) - 1) % len(panes)])

    def action_open(self) -> None:
        """A plot over the whole screen and back; the log in full."""
        if self._pane == "log":
            self.action_log()
            return
        self._whole_screen = not self._whole_screen
        self._lay_out()

    def action_back(self) -> None:
        if self._whole_screen:
            self._whole_screen = False
            self._lay_out()
            return
        self.app.back()

    def action_cursor_up(self) -> None:
        self.query_one(LogPane).scroll_lines(1)

    def action_cursor_down(self) -> None:
        self.query_one(LogPane).scroll_lines(-1)

    def action_half_page_up(self) -> None:
        self.query_one(LogPane).scroll_lines(HALF_PAGE)

    def action_half_page_down(self) -> None:
        self.query_one(LogPane).scroll_lines(-HALF_PAGE)

    def action_cursor_top(self) -> None:
        self.query_one(LogPane).to_start()

    def action_cursor_end(self) -> None:
        self.query_one(LogPane).to_end()

    # Other screens.

    def action_log(self) -> None:
        self.app.open_log(self.run_id)

    def action_filter(self) -> None:
        self.app.push_screen(LogScreen(self.run_id, searching=True))

    def action_results(self) -> None:
        if tested(self.run_view) is None:
            self.say("No test results yet: they are computed once, when the run finishes")
            return
        self.app.open_results(self.run_id)

    def action_layers(self) -> None:
        network = layers(self._about.model)
        if network:
            self.app.push_screen(LayersOverlay(called(self.run_view), network))
        else:
            self.say("No layers yet: the network is not built")


def read_about(folder: RunFolder) -> About:
    """The run's settings, model and slot, from its folder."""
    model = atomic.read_json(folder.path / "model.json", limit=MODEL_BYTES) or {}
    return About(flatten(folder.config_text()), model, str(folder.summary().get("slot", "")))


def lacks(feed: RunFeed, back_key: str) -> str:
    """What is not to be seen of a run, "" when nothing is missing."""
    if feed.gone:
        return f"The folder of {called(feed.view)} is gone; what was read of it stays here. {back_key} goes back"
    return f"{unreadable_words(feed.unreadable)}; the curves leave out what stood there" if feed.unreadable else ""


def ending(view: RunView, results_key: str, resume_key: str) -> tuple[str, Kind]:
    """What is said when a run ends before one's eyes."""
    name = called(view)
    if view.state == "finished":
        accuracy, beyond = tested(view), beyond_published(view)
        on_test = "" if accuracy is None else f": {format.accuracy(accuracy)} % on test"
        alike = ", as published" if beyond is not None and abs(beyond) < 0.005 else ""
        return f"{name} finished{on_test}{alike}. {results_key} results", "good"
    reason = f": {view.reason}" if view.reason else ""
    kind: Kind = "said" if view.state == "stopped" else "bad"
    return f"{name} {view.state}{reason}. {resume_key} resumes", kind
