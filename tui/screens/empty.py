"""The first-run screen: two keys to a running training."""

from textual.app import ComposeResult

from engine.errors import UserError
from tui import first_run
from tui.first_run import Quickstart, Words
from tui.grid import Grid
from tui.grid_view import GridView
from tui.run_actions import ask_folder
from tui.screens.base import BaseScreen, shown_path


class Body(GridView):
    """All between header and footer."""

    DEFAULT_CSS = """
    Body { width: 1fr; height: 1fr; }
    """

    def __init__(self, screen: "EmptyScreen") -> None:
        super().__init__()
        self._empty = screen

    def draw(self, width: int, height: int) -> Grid:
        screen = self._empty
        return first_run.draw(width, height, screen.quickstart, screen.words(), screen.palette)


class EmptyScreen(BaseScreen):
    """Shown while the runs folder holds no run."""

    scope = "empty"

    def __init__(self) -> None:
        super().__init__()
        self.quickstart = Quickstart()

    def compose_body(self) -> ComposeResult:
        yield Body(self)

    def on_mount(self) -> None:
        self.set_crumbs("Runs")
        self.in_thread(_read_quickstart, self._show_quickstart)

    def tick(self) -> None:
        self.query_one(Body).redraw()

    def words(self) -> Words:
        keymap = self.app.keymap
        return Words(
            shown_path(self.app.root),
            keymap.shown("new_run", "empty"),
            keymap.shown("launch", "new"),
            keymap.shown("open_folder", "empty"),
        )

    def _show_quickstart(self, quickstart: Quickstart) -> None:
        self.quickstart = quickstart
        self.changed()

    def action_open_folder(self) -> None:
        ask_folder(self)


def _read_quickstart() -> Quickstart:
    """What the preset says; counts of its network only where they are known without torch."""
    from engine import experiment, inspection

    try:
        chosen = experiment.load("quickstart")
    except UserError:
        return Quickstart()
    counts = inspection.cached(chosen)
    return Quickstart(
        epochs=chosen.total_epochs,
        images=chosen.data.train_images + chosen.data.validation,
        size=chosen.data.size,
        parameters=counts.parameters if counts else None,
        macs=counts.macs if counts else None,
    )
