"""What GNU screen does not hand on is not asked of it; test_multiplexers.py looks at the picture inside it."""

from pathlib import Path
from typing import Any

import pytest

from tui import app, cli, gnu_screen, theme
from tui.app import CifarApp

INSIDE = {"STY": "1117.name", "TERM": "screen.xterm-256color", "COLORTERM": "truecolor"}


@pytest.mark.parametrize(
    ("environ", "around"),
    [
        (INSIDE, True),
        ({"TERM": "screen.xterm-256color"}, True),
        ({"TERM": "screen-256color", "STY": "1.x"}, True),
        ({"TERM": "screen-256color", "TMUX": "/tmp/tmux-0/default"}, False),
        ({"TERM": "xterm-256color", "STY": ""}, False),
    ],
)
def test_it_is_known_by_what_it_sets(environ: dict[str, str], around: bool) -> None:
    assert gnu_screen.is_around(environ) is around


def test_the_outer_terminals_colours_are_forgotten() -> None:
    inside, outside = dict(INSIDE), {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for environ in (inside, outside):
        gnu_screen.forget_outer_colours(environ)
    assert theme.terminal_depth(inside) == "256"
    assert theme.terminal_depth(outside) == "truecolor"


@pytest.mark.parametrize("inside", [True, False])
def test_the_app_asks_for_no_mouse_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(CifarApp, "run", lambda self, **how: asked.update(how) or 0)
    monkeypatch.setattr(app.Vanishing, "watch", lambda self: None)
    monkeypatch.delenv("STY", raising=False)
    monkeypatch.setenv("TERM", "screen.xterm-256color" if inside else "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setattr(
        cli, "_open_app", lambda args: app.run(runs=tmp_path, data=None, fps=None, lite=False, ascii_only=False)
    )
    assert cli.main([]) == 0
    assert asked == {"mouse": not inside}
