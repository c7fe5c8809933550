"""What every screen has in common: header, footer, message line, keys from the table, and when it is drawn."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.geometry import Size
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from engine.errors import UserError
from tui import glyphs, keys
from tui.chrome import FooterLine, Header, HeaderLine, Kind, Line, MessageLine
from tui.dialogs import wrap
from tui.grid import Grid
from tui.grid_view import GridView
from tui.theme import Palette

if TYPE_CHECKING:
    from tui.app import CifarApp

_LOG = logging.getLogger("cifar-tui")

Result = TypeVar("Result")
SizeClass = Literal["narrow", "normal", "wide"]
NARROW_COLUMNS, NARROW_ROWS = 100, 30
WIDE_COLUMNS, WIDE_ROWS = 160, 40
LEAST_COLUMNS, LEAST_ROWS = 60, 15


def size_class(columns: int, rows: int) -> SizeClass:
    """How much room a terminal has."""
    if columns < NARROW_COLUMNS or rows < NARROW_ROWS:
        return "narrow"
    return "wide" if columns >= WIDE_COLUMNS and rows >= WIDE_ROWS else "normal"


def too_small(columns: int, rows: int) -> str:
    """What is said in a terminal below the least size, "" in others."""
    if columns >= LEAST_COLUMNS and rows >= LEAST_ROWS:
        return ""
    needed = f"cifar-tui needs {LEAST_COLUMNS} columns and {LEAST_ROWS} rows"
    return f"{needed}; this terminal has {columns} x {rows}. Runs go on."


def shown_path(path: Path) -> str:
    """A path with the home folder as `~`."""
    home = os.path.expanduser("~")
    text = str(path)
    return "~" + text[len(home) :] if text == home or text.startswith(home + os.sep) else text


class TooSmall(GridView):
    """What stands alone in a terminal below the least size."""

    DEFAULT_CSS = """
    TooSmall { width: 1fr; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[str, Palette] | None = None

    def show(self, remark: str, palette: Palette) -> None:
        self._shown = remark, palette
        self.redraw(everything=True)

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        if self._shown:
            remark, palette = self._shown
            for row, text in enumerate(wrap(remark, max(width - 2, 1))[:height]):
                grid.write(row, 1, text, palette.style("text"))
        return grid


class BaseScreen(Screen[None], inherit_bindings=False):
    """A screen of the program. Give `scope`, `compose_body`, `tick`, and a method `action_NAME` for each action.

    `tick` is called when something changed, at most `app.fps` times a second, and only while the screen is on top; it
    shows what the services know and never reads a file. `refresh_size` is called before it after a resize or a change
    of theme.
    """

    scope: ClassVar[str] = ""
    AUTO_FOCUS = ""

    DEFAULT_CSS = """
    BaseScreen { layers: base message; overflow: hidden; }
    BaseScreen > TooSmall { display: none; }
    BaseScreen.-too-small > * { display: none; }
    BaseScreen.-too-small > TooSmall { display: block; }
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        if "scope" in cls.__dict__:
            cls.BINDINGS = list(keys.DEFAULT.bindings(cls.scope))
        super().__init_subclass__(**kwargs)  # type: ignore[arg-type]

    def __init__(self) -> None:
        super().__init__()
        self._crumbs: tuple[str, ...] = ()
        self._pending: Timer | None = None
        self._next_tick = 0.0
        self._too_small = False
        self._composed = False
        self._laid_out = Size(0, 0)

    @property
    def app(self) -> "CifarApp":  # type: ignore[override]
        return cast("CifarApp", super().app)

    @property
    def palette(self) -> Palette:
        return self.app.palette

    @property
    def size_class(self) -> SizeClass:
        return size_class(*self.app.size)

    @property
    def is_gone(self) -> bool:
        """Whether the screen was left while what it had begun went on."""
        return self not in self.app.screen_stack

    def compose(self) -> ComposeResult:
        yield HeaderLine(palette=self.palette)
        yield from self.compose_body()
        yield MessageLine(palette=self.palette)
        yield FooterLine(palette=self.palette)
        yield TooSmall()

    def compose_body(self) -> ComposeResult:
        """The widgets between header and footer."""
        yield from ()

    def tick(self) -> None:
        """Show what the services know now."""

    def refresh_size(self) -> None:
        """Lay out anew: the size or the palette changed."""

    def footer_words(self) -> Mapping[str, str]:
        """Words that differ from those of the table: `{"compare": "compare 5"}`; "" leaves an entry out."""
        return MappingProxyType({})

    def set_crumbs(self, *crumbs: str) -> None:
        """Where one is, after the name of the program."""
        self._crumbs = crumbs
        if self.is_mounted:
            self.show_header()

    def say(self, text: str, kind: Kind = "said", glyph: str = "") -> None:
        """Say one sentence above the footer until a key is pressed; on the screen on top where this one is gone."""
        if self.is_gone:
            self.app.say(text, kind, glyph)
            return
        if kind == "bad":
            _LOG.warning("%s", text)
        for line in self.query(MessageLine):  # none is left while the app ends
            line.say(text, kind, glyph)

    def complain(self, error: Exception) -> None:
        """Say what went wrong: a mistake as it is worded, anything else with a pointer to the log."""
        sign = glyphs.active().state("failed")
        if isinstance(error, UserError):
            self.say(str(error), "bad", sign)
            return
        _LOG.error("unexpected", exc_info=error)
        self.say(f"{type(error).__name__}: {error}. The log has more: {shown_path(self.app.log_path)}", "bad", sign)

    def clear_message(self) -> None:
        for line in self.query(MessageLine):
            line.clear()

    def changed(self) -> None:
        """Ask for a tick: at once after a quiet moment, else when the next frame is due."""
        if self._pending is not None or not self._composed or not self.is_current:
            return
        wait = self._next_tick - time.monotonic()
        if wait <= 0:
            self._tick_now()
        else:
            self._pending = self.set_timer(wait, self._tick_now)

    def show_header(self) -> None:
        header = Header(self._crumbs, shown_path(self.app.root), socket.gethostname(), self.app.services.machine.device)
        self.query_one(HeaderLine).show(header)

    def show_footer(self) -> None:
        keymap, narrow = self.app.keymap, self.app.size.width < NARROW_COLUMNS
        left = keymap.footer(self.scope, self.footer_words(), narrow=narrow)
        self.query_one(FooterLine).show(left, keymap.footer_end(self.scope))

    def _tick_now(self) -> None:
        self._pending = None
        self._next_tick = time.monotonic() + 1 / self.app.fps
        self._draw()

    def _draw(self) -> None:
        gone = not self.query(HeaderLine)  # closing the app takes the widgets away before the screen
        if not self.is_current or not self._composed or self._too_small or gone:
            return
        with self.app.batch_update(), self.guarded():
            self.show_header()
            self.show_footer()
            self.tick()

    def guarded(self) -> "_Guard":
        """Around code whose mistakes shall be told rather than end the program."""
        return _Guard(self)

    def in_thread(self, work: Callable[[], Result], done: Callable[[Result], object]) -> None:
        """Do what waits for a disk or a process in a thread, then `done` with its result here; mistakes are said."""

        def run() -> None:
            try:
                result = work()
            except Exception as error:
                self._from_thread(self.complain, error)
            else:
                self._from_thread(done, result)

        threading.Thread(target=run, name="work", daemon=True).start()

    def _from_thread(self, call: Callable[..., object], argument: object) -> None:
        def here() -> None:
            with self.guarded():
                call(argument)

        with suppress(RuntimeError):  # the app is gone, and so is whoever wanted to know
            self.app.call_from_thread(here)

    def use_palette(self) -> None:
        """Draw in the app's palette."""
        for line in self.query(Line):
            line.use(self.palette)
        self._lay_out()

    def _lay_out(self) -> None:
        remark = too_small(*self.app.size)
        self._too_small = bool(remark)
        self.set_class(self._too_small, "-too-small")
        if remark:
            self.query_one(TooSmall).show(remark, self.palette)
            return
        with self.guarded():
            self.refresh_size()
        self._draw()

    def on_mount(self) -> None:
        self._composed = True
        self._lay_out()

    def on_unmount(self) -> None:
        self._composed = False

    def on_resize(self, event: events.Resize) -> None:
        if self._composed and event.size != self._laid_out:
            self._laid_out = event.size
            self._lay_out()

    def on_screen_resume(self) -> None:
        if self._composed:
            self.use_palette()

    def on_key(self, event: events.Key) -> None:
        self.clear_message()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action in ("quit", "redraw") or not self._too_small

    def _refresh_layout(self, size: Size | None = None, scroll: bool = False) -> None:
        """Textual paints what a layout moved and then, where all is to be painted anew, that too. Here it is one."""
        if self._repaint_required and self.is_current and not self.app._batch_count:
            self._repaint_required = False
            self._dirty_widgets.add(self)
        super()._refresh_layout(size, scroll)

    def _compositor_refresh(self) -> None:
        """Textual works out frames even while painting is held back, and drops them."""
        if not self.app._batch_count:
            super()._compositor_refresh()

    async def _dispatch_message(self, message: Message) -> None:
        """A mistake in a handler of a screen is said, and the screen lives on."""
        if self.app.is_headless:
            await super()._dispatch_message(message)
            return
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            self.complain(error)

    def action_show_runs(self) -> None:
        self.app.goto("runs")

    def action_show_new(self) -> None:
        self.app.goto("new")

    def action_show_queue(self) -> None:
        self.app.goto("queue")

    def action_new_run(self) -> None:
        self.app.goto("new")

    def action_help(self) -> None:
        self.app.open_help()

    def action_palette(self) -> None:
        self.app.open_palette()

    def action_toggle_theme(self) -> None:
        self.app.toggle_theme()

    def action_back(self) -> None:
        self.app.back()

    def action_quit(self) -> None:
        self.app.leave()

    def action_suspend(self) -> None:
        self.app.action_suspend_process()

    def action_redraw(self) -> None:
        self.refresh(layout=True)
        self.app.refresh()
        self._lay_out()


class _Guard:
    def __init__(self, screen: BaseScreen) -> None:
        self._screen = screen

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, Exception) or (self._screen.app.is_headless and not isinstance(error, UserError)):
            return False
        self._screen.complain(error)
        return True
