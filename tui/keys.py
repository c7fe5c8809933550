"""The keymap: the table of actions with a person's changes. Footer, help, palette and bindings are made from it."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from engine.errors import UserError
from tui import glyphs
from tui.actions import ACTIONS, FOOTER_END, FOOTERS, SCREEN_SCOPES, Action

if TYPE_CHECKING:
    from textual.binding import Binding


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
    try:
        path.stat()  # most people have no such file, and wait for no parser of it
        from engine import atomic, strict_yaml

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
