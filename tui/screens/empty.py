"""The first-run screen: two keys to a running training."""

from textual.app import ComposeResult

from tui.chrome import PartsLine
from tui.screens.base import BaseScreen, shown_path


class EmptyScreen(BaseScreen):
    """Shown while the runs folder holds no run."""

    scope = "empty"

    def compose_body(self) -> ComposeResult:
        yield PartsLine(palette=self.palette, id="remark")

    def on_mount(self) -> None:
        self.set_crumbs("Runs")

    def tick(self) -> None:
        bold, dim = self.palette.style("text", bold=True), self.palette.style("dim")
        self.query_one("#remark", PartsLine).show(
            [("No runs yet", bold), (f" in {shown_path(self.app.root)}", dim)],
        )
