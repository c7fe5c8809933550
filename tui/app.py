"""The terminal application: one Textual app over the runs folder. Leaving it, however abruptly, touches no run."""

import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from textual.app import App
from textual.binding import Binding
from textual.filter import LineFilter
from textual.screen import Screen

from engine.errors import UserError
from engine.runs import run_names, runs_root
from engine.text import clean
from tui import glyphs, gnu_screen, keys, own_log, settings, theme
from tui.chrome import Kind
from tui.keys import Keymap
from tui.screens.base import BaseScreen, shown_path
from tui.services import NOT_LISTED, Changed, Services
from tui.settings import Settings
from tui.terminal import HANGUP, AsciiFilter, Vanishing
from tui.theme import Depth, Palette, Shade

if TYPE_CHECKING:
    from textual.driver import Driver

    from tui.run_actions import Undo

Page = Literal["runs", "new", "queue"]

NEW = "new"  # the name of the screen that keeps a half-filled form
FPS, LITE_FPS = 4.0, 2.0
SLOW_DISK_S = 0.3
EXIT_CRASHED = 1
_LOG = logging.getLogger("cifar-tui")


class CifarApp(App[int], inherit_bindings=False):
    """The app. Screens reach it as `self.app`.

    `goto`, `open_run`, `open_log`, `open_results`, `open_compare` and `new_from` move between screens; the modules of
    screens are imported when first needed.
    """

    TITLE = "cifar-tui"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [Binding("ctrl+c", "interrupt", show=False, priority=True, system=True)]  # noqa: RUF012

    def __init__(
        self,
        root: Path,
        *,
        keymap: Keymap = keys.DEFAULT,
        remembered: Settings | None = None,
        depth: Depth = "truecolor",
        fps: float | None = None,
        lite: bool = False,
    ) -> None:
        own_colours: Depth = "16" if lite and depth != "none" else depth
        # Said at once: Textual chooses what NO_COLOR does before it knows our themes.
        super().__init__(ansi_color=True if own_colours in ("16", "none") else None)
        self._depth: Depth = own_colours
        self.keymap = keymap
        self.settings = remembered or Settings(None)
        self.lite = lite
        self.fps = fps or (LITE_FPS if lite else FPS)
        self.log_path = settings.log_file(os.environ)
        self.palette = self._palette_of(self.settings.text("theme", "dark", ("dark", "light")))
        self.services = Services(root, self._poke, self._say_from_thread, self._deliver)
        self.undone: list[Undo] = []
        self.crash = ""
        self.animation_level = "none"
        self._start = ExitStack()
        self._first_frame_due = False
        self.painted = False
        for shade in ("dark", "light"):
            self.register_theme(theme.textual_theme(self._palette_of(shade)))
        self.theme = theme.theme_name(self.palette)
        self.set_keymap(keymap.textual_keymap())

    def get_driver_class(self) -> "type[Driver]":
        """Textual's driver, with pastes and bytes of any kind made harmless."""
        from tui.terminal_input import InputDriver

        return InputDriver

    @property
    def root(self) -> Path:
        """The runs folder."""
        return self.services.root

    def now(self) -> float:
        """Unix seconds, from which ages are counted."""
        return time.time()

    def _palette_of(self, shade: str) -> Palette:
        chosen: Shade = "light" if shade == "light" else "dark"
        return theme.palette(chosen, self._depth)

    def _poke(self) -> None:
        self.post_message(Changed())

    def _say_from_thread(self, text: str) -> None:
        self.call_from_thread(self.say, text, "bad", glyphs.active().state("failed"))

    def _deliver(self, function: Callable[[], object]) -> None:
        """Call what an answer of the engine is for; a mistake in it is said, and the app lives on."""
        self.call_later(self._guarded, function)

    def _guarded(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            screen = self.screen
            if self.is_headless or not isinstance(screen, BaseScreen):
                raise
            screen.complain(error)

    # Starting and ending.

    def get_default_screen(self) -> Screen[None]:
        home = self._home()
        # Textual gives its default screen no result callback, but `switch_screen` takes one away from what it replaces.
        home._push_result_callback(home, None)
        return home

    def _home(self) -> BaseScreen:
        if run_names(self.root):
            return _screen("runs", "RunsScreen")
        return _screen("empty", "EmptyScreen")

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = list(super().get_line_filters())
        return filters if glyphs.active().utf8 else [*filters, AsciiFilter()]

    def _handle_exception(self, error: Exception) -> None:
        """The last resort, for what no screen could tell of: the terminal is given back, and one sentence said."""
        if self.is_headless:
            super()._handle_exception(error)
            return
        _LOG.error("the app ends", exc_info=error)
        self.crash = f"{type(error).__name__}: {error}"
        self._close_messages_no_wait()

    def on_load(self) -> None:
        # Nothing is painted until all is mounted and the runs are listed: the first screen is sent once.
        self._start.enter_context(self.batch_update())
        self.services.list_runs()

    def on_ready(self) -> None:
        self.app_resume_signal.subscribe(self, lambda _: self._draw_again())
        self.set_interval(60, self._poke, name="ages")
        self._first_frame_due = True
        if self.services.listing == NOT_LISTED:
            self.set_timer(SLOW_DISK_S, self._paint)
        else:
            self._poke()

    def _paint(self) -> None:
        """Paint from now on. What the first frame can do without is begun after it."""
        if self._first_frame_due:
            self._first_frame_due = False
            self._start.close()
            self.call_after_refresh(self._begin_the_rest)

    def _begin_the_rest(self) -> None:
        self.painted = True
        self.services.start()
        if not gc.isenabled():
            gc.freeze()
            gc.enable()

    def _draw_again(self) -> None:
        """After fg the terminal shows what the shell left there."""
        for screen in self.screen_stack:
            screen.refresh(layout=True)
        self.refresh()

    def on_unmount(self) -> None:
        self.services.stop()

    def leave(self, code: int = 0) -> None:
        """End the app. Runs go on."""
        self.exit(code)

    def action_interrupt(self) -> None:
        self.say(f"{self.keymap.shown('quit', 'runs')} quits; runs go on")

    # What happened.

    def on_changed(self, message: Changed) -> None:
        if not self.screen_stack:  # it came while the app was closing
            return
        self.services.update_colours()
        self._choose_home()
        if isinstance(self.screen, BaseScreen):
            self.screen.changed()
        self._paint()

    def _choose_home(self) -> None:
        """The first-run screen gives way to the table once there is a run, and the other way round."""
        listing, home = self.services.listing, self.screen_stack[0]
        if len(self.screen_stack) != 1 or not listing.complete or not isinstance(home, BaseScreen):
            return
        if bool(listing.runs) != (home.scope == "runs") and not listing.problem:
            self.switch_screen(_screen("runs", "RunsScreen") if listing.runs else _screen("empty", "EmptyScreen"))

    def say(self, text: str, kind: Kind = "said", glyph: str = "") -> None:
        """Say a sentence on the topmost screen that has a line for it."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, BaseScreen):
                screen.say(text, kind, glyph)
                return

    # Moving between screens.

    def goto(self, page: Page) -> None:
        """Go to one of the three pages, leaving what was open above it."""
        self._go_home()
        if page == "new":
            self._open_new()
        elif page == "queue":
            self.push_screen(_screen("queue", "QueueScreen"))

    def open_run(self, run_id: str) -> None:
        """Open a run, live or past."""
        self.push_screen(_screen("run", "RunScreen", run_id))

    def open_log(self, run_id: str) -> None:
        """Open a run's log in full."""
        self.push_screen(_screen("log", "LogScreen", run_id))

    def open_results(self, run_id: str) -> None:
        """Open a run's test results."""
        self.push_screen(_screen("results", "ResultsScreen", run_id))

    def open_compare(self, run_ids: Sequence[str]) -> None:
        """Compare runs; the first is the baseline."""
        self.push_screen(_screen("compare", "CompareScreen", tuple(run_ids)))

    def open_sweep(self, run_id: str = "", name: str = "") -> None:
        """Open the table of the sweep that a run was made for, or of the sweep called ``name``."""
        self.push_screen(_screen("sweep", "SweepScreen", run_id, name))

    def new_from(self, run_id: str | None) -> None:
        """Open New run, prefilled with a run's configuration or (None) with what it starts with."""
        if self.is_screen_installed(NEW):
            self.uninstall_screen(NEW)
        self.install_screen(_screen("new", "NewScreen", run_id), NEW)
        self.push_screen(NEW)

    def _open_new(self) -> None:
        """Open New run as it was left."""
        if self.is_screen_installed(NEW):
            self.push_screen(NEW)
        else:
            self.new_from(None)

    def open_help(self) -> None:
        """Show the keys of the screen on top."""
        screen = self.screen
        if isinstance(screen, BaseScreen):
            help_module = import_module("tui.screens.help")
            self.push_screen(help_module.overlay(screen.scope, self.keymap, os.environ))

    def open_palette(self) -> None:
        """Show the actions of the screen on top, and do the one that is chosen."""
        screen = self.screen
        if not isinstance(screen, BaseScreen):
            return
        palette_module = import_module("tui.palette")
        doable = [name for name in self.keymap.names if hasattr(screen, f"action_{name}")]
        every = palette_module.entries(self.keymap, screen.scope, doable)

        def chosen(name: str | None) -> None:
            if name:
                self.call_later(self.run_action, name, screen)

        self.push_screen(palette_module.PaletteOverlay(every), chosen)

    def back(self) -> None:
        """Close the screen on top, unless it is the first."""
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def _go_home(self) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def open_folder(self, root: Path) -> None:
        """Show the runs of another folder."""
        self._go_home()
        self.services.open_folder(root)

    def toggle_theme(self) -> None:
        """Dark to light and back, remembered."""
        shade = "light" if self.palette.dark else "dark"
        self.palette = self._palette_of(shade)
        self.theme = theme.theme_name(self.palette)
        self.settings.put(theme=shade)
        if isinstance(self.screen, BaseScreen):
            self.screen.use_palette()

    async def run_action(self, action: object, default_namespace: object = None, namespaces: object = None) -> bool:
        """Run an action; a mistake in it is said, and the app lives on."""
        try:
            return await super().run_action(action, default_namespace, namespaces)  # type: ignore[arg-type]
        except Exception as error:
            screen = self.screen
            if not isinstance(screen, BaseScreen) or (self.is_headless and not isinstance(error, UserError)):
                raise
            screen.complain(error)
            return True


def _screen(module: str, name: str, *arguments: object) -> BaseScreen:
    """A screen by its module and class, imported now."""
    screen: BaseScreen = getattr(import_module(f"tui.screens.{module}"), name)(*arguments)
    return screen


def run(*, runs: Path | None, data: Path | None, fps: float | None, lite: bool, ascii_only: bool) -> int:
    """Open the app on a runs folder (None: where they usually are); returns the exit code. Raises UserError."""
    root = runs_root(runs)
    if data is not None:
        os.environ["CIFAR_TUI_DATA"] = str(data.expanduser().absolute())
    glyphs.choose(utf8=not ascii_only and glyphs.terminal_is_utf8(os.environ))
    keymap = keys.load(keys.user_file(os.environ))
    remembered = Settings(settings.settings_file(os.environ))
    own_log.log_to(settings.log_file(os.environ))
    depth = theme.terminal_depth(os.environ)
    app = CifarApp(root, keymap=keymap, remembered=remembered, depth=depth, fps=fps, lite=lite)
    Vanishing(lambda code: app.call_from_thread(app.leave, code)).watch()
    code = app.run(mouse=not gnu_screen.is_around(os.environ)) or 0
    if code != HANGUP:
        _farewell(app)
    return EXIT_CRASHED if app.crash else code


def _farewell(app: CifarApp) -> None:
    """What the shell shows afterwards: what went wrong, and which runs go on."""
    if app.crash:
        where = shown_path(app.log_path)
        print(f"cifar-tui: {clean(app.crash)}. This is a mistake of the program; {where} has more", file=sys.stderr)
    live = sum(run.live and run.state != "queued" for run in app.services.listing.runs)
    if live:
        print(
            f"{live} {'run goes' if live == 1 else 'runs go'} on. cifar-tui shows {'it' if live == 1 else 'them'} again"
        )
