"""The panes of the table of runs: the filter, the rows, the preview. They draw what their screen holds."""

from typing import TYPE_CHECKING

from textual import events
from textual.message import Message

from tui import glyphs, line
from tui.dialogs import REVERSE
from tui.filter_box import parts_of, prompt
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part
from tui.run_table import draw_head, draw_run, place
from tui.theme import Palette

if TYPE_CHECKING:
    from tui.screens.runs import RunsScreen


class FilterLine(GridView, can_focus=True):
    """The filter with its cursor, and the counts at its right."""

    DEFAULT_CSS = """
    FilterLine { height: 1; width: 1fr; }
    """

    class Typed(Message):
        """The text is another one."""

    class Left(Message):
        """The filter is done with."""

    def __init__(self, screen: "RunsScreen") -> None:
        super().__init__(id="filter")
        self._runs = screen
        self.right: list[Part] = []

    def draw(self, width: int, height: int) -> Grid:
        grid, palette, box = Grid(width, height), self._runs.palette, self._runs.box
        right = self.right if line.width_of(self.right) < width // 2 else self.right[:2]
        left = [prompt(palette), *parts_of(box.text, palette)]
        if not box.text and not self.has_focus:
            left.append(("filter", palette.style("dim")))
        cursor = line.MARGIN + line.width_of([prompt(palette), (box.text[: box.line.cursor], palette.style())])
        room = width - 2 * line.MARGIN - line.width_of(right) - 2
        while self.has_focus and cursor > room and left:  # the end where one types is what must be seen
            cut = min(cursor - room, len(left[1][0]) if len(left) > 1 else 0)
            left = [left[0], (left[1][0][cut:], left[1][1]), *left[2:]] if left[1][0][cut:] else [left[0], *left[2:]]
            cursor -= max(cut, 1)
        line.lay_out(grid, 0, left, right)
        if self.has_focus and cursor < width:
            character, style = grid.cells[0][cursor]
            grid.cells[0][cursor] = (character or " ", style + palette.style("accent") + REVERSE)
        return grid

    def on_key(self, event: events.Key) -> None:
        if event.key in ("up", "down", "ctrl+p", "ctrl+t", "ctrl+l", "ctrl+z"):
            return
        if event.key in ("enter", "escape", "tab", "shift+tab"):
            if event.key == "escape":
                self._runs.box.clear()
                self.post_message(self.Typed())
            self.post_message(self.Left())
        elif self._runs.box.line.press(event):
            self.post_message(self.Typed())
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._runs.box.line.insert(event.text)
        self.post_message(self.Typed())

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
        self.redraw()


class TableView(GridView):
    """The rows that are in view, drawn from all of them."""

    DEFAULT_CSS = """
    TableView { height: 1fr; width: 1fr; }
    """

    class Clicked(Message):
        """A click on a row, or (`index` None) on the head of a column."""

        def __init__(self, index: int | None, column: str = "") -> None:
            super().__init__()
            self.index, self.column = index, column

    class Scrolled(Message):
        """The wheel was turned by so many rows."""

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

    def __init__(self, screen: "RunsScreen") -> None:
        super().__init__(id="table")
        self._runs = screen
        self.top = 0

    @property
    def page(self) -> int:
        """Rows of runs in view."""
        return max(self.size.height - 1, 1)

    def draw(self, width: int, height: int) -> Grid:
        grid, screen = Grid(width, height), self._runs
        look, rows = screen.look(), screen.rows
        placed = place(screen.columns, width)
        remark = screen.remark()
        if remark:
            grid.write_parts(min(2, height - 1), 5, line.cut(remark, width - 6))
            return grid
        draw_head(grid, 0, placed, look)
        self._scroll(rows.line_of(screen.cursor), rows.lines, height - 1)
        for row in range(1, height):
            at = self.top + row - 1
            index = rows.run_at(at)
            if index is not None:
                draw_run(grid, row, placed, rows.runs[index], look, cursor=index == screen.cursor)
            elif at == rows.rule:
                grid.fill(row, 1, width - 2, glyphs.active().rule, look.palette.style("rule"))
        return grid

    def _scroll(self, cursor: int, lines: int, room: int) -> None:
        """Keep the cursor in view, and no blank lines below while there is something above."""
        self.top = min(self.top, cursor)
        self.top = max(self.top, cursor - room + 1, 0)
        self.top = min(self.top, max(lines - room, 0))

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            heads = [one for one in place(self._runs.columns, self.size.width) if one.start <= event.x < one.end]
            if heads:
                self.post_message(self.Clicked(None, heads[0].column.name))
            return
        index = self._runs.rows.run_at(self.top + event.y - 1)
        if index is not None:
            self.post_message(self.Clicked(index))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(self.Scrolled(3))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(self.Scrolled(-3))


class Preview(GridView):
    """The run under the cursor: below the table, beside it, or in its place."""

    DEFAULT_CSS = """
    Preview { height: 14; width: 1fr; }
    """

    def __init__(self, screen: "RunsScreen") -> None:
        super().__init__(id="preview")
        self._runs = screen

    def draw(self, width: int, height: int) -> Grid:
        feed, screen = self._runs.feed, self._runs
        if feed is None:
            return Grid(width, height)
        from tui import run_preview  # with its plots it is needed only after the table is seen

        colour = screen.app.services.colour(feed.view, screen.palette)
        setting = run_preview.Setting(screen.palette, colour, screen.app.now())
        match screen.size_class:
            case "narrow":
                return run_preview.draw_alone(feed, width, height, setting)
            case "wide":
                part = run_preview.draw_beside(feed, max(width - 5, 0), height, setting)
                return _beside(part, width, height, screen.palette)
            case _:
                return run_preview.draw_below(feed, width, height, setting)


def _beside(part: Grid, width: int, height: int, palette: Palette) -> Grid:
    """The preview after an upright line that parts it from the table."""
    grid = Grid(width, height)
    for row in range(1, height - 1):
        grid.write(row, 1, glyphs.active().upright, palette.style("rule"))
    grid.paste(0, 4, part)
    return grid
