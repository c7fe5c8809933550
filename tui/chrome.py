"""What every screen has around it: the header line, the footer line, the heads of panes, the line for messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.style import Style

from engine.text import clean
from tui import format, glyphs, line, theme
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part
from tui.theme import Palette

APP = "cifar-tui"
_UTILISATION_CELLS = 8
_NARROW = 100

Kind = Literal["said", "good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Device:
    """What the header says of the device that runs train on. Memory in bytes, utilisation in percent."""

    name: str
    index: int | None = None
    utilisation: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    celsius: float | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What the header line says: where one is, in which runs folder, on which host, and how its device does."""

    crumbs: tuple[str, ...] = ("Runs",)
    folder: str = ""
    host: str = ""
    device: Device | None = None


def header_parts(header: Header, width: int, palette: Palette) -> tuple[list[Part], list[Part]]:
    """Left and right parts of the header line; a narrow one leaves out folder, host, index and temperature."""
    text, dim = palette.style("text"), palette.style("dim")
    left: list[Part] = [(APP, palette.style("accent", bold=True)), ("  ", text)]
    for crumb in header.crumbs[:-1]:
        left += [(clean(crumb), text), (f" {glyphs.active().breadcrumb} ", dim)]
    left += [(clean(crumb), palette.style("text", bold=True)) for crumb in header.crumbs[-1:]]
    narrow = width < _NARROW
    if header.folder and not narrow:
        left += [("   ", dim), (clean(header.folder), dim)]
    right: list[Part] = [] if narrow or not header.host else [(clean(header.host), dim), ("   ", dim)]
    if header.device:
        right += _device_parts(header.device, palette, narrow)
    return left, right


def _device_parts(device: Device, palette: Palette, narrow: bool) -> list[Part]:
    text, dim = palette.style("text"), palette.style("dim")
    parts: list[Part] = [(clean(device.name), text)]
    if device.index is not None and not narrow:
        parts.append((f" {device.index}", dim))
    if device.utilisation is not None:
        share = device.utilisation / 100
        parts += [(" ", dim), *line.bar(share, _UTILISATION_CELLS, palette.style("good"), palette)]
        parts.append((f" {format.percent(device.utilisation):>5}", text))
    if device.memory_total is not None:
        parts.append(("  " + format.memory_used(device.memory_used, device.memory_total), dim))
    if device.celsius is not None and not narrow:
        parts.append(("  " + format.temperature(device.celsius), dim))
    return parts


class Line(GridView):
    """A widget of one row, from parts at its left and at its right."""

    DEFAULT_CSS = """
    Line { height: 1; width: 1fr; }
    """

    def __init__(self, *, palette: Palette | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.palette = palette or theme.palette()

    def parts(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        """What stands at the left and at the right of a row of `width` cells."""
        raise NotImplementedError

    def use(self, palette: Palette) -> None:
        """Draw in another palette from now on."""
        if palette != self.palette:
            self.palette = palette
            self.redraw(everything=True)

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        left, right = self.parts(width)
        line.lay_out(grid, 0, left, right)
        return grid


class PartsLine(Line):
    """One row of parts that a screen gives: a line of state, settings or facts."""

    _left: Sequence[Part] = ()
    _right: Sequence[Part] = ()

    def show(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        self._left, self._right = left, right
        self.redraw()

    def parts(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        return self._left, self._right


class HeaderLine(Line):
    """Line 0 of every screen."""

    DEFAULT_CSS = """
    HeaderLine { dock: top; background: $panel; }
    """

    _header = Header()

    def show(self, header: Header) -> None:
        self._header = header
        self.redraw()

    def parts(self, width: int) -> tuple[list[Part], list[Part]]:
        return header_parts(self._header, width, self.palette)


class FooterLine(Line):
    """The last line: the keys that matter here, then help and palette."""

    DEFAULT_CSS = """
    FooterLine { dock: bottom; background: $panel; }
    """

    _left: Sequence[tuple[str, str]] = ()
    _right: Sequence[tuple[str, str]] = ()

    def show(self, left: Sequence[tuple[str, str]], right: Sequence[tuple[str, str]]) -> None:
        """Entries as `Keymap.footer` and `Keymap.footer_end` give them."""
        self._left, self._right = left, right
        self.redraw()

    def parts(self, width: int) -> tuple[list[Part], list[Part]]:
        right = line.keys_line(self._right, self.palette)
        entries = list(self._left)
        while entries and line.width_of(line.keys_line(entries, self.palette)) > width - line.width_of(right) - 5:
            entries.pop()
        return line.keys_line(entries, self.palette), right


class PaneHead(Line):
    """`Title ───── facts`."""

    _title = ""
    _facts: Sequence[Part] = ()
    _focused = False

    def show(self, title: str, facts: Sequence[Part] = (), *, focused: bool = False) -> None:
        self._title, self._facts, self._focused = title, facts, focused
        self.redraw()

    def parts(self, width: int) -> tuple[list[Part], list[Part]]:
        room = width - 2 * line.MARGIN
        return line.pane_head(self._title, room, self.palette, self._facts, focused=self._focused), []


class MessageLine(Line):
    """The line above the footer, shown while there is something to say. The screen needs `layers: base message`."""

    DEFAULT_CSS = """
    MessageLine { dock: bottom; layer: message; offset-y: -1; display: none; background: $background; }
    MessageLine.said { display: block; }
    """

    _message: Sequence[Part] = ()

    def say(self, text: str, kind: Kind = "said", glyph: str = "") -> None:
        """Show one sentence, its glyph in the colour of its kind."""
        style = self.palette.style({"said": "accent", "good": "good", "warn": "warn", "bad": "bad"}[kind], bold=True)
        sign = [(f"{glyph} ", style)] if glyph else []
        self._message = [*sign, (clean(text), self.palette.style("text"))]
        self.set_class(True, "said")
        self.redraw()

    def clear(self) -> None:
        """Give the line back to the screen."""
        self._message = ()
        self.set_class(False, "said")

    def parts(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        return self._message, ()


def state_parts(word: str, palette: Palette, *, bold: bool = True) -> list[Part]:
    """A state as glyph, colour and word: `● running`."""
    style = palette.state(word, bold=bold)
    return [(f"{glyphs.active().state(word)} ", palette.state(word)), (word, style)]


def labelled(label: str, value: str, palette: Palette, value_style: Style | None = None) -> list[Part]:
    """`seed 3`: the label dim, the value bright."""
    return [(f"{label} ", palette.style("dim")), (value, value_style or palette.style("text"))]
