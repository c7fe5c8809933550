import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine import text
from engine.text import clean, shorten, width

HOSTILE = {
    "OSC 0 sets the title": ("a\x1b]0;owned\x07b", "ab"),
    "OSC 2 ended by ST": ("a\x1b]2;owned\x1b\\b", "ab"),
    "OSC 8 hides a link": ("\x1b]8;;http://x\x1b\\click\x1b]8;;\x1b\\", "click"),
    "OSC 52 writes the clipboard": ("a\x1b]52;c;cm0gLXJm\x07b", "ab"),
    "OSC in 8 bits": ("a\x9d0;owned\x9cb", "ab"),
    "OSC that never ends": ("a\x1b]0;owned", "a"),
    "CSI colour": ("\x1b[31mred\x1b[0m", "red"),
    "CSI clears the screen": ("a\x1b[2J\x1b[Hb", "ab"),
    "CSI with intermediate bytes": ("a\x1b[0 qb\x1b[?1049hc\x1b[>0ud", "abcd"),
    "CSI in 8 bits": ("a\x9b2Jb", "ab"),
    "CSI that never ends": ("a\x1b[31", "a"),
    "DSR asks the terminal to type": ("a\x1b[6nb", "ab"),
    "DCS": ("a\x1bPq#0;2;0;0;0\x1b\\b", "ab"),
    "DCS in 8 bits": ("a\x90q\x9cb", "ab"),
    "tmux passthrough": ("a\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\b", "ab"),
    "APC, PM and SOS": ("a\x1b_Gi=1\x1b\\b\x1b^x\x1b\\c\x1bXx\x1b\\d", "abcd"),
    "RIS resets": ("a\x1bcb", "ab"),
    "charset switch": ("a\x1b(0b", "ab"),
    "bare ESC": ("a\x1b", "a"),
    "BEL, BS, NUL, DEL": ("a\x07b\x08c\x00d\x7fe", "abcde"),
    "bidi override": ("a\u202eb\u2066c\u200fd", "abcd"),
    "zero width": ("a\u200bb\u200dc\ufeffd\u2060e", "abcde"),
    "tag characters": ("a\U000e0041b", "ab"),
    "surrogate": ("a\ud800b", "a\ufffdb"),
    "tab": ("a\tb", "a b"),
    "line breaks": ("a\nb\r\nc\rd\u2028e\x85f", "a b c d e f"),
    "no-break space": ("a\u00a0b", "a b"),
    "private use": ("a\U0010eeeeb", "a\ufffdb"),
    "flags": ("a🇩🇪 🇯b", "aDE Jb"),
}


@pytest.mark.parametrize(("payload", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_nothing_a_terminal_acts_on_is_left(payload: str, expected: str) -> None:
    assert clean(payload) == expected


def test_newlines_stay_when_asked_for_and_a_hidden_row_comes_back() -> None:
    assert clean("a\r\n\r\r\nb\rc\n", newlines=True) == "a\n\nb\nc\n"
    assert clean("row 1\x1b]0;never ends\nrow 2", newlines=True) == "row 1\nrow 2"


@pytest.mark.parametrize(
    "plain", ["", "resnet_5m", "ÄÖ ß ñ", "学習率 0.1", "נִיקּוּד", "हिन्दी", "🙂", "[/foo] [@click=app.quit]"]
)
def test_ordinary_text_is_untouched(plain: str) -> None:
    assert clean(plain) == plain


def has_control(shown: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for character in shown)


# Random text of the pieces that sequences are made of, so that they nest, overlap and break off.
pieces = st.sampled_from(
    ["\x1b", "\x9b", "\x9d", "\x90", "]0;", "[31m", "\x07", "\\", "P", "\n", "\r", "学", "e\u0301", "a"]
)
fuzz = st.text() | st.lists(pieces | st.characters(), max_size=30).map("".join)


@given(fuzz)
def test_no_control_survives_and_cleaning_twice_changes_nothing(string: str) -> None:
    cleaned = clean(string)
    assert not has_control(cleaned)
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned
    lines = clean(string, newlines=True)
    assert not has_control(lines.replace("\n", ""))
    assert clean(lines, newlines=True) == lines


@given(fuzz)
def test_width_is_what_the_screens_lay_out(string: str) -> None:
    cleaned = clean(string)
    assert width(cleaned) == cell_len(cleaned)


@pytest.mark.slow
def test_every_character_has_the_width_that_the_screens_lay_out() -> None:
    characters = [clean("a" + chr(code)) for code in range(0x110000)]
    assert [c for c in characters if width(c) != cell_len(c)] == []


def test_piles_of_marks_are_cut_and_none_stands_alone() -> None:
    assert clean("e" + "\u0301" * 50) == "e" + "\u0301" * 4
    assert clean("\u0301a") == "a"
    assert clean("a\n\u0301b", newlines=True) == "a\nb"


@given(fuzz, st.integers(0, 40), st.sampled_from(["…", "...", ""]))
def test_shortened_text_fits_and_keeps_both_ends(string: str, room: int, ellipsis: str) -> None:
    cleaned = clean(string)
    cut = shorten(cleaned, room, ellipsis)
    assert width(cut) <= room
    if width(cleaned) <= room:
        assert cut == cleaned
    elif room > width(ellipsis):
        assert ellipsis in cut


def test_shorten_examples() -> None:
    assert shorten("abcdefgh", 5) == "ab…gh"
    assert shorten("abcdefgh", 4) == "ab…h"
    assert shorten("学習率学習率", 7) == "学…習率"
    assert shorten("abc", 1) == "…"
    assert shorten("abc", 0) == ""
    assert shorten("x" * 10_000_000, 9) == "xxxx…xxxx"
    assert shorten("abcde\u0301x", 3) == "a…x"  # the accent goes with its letter


def test_the_cost_of_a_hostile_text_grows_with_its_length_only(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def counted(character: str) -> str:
        nonlocal steps
        steps += 1
        return character

    monkeypatch.setattr(text, "_visible", counted)
    clean("é" + "\x1b]0;" * 50_000)
    assert steps <= 2


MUTANTS = {"escape sequences": "_ESCAPE_SEQUENCE", "line breaks": "_LINE_BREAK", "invisible": "_INVISIBLE"}


@pytest.mark.mutant
@pytest.mark.parametrize("protection", MUTANTS.values(), ids=MUTANTS)
def test_the_payloads_notice_a_missing_protection(protection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, protection, re.compile("(?!)"))
    payloads = {**HOSTILE, "variation selector": ("a\ufe0fb", "ab"), "skin tone": ("👍\U0001f3fdb", "👍b")}
    assert any(clean(payload) != expected for payload, expected in payloads.values())


@pytest.mark.mutant
def test_the_payloads_notice_missing_control_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_ASCII_CONTROLS", {})
    monkeypatch.setattr(text, "_visible", str)
    assert has_control(clean("a\x07b"))
    assert has_control(clean("ä\u202eb"))
