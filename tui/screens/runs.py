"""The table of runs."""

from textual.app import ComposeResult

from tui.chrome import PartsLine
from tui.screens.base import BaseScreen


class RunsScreen(BaseScreen):
    """All runs of a folder."""

    scope = "runs"

    def compose_body(self) -> ComposeResult:
        yield PartsLine(palette=self.palette, id="filter")

    def on_mount(self) -> None:
        self.set_crumbs("Runs")

    def tick(self) -> None:
        self.query_one("#filter", PartsLine).show(
            [(f"{len(self.app.services.listing.runs)} runs", self.palette.style())]
        )

    def action_open(self) -> None:
        self.app.open_run(self.app.services.listing.runs[0].id)
