"""The app around its screens: the first run, themes, sizes, mistakes, and what a terminal may do to it."""

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter
from textual.pilot import Pilot

from engine import queue, system
from engine.errors import UserError
from tui import first_run, glyphs, theme
from tui.app import CifarApp
from tui.chrome import MessageLine
from tui.first_run import Quickstart, Words
from tui.screens.base import BaseScreen, shown_path, size_class, too_small
from tui.screens.empty import EmptyScreen
from tui.screens.runs import RunsScreen
from tui.services import Changed
from tui.settings import Settings
from tui.terminal import AsciiFilter
from watching import on_screen, until

WORDS = Words("~/cifar/runs", "n", "⏎", "o")


@pytest.fixture(autouse=True)
def _still_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "sample", lambda: system.Sample(0.0, 1.0, 1, 2, ()))
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)


async def test_no_runs_lead_to_a_first_one(tmp_path: Path) -> None:
    async with CifarApp(tmp_path / "runs").run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        assert isinstance(pilot.app.screen, EmptyScreen)
        text = on_screen(pilot)
        assert "No runs yet" in text
        assert "choose a run" in text
        assert "n new run" in text


async def test_the_theme_is_remembered(sample_runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    remembered = Settings(file)
    async with CifarApp(sample_runs, remembered=remembered).run_test() as pilot:
        await pilot.press("ctrl+t")
        assert pilot.app.theme == "cifar-light"
    remembered.wait()
    assert CifarApp(sample_runs, remembered=Settings(file)).palette.shade == "light"


@pytest.mark.parametrize("size", [(20, 5), (10, 3), (3, 2), (1, 1), (59, 15), (60, 14)])
async def test_below_the_least_size_one_line_is_left(sample_runs: Path, size: tuple[int, int]) -> None:
    async with CifarApp(sample_runs).run_test(size=size) as pilot:
        await pilot.pause()
        assert pilot.app.screen.has_class("-too-small")
        shown = on_screen(pilot).split()
        assert shown[:1] == ["cifar-tui"] or size[0] < 20
        await pilot.press("j", "D", "n")
        assert isinstance(pilot.app.screen, RunsScreen)
        await pilot.resize_terminal(120, 36)
        await pilot.pause()
        assert not pilot.app.screen.has_class("-too-small")


async def test_any_size_is_survived(sample_runs: Path) -> None:
    async with CifarApp(sample_runs).run_test(size=(120, 36)) as pilot:
        for size in ((500, 200), (60, 15), (200, 50), (99, 29), (1, 1), (160, 40), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert "best_5m-s3" in on_screen(pilot)


async def test_ctrl_c_says_how_to_quit(sample_runs: Path) -> None:
    async with CifarApp(sample_runs).run_test() as pilot:
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert "q quits; runs go on" in on_screen(pilot)
        await pilot.press("j")
        await pilot.pause()
        assert "q quits; runs go on" not in on_screen(pilot)
        await pilot.press("q")
    assert pilot.app.return_code == 0


async def test_a_mistake_in_an_action_is_said(sample_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: BaseScreen) -> None:
        raise UserError("that cannot be done")

    monkeypatch.setattr(RunsScreen, "action_open", refuse)
    async with CifarApp(sample_runs).run_test() as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert "that cannot be done" in "".join(part[0] for part in pilot.app.screen.query_one(MessageLine)._message)


async def test_news_that_come_while_the_app_closes_are_no_mistake(sample_runs: Path) -> None:
    app = CifarApp(sample_runs)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
    assert app.screen_stack == []
    app.on_changed(Changed())


@pytest.mark.parametrize("depth", ["truecolor", "256", "16", "none"])
async def test_every_colour_depth_shows_states_by_glyph(sample_runs: Path, depth: theme.Depth) -> None:
    async with CifarApp(sample_runs, depth=depth).run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.3)
        assert "●" in on_screen(pilot)
        await pilot.press("?")
        await pilot.pause()
        assert "Keys: Runs" in on_screen(pilot)


@pytest.mark.parametrize("depth", ["16", "none"])
async def test_without_colours_text_is_never_painted_in_its_background(
    sample_runs: Path, depth: theme.Depth, monkeypatch: pytest.MonkeyPatch
) -> None:
    if depth == "none":
        monkeypatch.setenv("NO_COLOR", "1")
    async with CifarApp(sample_runs, depth=depth).run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.3)
        filters = pilot.app.get_line_filters()
        for strip in pilot.app.screen._compositor.render_strips():
            for segment in strip:
                (shown,) = [segment] if not filters else _filtered([segment], filters)
                style = shown.style
                assert style is None or style.color is None or style.color.is_default or style.color != style.bgcolor


def _filtered(segments: list[Segment], filters: Sequence[LineFilter]) -> list[Segment]:
    for one in filters:
        segments = one.apply(segments, Color(0, 0, 0))
    return segments


async def test_ascii_shows_nothing_else(sample_runs: Path) -> None:
    before = glyphs.active()
    glyphs.choose(utf8=False)
    try:
        async with CifarApp(sample_runs).run_test(size=(120, 36)) as pilot:
            await pilot.pause(0.3)
            assert any(isinstance(one, AsciiFilter) for one in pilot.app.get_line_filters())
            assert on_screen(pilot).isascii()
    finally:
        glyphs.choose(utf8=before.utf8)


def test_names_are_respelled_cell_for_cell() -> None:
    (segment,) = AsciiFilter().apply([Segment("é界a")], Color(0, 0, 0))
    assert segment.text == "???a"


def test_sizes_have_their_classes() -> None:
    assert size_class(99, 50) == size_class(200, 29) == "narrow"
    assert size_class(100, 30) == size_class(160, 39) == "normal"
    assert size_class(160, 40) == "wide"
    assert too_small(52, 20) == ("cifar-tui needs 60 columns and 15 rows; this terminal has 52 x 20. Runs go on.")
    assert too_small(60, 15) == ""


def test_home_is_shown_as_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert shown_path(Path("/home/me/runs")) == "~/runs"
    assert shown_path(Path("/home/meg/runs")) == "/home/meg/runs"


@pytest.mark.parametrize("size", [(60, 13), (80, 22), (120, 34), (200, 48), (5, 2)])
@pytest.mark.parametrize("depth", ["truecolor", "16"])
def test_the_first_screen_fits_anywhere(size: tuple[int, int], depth: theme.Depth) -> None:
    known = Quickstart(14.0, 10_000, 32, 70_618, 7_520_896)
    grid = first_run.draw(*size, known, WORDS, theme.palette("dark", depth))
    assert (grid.width, grid.height) == size
    if size[1] > 10:
        assert "choose a run" in grid.text()
        assert "launch it" in grid.text()


def test_settings_are_kept_and_nonsense_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "config" / "settings.json"
    remembered = Settings(file)
    remembered.put(theme="light")
    remembered.put(preview=False, columns=("name", "val"))
    remembered.wait()
    again = Settings(file)
    assert again.text("theme", "dark", ("dark", "light")) == "light"
    assert again.flag("preview", True) is False
    assert again.names("columns", ()) == ("name", "val")
    file.write_text('{"theme": 3, "preview": "no", "columns": [1], "sort": "nothing"}')
    odd = Settings(file)
    assert odd.text("theme", "dark") == "dark"
    assert odd.flag("preview", True) is True
    assert odd.names("columns", ("name",)) == ("name",)
    assert odd.text("sort", "ended", ("ended", "val")) == "ended"
    (tmp_path / "config").chmod(0o500)
    odd.put(theme="dark")
    odd.wait()
    assert odd.text("theme", "light") == "dark"


def test_the_terminal_half_never_loads_torch_or_numpy() -> None:
    modules = "tui.app tui.screens.runs tui.screens.empty tui.screens.help tui.palette tui.run_preview tui.run_actions"
    code = f"import sys; [__import__(m) for m in {modules.split()!r}]; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("'torch'", "'numpy'", "'torchvision'") if name in loaded]


@pytest.mark.parametrize("hang_up_is_ignored", [False, True])
def test_a_terminal_that_vanishes_ends_the_app(sample_runs: Path, hang_up_is_ignored: bool) -> None:
    """Once by SIGHUP, once only by the terminal's own end: no process may be left spinning."""
    process, master = pty.fork()
    if process == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        if hang_up_is_ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        code = "import sys; from tui.cli import main; sys.exit(main(sys.argv[1:]))"
        os.execve(
            sys.executable,
            [sys.executable, "-c", code, "--runs", str(sample_runs)],
            {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        )
    seen, deadline = b"", time.monotonic() + 60
    while b"best_5m-s3" not in seen:
        assert time.monotonic() < deadline, seen[-500:]
        if select.select([master], [], [], 0.1)[0]:
            seen += os.read(master, 65536)
    os.close(master)
    deadline = time.monotonic() + 60
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


SIZES = [(80, 24), (120, 36), (200, 50)]


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_picture_of_the_first_run(
    tmp_path: Path, snap_compare: Any, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], shade: str
) -> None:
    known = Quickstart(14.0, 10_000, 32, 70_618, 7_520_896)
    monkeypatch.setattr("tui.screens.empty._read_quickstart", lambda: known)
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.setenv("HOME", str(tmp_path))
    app = CifarApp(tmp_path / "runs", remembered=_shaded(shade))

    async def read(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "70,618" in on_screen(pilot))
        await until(pilot, lambda: "1 / 2 B" in on_screen(pilot))

    assert snap_compare(app, terminal_size=size, run_before=read)


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_picture_of_help(
    tmp_path: Path, snap_compare: Any, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], shade: str
) -> None:
    monkeypatch.setattr("tui.screens.empty._read_quickstart", Quickstart)
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tui.app.keys.user_file", lambda environ: Path("~/.config/cifar-tui/keys.yaml"))
    app = CifarApp(tmp_path / "runs", remembered=_shaded(shade))

    async def open_help(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "1 / 2 B" in on_screen(pilot) and "choose a run" in on_screen(pilot))
        await pilot.press("?")
        await until(pilot, lambda: "Keys:" in on_screen(pilot))

    assert snap_compare(app, terminal_size=size, run_before=open_help)


def _shaded(shade: str) -> Settings:
    remembered = Settings(None)
    remembered.put(theme=shade)
    return remembered
