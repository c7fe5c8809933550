"""The widgets and messages of New run."""

from typing import TYPE_CHECKING

from textual import events
from textual.message import Message

from tui import new_layout, new_view
from tui.dialogs import Overlay
from tui.grid import Grid
from tui.grid_view import GridView
from tui.theme import Palette

if TYPE_CHECKING:
    from tui.new_form import Catalogue, Form
    from tui.screens.new import NewScreen


class Loaded(Message):
    """The presets were read, in a thread, and the form was begun."""

    def __init__(self, catalogue: "Catalogue", form: "Form", problem: str) -> None:
        super().__init__()
        self.catalogue = catalogue
        self.form = form
        self.problem = problem


class Body(GridView):
    """Everything between header and footer."""

    DEFAULT_CSS = """
    Body { width: 1fr; height: 1fr; }
    """

    def __init__(self, screen: "NewScreen") -> None:
        super().__init__()
        self._new = screen

    def draw(self, width: int, height: int) -> Grid:
        return new_view.draw(self._new.shown(), width, height, self._new.size_class, self._new.palette)

    def on_click(self, event: events.Click) -> None:
        self._new.clicked(event.y, event.x)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._new.scrolled(event.y, event.x, 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._new.scrolled(event.y, event.x, -1)


class SamplesOverlay(Overlay[None]):
    """The augmented samples over the screen, where it has no room for them."""

    hint = "esc close"

    def __init__(self, screen: "NewScreen") -> None:
        super().__init__()
        self._new = screen

    def wanted_size(self) -> tuple[int, int]:
        return 3 * (new_layout.SMALL_SIDE + 1) + 3, new_layout.SMALL_SIDE // 2 + 3

    def draw(self, grid: Grid, palette: Palette) -> None:
        area = new_layout.Area(1, 3, grid.width - 6, grid.height - 2)
        new_view.draw_samples(grid, area, self._new.shown(), new_layout.SMALL_SIDE, palette)

    def press(self, event: events.Key) -> None:
        if event.key == "space":
            self._new.draw_again()
        elif event.key == "i":
            self._new.action_next_image()
        self.redraw()
