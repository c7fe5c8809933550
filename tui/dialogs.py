"""Overlays: a question, a line to fill in, a choice, a text to read. The only frames of the program are theirs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

from engine.text import clean, shorten
from tui import glyphs, line
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part
from tui.theme import Palette

Answer = TypeVar("Answer")

_PADDING = 2
_MARGIN = 2
_LONGEST = 4_000  # characters that one paste may bring


class _Box(GridView):
    """The framed panel of an overlay."""

    DEFAULT_CSS = """
    _Box { background: $panel; }
    """

    def __init__(self, overlay: "Overlay[object]") -> None:
        super().__init__()
        self._overlay = overlay

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        palette = self._overlay.palette
        _draw_frame(grid, self._overlay.title_text, self._overlay.hint, palette)
        self._overlay.draw(grid, palette)
        return grid

    def on_click(self, event: events.Click) -> None:
        self._overlay.clicked(event.x, event.y)


def _draw_frame(grid: Grid, title: str, hint: str, palette: Palette) -> None:
    signs, style = glyphs.active(), palette.style("accent")
    right, bottom = grid.width - 1, grid.height - 1
    for row in (0, bottom):
        grid.fill(row, 0, grid.width, signs.rule, style)
    for row in range(1, bottom):
        grid.write(row, 0, signs.upright, style)
        grid.write(row, right, signs.upright, style)
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right))
    for (row, column), corner in zip(corners, signs.corners, strict=True):
        grid.write(row, column, corner, style)
    title = shorten(title, max(grid.width - 8, 0), signs.ellipsis)
    if title:
        grid.write(0, 3, f" {title} ", palette.style("accent", bold=True))
    if hint and cell_len(hint) + cell_len(title) + 10 <= grid.width:
        grid.write(0, grid.width - cell_len(hint) - 5, f" {hint} ", palette.style("dim"))


class Overlay(ModalScreen[Answer], inherit_bindings=False):
    """A framed panel over the faded screen. Give `wanted_size`, `draw` and `press`; esc closes with no answer."""

    AUTO_FOCUS = ""

    DEFAULT_CSS = """
    Overlay { align: center middle; background: $background 72%; }
    Overlay:ansi { background: transparent; }
    """

    title_text = ""
    hint = "esc close"

    @property
    def palette(self) -> Palette:
        return cast(Palette, getattr(self.app, "palette"))  # noqa: B009

    def compose(self) -> ComposeResult:
        yield _Box(cast("Overlay[object]", self))

    def wanted_size(self) -> tuple[int, int]:
        """Columns and rows inside the frame."""
        raise NotImplementedError

    def draw(self, grid: Grid, palette: Palette) -> None:
        """Write the content inside the frame, which is one cell wide."""
        raise NotImplementedError

    def press(self, event: events.Key) -> None:
        """A key other than esc."""

    def clicked(self, column: int, row: int) -> None:
        """A click inside the panel."""

    def redraw(self) -> None:
        """Draw what changed."""
        self.query_one(_Box).redraw()

    def resize_box(self) -> None:
        """Take the size that is wanted now, as far as there is room."""
        width, height = self.wanted_size()
        room_x, room_y = self.app.size
        box = self.query_one(_Box)
        box.styles.width = min(width + 2, max(room_x - 2 * _MARGIN, 10))
        box.styles.height = min(height + 2, max(room_y - 2, 3))

    @property
    def inside(self) -> tuple[int, int]:
        """Columns and rows of the content as it is now."""
        width, height = self.query_one(_Box).size
        return max(width - 2, 0), max(height - 2, 0)

    def on_mount(self) -> None:
        self.resize_box()

    def on_resize(self, event: events.Resize) -> None:
        self.resize_box()

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Close, once: keys typed ahead of the closing arrive here too, and would close the screen below."""
        return super().dismiss(result) if self.is_current else AwaitComplete()

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if not self.is_current:
            return
        if event.key == "escape":
            self.dismiss(None)
        else:
            self.press(event)


class Question(Overlay[bool]):
    """Enter goes ahead, esc does not: `Stop best_5m-s3 after this step? … ⏎ stop   esc keep on`."""

    hint = ""

    def __init__(self, sentence: str, go: str, keep: str) -> None:
        super().__init__()
        self._sentence, self._go, self._keep = clean(sentence), go, keep

    def wanted_size(self) -> tuple[int, int]:
        room = max(self.app.size.width - 2 * _MARGIN - 2 * _PADDING - 2, 10)
        wrapped = wrap(self._sentence, min(room, 64))
        return max(len(self._go) + len(self._keep) + 12, *map(cell_len, wrapped)) + 2 * _PADDING, len(wrapped) + 4

    def draw(self, grid: Grid, palette: Palette) -> None:
        row = 2
        for text in wrap(self._sentence, grid.width - 2 * _PADDING - 2):
            grid.write(row, 1 + _PADDING, text, palette.style("text"))
            row += 1
        keys = line.keys_line([(glyphs.active().enter, self._go), ("esc", self._keep)], palette)
        grid.write_parts(row + 1, 1 + _PADDING, keys)

    def press(self, event: events.Key) -> None:
        if event.key == "enter":
            self.dismiss(True)


def wrap(text: str, width: int) -> list[str]:
    """Words over lines of at most `width` cells; a longer word is cut."""
    lines: list[str] = [""]
    for word in text.split():
        word = shorten(word, width, glyphs.active().ellipsis)
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


@dataclass(frozen=True, slots=True)
class Option:
    """One entry of a choice."""

    value: str
    label: str
    remark: str = ""


class Choice(Overlay[str]):
    """Choose one of several: up and down, enter, or the entry's first letter."""

    def __init__(self, title: str, options: Sequence[Option], *, at: str = "") -> None:
        super().__init__()
        self.title_text = title
        self._options = list(options)
        self._cursor = next((i for i, option in enumerate(self._options) if option.value == at), 0)

    def wanted_size(self) -> tuple[int, int]:
        label = max((cell_len(option.label) for option in self._options), default=0)
        remark = max((cell_len(option.remark) for option in self._options), default=0)
        return max(label + remark + 8, len(self.title_text) + 20), len(self._options) + 2

    def draw(self, grid: Grid, palette: Palette) -> None:
        rows = max(grid.height - 4, 1)
        first = min(max(self._cursor - rows + 1, 0), max(len(self._options) - rows, 0))
        label = max((cell_len(option.label) for option in self._options), default=0)
        for row, option in enumerate(self._options[first : first + rows]):
            chosen = first + row == self._cursor
            parts: list[Part] = [
                (f"{glyphs.active().chosen if chosen else ' '} ", palette.style("accent", bold=True)),
                (option.label + " " * (label - cell_len(option.label) + 2), palette.style("text", bold=chosen)),
                (option.remark, palette.style("dim")),
            ]
            grid.write_parts(2 + row, 2, line.cut(parts, grid.width - 4))

    def press(self, event: events.Key) -> None:
        if event.key in ("down", "j", "up", "k"):
            step = 1 if event.key in ("down", "j") else -1
            self._cursor = (self._cursor + step) % len(self._options)
            self.redraw()
        elif event.key == "enter":
            self.dismiss(self._options[self._cursor].value)
        else:
            found = [option for option in self._options if event.character and option.label[0] == event.character]
            if found:
                self.dismiss(found[0].value)

    def clicked(self, column: int, row: int) -> None:
        if 0 <= row - 2 < len(self._options):
            self.dismiss(self._options[row - 2].value)


class Reader(Overlay[None]):
    """A text to read, with up and down, page and end: a run's YAML."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.title_text = title
        self._lines = clean(text, newlines=True).splitlines() or [""]
        self._top = 0

    def wanted_size(self) -> tuple[int, int]:
        return max(*(cell_len(text) for text in self._lines), 40) + 2 * _PADDING, len(self._lines) + 2

    def draw(self, grid: Grid, palette: Palette) -> None:
        rows = grid.height - 4
        self._top = min(max(self._top, 0), max(len(self._lines) - rows, 0))
        for row, text in enumerate(self._lines[self._top : self._top + rows]):
            grid.write_parts(2 + row, 1 + _PADDING, line.cut(yaml_parts(text, palette), grid.width - 2 - 2 * _PADDING))

    def press(self, event: events.Key) -> None:
        page = max(self.inside[1] // 2, 1)
        steps = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": page, "ctrl+d": page, "space": page}
        steps |= {"pageup": -page, "ctrl+u": -page, "g": -len(self._lines), "home": -len(self._lines)}
        steps |= {"G": len(self._lines), "upper_g": len(self._lines), "end": len(self._lines)}
        if event.key in ("q", "y"):
            self.dismiss(None)
        elif event.key in steps:
            self._top += steps[event.key]
            self.redraw()


def yaml_parts(text: str, palette: Palette) -> list[Part]:
    """A line of YAML: the key dim, its value bright."""
    key, colon, value = text.partition(":")
    if not colon or key.lstrip().startswith("#"):
        return [(text, palette.style("dim" if key.lstrip().startswith("#") else "text"))]
    return [(key + colon, palette.style("dim")), (value, palette.style("text"))]


class TextLine:
    """A line of text with a cursor, as one edits it. Pure: it knows nothing of screens."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.cursor = len(text)

    def set(self, text: str) -> None:
        self.text, self.cursor = text, len(text)

    def insert(self, text: str) -> None:
        """Type or paste; control characters and line ends are left out."""
        text = clean(text[:_LONGEST])
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def press(self, event: events.Key) -> bool:
        """Act on a key; whether it meant anything here."""
        editing = self._editing()
        if event.key in editing:
            editing[event.key]()
        elif event.is_printable and event.character:
            self.insert(event.character)
        else:
            return False
        return True

    def _editing(self) -> dict[str, Callable[[], None]]:
        moves: dict[str, int] = {"left": self.cursor - 1, "right": self.cursor + 1, "home": 0, "end": len(self.text)}
        moves |= {"ctrl+a": 0, "ctrl+e": len(self.text)}
        cuts = {
            "backspace": (self.cursor - 1, self.cursor),
            "delete": (self.cursor, self.cursor + 1),
            "ctrl+u": (0, self.cursor),
            "ctrl+k": (self.cursor, len(self.text)),
            "ctrl+w": (self._word_start(), self.cursor),
        }
        return {
            **{key: lambda place=place: self._move(place) for key, place in moves.items()},  # type: ignore[misc]
            **{key: lambda span=span: self._cut(*span) for key, span in cuts.items()},  # type: ignore[misc]
        }

    def _word_start(self) -> int:
        before = self.text[: self.cursor].rstrip()
        return before.rfind(" ") + 1

    def _move(self, place: int) -> None:
        self.cursor = min(max(place, 0), len(self.text))

    def _cut(self, start: int, end: int) -> None:
        start = max(start, 0)
        self.text = self.text[:start] + self.text[end:]
        self.cursor = start

    def draw(self, grid: Grid, row: int, column: int, width: int, palette: Palette, *, focused: bool) -> None:
        """Write the line into `width` cells so that the cursor is seen."""
        start = 0
        while cell_len(self.text[start : self.cursor]) > width - 1:
            start += 1
        shown = self.text[start:]
        while cell_len(shown) > width:
            shown = shown[:-1]
        grid.write(row, column, shown, palette.style("text"))
        if focused:
            under = self.text[self.cursor : self.cursor + 1] or " "
            place = column + cell_len(self.text[start : self.cursor])
            grid.write(row, place, under, palette.style("accent") + REVERSE)


REVERSE = Style(reverse=True)


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form: its key in the answer, its label, what stands there, and a remark."""

    key: str
    label: str
    value: str = ""
    remark: str = ""


class Form(Overlay[dict[str, str]]):
    """Lines to fill in: tab or down goes to the next, enter takes all. `check` says what is wrong, "" if nothing;
    it is shown once something was typed."""

    hint = "⏎ save   esc leave"

    def __init__(
        self, title: str, fields: Sequence[Field], check: Callable[[dict[str, str]], str] = lambda answers: ""
    ) -> None:
        super().__init__()
        self.title_text = title
        self.hint = f"{glyphs.active().enter} save   esc leave"
        self._fields = list(fields)
        self._lines = [TextLine(field.value) for field in fields]
        self._check = check
        self._at = 0
        self._touched = False

    @property
    def answers(self) -> dict[str, str]:
        return {field.key: line_.text.strip() for field, line_ in zip(self._fields, self._lines, strict=True)}

    def wanted_size(self) -> tuple[int, int]:
        return 72, len(self._fields) + 4

    def draw(self, grid: Grid, palette: Palette) -> None:
        label = max(cell_len(field.label) for field in self._fields)
        column = 1 + _PADDING + label + 2
        for row, (field, text) in enumerate(zip(self._fields, self._lines, strict=True), start=2):
            focused = row - 2 == self._at
            style = palette.style("accent", bold=True) if focused else palette.style("dim")
            grid.write(row, 1 + _PADDING, field.label, style)
            text.draw(grid, row, column, grid.width - column - _PADDING - 1, palette, focused=focused)
        self._draw_remark(grid, palette)

    def _draw_remark(self, grid: Grid, palette: Palette) -> None:
        wrong = self._check(self.answers) if self._touched else ""
        remark = wrong or self._fields[self._at].remark
        style = palette.style("bad" if wrong else "dim")
        grid.write_parts(grid.height - 2, 1 + _PADDING, line.cut([(remark, style)], grid.width - 2 - 2 * _PADDING))

    def press(self, event: events.Key) -> None:
        self._touched = True
        if event.key == "enter":
            if not self._check(self.answers):
                self.dismiss(self.answers)
        elif event.key in ("tab", "down", "shift+tab", "up"):
            step = 1 if event.key in ("tab", "down") else -1
            self._at = (self._at + step) % len(self._fields)
        else:
            self._lines[self._at].press(event)
        self.redraw()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._touched = True
        self._lines[self._at].insert(event.text)
        self.redraw()
