"""The table of runs: live ones first, a filter above it, a preview of the run under the cursor."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container
from textual.timer import Timer

from engine.runs import RunView
from engine.text import clean
from tui import glyphs, searched_list
from tui.dialogs import Option
from tui.filter_box import FilterBox, cut_note
from tui.line import Part
from tui.run_actions import RunActions, ask_folder
from tui.run_table import COLUMNS, USUAL, Look, Order, Rows, arrange
from tui.screens.base import shown_path
from tui.screens.runs_panes import FilterLine, Preview, TableView
from tui.services import RunFeed

if TYPE_CHECKING:
    from engine.presets import Preset

REST_S = 0.12  # the cursor rests for so long before the run under it is read


class RunsScreen(RunActions):
    """All runs of a folder."""

    scope = "runs"

    DEFAULT_CSS = """
    RunsScreen #body { layout: vertical; height: 1fr; }
    RunsScreen #left { height: 1fr; width: 1fr; }
    RunsScreen.-narrow #filter { margin-bottom: 1; }
    RunsScreen.-wide #body { layout: horizontal; }
    RunsScreen.-wide #filter { margin: 1 0; }
    RunsScreen.-wide #preview { width: 66; height: 1fr; }
    RunsScreen.-narrow #preview { height: 1fr; }
    RunsScreen.-narrow.-preview #table { display: none; }
    RunsScreen.-narrow.-preview #left { height: 2; }
    RunsScreen #preview { display: none; }
    RunsScreen.-preview #preview { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.box = FilterBox.empty()
        self.rows = Rows()
        self.cursor = 0
        self.feed: RunFeed | None = None
        self.columns: tuple[str, ...] = USUAL
        self.order = Order()
        self._previewed_narrow = False
        self._arranged: object = None
        self._drawn_feed: object = None
        self._resting: Timer | None = None
        self._moved_at = 0.0
        self._redraw_asked = False

    def compose_body(self) -> ComposeResult:
        self._set_classes()  # now: later the styles of all widgets would be worked out anew
        with Container(id="body"):
            with Container(id="left"):
                yield FilterLine(self)
                yield TableView(self)
            yield Preview(self)

    def on_mount(self) -> None:
        remembered = self.app.settings
        self.columns = tuple(name for name in remembered.names("columns", USUAL) if name in COLUMNS) or USUAL
        column = remembered.text("sort", "ended", tuple(COLUMNS))
        self.order = Order(column, remembered.flag("sort_descending", not COLUMNS[column].text_first))
        self.set_crumbs("Runs")

    def on_unmount(self) -> None:
        self._release()

    # What is shown.

    def tick(self) -> None:
        self._arrange()
        self._show()
        self._show_preview()

    def refresh_size(self) -> None:
        self._set_classes()
        self._drawn_feed = None

    def _set_classes(self) -> None:
        sizes = {f"-{size}": self.size_class == size for size in ("narrow", "normal", "wide")}
        self.update_classes({**sizes, "-preview": self._has_preview})

    @property
    def _has_preview(self) -> bool:
        if self.size_class == "narrow":
            return self._previewed_narrow
        return self.app.settings.flag("preview", True)

    def look(self) -> Look:
        """What rows are drawn with."""
        services = self.app.services
        return Look(
            self.palette,
            self.app.now(),
            self.order,
            services.colour_indices,
            frozenset(services.marked),
            services.listing.plan,
            services.listing.next_run,
        )

    def remark(self) -> list[Part]:
        """What stands in place of the table when it has no rows."""
        listing, dim = self.app.services.listing, self.palette.style("dim")
        if listing.problem:
            sentence = f"{shown_path(self.app.root)} cannot be read: {listing.problem}. "
            return [("! ", self.palette.style("bad", bold=True)), *self._with_key(sentence, "open_folder", "another")]
        if self.rows.runs or not listing.complete:
            return []
        if listing.runs:
            text = f'No run matches "{cut_note(self.box.good.text)}". {len(listing.runs)} runs hidden. '
            return [(text, self.palette.style("text")), ("esc", self.palette.style("accent")), (" clears it", dim)]
        return [(f"No runs in {shown_path(self.app.root)}", dim)]

    def _with_key(self, sentence: str, action: str, what: str) -> list[Part]:
        key = self.app.keymap.shown(action, self.scope)
        text = self.palette.style("text")
        return [(sentence, text), (key, self.palette.style("accent", bold=True)), (f" opens {what}", text)]

    def footer_words(self) -> Mapping[str, str]:
        marked = len(self.app.services.marked)
        return {"compare": f"compare {marked}"} if marked > 1 else {}

    def _arrange(self) -> None:
        """Filter and sort anew when runs, filter or order changed; the cursor stays on its run."""
        listing = self.app.services.listing
        wanted = (listing.runs, self.box.good, self.order, listing.plan)
        if self._arranged is not None and all(a is b for a, b in zip(wanted, self._arranged, strict=True)):  # type: ignore[call-overload]
            return
        under = self.here()
        self._arranged = wanted
        shown = [run for run in listing.runs if self.box.good.matches(run)] if self.box.active else listing.runs
        self.rows = arrange(shown, self.order, {run_id: turn for turn, run_id in enumerate(listing.plan.order)})
        found = self.rows.index(under.id) if under else None
        self.cursor = found if found is not None else max(min(self.cursor, len(self.rows.runs) - 1), 0)

    def _show(self) -> None:
        filter_line = self.query_one(FilterLine)
        filter_line.right = self._counts()
        filter_line.redraw()
        self.query_one(TableView).redraw()

    def _counts(self) -> list[Part]:
        """`34 of 486 runs    marked 5    sort ended ↓`"""
        services, signs = self.app.services, glyphs.active()
        text, dim = self.palette.style("text"), self.palette.style("dim")
        total = len(services.listing.runs)
        count = f"{len(self.rows.runs)} of {total}" if self.box.active else f"{total}"
        parts: list[Part] = [(count, text), (" run" if total == 1 else " runs", dim)]
        if services.runs.archived:
            parts.append((" with archived", dim))
        if self.size_class == "narrow":
            return parts
        if services.marked:
            parts += [("    marked ", dim), (f"{len(services.marked)}", text)]
        arrow = signs.sorted_down if self.order.descending else signs.sorted_up
        return [*parts, ("    sort ", dim), (f"{COLUMNS[self.order.column].head} {arrow}", text)]

    # The preview.

    def _show_preview(self) -> None:
        if not self._has_preview:
            self._release()
            return
        under = self.here()
        read = self.feed.view.id if self.feed else None
        if read != (under.id if under else None) and self._resting is None:
            self._rest_soon()
        drawn = (self.feed, self.feed.version, self.feed.loaded) if self.feed else None
        if drawn != self._drawn_feed:
            self._drawn_feed = drawn
            self.query_one(Preview).redraw()

    def _rest_soon(self) -> None:
        self._moved_at = time.monotonic()
        if self._resting is None:
            self._resting = self.set_timer(REST_S, self._rested)

    def _rested(self) -> None:
        left = self._moved_at + REST_S - time.monotonic() if self.app.painted else REST_S
        if left > 0.005:
            self._resting = self.set_timer(left, self._rested)
            return
        self._resting = None
        self._read_under_cursor()
        self._show_preview()

    def _read_under_cursor(self) -> None:
        under = self.here()
        if self.feed is not None and under is not None and self.feed.view.id == under.id:
            return
        self._release()
        if under is not None and self._has_preview:
            self.feed = self.app.services.feed(under.id)

    def _release(self) -> None:
        if self.feed is not None:
            self.app.services.release(self.feed)
            self.feed = None

    # Moving.

    def here(self) -> RunView | None:
        return self.rows.runs[self.cursor] if 0 <= self.cursor < len(self.rows.runs) else None

    def chosen(self) -> list[RunView]:
        marked = set(self.app.services.marked)
        runs = [run for run in self.rows.runs if run.id in marked]
        under = self.here()
        return runs or ([under] if under else [])

    def _move_to(self, index: int) -> None:
        index = max(min(index, len(self.rows.runs) - 1), 0)
        if index != self.cursor:
            self.cursor = index
            self._draw_soon()

    def _draw_soon(self) -> None:
        """Draw once for all keys that are already waiting."""
        if not self._redraw_asked:
            self._redraw_asked = True
            self.call_later(self._draw_now)

    def _draw_now(self) -> None:
        self._redraw_asked = False
        with self.app.batch_update(), self.guarded():
            self._arrange()
            self._show()
            self.show_footer()
            if self._has_preview:
                self._rest_soon()

    def action_cursor_down(self) -> None:
        self._move_to(self.cursor + 1)

    def action_cursor_up(self) -> None:
        self._move_to(self.cursor - 1)

    def action_cursor_top(self) -> None:
        self._move_to(0)

    def action_cursor_end(self) -> None:
        self._move_to(len(self.rows.runs) - 1)

    def action_half_page_down(self) -> None:
        self._move_to(self.cursor + max(self.query_one(TableView).page // 2, 1))

    def action_half_page_up(self) -> None:
        self._move_to(self.cursor - max(self.query_one(TableView).page // 2, 1))

    def on_table_view_scrolled(self, message: TableView.Scrolled) -> None:
        self._move_to(self.cursor + message.rows)

    def on_table_view_clicked(self, message: TableView.Clicked) -> None:
        if message.index is None:
            self._sort_by(message.column)
        elif message.index == self.cursor:
            self.action_open()
        else:
            self._move_to(message.index)

    # Filter, sort, columns, preview.

    def action_filter(self) -> None:
        self.query_one(FilterLine).focus()

    def action_next_pane(self) -> None:
        """From the table to the filter; the filter's own tab leads back."""
        self.action_filter()

    def action_previous_pane(self) -> None:
        self.action_filter()

    def on_filter_line_typed(self) -> None:
        self.clear_message()
        self.box.read()
        if self.box.error:
            self.say(self.box.error, "warn", "!")
        self._draw_soon()

    def on_filter_line_left(self) -> None:
        self.set_focus(None)

    def action_back(self) -> None:
        """Esc takes the filter away; there is nothing before this screen."""
        if self.box.text:
            self.box.clear()
            self._draw_soon()

    def action_sort(self) -> None:
        from tui.column_chooser import SortChoice

        key = self.app.keymap.shown("sort", self.scope)
        self.app.push_screen(SortChoice(self.order, key), lambda column: self._sort_by(column) if column else None)

    def _sort_by(self, column: str) -> None:
        self._use(self.columns, self.order.chosen(column))

    def action_columns(self) -> None:
        from tui.column_chooser import ColumnChooser

        self.app.push_screen(ColumnChooser(self.columns, self.order, self._use))

    def _use(self, columns: tuple[str, ...], order: Order) -> None:
        self.columns, self.order = columns, order
        self.app.settings.put(columns=columns, sort=order.column, sort_descending=order.descending)
        self._draw_soon()

    def action_preview(self) -> None:
        if self.size_class == "narrow":
            self._previewed_narrow = not self._previewed_narrow
        else:
            self.app.settings.put(preview=not self._has_preview)
        self.refresh_size()
        self.changed()

    def action_show_archived(self) -> None:
        """Those put away too, or not; `A` brings one of them back."""
        listed = self.app.services.runs
        listed.archived = not listed.archived
        listed.wake()
        key = self.app.keymap.shown("archive", self.scope)
        self.say(f"archived runs are shown too; {key} brings one back" if listed.archived else "without archived runs")
        self._draw_soon()

    # Marking and opening.

    def action_mark(self) -> None:
        under = self.here()
        if under is not None:
            self.app.services.mark(under.id)
            self._move_to(self.cursor + 1)
            self._draw_soon()

    def action_mark_all(self) -> None:
        services, shown = self.app.services, [run.id for run in self.rows.runs]
        if set(shown) <= set(services.marked):
            services.unmark(*shown)
        else:
            services.mark_all(shown)
        self._draw_soon()

    def action_open(self) -> None:
        under = self.here()
        if under is not None:
            self.app.open_run(under.id)

    def action_compare(self) -> None:
        marked = self.app.services.marked
        known = [run_id for run_id in marked if self.app.services.listing.find(run_id)]
        if len(known) < 2:
            key = self.app.keymap.shown("mark", self.scope)
            self.say(f"{key} marks the runs to compare: two at least")
        else:
            self.app.open_compare(known)

    def action_sweep(self) -> None:
        """The table of the sweep that the run is part of, else of one that is chosen."""
        under = self.here()
        if under is not None and under.sweep:
            self.app.open_sweep(under.id)
        else:
            self.in_thread(_sweep_presets, self._ask_sweep)

    def _ask_sweep(self, listed: Sequence["Preset"]) -> None:
        options = [Option(preset.name, preset.name, clean(preset.about)) for preset in listed]
        choice = searched_list.choice("Tables of sweeps", options)
        self.app.push_screen(choice, lambda name: self.app.open_sweep(name=name) if name else None)

    def action_results(self) -> None:
        under = self.here()
        if under is not None:
            self.app.open_results(under.id)

    def action_log(self) -> None:
        under = self.here()
        if under is not None:
            self.app.open_log(under.id)

    def action_open_folder(self) -> None:
        ask_folder(self)

    def gone(self, deleted: object) -> None:
        self._release()


def _sweep_presets() -> "Sequence[Preset]":
    from engine import presets

    return presets.catalogue("sweep")
