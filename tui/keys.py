"""The keys: one table of actions. Footer, help and palette are made from it, and a person's own file changes it.

A lower-case key never stops, alters or removes a run. An action belongs to a *scope* (`runs`, `plots`, …); a screen has
several scopes (`SCREEN_SCOPES`), later ones winning where two use the same key.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from engine.errors import UserError
from tui import glyphs

if TYPE_CHECKING:
    from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a key does. The method that does it is `action_NAME`.

    `text` says it in the palette. Help lists it under `group`; those with the same `together` share one line there.
    """

    name: str
    keys: tuple[str, ...]
    text: str
    scope: str
    group: str
    together: str = ""


def _actions(scope: str, group: str, *rows: tuple[str, ...]) -> Iterator[Action]:
    for name, keys, text, *together in rows:
        yield Action(name, tuple(keys.split()), text, scope, group, *together)


ACTIONS: tuple[Action, ...] = (
    *_actions(
        "everywhere",
        "Look",
        ("cursor_down", "j down", "next row", "row"),
        ("cursor_up", "k up", "previous row", "row"),
        ("cursor_top", "g", "top", "top, end"),
        ("cursor_end", "G", "end", "top, end"),
        ("half_page_down", "ctrl+d", "half a page down", "half a page"),
        ("half_page_up", "ctrl+u", "half a page up", "half a page"),
        ("next_pane", "tab ]", "next pane", "next, previous pane"),
        ("previous_pane", "[ shift+tab", "previous pane", "next, previous pane"),
        ("open", "enter", "open"),
    ),
    *_actions(
        "everywhere",
        "Everywhere",
        ("show_runs", "1", "Runs"),
        ("show_new", "2", "New run"),
        ("show_queue", "3", "Queue"),
        ("help", "?", "these keys"),
        ("palette", "ctrl+p", "palette of actions"),
        ("toggle_theme", "ctrl+t", "light, dark"),
        ("back", "escape", "back"),
        ("quit", "q", "quit; runs go on"),
        ("suspend", "ctrl+z", "shell; fg returns"),
        ("redraw", "ctrl+l", "draw again"),
    ),
    *_actions(
        "table",
        "Look",
        ("filter", "/", "filter"),
        ("sort", "s", "sort; again reverses"),
        ("columns", "C", "choose columns"),
    ),
    *_actions(
        "runs",
        "Look",
        ("preview", "v", "preview on, off"),
        ("show_archived", "a", "archived too, or not"),
        ("sweep", "t", "table of its sweep"),
    ),
    *_actions("list", "Look", ("show_yaml", "y", "YAML")),
    *_actions(
        "table",
        "Mark and make",
        ("mark", "space", "mark"),
        ("mark_all", "*", "mark all shown"),
    ),
    *_actions(
        "runs",
        "Mark and make",
        ("compare", "c", "compare marked"),
        ("new_run", "n", "new run"),
        ("open_folder", "o", "open another folder"),
    ),
    *_actions(
        "list",
        "Mark and make",
        ("edit", "e", "name, tags, note"),
        ("write", "w", "write CSV, PNG, …"),
        ("copy_command", "Y", "copy the command"),
        ("undo", "u", "undo"),
    ),
    *_actions(
        "run",
        "Act on the run",
        ("new_from_this", "N", "new from this one"),
        ("stop", "S", "stop"),
        ("pause", "P", "pause, continue"),
        ("resume", "R", "resume"),
        ("checkpoint", "W", "checkpoint now"),
        ("archive", "A", "archive, bring back"),
        ("delete", "D", "delete, to trash"),
    ),
    *_actions(
        "run",
        "Look",
        ("results", "r", "results"),
        ("layers", "b", "layers"),
        ("log", "i", "the log in full"),
    ),
    *_actions(
        "log",
        "Look",
        ("search", "/", "search the log"),
        ("next_match", "n", "next match", "next, previous match"),
        ("previous_match", "N", "previous match", "next, previous match"),
    ),
    *_actions(
        "plots",
        "Plots",
        ("cross_hair", "h", "cross-hair"),
        ("cross_hair_left", "left", "cross-hair left", "move it"),
        ("cross_hair_right", "right", "cross-hair right", "move it"),
        ("cross_hair_left_ten", "shift+left", "cross-hair left by ten", "move it by ten"),
        ("cross_hair_right_ten", "shift+right", "cross-hair right by ten", "move it by ten"),
        ("smooth_more", "+", "smoother by 0.1", "smooth by 0.1"),
        ("smooth_less", "-", "less smooth by 0.1", "smooth by 0.1"),
        ("smooth_none", "0", "no smoothing"),
        ("x_axis", "x", "x: step, epoch, time"),
        ("log_y", "l", "log y", "log y, log x"),
        ("log_x", "L", "log x", "log y, log x"),
        ("zoom_in", "z", "zoom in at the cross-hair", "zoom in, out"),
        ("zoom_out", "Z", "zoom out", "zoom in, out"),
        ("pan_left", "<", "pan left", "pan"),
        ("pan_right", ">", "pan right", "pan"),
        ("whole_range", ".", "whole range"),
        ("follow", "f", "follow"),
    ),
    *_actions(
        "new",
        "New run",
        ("launch", "enter", "launch"),
        ("add_to_queue", "a", "add to the queue"),
        ("draw_again", "space", "draw the samples again"),
        ("next_image", "i", "next image"),
        ("budget", "p", "parameter budget"),
        ("edit_field", "e", "edit the field"),
        ("save_preset", "w", "save as a preset"),
        ("experiments", "o", "start from an experiment"),
        ("search_presets", "/", "search the presets"),
        ("show_yaml", "y", "YAML in full"),
    ),
    *_actions(
        "compare",
        "Compare",
        ("metric", "m", "metric"),
        ("all_keys", "d", "all keys or differing"),
        ("seeds", "t", "seeds together, apart"),
        ("baseline", "=", "baseline"),
        ("scatter_axis", "p", "parameters or MACs"),
        ("sort", "s", "order of the runs"),
    ),
    *_actions(
        "queue",
        "Queue",
        ("move_down", "J", "move down", "move"),
        ("move_up", "K", "move up", "move"),
        ("hold", "H", "hold, release"),
        ("remove", "D", "remove"),
        ("pause_queue", "P", "pause the queue"),
        ("capacity", "C", "runs per slot"),
        ("resume", "R", "into the queue again"),
        ("new_run", "n", "new run"),
    ),
    *_actions(
        "sweep",
        "Sweep",
        ("compare", "c", "compare all rows"),
        ("add_to_queue", "a", "queue what is missing"),
        ("write", "w", "write CSV, Markdown, …"),
    ),
    *_actions(
        "results",
        "Results",
        ("cell_left", "left", "cell to the left", "cell"),
        ("cell_up", "up", "cell above", "cell"),
        ("cell_down", "down", "cell below", "cell"),
        ("cell_right", "right", "cell to the right", "cell"),
        ("cell_images", "enter", "the cell's images"),
        ("shown_checkpoint", "m", "best or last checkpoint"),
        ("next_page", "j", "next mistakes", "page of mistakes"),
        ("previous_page", "k", "previous mistakes", "page of mistakes"),
        ("write", "w", "write CSV, PNG, …"),
    ),
)

SCREEN_SCOPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "runs": ("everywhere", "table", "list", "run", "runs"),
        "empty": ("everywhere", "runs"),
        "new": ("everywhere", "new"),
        "run": ("everywhere", "list", "plots", "run"),
        "log": ("everywhere", "log"),
        "compare": ("everywhere", "list", "plots", "compare"),
        "queue": ("everywhere", "list", "queue"),
        "sweep": ("everywhere", "run", "sweep"),
        "results": ("everywhere", "results"),
    }
)

# A footer's entries in order: the actions that share the entry, its word, and a shorter word for narrow terminals.
FOOTERS: Mapping[str, tuple[tuple[str, str, str], ...]] = MappingProxyType(
    {
        "runs": (
            ("open", "open", "open"),
            ("mark", "mark", "mark"),
            ("compare", "compare", "compare"),
            ("new_run", "new run", "new"),
            ("filter", "filter", "filter"),
        ),
        "empty": (
            ("new_run", "new run", "new run"),
            ("open_folder", "open folder", "open folder"),
            ("show_new", "presets", "presets"),
            ("quit", "quit", "quit"),
        ),
        "new": (
            ("launch", "launch", "launch"),
            ("add_to_queue", "add to queue", "queue"),
            ("next_pane", "next list", "pane"),
            ("edit_field", "edit field", "edit"),
            ("save_preset", "save preset", "save"),
        ),
        "run": (
            ("cross_hair", "cross-hair", "cross-hair"),
            ("smooth_more smooth_less", "smooth", "smooth"),
            ("x_axis", "x axis", "axis"),
            ("log_y", "log y", "log"),
            ("stop", "stop", "stop"),
        ),
        "log": (
            ("search", "search", "search"),
            ("next_match previous_match", "next, previous", "next"),
            ("cursor_end", "end", "end"),
            ("back", "back", "back"),
        ),
        "compare": (
            ("metric", "metric", "metric"),
            ("all_keys", "all keys", "keys"),
            ("seeds", "seeds", "seeds"),
            ("baseline", "baseline", "baseline"),
            ("write", "export", "export"),
        ),
        "queue": (
            ("open", "open", "open"),
            ("move_down move_up", "move", "move"),
            ("hold", "hold", "hold"),
            ("pause_queue", "pause queue", "pause"),
            ("new_run", "new run", "new"),
        ),
        "sweep": (
            ("open", "open its run", "open"),
            ("compare", "compare all", "compare"),
            ("add_to_queue", "queue the missing", "queue"),
            ("write", "export", "export"),
            ("stop", "stop", "stop"),
        ),
        "results": (
            ("cell_left cell_up cell_down cell_right", "cell", "cell"),
            ("cell_images", "its images", "images"),
            ("shown_checkpoint", "best or last", "best, last"),
            ("next_pane", "next pane", "pane"),
            ("write", "export", "export"),
        ),
    }
)
FOOTER_END = (("help", "help"), ("palette", "palette"))

_NAMED_KEYS = frozenset(
    ["enter", "escape", "tab", "space", "backspace", "delete", "insert", "home", "end", "pageup", "pagedown"]
    + ["up", "down", "left", "right"]
    + [f"f{number}" for number in range(1, 13)]
)
# Textual names a character by its Unicode name, but for these.
_TEXTUAL_NAMES = MappingProxyType(
    {"solidus": "slash", "reverse_solidus": "backslash", "commercial_at": "at", "hyphen_minus": "minus",
     "plus_sign": "plus", "low_line": "underscore"}
)  # fmt: skip


def textual_key(key: str) -> str:
    """A key as Textual names it: `?` is `question_mark`, `ctrl+p` is itself."""
    if len(key) != 1 or key.isalnum():
        return key
    name = unicodedata.name(key).lower().replace("-", "_").replace(" ", "_")
    return _TEXTUAL_NAMES.get(name, name)


def display(key: str) -> str:
    """A key as people read it: `⏎`, `^p`, `↓`, `esc`."""
    signs = glyphs.active()
    if key.startswith("ctrl+"):
        return "^" + display(key.removeprefix("ctrl+"))
    if key.startswith("shift+"):
        return "shift+" + display(key.removeprefix("shift+"))
    named = {"enter": signs.enter, "escape": "esc", "up": signs.up, "down": signs.down, "left": signs.left}
    named |= {"right": signs.right, "-": signs.minus}
    return named.get(key, key)


def parse_key(text: str) -> str | None:
    """A key as the table holds it, from how people write it (`^p`, `Ctrl+P`, `esc`, `⏎`, `X`); None for nonsense."""
    text = text.strip()
    if len(text) == 1:
        return "enter" if text == "⏎" else text if text.isprintable() and not text.isspace() else None
    if text.startswith("^") and len(text) == 2:
        return f"ctrl+{text[1].lower()}"
    *modifiers, key = text.lower().split("+")
    key = {"esc": "escape", "return": "enter"}.get(key, key)
    if key not in _NAMED_KEYS and not (len(key) == 1 and key.isalnum()):
        return None
    if any(modifier not in ("ctrl", "shift", "alt") for modifier in modifiers) or (not modifiers and len(key) == 1):
        return None
    return "+".join([*modifiers, key])


@dataclass(frozen=True)
class Keymap:
    """The table with a person's changes."""

    actions: tuple[Action, ...] = ACTIONS

    def on(self, screen: str) -> list[Action]:
        """The actions of a screen, later scopes hiding the keys they take from earlier ones."""
        shown: list[Action] = []
        for scope in SCREEN_SCOPES[screen]:
            own = [action for action in self.actions if action.scope == scope]
            taken = {key for action in own for key in action.keys}
            names = {action.name for action in own}
            shown = [_without(action, taken) for action in shown if action.name not in names]
            shown += own
        return [action for action in shown if action.keys]

    def keys(self, name: str, screen: str) -> tuple[str, ...]:
        """The keys of an action on a screen."""
        return next((action.keys for action in self.on(screen) if action.name == name), ())

    def shown(self, name: str, screen: str) -> str:
        """The first key of an action as people read it, for messages: `R resumes`."""
        keys = self.keys(name, screen)
        return display(keys[0]) if keys else ""

    def bindings(self, screen: str) -> list["Binding"]:
        """The screen's Textual bindings, each with its action's name as id."""
        from textual.binding import Binding

        return [
            Binding(",".join(map(textual_key, action.keys)), action.name, action.text, show=False, id=action.name)
            for action in self.on(screen)
        ]

    def footer(
        self, screen: str, words: Mapping[str, str] = MappingProxyType({}), *, narrow: bool = False
    ) -> list[tuple[str, str]]:
        """The left part of the footer as (keys, word). `words` gives an action another word, or "" to leave it out."""
        entries = []
        for names, word, narrow_word in FOOTERS[screen]:
            first, *_ = actions = names.split()
            word = words.get(first, narrow_word if narrow else word)
            keys = [self.shown(name, screen) for name in actions]
            if word and all(keys):
                entries.append((_joined(keys), word))
        return entries

    def footer_end(self, screen: str) -> list[tuple[str, str]]:
        """The right part of the footer: help and palette."""
        return [(self.shown(name, screen), word) for name, word in FOOTER_END]

    def help(self, screen: str) -> list[tuple[str, list[tuple[str, str]]]]:
        """The help of a screen as (heading, [(keys, what they do)]); the heading `Everywhere` comes last."""
        groups: dict[str, dict[str, list[Action]]] = {}
        for action in self.on(screen):
            groups.setdefault(action.group, {}).setdefault(action.together or action.text, []).append(action)
        lines = {
            heading: [(_help_keys(actions), text) for text, actions in texts.items()]
            for heading, texts in groups.items()
        }
        everywhere = lines.pop("Everywhere")
        return [*lines.items(), ("Everywhere", everywhere)]

    def textual_keymap(self) -> dict[str, str]:
        """What `App.set_keymap` takes: the changed actions and their keys."""
        changed = (action for action in self.actions if action not in ACTIONS)
        return {action.name: ",".join(map(textual_key, action.keys)) for action in changed}

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(action.name for action in self.actions)


DEFAULT = Keymap()


def _without(action: Action, taken: set[str]) -> Action:
    keys = tuple(key for key in action.keys if key not in taken)
    return action if keys == action.keys else replace(action, keys=keys)


def _joined(keys: list[str]) -> str:
    return "".join(keys) if all(key in "←→↑↓" for key in keys) else " ".join(keys)


def _help_keys(actions: list[Action]) -> str:
    """First keys of all, then second keys of all: `j k ↓ ↑`. Of keys with shift only the first says so."""
    ranks = zip_longest(*(action.keys for action in actions))
    keys = [display(key) for rank in ranks for key in rank if key and key != "shift+tab"]
    if len(keys) > 1 and all(key.startswith("shift+") for key in keys):
        return "shift " + " ".join(key.removeprefix("shift+") for key in keys)
    return " ".join(keys)


def user_file(environ: Mapping[str, str]) -> Path:
    """Where a person's own keys are: `keys.yaml` in `$XDG_CONFIG_HOME/cifar-tui`, by default `~/.config/cifar-tui`."""
    configured = environ.get("XDG_CONFIG_HOME")
    return (Path(configured) if configured else Path.home() / ".config") / "cifar-tui" / "keys.yaml"


def load(path: Path) -> Keymap:
    """The keymap with the changes in `path`, a mapping of action to a key or a list of keys.

    Raises:
        UserError: the file names no action of ours, no key, or gives one key two meanings on a screen.
    """
    from engine import atomic, strict_yaml

    try:
        document = strict_yaml.parse(atomic.read_regular(path, strict_yaml.MAX_BYTES, follow=True), str(path))
    except FileNotFoundError:
        return DEFAULT
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; correct its permissions or remove it") from error
    if document.value is None:
        return DEFAULT
    if not isinstance(document.value, dict):
        raise UserError(f"{path}: expected lines such as `stop: X`, an action and its key")
    changes = {
        str(name): _read_keys(str(name), value, f"{path}:{document.line((name,))}")
        for name, value in document.value.items()
    }
    return _changed(changes, path)


def _read_keys(name: str, value: object, where: str) -> tuple[str, ...]:
    if name not in DEFAULT.names:
        near = get_close_matches(name, DEFAULT.names, 1)
        hint = f'did you mean "{near[0]}"?' if near else "press ? on a screen for its actions"
        raise UserError(f'{where}: no action is called "{name}"; {hint}')
    written = value if isinstance(value, list) else [value]
    keys = [parse_key(str(key)) for key in written]
    for key, text in zip(keys, written, strict=True):
        if key is None:
            raise UserError(f'{where}: {name}: "{text}" is not a key; write one such as x, X, ^x, shift+left or f5')
    return tuple(key for key in keys if key)


def _changed(changes: Mapping[str, tuple[str, ...]], path: Path) -> Keymap:
    actions = tuple(
        replace(action, keys=changes[action.name]) if action.name in changes else action for action in ACTIONS
    )
    changed = Keymap(actions)
    for screen in SCREEN_SCOPES:
        _refuse_clashes(changed, screen, changes, path)
    return changed


def _refuse_clashes(keymap: Keymap, screen: str, changes: Mapping[str, tuple[str, ...]], path: Path) -> None:
    """A changed key may not be another action's on the same screen, unless that action was changed away from it."""
    owners: dict[str, str] = {}
    present = {action.name for action in DEFAULT.on(screen)}
    for action in keymap.actions:
        if action.scope not in SCREEN_SCOPES[screen] or action.name not in present:
            continue
        for key in DEFAULT.keys(action.name, screen) if action.name not in changes else action.keys:
            owner = owners.setdefault(key, action.name)
            if owner != action.name:
                both = f"{owner} and {action.name}"
                raise UserError(f"{path}: {display(key)} is both {both} on the screen {screen}; change one of them")
