"""What keys and mouse do to New run's lists and form: moving, choosing, typing into a field, searching the presets."""

from typing import TYPE_CHECKING

from textual import events

from engine.errors import UserError
from tui import keys, new_layout
from tui.dialogs import TextLine
from tui.new_layout import LISTS
from tui.new_view import ListShown
from tui.screens.base import BaseScreen
from tui.screens.new_panes import Body

if TYPE_CHECKING:
    from tui.new_form import Catalogue, Choice, Form

_MOST_EARLY = 64
_ALWAYS = frozenset({"show_runs", "show_queue", "help", "palette", "toggle_theme", "back", "quit", "redraw"})


class NewInput(BaseScreen):
    """The form with its cursor. Give `use_form`, `start_from` and `choices_of`.

    Until the form is there, keys wait; they act in the order in which they were typed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._catalogue: Catalogue | None = None
        self._form: Form | None = None
        self._early: list[events.Key] = []
        self._focus = "architecture"
        self._field = "data"
        self._at_experiment = 0
        self._editing: TextLine | None = None
        self._before: Form | None = None
        self._search: TextLine | None = None

    def use_form(self, form: "Form") -> None:
        """Take over a changed form."""
        raise NotImplementedError

    def start_from(self, form: "Form") -> None:
        """Take over another form altogether."""
        raise NotImplementedError

    def choices_of(self, kind: str) -> "tuple[Choice, ...]":
        """The list of a kind, as it is shown."""
        raise NotImplementedError

    def shown_list(self, kind: str) -> ListShown:
        """The list of a kind with its cursor."""
        choices = self.choices_of(kind)
        chosen = self._form.chosen[kind] if self._form else None  # type: ignore[index]
        cursor = next((i for i, choice in enumerate(choices) if choice == chosen), 0)
        return ListShown(choices, cursor, len(choices))

    async def press_early(self) -> None:
        """Act on the keys that came before the form."""
        early, self._early = self._early, []
        for event in early:
            await self._press(event)

    # Moving and choosing.

    def _move(self, step: int) -> None:
        if self._form is None or self._catalogue is None:
            return
        if self._focus == "training":
            order = new_layout.field_order(self.size_class)
            self._field = order[_clamped(order.index(self._field) + step, len(order))]
        elif self._focus == "experiments":
            self._prefill(_clamped(self._at_experiment + step, len(self._catalogue.experiments)))
        else:
            entries = self.shown_list(self._focus)
            if entries.choices:
                self._choose(entries.choices[_clamped(entries.cursor + step, len(entries.choices))])
        self.changed()

    def _choose(self, choice: "Choice") -> None:
        if self._form is not None and self._form.chosen.get(choice.kind) != choice:
            self.use_form(self._form.with_choice(choice))

    def _prefill(self, index: int) -> None:
        """Start from another experiment, all of it."""
        from tui import new_form

        if self._catalogue is None or not self._catalogue.experiments:
            return
        preset = self._catalogue.experiments[index]
        self._at_experiment = index
        try:
            form = new_form.begin(preset.name, self._catalogue)
        except UserError as error:
            self.complain(error)
            return
        self.start_from(form)
        self._at_experiment = index

    def _page(self) -> int:
        places = new_layout.areas(*self.query_one(Body).size, self.size_class)
        return max((places[self._focus].height - 1) // 2, 1)

    def action_cursor_down(self) -> None:
        self._move(1)

    def action_cursor_up(self) -> None:
        self._move(-1)

    def action_cursor_top(self) -> None:
        self._move(-10_000)

    def action_cursor_end(self) -> None:
        self._move(10_000)

    def action_half_page_down(self) -> None:
        self._move(self._page())

    def action_half_page_up(self) -> None:
        self._move(-self._page())

    def action_next_pane(self) -> None:
        self._step_pane(1)

    def action_previous_pane(self) -> None:
        self._step_pane(-1)

    def _step_pane(self, step: int) -> None:
        order = new_layout.pane_order(self.size_class)
        self._focus = order[(order.index(self._focus) + step) % len(order)]
        self.changed()

    # Typing: a field, or a search.

    def action_edit_field(self) -> None:
        if self._form is None:
            return
        self._focus = "training"
        self._before = self._form
        self._editing = TextLine(self._form.texts[self._field])
        self.changed()

    def action_search_presets(self) -> None:
        if self._form is None:
            return
        if self._focus not in LISTS:
            self._focus = "architecture"
        self._before = self._form
        self._search = TextLine()
        self.changed()

    async def _on_key(self, event: events.Key) -> None:
        event.prevent_default()  # the screen's own handler would clear what an action has just said
        self.clear_message()
        if self._form is None and self._action(event.key) not in _ALWAYS:
            event.stop()
            self._early = [*self._early, event][-_MOST_EARLY:]
        else:
            await self._press(event)

    async def _press(self, event: events.Key) -> None:
        """Act on a key here and now: through the app's bindings a key typed fast would overtake what it follows."""
        action = self._action(event.key)
        if self._editing is not None:
            event.stop()
            self._press_editing(self._editing, event)
        elif self._search is not None:
            event.stop()
            self._press_search(self._search, event)
        elif action:
            event.stop()
            await self.app.run_action(action, self)

    def _action(self, key: str) -> str:
        """The action of a key on this screen, "" if it has none."""
        actions = self.app.keymap.on(self.scope)
        return next((action.name for action in actions if key in map(keys.textual_key, action.keys)), "")

    def on_paste(self, event: events.Paste) -> None:
        typed = self._editing or self._search
        if typed is not None:
            typed.insert(event.text)
            self._typed()

    def _press_editing(self, typed: TextLine, event: events.Key) -> None:
        if event.key == "escape":
            self._editing = None
            if self._before is not None:
                self.use_form(self._before)
        elif event.key in ("enter", "tab", "down", "up", "shift+tab"):
            self._editing = None
            if event.key != "enter":
                self._move(-1 if event.key in ("up", "shift+tab") else 1)
                self.action_edit_field()
        elif typed.press(event):
            self._typed()
        self.changed()

    def _press_search(self, typed: TextLine, event: events.Key) -> None:
        if event.key == "escape":
            self._search = None
            if self._before is not None:
                self.use_form(self._before)
        elif event.key in ("enter", "tab"):
            self._search = None
        elif event.key in ("down", "up"):
            self._move(1 if event.key == "down" else -1)
        elif typed.press(event):
            self._typed()
        self.changed()

    def _typed(self) -> None:
        """Follow what is being typed."""
        if self._editing is not None and self._form is not None:
            self.use_form(self._form.with_text(self._field, self._editing.text))
        elif self._search is not None and self._form is not None:
            choices = self.choices_of(self._focus)
            if choices and self._form.chosen[self._focus] not in choices:  # type: ignore[index]
                self._choose(choices[0])
        self.changed()

    def clicked(self, row: int, column: int) -> None:
        """A click in the body."""
        name = self._pane_at(row, column)
        if name is None or self._form is None or self._editing is not None:
            return
        area = new_layout.areas(*self.query_one(Body).size, self.size_class)[name]
        if name == "training":
            self._click_field(area, row, column)
        elif row > area.top:
            self._focus = name
            self._click_entry(name, row - area.top - 1, area.height - 1)
        else:
            self._focus = name
        self.changed()

    def scrolled(self, row: int, column: int, step: int) -> None:
        """The wheel moves the cursor of the list under the pointer."""
        name = self._pane_at(row, column)
        if name in LISTS and self._editing is None:
            self._focus = name
            self._move(step)

    def _pane_at(self, row: int, column: int) -> str | None:
        places = new_layout.areas(*self.query_one(Body).size, self.size_class)
        panes = new_layout.pane_order(self.size_class)
        return next((name for name in panes if places[name].holds(row, column)), None)

    def _click_field(self, area: new_layout.Area, row: int, column: int) -> None:
        places = new_layout.field_places(area, self.size_class)
        name = next((name for name, place in places.items() if place.holds(row, column)), None)
        again = self._focus == "training" and name == self._field
        self._focus = "training"
        if name is not None:
            self._field = name
            if again:
                self.action_edit_field()

    def _click_entry(self, name: str, row: int, rows: int) -> None:
        if name == "experiments":
            count = len(self._catalogue.experiments) if self._catalogue else 0
            index = new_layout.first_row(self._at_experiment, count, rows) + row
            if index < count:
                self._prefill(index)
            return
        entries = self.shown_list(name)
        index = new_layout.first_row(entries.cursor, len(entries.choices), rows) + row
        if index < len(entries.choices):
            self._choose(entries.choices[index])


def _clamped(index: int, count: int) -> int:
    return min(max(index, 0), max(count - 1, 0))
