"""Pastes and replies of the terminal never become keys; the parser is Textual's own for everything else."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual._xterm_parser import XTermParser
from textual.events import Key, Paste
from textual.message import Message
from textual.messages import TerminalSupportsSynchronizedOutput

from tui.app import CifarApp
from tui.terminal_input import ASKED_S, LATE_S, PASTE_LENGTH, InputDriver, InputParser

BEGIN, END = "\x1b[200~", "\x1b[201~"
HOSTILE = "a\x1bqb\x1b[2Jc\x1b]52;c;eA==\x07\x1b\x1b[Ad\x00\x9b"


def fed(*pieces: str, parser: XTermParser | None = None) -> list[Message]:
    parser = parser or InputParser()
    return [message for piece in pieces for message in parser.feed(piece)]


def keys(messages: list[Message]) -> list[str]:
    return [message.key for message in messages if isinstance(message, Key)]


def pastes(messages: list[Message]) -> list[str]:
    return [message.text for message in messages if isinstance(message, Paste)]


def splits(text: str) -> Iterator[tuple[str, str]]:
    return ((text[:cut], text[cut:]) for cut in range(1, len(text)))


@pytest.mark.parametrize("pieces", splits(f"j{BEGIN}{HOSTILE}{END}k"), ids=repr)
def test_a_paste_is_text_whatever_is_in_it_and_wherever_it_is_cut(pieces: tuple[str, str]) -> None:
    messages = fed(*pieces)
    assert keys(messages) == ["j", "k"]
    assert pastes(messages) == ["abcd"]


def test_letter_by_letter_is_the_same() -> None:
    messages = fed(*f"{BEGIN}{HOSTILE}{END}{BEGIN}two\nlines{END}q")
    assert pastes(messages) == ["abcd", "two\nlines"]
    assert keys(messages) == ["q"]


@pytest.mark.mutant
def test_mutant_textuals_own_parser_takes_a_paste_for_keys() -> None:
    assert keys(fed(f"{BEGIN}{HOSTILE}{END}", parser=XTermParser()))


def test_a_megabyte_is_cut_while_it_comes() -> None:
    parser = InputParser()
    assert fed(BEGIN, *["x" * 4096] * 250, parser=parser) == []
    assert len(parser._pasted or "") < PASTE_LENGTH + 4200
    messages = fed("\x1b[20", "1~q", parser=parser)
    assert [len(text) for text in pastes(messages)] == [PASTE_LENGTH]
    assert keys(messages) == ["q"]


@pytest.mark.parametrize("pieces", splits("\x1b[?2026;2$y"), ids=repr)
def test_a_reply_in_two_halves_is_no_key(pieces: tuple[str, str]) -> None:
    (message,) = fed(*pieces)
    assert isinstance(message, TerminalSupportsSynchronizedOutput)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What every clock of the parsers shows."""
    now = [100.0]
    for name in ("tui.terminal_input.time.monotonic", "textual._parser.get_time"):
        monkeypatch.setattr(name, lambda: now[0])
    return now


@pytest.mark.parametrize("pieces", splits("\x1b[?2026;2$y"), ids=repr)
def test_a_half_that_comes_300_ms_late_is_waited_for(pieces: tuple[str, str], clock: list[float]) -> None:
    parser = InputParser()
    assert fed(pieces[0], parser=parser) == []
    for _ in range(3):
        clock[0] += 0.1
        assert list(parser.tick()) == []
    (message,) = fed(pieces[1], parser=parser)
    assert isinstance(message, TerminalSupportsSynchronizedOutput)
    assert keys(fed("j", parser=parser)) == ["j"]


@pytest.mark.mutant
def test_mutant_textuals_own_parser_takes_a_late_half_for_keys(clock: list[float]) -> None:
    parser = XTermParser()
    fed("\x1b", parser=parser)
    clock[0] += 0.3
    assert keys(list(parser.tick())) == ["escape"]
    assert "question_mark" in keys(fed("[?2026;2$y", parser=parser))


def test_a_half_that_never_comes_is_no_key(clock: list[float]) -> None:
    for half in ("\x1b[?", "\x1b[?2026", "\x1b[?2026;2$"):
        parser = InputParser()
        assert fed(half, parser=parser) == []
        clock[0] += 5.0
        assert list(parser.tick()) == []
        assert keys(fed("j", parser=parser)) == ["j"]


def test_escape_alone_is_a_key_after_a_moment(clock: list[float]) -> None:
    parser = InputParser()
    clock[0] += ASKED_S
    assert fed("\x1b", parser=parser) == []
    clock[0] += 0.2
    assert keys(list(parser.tick())) == ["escape"]


def test_escape_while_replies_may_come_is_a_key_once_it_is_none(clock: list[float]) -> None:
    parser = InputParser()
    assert fed("\x1b", parser=parser) == []
    clock[0] += 0.2
    assert keys(fed("j", parser=parser)) == ["escape", "j"]
    assert fed("\x1b", parser=parser) == []
    clock[0] += 0.2
    assert keys(fed("\x1b", parser=parser)) == ["escape"]
    clock[0] += LATE_S + 0.1
    assert keys(list(parser.tick())) == ["escape"]
    assert keys(fed("\x1b", "[", "A", parser=parser)) == ["up"]


@pytest.mark.parametrize(
    "typed", ["jk", "\x1b[A", "\x1bOP", "\x1b[1;5C", "\x1b[<0;10;5M", "é", "\x1b[15~", "\x1b[97;5u"]
)
def test_all_else_is_as_textual_reads_it(typed: str) -> None:
    theirs = fed(typed, parser=XTermParser())
    assert theirs
    assert list(map(repr, fed(typed))) == list(map(repr, theirs))
    assert list(map(repr, fed(*typed))) == list(map(repr, theirs))


async def test_bytes_that_are_not_utf_8_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"j\xff\xfe\xc3k")
    os.close(writer)
    driver = InputDriver(CifarApp(Path("nowhere")))
    heard: list[Message] = []
    monkeypatch.setattr(driver, "fileno", reader)
    monkeypatch.setattr(driver, "process_message", heard.append)
    driver.run_input_thread()
    os.close(reader)
    assert [message.character for message in heard if isinstance(message, Key)] == [
        "j",
        "\ufffd",
        "\ufffd",
        "\ufffd",
        "k",
    ]


def test_the_app_uses_it(tmp_path: Path) -> None:
    assert CifarApp(tmp_path).driver_class is InputDriver
