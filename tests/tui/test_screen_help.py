"""Help and palette: made from the table of keys, for every screen, at every size."""

from dataclasses import replace

import pytest

from tui import keys, theme
from tui.actions import ACTIONS, SCREEN_SCOPES
from tui.keys import Keymap
from tui.palette import entries, matching
from tui.screens.help import columns_of, draw_help


@pytest.mark.parametrize("scope", list(SCREEN_SCOPES))
@pytest.mark.parametrize("width", [52, 70, 96, 130])
def test_every_action_of_a_screen_is_in_its_help(scope: str, width: int) -> None:
    text = draw_help(keys.DEFAULT, scope, width, "~/.config/cifar-tui/keys.yaml", theme.palette()).text()
    for heading, lines in keys.DEFAULT.help(scope):
        assert heading in text
        for key, said in lines:
            assert key in text
            assert said in text


def test_help_shows_changed_keys() -> None:
    changed = Keymap(tuple(action if action.name != "stop" else replace(action, keys=("X",)) for action in ACTIONS))
    assert "X        stop" in draw_help(changed, "runs", 96, "keys.yaml", theme.palette()).text()


def test_groups_go_where_there_is_least() -> None:
    groups = [("a", [("k", "t")] * 9), ("b", [("k", "t")] * 2), ("c", [("k", "t")] * 2), ("d", [("k", "t")])]
    assert [[heading for heading, _ in column] for column in columns_of(groups, 2)] == [["a"], ["b", "c", "d"]]


def test_the_palette_lists_what_a_screen_can_do_and_narrows_by_words() -> None:
    every = entries(keys.DEFAULT, "runs", [action.name for action in ACTIONS])
    names = [entry.name for entry in every]
    assert "stop" in names
    assert "launch" not in names
    assert len(set(names)) == len(names)
    assert matching(every, "stop")[0].name == "stop"
    assert {entry.name for entry in matching(every, "act arch")} >= {"archive"}
    assert matching(every, "nothing like it") == []
    assert matching(every, "") == every
    assert every[0].name == "filter"
    assert every[-1].group == "Everywhere"
