"""Overlays under keys that come faster than they close."""

from textual.app import App

from tui import theme
from tui.dialogs import Question


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
