"""Redraws that send the changed cells and no others, and of their colours only what changes.

Textual 8 answers a partial refresh by sending each line from the left edge of its widget to the end of the changed
span, and so for every span of a line anew: for a point appended to a plot of 100x30 2.7 kB instead of 0.25 kB, for
curves that move 44 kB instead of 11 kB (`benchmarks/terminal_plot.py`). The update below crops at both ends. `install`
puts it in the place of Textual's own, and does nothing if Textual no longer has that. So it does with whole redraws.
"""

from rich.console import Console
from rich.control import Control
from textual import _compositor
from textual._compositor import ChopsUpdate, LayoutUpdate

from tui.sgr import compact


class ExactUpdate(ChopsUpdate):
    """The spans of a partial update, each sent from its first cell to its last."""

    def render_segments(self, console: Console) -> str:
        """Terminal sequences of the update: for every span a cursor move, then its cells."""
        sequences: list[str] = []
        for y, first, end in self.spans:
            for chop_end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= end or chop_end <= first:
                    continue
                start, stop = max(x, first), min(chop_end, end)
                sequences.append(Control.move_to(start, y).segment.text)
                sequences.append(strip.crop(start - x, stop - x).render(console))
        return compact("".join(sequences))


class WholeUpdate(LayoutUpdate):
    """Every line of a region."""

    def render_segments(self, console: Console) -> str:
        """Terminal sequences of the update."""
        return compact(super().render_segments(console))


def install() -> None:
    """Use it from now on."""
    if hasattr(_compositor, "ChopsUpdate"):
        _compositor.ChopsUpdate = ExactUpdate  # type: ignore[misc]
    if hasattr(_compositor, "LayoutUpdate"):
        _compositor.LayoutUpdate = WholeUpdate  # type: ignore[misc]
