"""Colours: one table of roles for dark and light, its 16-colour and colourless forms, and the colours of runs.

Everything that draws asks a `Palette` for a style by role, never for a colour. The hues of runs are those of Okabe and
Ito (2008, "Color Universal Design"), with their lightness set apart so that they stay apart without red or green cones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal
from zlib import crc32

from rich.color import Color
from rich.style import Style

if TYPE_CHECKING:
    from textual.theme import Theme

Depth = Literal["truecolor", "256", "16", "none"]
Shade = Literal["dark", "light"]

RUN_COLOURS = 8
SOFT_TOWARDS_BACKGROUND: Mapping[Shade, float] = MappingProxyType({"dark": 0.45, "light": 0.38})
BAND_STRENGTH = 0.20
OVERLAY_FADE = 0.72

DARK: Mapping[str, str] = MappingProxyType(
    {
        "background": "#0e1116",
        "panel": "#161b22",
        "selection": "#222a36",
        "fill": "#2d2f52",
        "text": "#d6dce5",
        "dim": "#808b99",
        "rule": "#2f3742",
        "grid": "#1f262f",
        "accent": "#a9a1ff",
        "good": "#7fc97a",
        "warn": "#e5b84b",
        "bad": "#ff7b72",
    }
)
LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "background": "#fbfbf9",
        "panel": "#f0f0ec",
        "selection": "#e1e4ee",
        "fill": "#d9d6f5",
        "text": "#1d232b",
        "dim": "#666e79",
        "rule": "#c9ccd1",
        "grid": "#e4e5e4",
        "accent": "#5a4fcf",
        "good": "#2b7a34",
        "warn": "#8f6200",
        "bad": "#c0322b",
    }
)
ANSI: Mapping[str, str] = MappingProxyType(
    {
        "background": "default",
        "panel": "default",
        "selection": "default",
        "fill": "default",
        "text": "default",
        "dim": "bright_black",
        "rule": "bright_black",
        "grid": "bright_black",
        "accent": "bright_magenta",
        "good": "green",
        "warn": "yellow",
        "bad": "bright_red",
    }
)
RUNS_DARK = ("#4dbdee", "#f3b53f", "#2fb587", "#f4f06a", "#dc5fab", "#f06c38", "#738fff", "#d8dade")
RUNS_LIGHT = ("#0072b2", "#b57701", "#006557", "#7d670a", "#b0478a", "#83330d", "#2a3fd4", "#272b31")
RUNS_ANSI = (
    "bright_cyan", "bright_yellow", "bright_green", "bright_red", "bright_magenta", "bright_blue", "cyan", "white",
)  # fmt: skip
GRAD_CAM_RAMP = ("#141036", "#58186e", "#b4365a", "#f07828", "#fcdc6e")

STATE_ROLES: Mapping[str, str] = MappingProxyType(
    {
        "queued": "dim",
        "starting": "accent",
        "running": "accent",
        "paused": "warn",
        "held": "warn",
        "finished": "good",
        "stopped": "dim",
        "diverged": "bad",
        "failed": "bad",
        "crashed": "bad",
        "unknown": "dim",
    }
)


def rgb(hexcode: str) -> tuple[int, int, int]:
    """`#rrggbb` as three bytes."""
    return int(hexcode[1:3], 16), int(hexcode[3:5], 16), int(hexcode[5:7], 16)


def mix(colour: str, towards: str, share: float) -> str:
    """`colour` moved by `share` (0 to 1) of the way to `towards`, both `#rrggbb`, in sRGB."""
    pairs = zip(rgb(colour), rgb(towards), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


_CUBE = (0, 95, 135, 175, 215, 255)


def nearest_256(red: int, green: int, blue: int) -> tuple[int, int, int]:
    """The closest of xterm's cube and greys. Left to themselves terminals' libraries keep the hue and lose the
    lightness: a faint brown becomes plain red."""
    wanted = red, green, blue
    cube = tuple(min(_CUBE, key=lambda level: abs(level - channel)) for channel in wanted)
    grey = (min(max(8 + 10 * round((sum(wanted) / 3 - 8) / 10), 8), 238),) * 3
    apart = [sum((one - other) ** 2 for one, other in zip(found, wanted, strict=True)) for found in (cube, grey)]
    return (cube[0], cube[1], cube[2]) if apart[0] < apart[1] else grey


@cache
def at_depth(colour: str, depth: Depth) -> str:
    """`#rrggbb` as it is shown at a colour depth."""
    return "#{:02x}{:02x}{:02x}".format(*nearest_256(*rgb(colour))) if depth == "256" else colour


def ramp(share: float, stops: tuple[str, ...] = GRAD_CAM_RAMP) -> str:
    """The colour at `share` (0 to 1, clamped) of the way along `stops`."""
    position = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(position), len(stops) - 2)
    return mix(stops[index], stops[index + 1], position - index)


@dataclass(frozen=True, slots=True)
class RunColour:
    """How one run is drawn. `dash` and `letter` tell curves apart where colours cannot.

    `solid` and `soft` are foreground styles (validation and train), `band` is the background of a seed band.
    `colour` is the solid colour's name, for what is not text.
    """

    colour: str
    solid: Style
    soft: Style
    band: str | None
    letter: str
    dash: int


@dataclass(frozen=True)
class Palette:
    """The roles of one shade at one colour depth."""

    shade: Shade
    depth: Depth
    roles: Mapping[str, str]
    runs: tuple[str, ...]

    @property
    def dark(self) -> bool:
        return self.shade == "dark"

    @property
    def rich_in_colour(self) -> bool:
        """Whether tints exist: soft forms, bands, fills and panels. Otherwise curves differ by dash and letter too."""
        return self.depth in ("truecolor", "256")

    def colour(self, role: str) -> str:
        """The colour of a role as Rich and Textual read it: `#a9a1ff`, or an ANSI name, or `default`."""
        return self.roles[role]

    def style(self, role: str = "text", *, bold: bool = False, on: str | None = None) -> Style:
        """The style of a role, on the background of role `on` (none: whatever lies below)."""
        return _style(self, role, bold, on)

    def state(self, word: str, *, bold: bool = False) -> Style:
        """The style of a run's state."""
        return self.style(STATE_ROLES.get(word, "dim"), bold=bold)

    def run(self, index: int | None) -> RunColour:
        """How the run with this colour index is drawn; None is a run beyond the eight, in grey."""
        return _run_colour(self, index)

    def tint(self, colour: str, share: float) -> str | None:
        """`share` of `colour` over the background; None where there are no tints."""
        if not self.rich_in_colour or not colour.startswith("#"):
            return None
        return at_depth(mix(self.roles["background"], colour, share), self.depth)

    def selected(self, style: Style) -> Style:
        """The style of what is under the cursor; what has a background of its own keeps it."""
        if self.rich_in_colour:
            return style if style.bgcolor else style + Style(bgcolor=self.roles["selection"])
        return Style(reverse=True, bold=style.bold)

    def faded(self, style: Style) -> Style:
        """The style of what lies under an overlay."""
        if not self.rich_in_colour:
            return Style(dim=True)
        background = self.roles["background"]
        colour, bgcolor = style.color or Color.parse(self.roles["text"]), style.bgcolor
        faded_bg = None if bgcolor is None else mix(_hex(bgcolor), background, OVERLAY_FADE)
        return Style(color=mix(_hex(colour), background, OVERLAY_FADE), bgcolor=faded_bg)

    def __hash__(self) -> int:
        return hash((self.shade, self.depth))


def _hex(colour: Color) -> str:
    return colour.get_truecolor().hex


@cache
def _style(palette: Palette, role: str, bold: bool, on: str | None) -> Style:
    if palette.depth == "none":
        return Style(bold=bold or role in ("accent", "bad") or None, dim=role in ("rule", "grid") or None)
    if role in ("background", "panel", "fill"):
        return Style(bgcolor=palette.roles[role])
    return Style(color=palette.roles[role], bgcolor=palette.roles[on] if on else None, bold=bold or None)


@cache
def _run_colour(palette: Palette, index: int | None) -> RunColour:
    letter, dash = ("", 0) if index is None else (chr(ord("a") + index), index)
    if palette.depth == "none":
        return RunColour("default", Style(), Style(dim=True), None, letter, dash)
    colour = palette.roles["dim"] if index is None else palette.runs[index]
    if palette.depth == "16":
        return RunColour(colour, Style(color=colour), Style(color=colour), None, letter, dash)
    soft = at_depth(mix(colour, palette.roles["background"], SOFT_TOWARDS_BACKGROUND[palette.shade]), palette.depth)
    band = at_depth(mix(palette.roles["background"], colour, BAND_STRENGTH), palette.depth)
    return RunColour(colour, Style(color=colour), Style(color=soft), band, letter, dash)


@cache
def palette(shade: Shade = "dark", depth: Depth = "truecolor") -> Palette:
    """The palette of a shade at a colour depth. Sixteen colours are the terminal's own, whatever its shade."""
    if depth in ("16", "none"):
        return Palette(shade, depth, ANSI, RUNS_ANSI)
    roles, runs = (DARK, RUNS_DARK) if shade == "dark" else (LIGHT, RUNS_LIGHT)
    shown = {role: at_depth(colour, depth) for role, colour in roles.items()}
    return Palette(shade, depth, MappingProxyType(shown), tuple(at_depth(colour, depth) for colour in runs))


def terminal_depth(environ: Mapping[str, str]) -> Depth:
    """How many colours the terminal says it has. https://no-color.org: NO_COLOR counts when it is set and not empty."""
    if environ.get("NO_COLOR"):
        return "none"
    term = environ.get("TERM", "").lower()
    if term in ("dumb", "unknown"):
        return "none"
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "truecolor"
    if term.endswith(("-256color", "-direct")) or term in ("xterm-kitty", "alacritty", "foot", "wezterm"):
        return "truecolor" if term.endswith("-direct") or "256" not in term else "256"
    return "16"


@dataclass
class RunColours:
    """Who has which colour: a run keeps its own from the moment it is live or marked until it is neither.

    Runs of one group, that is, runs that differ only in their seed, share a colour.
    """

    _held: dict[str, int] = field(default_factory=dict)

    def update(self, wanted: Iterable[tuple[str, str]]) -> dict[str, int | None]:
        """Colour indices of the wanted runs, given as (run id, group hash), in order of precedence.

        Colours of runs that are no longer wanted become free first. A run beyond the eighth group gets None.
        """
        groups = {run: group or run for run, group in wanted}
        self._held = {group: index for group, index in self._held.items() if group in groups.values()}
        for run, group in groups.items():
            if group not in self._held:
                self._take(group, run)
        return {run: self._held.get(group) for run, group in groups.items()}

    def _take(self, group: str, run: str) -> None:
        taken = set(self._held.values())
        first = crc32(run.encode()) % RUN_COLOURS
        free = ((first + step) % RUN_COLOURS for step in range(RUN_COLOURS))
        index = next((candidate for candidate in free if candidate not in taken), None)
        if index is not None:
            self._held[group] = index


def textual_theme(chosen: Palette) -> "Theme":
    """The palette as a Textual theme. Style sheets say `$dim`, `$rule`, `$grid`, `$selection`, `$fill`, `$run-1` …"""
    from textual.theme import Theme

    ansi = not chosen.rich_in_colour
    roles = {role: _textual_colour(colour) for role, colour in chosen.roles.items()}
    runs = {f"run-{index + 1}": _textual_colour(colour) for index, colour in enumerate(chosen.runs)}
    return Theme(
        name=theme_name(chosen),
        primary=roles["accent"],
        secondary=roles["accent"],
        accent=roles["accent"],
        warning=roles["warn"],
        error=roles["bad"],
        success=roles["good"],
        foreground=roles["text"],
        background=roles["background"],
        surface=roles["background"],
        panel=roles["panel"],
        dark=chosen.dark,
        ansi=ansi,
        variables={
            **{
                role: roles[role]
                for role in ("dim", "rule", "grid", "selection", "fill", "good", "warn", "bad", "text")
            },
            **runs,
            **({"ansi-background": "ansi_default", "ansi-foreground": "ansi_default"} if ansi else {}),
            "block-cursor-background": roles["selection"],
            "block-cursor-foreground": roles["text"],
            "block-cursor-text-style": "bold",
            "input-cursor-background": roles["accent"],
            "input-cursor-foreground": roles["background"],
            "input-selection-background": roles["selection"],
            "scrollbar": roles["rule"],
            "scrollbar-background": roles["background"],
            "scrollbar-corner-color": roles["background"],
            "border": roles["accent"],
        },
    )


def theme_name(chosen: Palette) -> str:
    """`cifar-dark`, `cifar-light`, or `cifar-ansi-dark` where colours are the terminal's own."""
    return f"cifar-{chosen.shade}" if chosen.rich_in_colour else f"cifar-ansi-{chosen.shade}"


def _textual_colour(colour: str) -> str:
    return colour if colour.startswith("#") else f"ansi_{colour}"
