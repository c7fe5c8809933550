"""Fewer codes, the same screen: held against a terminal emulator."""

import pyte
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.style import Style
from textual.strip import Strip

from tui.sgr import compact

COLUMNS, ROWS = 24, 4
colours = st.sampled_from([None, "red", "bright_blue", "color(117)", "#0e1116", "#d6dce5", "default"])
styles = st.builds(
    Style,
    color=colours,
    bgcolor=colours,
    bold=st.booleans(),
    dim=st.booleans(),
    italic=st.booleans(),
    reverse=st.booleans(),
    underline=st.booleans(),
)
texts = st.sampled_from([" ", "   ", "abc", "val %", "━━", " x", "é"])
pieces = st.lists(st.tuples(texts, styles), min_size=1, max_size=12)


def rendered(lines: list[list[tuple[str, Style]]]) -> str:
    """As Textual writes it: each piece with its style before it and a reset after it."""
    out = []
    for row, line in enumerate(lines, start=1):
        out.append(f"\x1b[{row};1H")
        out += [Strip.render_style(style, text, ColorSystem.TRUECOLOR) for text, style in line]
    return "".join(out)


def cells(sequence: str) -> list[object]:
    screen = pyte.Screen(COLUMNS, ROWS)
    screen.set_mode(pyte.modes.LNM)
    pyte.Stream(screen).feed(sequence)
    return [seen(screen.buffer[row][column]) for row in range(ROWS) for column in range(COLUMNS)]


def seen(cell: pyte.screens.Char) -> object:
    """What an eye can tell: of a blank its background, and the foreground where it shows."""
    if cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough):
        return cell.bg
    return cell


@given(st.lists(pieces, min_size=1, max_size=ROWS))
@settings(max_examples=300, deadline=None)
def test_the_screen_is_the_same(lines: list[list[tuple[str, Style]]]) -> None:
    whole = rendered(lines)
    assert cells(compact(whole)) == cells(whole)
    assert len(compact(whole)) <= len(whole)


@given(pieces, pieces)
@settings(max_examples=100, deadline=None)
def test_it_leaves_the_terminal_reset(one: list[tuple[str, Style]], other: list[tuple[str, Style]]) -> None:
    parts = [rendered([one]), f"\x1b[2;1H{rendered([other])}"]
    assert cells("".join(map(compact, parts))) == cells("".join(parts))


def test_what_it_does_not_know_is_left_as_it_is() -> None:
    sequence = "\x1b[1mbold\x1b[0m\x1b[58;5;3mcurly\x1b[0m"
    assert compact(sequence) == sequence


def test_a_blank_between_words_of_one_colour_costs_itself() -> None:
    text = "\x1b[38;5;3mname\x1b[0m\x1b[38;5;7m   \x1b[0m\x1b[38;5;3mval\x1b[0m"
    assert compact(text) == "\x1b[38;5;3mname   val\x1b[0m"
