"""The network of a run, layer by layer, over the screen: output shape, parameters and MACs."""

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events

from engine.counts_cache import LayerCount
from engine.text import shorten
from tui import format, glyphs
from tui.dialogs import Overlay
from tui.grid import Grid
from tui.layer_figures import shape_text
from tui.theme import Palette

_GAP = 2
_PADDING = 2
_NAME, _DETAIL = 28, 18
HEADS = ("layer", "kind", "", "output", "parameters", "%", "MACs", "%")
_RIGHT = frozenset({4, 5, 6, 7})


def rows_of(network: Sequence[LayerCount]) -> list[tuple[str, ...]]:
    """A row of texts a layer, then the sums."""
    parameters = sum(layer.parameters for layer in network)
    macs = sum(layer.macs for layer in network)
    rows = [
        (
            shorten(layer.name, _NAME, glyphs.active().ellipsis),
            shorten(layer.kind, _DETAIL, glyphs.active().ellipsis),
            shorten(layer.detail, _DETAIL, glyphs.active().ellipsis),
            shape_text(layer),
            format.thousands(layer.parameters) if layer.parameters else "",
            _share(layer.parameters, parameters),
            format.macs(layer.macs, fact=True) if layer.macs else "",
            _share(layer.macs, macs),
        )
        for layer in network
    ]
    total = ("in all", "", f"{len(network)} layers", "", format.thousands(parameters), "", format.macs(macs, fact=True))
    return [*rows, (*total, "")]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if part and whole else ""


class LayersOverlay(Overlay[None]):
    """The table of layers, scrolled by up and down, page and end."""

    def __init__(self, name: str, network: Sequence[LayerCount]) -> None:
        super().__init__()
        self.title_text = f"{name}: layers"
        self._rows = rows_of(network)
        self._widths = [max(cell_len(row[place]) for row in (HEADS, *self._rows)) for place in range(len(HEADS))]
        self._top = 0

    def wanted_size(self) -> tuple[int, int]:
        return sum(self._widths) + _GAP * (len(HEADS) - 1) + 2 * _PADDING, len(self._rows) + 3

    def draw(self, grid: Grid, palette: Palette) -> None:
        shown = self._columns(grid.width - 2 - 2 * _PADDING)
        room = max(grid.height - 5, 1)
        *body, total = self._rows
        self._top = min(max(self._top, 0), max(len(body) - room, 0))
        self._write(grid, 1, HEADS, shown, palette, "dim")
        for row, cells in enumerate(body[self._top : self._top + room], 2):
            self._write(grid, row, cells, shown, palette, "text" if cells[4] or cells[6] else "dim")
        self._write(grid, grid.height - 2, total, shown, palette, "accent")

    def _columns(self, room: int) -> list[int]:
        """The columns that fit: the shares go first, then detail, output and kind."""
        shown = list(range(len(HEADS)))
        for place in (7, 5, 2, 3, 1):
            if sum(self._widths[column] for column in shown) + _GAP * (len(shown) - 1) > room:
                shown.remove(place)
        return shown

    def _write(
        self, grid: Grid, row: int, cells: Sequence[str], shown: Sequence[int], palette: Palette, role: str
    ) -> None:
        column = 1 + _PADDING
        for place in shown:
            width, text = self._widths[place], cells[place]
            dim = place in (1, 2, 3, 5, 7) and role == "text"
            start = column + (width - cell_len(text) if place in _RIGHT else 0)
            grid.write(row, start, text, palette.style("dim" if dim else role))
            column += width + _GAP

    def press(self, event: events.Key) -> None:
        page = max(self.inside[1] // 2, 1)
        steps = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": page, "ctrl+d": page, "space": page}
        steps |= {"pageup": -page, "ctrl+u": -page, "g": -len(self._rows), "home": -len(self._rows)}
        steps |= {"G": len(self._rows), "upper_g": len(self._rows), "end": len(self._rows)}
        if event.key in ("q", "b"):
            self.dismiss(None)
        elif event.key in steps:
            self._top += steps[event.key]
            self.redraw()

    def on_mouse_scroll_down(self) -> None:
        self._top += 3
        self.redraw()

    def on_mouse_scroll_up(self) -> None:
        self._top -= 3
        self.redraw()
