"""One table of keys, from which footer, help, palette and bindings come, and which a person may change."""

from pathlib import Path
from typing import ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from engine.errors import UserError
from tui import keys
from tui.actions import ACTIONS, FOOTERS, SCREEN_SCOPES
from tui.keys import DEFAULT

SCREENS = sorted(SCREEN_SCOPES)
# What stops, alters or removes a run: upper case, always.
CHANGES_A_RUN = {"stop", "pause", "resume", "checkpoint", "archive", "delete", "remove", "hold", "pause_queue"}


@pytest.mark.parametrize("screen", SCREENS)
def test_no_key_means_two_things_on_a_screen(screen: str) -> None:
    bound = [key for action in DEFAULT.on(screen) for key in action.keys]
    assert len(bound) == len(set(bound))


@pytest.mark.parametrize("screen", SCREENS)
def test_help_shows_every_action(screen: str) -> None:
    listed = {key for _, lines in DEFAULT.help(screen) for shown, _ in lines for key in shown.split()}
    for action in DEFAULT.on(screen):
        assert {keys.display(key).removeprefix("shift+") for key in action.keys} - {"tab"} <= listed | {"shift"}


@pytest.mark.parametrize("screen", SCREENS)
def test_footer_has_at_most_five_entries_and_its_end(screen: str) -> None:
    assert 1 <= len(DEFAULT.footer(screen)) <= 5
    assert len(DEFAULT.footer(screen)) == len(FOOTERS[screen])
    assert DEFAULT.footer_end(screen) == [("?", "help"), ("^p", "palette")]


def test_what_changes_a_run_is_upper_case_and_nothing_else_there_is() -> None:
    for action in ACTIONS:
        if action.name in CHANGES_A_RUN:
            assert all(key.isupper() for key in action.keys), action.name


def test_footer_words_follow_the_moment() -> None:
    assert ("⏎", "launch 3") in DEFAULT.footer("new", {"launch": "launch 3"})
    assert "stop" not in {word for _, word in DEFAULT.footer("run", {"stop": ""})}
    assert ("+ −", "smooth") in DEFAULT.footer("run")
    assert ("n", "new") in DEFAULT.footer("runs", narrow=True)


def test_a_later_scope_takes_keys_from_an_earlier_one() -> None:
    assert DEFAULT.keys("open", "new") == ()
    assert DEFAULT.keys("launch", "new") == ("enter",)
    assert DEFAULT.keys("next_page", "results") == ("j",)
    assert DEFAULT.keys("cursor_down", "results") == ()
    assert DEFAULT.keys("new_run", "log") == ()


@pytest.mark.parametrize(
    ("written", "key"),
    [("^p", "ctrl+p"), ("Ctrl+P", "ctrl+p"), ("esc", "escape"), ("⏎", "enter"), ("X", "X"), ("+", "+"), (" ", None),
     ("f5", "f5"), ("shift+left", "shift+left"), ("hyper+x", None), ("", None), ("bananas", None), ("^", "^")],
)  # fmt: skip
def test_keys_as_people_write_them(written: str, key: str | None) -> None:
    assert keys.parse_key(written) == key


@pytest.mark.parametrize(
    ("key", "name"), [("?", "question_mark"), ("/", "slash"), ("-", "minus"), ("+", "plus"), ("S", "S"), ("f5", "f5")]
)
def test_names_that_textual_gives_keys(key: str, name: str) -> None:
    assert keys.textual_key(key) == name


def load(folder: Path, text: str) -> keys.Keymap:
    path = folder / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    return keys.load(path)


def test_without_a_file_the_table_holds(tmp_path: Path) -> None:
    assert keys.load(tmp_path / "none.yaml") is DEFAULT


def test_a_persons_file_changes_keys(tmp_path: Path) -> None:
    changed = load(tmp_path, "stop: X\ncross_hair: [h, ^x]\n")
    assert changed.keys("stop", "run") == ("X",)
    assert changed.keys("cross_hair", "run") == ("h", "ctrl+x")
    assert ("X", "stop") in changed.footer("run")
    assert changed.textual_keymap() == {"stop": "X", "cross_hair": "h,ctrl+x"}


def test_keys_may_be_exchanged(tmp_path: Path) -> None:
    changed = load(tmp_path, "stop: P\npause: S\n")
    assert (changed.keys("stop", "run"), changed.keys("pause", "run")) == (("P",), ("S",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("stp: X", 'no action is called "stp"; did you mean "stop"'), ("stop: bananas", '"bananas" is not a key'),
     ("stop: P", "is both stop and pause"), ("- stop", "expected lines such as"), ("stop: [P, [", "keys.yaml")],
)  # fmt: skip
def test_mistakes_in_a_persons_file_are_said_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert sentence in str(caught.value)


def test_the_file_lies_where_the_desktop_standard_says() -> None:
    assert keys.user_file({"XDG_CONFIG_HOME": "/c"}) == Path("/c/cifar-tui/keys.yaml")
    assert keys.user_file({}) == Path.home() / ".config/cifar-tui/keys.yaml"


class Screenful(App[None]):
    BINDINGS: ClassVar[list[BindingType]] = list(DEFAULT.bindings("run"))
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, keymap: keys.Keymap) -> None:
        super().__init__()
        self.keymap = keymap
        self.done: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static()

    def on_mount(self) -> None:
        self.set_keymap(self.keymap.textual_keymap())

    def action_stop(self) -> None:
        self.done.append("stop")

    def action_smooth_more(self) -> None:
        self.done.append("smooth_more")

    def action_cross_hair_left_ten(self) -> None:
        self.done.append("left ten")


async def test_bindings_reach_the_actions() -> None:
    app = Screenful(DEFAULT)
    async with app.run_test() as pilot:
        await pilot.press("S", "plus", "shift+left", "X")
    assert app.done == ["stop", "smooth_more", "left ten"]


async def test_a_changed_key_replaces_the_old_one(tmp_path: Path) -> None:
    app = Screenful(load(tmp_path, "stop: [X, f9]"))
    async with app.run_test() as pilot:
        await pilot.press("S", "X", "f9", "plus")
    assert app.done == ["stop", "stop", "smooth_more"]
