"""What runs where, what waits, and what is done today."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from textual.app import ComposeResult
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message

from engine import queue
from engine.errors import UserError
from engine.queue import QueueView, Waiting
from engine.run_view import RunView
from engine.runs import RunFolder
from engine.slots import Slot
from tui import format, glyphs, queue_figures, queue_table
from tui.chrome import PartsLine
from tui.dialogs import Field, Form, Question
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part
from tui.queue_figures import Keys, QueueFigures
from tui.queue_table import PANES, Board
from tui.run_actions import RunActions, called, who
from tui.services import Changed, Poke, Poller, calm
from tui.theme import Palette

LOOK_S = 1.0
REST = 10  # a look at ten thousand runs takes long; between looks it rests for ten times as long
REVIVE_S = 5.0
_WHEEL = 3


class QueuePoller(Poller):
    """Looks at the queue once a second, and starts a runner where one is missing."""

    def __init__(self, root: Path, poke: Poke, complain: Callable[[Exception], object]) -> None:
        super().__init__("queue view", poke)
        self.root = root
        self.view: QueueView | None = None
        self._said = ""
        self._complain_of = complain
        self._interval_s = LOOK_S
        self._revive_due = 0.0

    @property
    def interval_s(self) -> float:
        return self._interval_s

    def poll(self) -> bool:
        begun = time.monotonic()
        before, self.view = self.view, _calmed(queue.view(self.root))
        if not self.view.advancing and begun >= self._revive_due:
            self._revive_due = begun + REVIVE_S
            self._revive()
        self._interval_s = max(LOOK_S, REST * (time.monotonic() - begun))
        return self.view != before

    def _revive(self) -> None:
        try:
            queue.ensure_runner(self.root)
        except UserError as error:
            if str(error) != self._said:
                self._said = str(error)
                self._complain_of(error)


def _calmed(view: QueueView) -> QueueView:
    """Without what changes at every look and says nothing."""
    return replace(
        view,
        places=tuple(replace(place, runs=tuple(map(calm, place.runs))) for place in view.places),
        waiting=tuple(replace(waiting, run=calm(waiting.run)) for waiting in view.waiting),
        done=tuple(map(calm, view.done)),
    )


class BoardView(GridView):
    """Slots, waiting and done."""

    DEFAULT_CSS = """
    BoardView { width: 1fr; height: 1fr; }
    """

    class Pointed(Message):
        """A click on a row of a pane."""

        def __init__(self, pane: str, index: int | None) -> None:
            super().__init__()
            self.pane, self.index = pane, index

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Board, Palette] | None = None

    def show(self, board: Board, palette: Palette) -> None:
        before, self._shown = self._shown, (board, palette)
        if before != self._shown:
            self.redraw(everything=before is None or before[1] != palette)

    def draw(self, width: int, height: int) -> Grid:
        if self._shown is None:
            return Grid(width, height)
        return queue_table.draw(self._shown[0], width, height, self._shown[1])

    def on_click(self, event: Click) -> None:
        if self._shown:
            self.post_message(self.Pointed(*queue_table.hit(self._shown[0], self.size.height, event.y)))


class QueueScreen(RunActions):
    """The queue of the runs folder."""

    scope = "queue"

    DEFAULT_CSS = """
    QueueScreen > PartsLine { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._poller: QueuePoller | None = None
        self._view: QueueView | None = None
        self._figures: QueueFigures | None = None
        self._pane = "waiting"
        self._cursors = dict.fromkeys(PANES, "")
        self._indices = dict.fromkeys(PANES, 0)
        self._tops = dict.fromkeys(PANES, 0)

    def compose_body(self) -> ComposeResult:
        yield PartsLine(palette=self.palette, id="status")
        yield BoardView()

    def on_mount(self) -> None:
        self.set_crumbs("Queue")
        app = self.app
        self._poller = QueuePoller(
            app.root, lambda: app.post_message(Changed()), lambda error: self._from_thread(self.complain, error)
        )
        self._poller.start()

    def on_unmount(self) -> None:
        if self._poller:
            self._poller.stop()

    # What is shown.

    def refresh_size(self) -> None:
        margin = 0 if self.size_class == "narrow" else 1
        self.query_one(BoardView).styles.margin = (margin, 0, 0, 0)

    def tick(self) -> None:
        if self._poller is None or self._poller.view is None:
            return
        if self._view is not self._poller.view:
            self._view = self._poller.view
        services, keys = self.app.services, self.app.keymap
        words = Keys(*(keys.shown(name, "queue") for name in ("pause_queue", "hold", "new_run")))
        words = replace(words, add=keys.shown("add_to_queue", "new"))
        sample, host = services.machine.sample, socket.gethostname()
        self._figures = queue_figures.figures(self._view, services.listing.runs, sample, host, words)
        self._keep_cursor()
        self._show_status(self._figures)
        self._show_board(self._figures)
        self.show_footer()

    def _runs(self, pane: str) -> list[RunView | None]:
        """The run of each row of a pane; None for a slot that is free."""
        if self._figures is None:
            return []
        if pane == "slots":
            return [row.run for row in self._figures.slots]
        rows = self._figures.waiting if pane == "waiting" else self._figures.done
        return [row.run for row in rows]

    def _keep_cursor(self) -> None:
        """The cursor stays on its run; where that is gone, on the row."""
        for pane in PANES:
            rows = self._runs(pane)
            ids = [run.id if run else "" for run in rows]
            wanted = self._cursors[pane]
            index = ids.index(wanted) if wanted and wanted in ids else self._indices[pane]
            self._indices[pane] = min(max(index, 0), max(len(rows) - 1, 0))
            self._cursors[pane] = ids[self._indices[pane]] if ids else ""

    def _show_status(self, figures: QueueFigures) -> None:
        palette = self.palette
        dim, text = palette.style("dim"), palette.style("text")
        status = figures.status
        left: list[Part] = [
            (f"{glyphs.active().state(status.state)} ", palette.state(status.state)),
            (status.word, palette.state(status.state, bold=True)),
            (f"   {status.text}", dim),
        ]
        right: list[Part] = [(f"{figures.running}", text), (" running  ", dim), (f"{len(figures.waiting)}", text)]
        right.append((" waiting", dim))
        if figures.all_done_s is not None and self.size_class != "narrow":
            span = format.remaining(figures.all_done_s, "", estimate=figures.all_done_rough, table=True)
            right += [("  all done in ", dim), (span, text)]
        self.query_one("#status", PartsLine).show(left, right)

    def _show_board(self, figures: QueueFigures) -> None:
        services, keys = self.app.services, self.app.keymap
        hints = [(keys.shown("capacity", "queue"), "runs per slot")]
        if self._pane == "waiting":
            hints = [(f"{keys.shown('move_down', 'queue')} {keys.shown('move_up', 'queue')}", "move")]
            hints.append((keys.shown("remove", "queue"), "remove"))
        board = Board(
            figures,
            services.colour_indices,
            float(int(time.time())),
            self._pane,
            self._indices[self._pane],
            keys=tuple(hints),
        )
        board = replace(board, tops=self._scrolled(board))
        self.query_one(BoardView).show(board, self.palette)

    def _scrolled(self, board: Board) -> tuple[int, int, int]:
        """The first row that each pane shows, so that the cursor is in view."""
        room = queue_table.rooms(board, self.query_one(BoardView).size.height)
        for pane, rows in zip(PANES, (room.slots, room.waiting, room.done), strict=True):
            at = self._indices[pane]
            self._tops[pane] = min(max(self._tops[pane], at - max(rows, 1) + 1), at)
        return self._tops["slots"], self._tops["waiting"], self._tops["done"]

    def footer_words(self) -> Mapping[str, str]:
        waiting = self._waiting()
        view = self._view
        return {
            "hold": "release" if waiting and waiting.held else "hold",
            "pause_queue": "go on" if view and view.paused else "pause queue",
        }

    # Where the cursor is.

    def chosen(self) -> list[RunView]:
        run = self.here()
        return [run] if run else []

    def here(self) -> RunView | None:
        rows = self._runs(self._pane)
        return rows[self._indices[self._pane]] if rows else None

    def _waiting(self) -> Waiting | None:
        """The waiting run under the cursor."""
        run = self.here() if self._pane == "waiting" else None
        found = self._view.waiting if self._view else ()
        return next((waiting for waiting in found if run and waiting.run.id == run.id), None)

    def _move_cursor(self, by: int) -> None:
        rows = self._runs(self._pane)
        index = min(max(self._indices[self._pane] + by, 0), max(len(rows) - 1, 0))
        self._set_cursor(self._pane, index)

    def _set_cursor(self, pane: str, index: int) -> None:
        self._pane, self._indices[pane] = pane, index
        rows = self._runs(pane)
        run = rows[index] if index < len(rows) else None
        self._cursors[pane] = run.id if run else ""
        self._show()

    def _show(self) -> None:
        """Draw at once what a key has changed."""
        with self.app.batch_update(), self.guarded():
            self.tick()

    def action_cursor_down(self) -> None:
        self._move_cursor(1)

    def action_cursor_up(self) -> None:
        self._move_cursor(-1)

    def action_half_page_down(self) -> None:
        self._move_cursor(max(self.app.size.height // 2, 1))

    def action_half_page_up(self) -> None:
        self._move_cursor(-max(self.app.size.height // 2, 1))

    def action_cursor_top(self) -> None:
        self._set_cursor(self._pane, 0)

    def action_cursor_end(self) -> None:
        self._set_cursor(self._pane, max(len(self._runs(self._pane)) - 1, 0))

    def action_next_pane(self) -> None:
        self._step_pane(1)

    def action_previous_pane(self) -> None:
        self._step_pane(-1)

    def _step_pane(self, by: int) -> None:
        panes = [pane for pane in PANES if self._runs(pane) or pane == "waiting"]
        at = panes.index(self._pane) if self._pane in panes else 0
        self._pane = panes[(at + by) % len(panes)]
        self._show()

    def on_board_view_pointed(self, message: BoardView.Pointed) -> None:
        if message.index is None:
            self._pane = message.pane
            self._show()
        else:
            self._set_cursor(message.pane, message.index)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self._move_cursor(_WHEEL)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self._move_cursor(-_WHEEL)

    def action_open(self) -> None:
        run = self.here()
        if run is not None:
            self.app.open_run(run.id)

    # Changing the queue.

    def _change(self, work: Callable[[], object], said: str = "") -> None:
        """Change the queue in a thread, look at it again, and say what was done."""

        def done(_: object) -> None:
            if self._poller:
                self._poller.wake()
            self.app.services.runs.wake()
            if said:
                self.say(said)

        self.in_thread(work, done)

    def _expect(self, view: QueueView | None) -> None:
        """Show at once what a change will make of the queue; the next look confirms it."""
        if self._poller and view:
            self._poller.view = view
            self._show()

    def _with_held(self, waiting: Waiting, held: bool) -> QueueView | None:
        view = self._view
        changed = replace(waiting, held=held)
        return view and replace(view, waiting=tuple(changed if one is waiting else one for one in view.waiting))

    def action_move_down(self) -> None:
        self._move_run(1)

    def action_move_up(self) -> None:
        self._move_run(-1)

    def _move_run(self, by: int) -> None:
        waiting = self._waiting()
        if waiting is None or self._view is None:
            self._nothing("move", "does not wait")
            return
        root, run_id = self.app.root, waiting.run.id
        order = list(self._view.waiting)
        at = order.index(waiting)
        if not 0 <= at + by < len(order):
            return
        order.insert(at + by, order.pop(at))
        self._expect(replace(self._view, waiting=tuple(order)))
        self._change(lambda: queue.move(root, run_id, by))

    def action_hold(self) -> None:
        waiting = self._waiting()
        if waiting is None:
            self._nothing("hold", "does not wait")
            return
        root, run = self.app.root, waiting.run
        self._expect(self._with_held(waiting, not waiting.held))
        if waiting.held:
            self._change(lambda: queue.release(root, run.id), f"{called(run)} may start again")
        else:
            self._change(lambda: queue.hold(root, run.id), f"{called(run)} is held; {self._key('hold')} releases it")

    def action_remove(self) -> None:
        waiting = self._waiting()
        if waiting is None:
            self._nothing("remove", "does not wait")
            return
        run = waiting.run
        sentence = f"Take {called(run)} out of the queue? It counts as stopped; {self._key('undo')} adds it again."
        self.app.push_screen(Question(sentence, "take out", "keep"), lambda yes: self._remove(run) if yes else None)

    def _remove(self, run: RunView) -> None:
        self.push_undo(f"{called(run)} waits again", lambda: self._change(lambda: _add(run)))
        said = f"{called(run)} is taken out of the queue; {self._key('undo')} adds it again"
        root = self.app.root
        self._change(lambda: queue.remove(root, run.id, by=who()), said)

    def action_pause_queue(self) -> None:
        root = self.app.root
        view = self._view
        self._expect(view and replace(view, paused=not view.paused))
        if view and view.paused:
            self._change(lambda: queue.resume(root), "The queue goes on")
        else:
            said = f"The queue is paused: what runs goes on; {self._key('pause_queue')} lets it advance"
            self._change(lambda: queue.pause(root), said)

    def action_capacity(self) -> None:
        """How many runs each slot takes at a time: a line a slot."""
        if self._view is None:
            return
        slots = [place.slot for place in self._view.places]
        remark = f"runs at a time, 0 to {queue.MAX_CAPACITY}; what runs already goes on"
        fields = [Field(slot.name, queue_figures.short_label(slot), str(slot.capacity), remark) for slot in slots]
        form = Form("Runs per slot", fields, queue_figures.wrong_capacity)
        self.app.push_screen(form, lambda answers: self._take_capacities(slots, answers) if answers else None)

    def _take_capacities(self, slots: Sequence[Slot], answers: Mapping[str, str]) -> None:
        root = self.app.root
        changed = {slot.name: int(answers[slot.name]) for slot in slots if slot.capacity != int(answers[slot.name])}
        if not changed:
            return

        def work() -> None:
            for name, capacity in changed.items():
                queue.set_capacity(root, name, capacity)

        said = [queue_figures.capacity_words(slot, changed[slot.name]) for slot in slots if slot.name in changed]
        self._change(work, "; ".join(said))

    def action_resume(self) -> None:
        """Put an ended run back into the queue, to go on from its checkpoint."""
        run = self.here()
        if run is None or run.live:
            self._nothing("queue again", "is not over")
            return
        self._change(lambda: _add(run), f"{called(run)} waits, and goes on from its newest checkpoint")


def _add(run: RunView) -> None:
    queue.add(RunFolder(run.path), by=who())
