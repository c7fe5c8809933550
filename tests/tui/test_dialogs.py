"""Overlays under keys that come faster than they close."""

import pytest
from textual.app import App

from tui import theme
from tui.dialogs import Choice, Option, Question
from tui.searched_list import MANY, SearchedChoice, choice
from watching import on_screen


class Asking(App[None]):
    """Asks once, and counts the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[bool | None] = []
        self.palette = theme.palette("dark")

    def on_mount(self) -> None:
        self.register_theme(theme.textual_theme(self.palette))
        self.theme = theme.theme_name(self.palette)

    def ask(self) -> Question:
        question = Question("Stop it?", "stop", "keep on")
        self.push_screen(question, self.answers.append)
        return question


async def test_keys_typed_ahead_close_nothing_but_the_question() -> None:
    app = Asking()
    async with app.run_test() as pilot:
        question = app.ask()
        await pilot.pause()
        for key in ("enter", "escape", "enter", "escape"):
            app.simulate_key(key)
        await pilot.pause()
        assert app.answers == [True]
        assert len(app.screen_stack) == 1
        question.dismiss(True)
        await pilot.pause()
        assert app.answers == [True]
        assert len(app.screen_stack) == 1


@pytest.mark.parametrize("letter", ["n", "界"])
async def test_a_title_without_end_stays_in_its_frame(letter: str) -> None:
    app = Asking()
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(Choice(f"Write {letter * 500} as", [Option("csv", "CSV")]))
        await pilot.pause()
        shown = on_screen(pilot).splitlines()
        top = next(row.strip() for row in shown if "Write" in row)
        assert (top[0], top[-1]) == ("┌", "┐")
        assert "…" in top


def test_many_options_are_found_by_words_of_name_or_remark_the_names_first() -> None:
    options = [Option("wrn", "wrn28_10", "best with resnet34"), Option("r34", "resnet34", "plateau")]
    found = SearchedChoice("Presets", options).matching
    assert [option.value for option in found("resnet34")] == ["r34", "wrn"]
    assert [option.value for option in found("28 best")] == ["wrn"]
    assert found("nothing") == []
    assert isinstance(choice("Presets", options), Choice)
    assert isinstance(choice("Presets", options * MANY), SearchedChoice)
