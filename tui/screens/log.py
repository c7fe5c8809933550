"""A run's log in full: followed while it grows, searched, long lines wrapped."""

from collections.abc import Sequence
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.message import Message

from tui import format, glyphs, line, log_lines
from tui.chrome import PartsLine
from tui.dialogs import TextLine
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part
from tui.log_reader import LogReader
from tui.screens.base import BaseScreen
from tui.services import RunFeed
from tui.theme import Palette


class LogText(GridView):
    """Lines from `top` on, wrapped at the right edge; following, the last ones."""

    DEFAULT_CSS = """
    LogText { width: 1fr; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__(id="text")
        self.lines: Sequence[str] = ()
        self.top = 0
        self.follow = True
        self.wanted = ""
        self.at: int | None = None
        self.used: Palette | None = None

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        if self.used is None:
            return grid
        if self.follow:
            self.top = log_lines.first_shown(self.lines, width - 2 * line.MARGIN, height)
        row = 0
        for index in range(self.top, len(self.lines)):
            if row >= height:
                break
            row = self._draw_line(grid, row, index, self.used)
        return grid

    def _draw_line(self, grid: Grid, row: int, index: int, palette: Palette) -> int:
        """Draw one line from a row on; returns the row after it."""
        parts = log_lines.marked(log_lines.log_parts(self.lines[index], palette), self.wanted, palette)
        for piece in log_lines.wrapped(parts, grid.width - 2 * line.MARGIN):
            grid.write_parts(row, line.MARGIN, piece)
            if index == self.at:
                grid.put(row, 0, glyphs.active().marked, palette.style("accent"))
            row += 1
        return row

    def go(self, top: int) -> None:
        """Show from this line on, and follow only when that is the end."""
        width, height = self.content_size
        last = log_lines.first_shown(self.lines, width - 2 * line.MARGIN, height)
        self.top = min(max(top, 0), last)
        self.follow = top >= last
        self.redraw()

    def show_line(self, index: int) -> None:
        """Bring a line into view, in the middle when it was not there."""
        height = self.content_size.height
        self.at = index
        if self.top <= index < self.top + height - 2 and not self.follow:
            self.redraw()
        else:
            self.go(index - height // 2)


class SearchLine(GridView, can_focus=True):
    """What is searched for, as one types it."""

    DEFAULT_CSS = """
    SearchLine { height: 1; width: 1fr; display: none; }
    SearchLine.asked { display: block; }
    """

    class Typed(Message):
        """The text is another one."""

    class Left(Message):
        """Enter or escape was pressed."""

        def __init__(self, kept: bool) -> None:
            super().__init__()
            self.kept = kept

    def __init__(self) -> None:
        super().__init__(id="search")
        self.text = TextLine()
        self.used: Palette | None = None

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        if self.used is not None:
            grid.write(0, 1, "/", self.used.style("accent", bold=True))
            self.text.draw(grid, 0, 3, width - 4, self.used, focused=self.has_focus)
        return grid

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if event.key in ("enter", "escape"):
            self.post_message(self.Left(event.key == "enter"))
        elif self.text.press(event):
            self.post_message(self.Typed())
            self.redraw()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.text.insert(event.text)
        self.post_message(self.Typed())
        self.redraw()

    def on_focus(self) -> None:
        self.redraw()


class LogScreen(BaseScreen):
    """The log of one run."""

    scope = "log"

    def __init__(self, run_id: str, *, searching: bool = False) -> None:
        super().__init__()
        self.run_id = run_id
        self._feed: RunFeed | None = None
        self._version = -1
        self._busy = False
        self._matches: list[int] = []
        self._searching = searching
        self._reader = LogReader(Path())

    def compose_body(self) -> ComposeResult:
        yield PartsLine(palette=self.palette, id="head")
        yield LogText()
        yield SearchLine()

    def on_mount(self) -> None:
        self._feed = feed = self.app.services.feed(self.run_id)
        self._reader = LogReader(feed.folder.path / "log.txt")
        self.set_crumbs("Runs", feed.view.name or self.run_id, "Log")
        if self._searching:
            self.action_search()

    def on_unmount(self) -> None:
        if self._feed is not None:
            self.app.services.release(self._feed)

    # Drawing.

    def refresh_size(self) -> None:
        self._take_palette()

    def _take_palette(self) -> None:
        for widget in (self.query_one(LogText), self.query_one(SearchLine)):
            changed = widget.used != self.palette
            widget.used = self.palette
            widget.redraw(everything=changed)

    def tick(self) -> None:
        self._read()
        self._show_head()

    def _read(self) -> None:
        """Read what the log has grown by, unless that is being done."""
        if self._busy or self._feed is None or self._version == self._feed.version:
            return
        self._busy, self._version = True, self._feed.version
        self.in_thread(self._poll, self._take)

    def _poll(self) -> list[str]:
        while self._reader.poll():
            pass
        return self._reader.all_lines()

    def _take(self, lines: list[str]) -> None:
        self._busy = False
        text = self.query_one(LogText)
        if lines != text.lines:
            text.lines = lines
            self._search()
            text.redraw()
            self._show_head()

    def _show_head(self) -> None:
        text, palette = self.query_one(LogText), self.palette
        dim, bright = palette.style("dim"), palette.style("text")
        count = format.thousands(len(text.lines))
        first = "" if self._reader.whole and not self._reader.dropped else "last "
        facts: list[Part] = [(f"{first}{count} lines", dim)]
        if text.wanted:
            facts = [*self._found(), ("   ", dim), *facts]
        facts.append(("   following" if text.follow else f"   from line {format.thousands(text.top + 1)}", bright))
        head = line.pane_head("Log", self.app.size.width - 2 * line.MARGIN, palette, facts)
        self.query_one("#head", PartsLine).show(head)

    def _found(self) -> list[Part]:
        text, palette = self.query_one(LogText), self.palette
        quoted = f'"{text.wanted}"'
        if not self._matches:
            return [(f"{quoted} is nowhere", palette.style("warn"))]
        place = self._matches.index(text.at) + 1 if text.at in self._matches else 0
        which = f"{place} of " if place else ""
        return [(f"{quoted} ", palette.style("dim")), (f"{which}{len(self._matches)}", palette.style("accent"))]

    # Searching.

    def action_search(self) -> None:
        search = self.query_one(SearchLine)
        search.set_class(True, "asked")
        search.focus()

    def on_search_line_typed(self) -> None:
        text = self.query_one(LogText)
        text.wanted = self.query_one(SearchLine).text.text
        self._search()
        if self._matches:
            before = [index for index in self._matches if index <= text.top + text.content_size.height]
            text.show_line(before[-1] if before else self._matches[0])
        else:
            text.redraw()
        self._show_head()

    def on_search_line_left(self, message: SearchLine.Left) -> None:
        search, text = self.query_one(SearchLine), self.query_one(LogText)
        if not message.kept:
            search.text.set("")
            text.wanted, text.at = "", None
            self._search()
            text.redraw()
        search.set_class(False, "asked")
        self.set_focus(None)
        self._show_head()

    def _search(self) -> None:
        text = self.query_one(LogText)
        self._matches = log_lines.matching(text.lines, text.wanted)

    def action_next_match(self) -> None:
        self._go_to_match(1)

    def action_previous_match(self) -> None:
        self._go_to_match(-1)

    def _go_to_match(self, step: int) -> None:
        """To the next or previous match, round the ends."""
        if not self._matches:
            self.say(f"{self.app.keymap.shown('search', self.scope)} searches the log")
            return
        text = self.query_one(LogText)
        at = text.at if text.at is not None else text.top - (step > 0)
        beyond = [index for index in self._matches[::step] if (index - at) * step > 0]
        text.show_line(beyond[0] if beyond else self._matches[::step][0])
        self._show_head()

    # Moving.

    def _move(self, lines: int) -> None:
        text = self.query_one(LogText)
        text.go(text.top + lines)
        self._show_head()

    def action_cursor_down(self) -> None:
        self._move(1)

    def action_cursor_up(self) -> None:
        self._move(-1)

    def action_half_page_down(self) -> None:
        self._move(self.query_one(LogText).content_size.height // 2)

    def action_half_page_up(self) -> None:
        self._move(-(self.query_one(LogText).content_size.height // 2))

    def action_cursor_top(self) -> None:
        self._move(-len(self.query_one(LogText).lines))

    def action_cursor_end(self) -> None:
        self._move(len(self.query_one(LogText).lines))

    def on_mouse_scroll_down(self) -> None:
        self._move(3)

    def on_mouse_scroll_up(self) -> None:
        self._move(-3)
