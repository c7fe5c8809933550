"""Runs side by side: their curves over each other, accuracy against size, figures with differences, settings."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from textual.app import ComposeResult
from textual.containers import Horizontal

from engine.curves import Axis, Reading
from tui import compare_plots, comparison, comparison_export, glyphs, parameter_budget, run_plots
from tui.chrome import PartsLine
from tui.compare_plots import Overlay
from tui.compare_table import Table
from tui.compared_runs import ComparedRuns
from tui.comparison import Drawn, Metric
from tui.comparison_settings import setting_rows, settings_of
from tui.configuration import Settings
from tui.dialogs import Choice, Option
from tui.export import Format
from tui.line import Part, width_of
from tui.pareto import Dot, SizeAxis, sized
from tui.plot.model import Plot, Range
from tui.plot.view_state import ViewState
from tui.plot.widget import PlotView
from tui.run_actions import DRAWN
from tui.screens.compare_input import OVERLAY_LEAST, TABLE_PANES, CompareInput
from tui.screens.compare_panes import Divider, TableView, settings_line
from tui.services import RunFeed
from tui.theme import Palette, RunColour

MOST_RUNS = 64  # each is followed by a thread of its own
COMPARISON_FORMS = (
    Option("csv", "CSV", "a row a figure, a column a run"),
    Option("json", "JSON", "figures and settings"),
    Option("md", "Markdown", "two tables to read"),
    Option("png", "PNG", "loss and accuracy of all runs as a picture"),
    Option("svg", "SVG", "the same as a drawing"),
)


class CompareScreen(CompareInput):
    """Several runs against one of them."""

    scope = "compare"

    DEFAULT_CSS = """
    CompareScreen > PartsLine { height: 1; }
    CompareScreen > Horizontal { width: 100%; }
    CompareScreen .hidden { display: none; }
    """

    def __init__(self, run_ids: Sequence[str]) -> None:
        super().__init__(run_ids)
        self.run_ids = tuple(dict.fromkeys(run_ids))[:MOST_RUNS]
        self._left_out = len(set(run_ids)) - len(self.run_ids)
        self.state = ViewState()
        self._feeds: dict[str, RunFeed] = {}
        self._compared = ComparedRuns({})
        self._drawn: list[Drawn] = []
        self._dots: tuple[object, list[Dot]] = (None, [])
        self._shown: dict[str, tuple[Plot, Palette]] = {}
        self._series = self._order = ""
        self._scatter_axis: SizeAxis = "parameters"
        self._time_end = 0.0
        self._asked: tuple[float | None, Axis] = (None, "epoch")
        self._whole: Range = (0.0, 1.0)

    def compose_body(self) -> ComposeResult:
        yield PartsLine(palette=self.palette, id="settings")
        with Horizontal(id="plots"):
            yield PlotView(palette=self.palette, id="overlay")
            yield Divider()
            yield PlotView(palette=self.palette, id="scatter")
        yield TableView()

    def on_mount(self) -> None:
        self.set_crumbs("Runs", "Compare")
        self._feeds = {run_id: self.app.services.feed(run_id) for run_id in self.run_ids}
        self._compared = ComparedRuns(self._feeds)
        self.in_thread(self._read_settings, self._take_settings)
        if self._left_out:
            self.say(f"The first {MOST_RUNS} of {MOST_RUNS + self._left_out} runs are compared", "warn")

    def on_unmount(self) -> None:
        for feed in self._feeds.values():
            self.app.services.release(feed)

    def _read_settings(self) -> dict[str, Settings]:
        return {run_id: settings_of(feed.config) for run_id, feed in self._feeds.items()}

    def _take_settings(self, settings: dict[str, Settings]) -> None:
        self._compared.settings = settings
        self.changed()

    # What is shown.

    def refresh_size(self) -> None:
        width, body = self.app.size.width, self.app.size.height - 2
        narrow = self.size_class == "narrow"
        plots, table = self.query_one("#plots", Horizontal), self.query_one(TableView)
        overlay, scatter = self.query_one("#overlay", PlotView), self.query_one("#scatter", PlotView)
        alone = self._whole_screen
        gap = 0 if narrow or alone else 1
        plots.styles.height = body - 1 - gap if alone else round(body * (0.5 if narrow else 0.45))
        plots.styles.margin = (gap, 0, gap, 0)
        with_scatter = self._has_scatter and not alone
        overlay.styles.width = "1fr" if not with_scatter else max(OVERLAY_LEAST, round((width - 1) * 0.645))
        overlay.set_class(alone and self._pane == "scatter", "hidden")
        scatter.set_class(not (with_scatter or (alone and self._pane == "scatter")), "hidden")
        self.query_one(Divider).set_class(not with_scatter, "hidden")
        table.set_class(alone, "hidden")

    def tick(self) -> None:
        metric = self._compared.metric(self._series)
        self._lines = self._compared.lines(together=self._together, order=self._order, metric=metric)
        if not self._lines:
            return
        self._drawn = self._compared.drawn(self._lines, metric, self.state.x, self.state.smoothing)
        self._measure()
        indices = self.app.services.colours_of(self._compared.views())
        colours = [self.palette.run(indices[line.view.id]) for line in self._lines]
        self._show_settings(metric, colours)
        self._show_overlay(colours, metric)
        self._show_scatter(colours)
        self._show_table(colours, metric)

    def _measure(self) -> None:
        """The x axis from end to end, and the window moved on where it follows."""
        for feed in self._feeds.values():
            if feed.view.live:
                last = run_plots.newest(feed.series, "time")
                self._time_end = run_plots.time_end(self._time_end, feed.view, last)
        views = self._compared.views()
        self._whole = compare_plots.whole_range(views, self._compared.find, self.state.x, self._time_end)
        self.state = self.state.following(self.plot_newest(), self._whole)

    def _show_settings(self, metric: Metric, colours: Sequence[RunColour]) -> None:
        base, colour = self._lines[self._baseline], colours[self._baseline]
        right: list[Part] = [("against ", self.palette.style("dim")), (base.title, colour.solid)]
        room = self.app.size.width - 4 - width_of(right)
        settings = self._settings_shown(metric)
        left = settings_line(len(self._feeds), len(self._lines), settings, self.palette, room)
        self.query_one("#settings", PartsLine).show(left, right)

    def _settings_shown(self, metric: Metric) -> list[tuple[str, str]]:
        """Label and value of each setting, those that give way first at the end."""
        shown = [("metric", f"{metric.title} {metric.unit}".rstrip()), ("x", self.state.x)]
        shown += [("y", "log")] if self.state.log_y and metric.unit != "%" else []
        return [
            *shown,
            ("smooth", f"{self.state.smoothing:.2f}"),
            ("seeds", "median, band" if self._together else "apart"),
        ]

    def _show_overlay(self, colours: Sequence[RunColour], metric: Metric) -> None:
        plot = compare_plots.overlay(
            Overlay(
                self._lines,
                self._drawn,
                colours,
                metric,
                self.state,
                self._whole,
                self.palette,
                self._compared.find,
                self._baseline,
                self._pane == "overlay",
                self._measured(metric),
            )
        )
        self._show_plot("#overlay", plot)

    def _show_scatter(self, colours: Sequence[RunColour]) -> None:
        if not self._has_scatter and self._pane != "scatter":
            return
        base = self._lines[self._baseline].view
        wanted = (self.app.services.listing, self._scatter_axis, base.dataset)
        if self._dots[0] != wanted:
            self._dots = (wanted, sized(self.app.services.listing.runs, self._scatter_axis, base.dataset))
        focused = self._pane == "scatter"
        budget = parameter_budget.remembered(self.app.settings)
        plot = compare_plots.scatter(
            self._dots[1], self._lines, colours, self._scatter_axis, self.palette, budget=budget, focused=focused
        )
        self._show_plot("#scatter", plot)

    def _show_plot(self, place: str, plot: Plot) -> None:
        if self._shown.get(place) != (plot, self.palette):
            self._shown[place] = (plot, self.palette)
            self.query_one(place, PlotView).show(plot, self.palette)

    def _show_table(self, colours: Sequence[RunColour], metric: Metric) -> None:
        base = self._baseline
        rows = comparison.metric_rows(self._lines, base)
        at = self.state.cross_hair
        if at is not None:
            values = self._measured(metric) or [compare_plots.value_at(curve, at) for curve in self._drawn]
            label = f"at {self.state.x_label} {self.state.x_text(at)}"
            rows.insert(0, comparison.row_at(self._lines, base, metric, values, label))
        selected = self._place_of(self._selected) if self._pane in TABLE_PANES else None
        table = Table(
            self._lines,
            colours,
            rows,
            setting_rows(self._lines, base, glyphs.active().same, every=self._every),
            base,
            self._first,
            self._scroll,
            selected,
            self._pane,
        )
        self.query_one(Divider).show(self.palette)
        self.query_one(TableView).show(table, self.palette, narrow=self.size_class == "narrow")

    def footer_words(self) -> Mapping[str, str]:
        return {
            "seeds": "seeds apart" if self._together else "seeds together",
            "all_keys": "differing keys" if self._every else "all keys",
        }

    # Keys of plots.

    def plot_whole(self) -> Range:
        return self._whole

    def plot_places(self) -> Sequence[float]:
        return compare_plots.places(self._drawn)

    def plot_newest(self) -> float | None:
        return max((curve.xs[-1] for curve in self._drawn if len(curve.xs)), default=None)

    def plot_columns(self) -> int:
        return self.query_one("#overlay", PlotView).size.width

    def plot_translate(self, x: float, axis: Axis) -> float | None:
        places = (run_plots.translate(feed.series, x, self.state.x, axis) for feed in self._feeds.values())
        return next((place for place in places if place is not None), None)

    def show_state(self) -> None:
        if self._asked != (self.state.cross_hair, self.state.x):
            self._read_exact()
        self._show()

    def _read_exact(self) -> None:
        """Ask for the exact values at the cross-hair, which has moved."""
        self._asked = asked = place, axis = self.state.cross_hair, self.state.x
        self._compared.readings = {}
        if place is not None:
            self.in_thread(lambda: self._compared.read(place, axis), partial(self._take_readings, asked))

    def _take_readings(self, asked: tuple[float | None, Axis], readings: dict[str, Reading]) -> None:
        if self._asked == asked:
            self._compared.readings = readings
            self.changed()

    def _measured(self, metric: Metric) -> list[float | None]:
        """The exact value of each line under the cross-hair, none of them until they are read."""
        at = self.state.cross_hair
        if at is None or not self._compared.readings:
            return []
        return self._compared.measured(self._lines, metric, self.state.x, at)

    def action_log_y(self) -> None:
        super().action_log_y()
        if self.state.log_y and self._compared.metric(self._series).unit == "%":
            self.say(f"Accuracy stays linear; {self._key('metric')} chooses another metric")

    def on_plot_view_pointed(self, message: PlotView.Pointed) -> None:
        self._go_to(message.view.id or "overlay")
        if message.view.id == "overlay":
            self.state = self.state.pointed(message.x)
        self.show_state()

    # Keys of the comparison.

    def action_metric(self) -> None:
        known = [metric.series for metric in self._compared.metrics()]
        if known:
            at = known.index(self._compared.metric(self._series).series)
            self._series = known[(at + 1) % len(known)]
            self._show()

    def action_scatter_axis(self) -> None:
        self._scatter_axis = "macs" if self._scatter_axis == "parameters" else "parameters"
        self._show()

    def action_sort(self) -> None:
        """As marked, best first, worst first."""
        self._series = self._compared.metric(self._series).series
        self._order = {"": "best", "best": "worst", "worst": ""}[self._order]
        self._show()
        words = {"": "as they were marked", "best": "best first", "worst": "worst first"}
        self.say(f"Runs stand {words[self._order]}")

    def action_write(self) -> None:
        if not self._lines:
            return
        found, baseline, every = list(self._lines), self._baseline, self._every

        def text(form: str) -> str:
            return comparison_export.to_text(cast(Format, form), found, baseline, every=every)

        def write(form: str | None) -> None:
            if form and form in DRAWN:
                self.ask_figure("comparison", form, [self.app.root / run_id for run_id in self.run_ids], "comparison")
            elif form:
                self.ask_where("comparison", form, text)

        self.app.push_screen(Choice("Write the comparison as", COMPARISON_FORMS), write)
