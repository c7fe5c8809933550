"""The stated figures of the colours hold for the colours in the code."""

import math
import subprocess
import sys
from itertools import combinations, product

import pytest
from rich.color import Color, ColorSystem

from tui import theme
from tui.theme import DARK, LIGHT, RUNS_DARK, RUNS_LIGHT, RunColours, palette

# Linear-light simulations of dichromacy: Viénot, Brettel and Mollon (1999), "Digital video colourmaps for checking the
# legibility of displays by dichromats", as matrices on linear RGB.
PROTAN = ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0))
DEUTAN = ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0))
NORMAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def linear(colour: str) -> list[float]:
    shares = [channel / 255 for channel in theme.rgb(colour)]
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    lighter, darker = sorted(
        (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True)) for colour in (one, other)),
        reverse=True,
    )
    return (lighter + 0.05) / (darker + 0.05)


def lab(colour: str, vision: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """CIE 1976 L*a*b* under D65 as a person with this vision sees the colour."""
    seen = [min(max(sum(m * c for m, c in zip(row, linear(colour), strict=True)), 0.0), 1.0) for row in vision]
    xyz_rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        _cube_root(sum(m * c for m, c in zip(row, seen, strict=True)) / w)
        for row, w in zip(xyz_rows, white, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _cube_root(value: float) -> float:
    return value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116


def distance(one: str, other: str, vision: tuple[tuple[float, ...], ...]) -> float:
    pairs = zip(lab(one, vision), lab(other, vision), strict=True)
    return math.sqrt(sum((a - b) ** 2 for a, b in pairs))


@pytest.mark.parametrize("roles", [DARK, LIGHT], ids=["dark", "light"])
def test_text_is_legible(roles: dict[str, str]) -> None:
    assert contrast(roles["text"], roles["background"]) >= 13
    for background in ("background", "panel"):
        assert contrast(roles["dim"], roles[background]) >= 4.5


@pytest.mark.parametrize(("roles", "runs"), [(DARK, RUNS_DARK), (LIGHT, RUNS_LIGHT)], ids=["dark", "light"])
def test_runs_stand_out_from_the_background(roles: dict[str, str], runs: tuple[str, ...]) -> None:
    assert min(contrast(run, roles["background"]) for run in runs) >= 3.6


@pytest.mark.parametrize("vision", [NORMAL, PROTAN, DEUTAN], ids=["normal", "protan", "deutan"])
@pytest.mark.parametrize(("runs", "least"), [(RUNS_DARK, 14), (RUNS_LIGHT, 12)], ids=["dark", "light"])
def test_runs_stay_apart_for_every_eye(
    runs: tuple[str, ...], least: float, vision: tuple[tuple[float, ...], ...]
) -> None:
    apart, *nearest = min((distance(one, other, vision), one, other) for one, other in combinations(runs, 2))
    assert apart >= least, nearest


@pytest.mark.parametrize("colour", [(59, 31, 26), (34, 42, 54), (250, 3, 120), (255, 255, 255), (0, 0, 0)])
def test_colours_of_256_are_the_nearest_and_reach_the_terminal_as_they_are(colour: tuple[int, int, int]) -> None:
    greys = [(8 + 10 * step,) * 3 for step in range(24)]
    levels = (0, 95, 135, 175, 215, 255)
    every = [*product(levels, repeat=3), *greys]
    found = theme.nearest_256(*colour)
    assert math.dist(found, colour) == min(math.dist(one, colour) for one in every)
    shown = Color.from_rgb(*found).downgrade(ColorSystem.EIGHT_BIT)
    assert tuple(shown.get_truecolor()) == found


def test_soft_form_is_between_colour_and_background() -> None:
    run = palette("dark").run(0)
    assert run.soft.color is not None
    assert run.soft.color.name == theme.mix(RUNS_DARK[0], DARK["background"], 0.45)


def test_a_run_keeps_its_colour_while_it_is_wanted() -> None:
    colours = RunColours()
    first = colours.update([("a", ""), ("b", ""), ("c", "")])
    later = colours.update([("c", ""), ("d", ""), ("a", "")])
    assert (later["a"], later["c"]) == (first["a"], first["c"])
    assert len({later["a"], later["c"], later["d"]}) == 3


def test_runs_that_differ_only_in_seed_share_a_colour() -> None:
    given = RunColours().update([("s1", "group"), ("s2", "group"), ("other", "another")])
    assert given["s1"] == given["s2"] != given["other"]


def test_the_ninth_group_is_without_a_colour() -> None:
    given = RunColours().update([(str(run), "") for run in range(9)])
    assert sorted(index for index in given.values() if index is not None) == list(range(8))
    assert given["8"] is None


@pytest.mark.parametrize(
    ("environ", "depth"),
    [({"NO_COLOR": "1", "COLORTERM": "truecolor"}, "none"), ({"COLORTERM": "truecolor", "TERM": "xterm"}, "truecolor"),
     ({"TERM": "screen-256color"}, "256"), ({"TERM": "xterm"}, "16"), ({"TERM": "dumb"}, "none"), ({}, "16"),
     ({"NO_COLOR": "", "TERM": "tmux-256color"}, "256")],
)  # fmt: skip
def test_depth_is_what_the_terminal_says(environ: dict[str, str], depth: str) -> None:
    assert theme.terminal_depth(environ) == depth


@pytest.mark.parametrize("depth", ["truecolor", "256", "16", "none"])
@pytest.mark.parametrize("shade", ["dark", "light"])
def test_every_role_has_a_style_at_every_depth(shade: theme.Shade, depth: theme.Depth) -> None:
    chosen = palette(shade, depth)
    for role in DARK:
        chosen.style(role)
    for index in (None, *range(8)):
        run = chosen.run(index)
        assert (run.band is None) == (depth in ("16", "none"))
    if depth == "none":
        assert all(chosen.style(role).color is None for role in DARK)
    assert chosen.faded(chosen.style("accent")) != chosen.style("accent")


def test_themes_of_textual_are_made_from_the_palette() -> None:
    made = theme.textual_theme(palette("light"))
    assert (made.name, made.background, made.dark) == ("cifar-light", LIGHT["background"], False)
    assert made.variables["run-8"] == RUNS_LIGHT[7]
    assert theme.textual_theme(palette("dark", "16")).ansi


def test_ramp_runs_from_end_to_end() -> None:
    assert theme.ramp(-1) == theme.GRAD_CAM_RAMP[0]
    assert theme.ramp(0.5) == theme.GRAD_CAM_RAMP[2]
    assert theme.ramp(2) == theme.GRAD_CAM_RAMP[-1]


def test_signs_numbers_and_colours_come_without_textual() -> None:
    modules = "tui.format, tui.glyphs, tui.theme, tui.keys, tui.plot.canvas, tui.line, tui.pixels"
    code = f"import sys, {modules}; print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
