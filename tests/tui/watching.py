"""What a test sees of the running app, and waits for with more patience than any machine needs."""

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from tui import theme
from tui.app import CifarApp

PATIENCE_S = 60.0


def on_screen(pilot: Pilot[Any]) -> str:
    """All text on the terminal, line by line, without the blanks at their ends."""
    return "\n".join(strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips())


async def until(pilot: Pilot[Any], condition: Callable[[], object], what: str = "what was waited for") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}; on the screen:\n{on_screen(pilot)}"
        await pilot.pause(0.02)


async def seen(pilot: Pilot[Any], wanted: str, gone: str = "") -> str:
    """What is on the screen once `wanted` is and `gone` is not."""
    await pilot.pause()
    await until(pilot, lambda: wanted in on_screen(pilot) and not (gone and gone in on_screen(pilot)), repr(wanted))
    return on_screen(pilot)


def shaded(app: CifarApp, shade: str) -> CifarApp:
    """The app in its light colours, or left dark."""
    if shade == "light":
        app.palette = theme.palette("light")
        app.theme = theme.theme_name(app.palette)
    return app
