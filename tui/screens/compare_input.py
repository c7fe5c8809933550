"""What keys and mouse do to Compare: panes, the selected line, scrolling, and how the lines are put together."""

from collections.abc import Sequence

from textual.events import Click

from engine.run_view import RunView
from tui import compare_table
from tui.comparison import Line
from tui.run_actions import RunActions
from tui.screens.compare_panes import TableView
from tui.screens.plot_keys import PlotKeys

OVERLAY_LEAST, SCATTER_LEAST = 60, 36
TABLE_PANES = ("metrics", "settings")
_PANES = ("overlay", "scatter", *TABLE_PANES)


class CompareInput(PlotKeys, RunActions):
    """Where a person is among the panes and lines of a comparison, and what they chose to see of it."""

    def __init__(self, run_ids: Sequence[str]) -> None:
        super().__init__()
        self._lines: list[Line] = []
        self._baseline_run = run_ids[0] if run_ids else ""
        self._selected = self._baseline_run
        self._together, self._every = True, False
        self._pane, self._whole_screen = "overlay", False
        self._first = self._scroll = 0

    @property
    def _has_scatter(self) -> bool:
        return self.app.size.width > OVERLAY_LEAST + SCATTER_LEAST

    @property
    def _baseline(self) -> int:
        """The place of the line that holds the baseline."""
        return self._place_of(self._baseline_run) or 0

    def _place_of(self, run_id: str) -> int | None:
        for place, line in enumerate(self._lines):
            if any(member.view.id == run_id for member in line.members):
                return place
        return None

    def here(self) -> RunView | None:
        """The run that is selected in the table, else the baseline."""
        place = self._place_of(self._selected) if self._pane in TABLE_PANES else None
        return self._lines[self._baseline if place is None else place].view if self._lines else None

    def chosen(self) -> list[RunView]:
        run = self.here()
        return [run] if run else []

    def action_all_keys(self) -> None:
        self._every, self._scroll = not self._every, 0
        self._show()

    def action_seeds(self) -> None:
        self._together = not self._together
        self._show()

    def action_baseline(self) -> None:
        """The line that is selected in the table, else the next one."""
        if not self._lines:
            return
        chosen = self._place_of(self._selected) if self._pane in TABLE_PANES else None
        if chosen is None or chosen == self._baseline:
            chosen = (self._baseline + 1) % len(self._lines)
        self._baseline_run = self._lines[chosen].view.id
        self._show()

    def action_pan_left(self) -> None:
        if self._pans_the_plot:
            super().action_pan_left()
        else:
            self._pan_lines(-1)

    def action_pan_right(self) -> None:
        if self._pans_the_plot:
            super().action_pan_right()
        else:
            self._pan_lines(1)

    @property
    def _pans_the_plot(self) -> bool:
        return self._pane not in TABLE_PANES and self.state.window is not None

    def action_cross_hair_left(self) -> None:
        if self._pane in TABLE_PANES:
            self._select(-1)
        else:
            super().action_cross_hair_left()

    def action_cross_hair_right(self) -> None:
        if self._pane in TABLE_PANES:
            self._select(1)
        else:
            super().action_cross_hair_right()

    # Moving about.

    @property
    def _panes(self) -> tuple[str, ...]:
        return _PANES if self._has_scatter else tuple(pane for pane in _PANES if pane != "scatter")

    def action_next_pane(self) -> None:
        self._step_pane(1)

    def action_previous_pane(self) -> None:
        self._step_pane(-1)

    def _step_pane(self, by: int) -> None:
        panes = self._panes if not self._whole_screen else ("overlay", "scatter")
        at = panes.index(self._pane) if self._pane in panes else 0
        self._go_to(panes[(at + by) % len(panes)])
        self._show()

    def _go_to(self, pane: str) -> None:
        self._pane = pane
        if pane in TABLE_PANES and self._place_of(self._selected) is None:
            self._selected = self._baseline_run
        if self._whole_screen:
            self.refresh_size()

    def _shown_lines(self) -> list[int]:
        """The order of the lines in the table: the baseline, then the others."""
        base = self._baseline
        return [base, *(place for place in range(len(self._lines)) if place != base)]

    def _room_for_lines(self) -> int:
        return compare_table.room_for_lines(self.app.size.width, narrow=self.size_class == "narrow")

    def _pan_lines(self, by: int) -> None:
        most = max(len(self._lines) - self._room_for_lines(), 0)
        self._first = min(max(self._first + by, 0), most)
        self._show()

    def _select(self, by: int) -> None:
        order = self._shown_lines()
        at = self._place_of(self._selected)
        rank = min(max((order.index(at) if at is not None else 0) + by, 0), len(order) - 1)
        self._selected = self._lines[order[rank]].view.id
        room = self._room_for_lines() - 1
        if rank:
            self._first = min(max(self._first, rank - room), rank - 1)
        self._show()

    def action_cursor_down(self) -> None:
        self._scroll_by(1)

    def action_cursor_up(self) -> None:
        self._scroll_by(-1)

    def action_half_page_down(self) -> None:
        self._scroll_by(max(self._room_for_settings() // 2, 1))

    def action_half_page_up(self) -> None:
        self._scroll_by(-max(self._room_for_settings() // 2, 1))

    def action_cursor_top(self) -> None:
        self._scroll_by(-self._scroll)

    def action_cursor_end(self) -> None:
        self._scroll_by(1 << 20)

    def _room_for_settings(self) -> int:
        view = self.query_one(TableView)
        return compare_table.room_for_settings(view.table, view.size.height) if view.table else 0

    def _scroll_by(self, by: int) -> None:
        table = self.query_one(TableView).table
        most = max(len(table.settings.rows) - self._room_for_settings(), 0) if table else 0
        self._scroll = min(max(self._scroll + by, 0), most)
        self._show()

    def action_open(self) -> None:
        """A plot fills the screen, and gives it back; in the table the selected run opens."""
        if self._pane not in TABLE_PANES:
            self._whole_screen = not self._whole_screen
            self.refresh_size()
            self._show()
            return
        place = self._place_of(self._selected)
        if place is not None:
            self.app.open_run(self._lines[place].view.id)

    def action_back(self) -> None:
        if self._whole_screen:
            self.action_open()
        else:
            super().action_back()

    def on_click(self, event: Click) -> None:
        view = self.query_one(TableView)
        if view.region.contains(event.screen_x, event.screen_y):
            self._go_to(view.pane_at(event.screen_y - view.region.y))
            self._show()

    def on_mouse_scroll_down(self) -> None:
        self._scroll_by(3)

    def on_mouse_scroll_up(self) -> None:
        self._scroll_by(-3)

    def _show(self) -> None:
        """Draw at once what a key has changed."""
        with self.app.batch_update(), self.guarded():
            self.show_footer()
            self.tick()
