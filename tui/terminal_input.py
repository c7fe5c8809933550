"""What comes from the terminal: keys as Textual reads them, and pastes that are never taken for keys.

Textual 8.2 looks for escape sequences inside a paste too and passes what it does not know on as keys, so that pasted
bytes could act on runs. It does the same with a reply of the terminal of which a slow link brings the second half more
than 0.1 s late. And one byte that is not UTF-8 ends its input thread, and the app with it.
"""

import os
import re
import select
import time
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterator

# The parser's names are private to Textual; tests/tui/test_terminal_input.py holds what is used of them.
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.constants import ESCAPE_DELAY
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key, Paste
from textual.message import Message

from engine.text import clean

PASTE_LENGTH = 64 << 10  # characters of one paste that are kept; no field takes as many
READ_BYTES = 4096
TURN_S = 0.1  # how often the parser is asked whether an escape character was a key of its own
LATE_S = 1.0  # how long the second half of a sequence may take
ASKED_S = 2.0  # how long after the start the terminal may still be answering what it was asked

_MARK = len(BRACKETED_PASTE_END)
# A control sequence without its last byte. ESC alone and ESC [ are keys too, so Textual waits for those, but not long:
# too short for a reply of which no more has come yet, so while there may be any, they are waited for like the others.
_UNFINISHED = re.compile(r"\x1b\[[0-?]{1,60}[ -/]{0,3}\Z")
_UNFINISHED_REPLY = re.compile(r"\x1b(?:\[[0-?]{0,60}[ -/]{0,3})?\Z")
_ESCAPE = "\x1b"


class InputParser(XTermParser):
    """Textual's parser for all but the insides of pastes, which come whole and cleaned as one `Paste`.

    A paste that holds the end mark itself ends there; terminals take that mark out of what they paste.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._given = ""  # the last characters that Textual has had, in which a mark may have begun
        self._held = ""
        self._held_since = 0.0
        self._begun = time.monotonic()
        self._pasted: str | None = None

    def feed(self, data: str) -> Iterator[Message]:
        """Messages for the next characters; for none, which is the end of the input, those that remain."""
        if not data:
            yield from super().feed(data)
        while data:
            data = yield from self._keys(data) if self._pasted is None else self._paste(data)

    def tick(self) -> Iterator[Message]:
        """Messages for what was waited for long enough; half a sequence is none."""
        if self._held and self._held_for > LATE_S:
            yield from self._keys_held()
        yield from super().tick()

    @property
    def _held_for(self) -> float:
        return time.monotonic() - self._held_since

    def _keys_held(self) -> Iterator[Message]:
        """The key that was held back as what might have been the beginning of a reply."""
        held, self._held = self._held, ""
        if held == _ESCAPE:
            yield Key("escape", _ESCAPE)
        elif held == f"{_ESCAPE}[":
            yield from super().feed(held)

    def _keys(self, data: str) -> Generator[Message, None, str]:
        """Up to the beginning of a paste; returns what follows it."""
        if self._held == _ESCAPE and not data.startswith("[") and self._held_for > ESCAPE_DELAY:
            yield from self._keys_held()
        data = self._held + data
        found = (self._given + data).find(BRACKETED_PASTE_START)
        if found >= 0:
            end = found + _MARK - len(self._given)
            self._given, self._held, self._pasted = "", "", ""
        else:
            asked = time.monotonic() - self._begun < ASKED_S
            unfinished = (_UNFINISHED_REPLY if asked else _UNFINISHED).search(data)
            end = unfinished.start() if unfinished else len(data)
            self._given, self._held, self._held_since = (
                (self._given + data[:end])[1 - _MARK :],
                data[end:],
                time.monotonic(),
            )
        if end:
            yield from super().feed(data[:end])
        return data[end:] if found >= 0 else ""

    def _paste(self, data: str) -> Generator[Message, None, str]:
        """Up to the end of the paste; returns what follows it."""
        text, mark, rest = ((self._pasted or "") + data).partition(BRACKETED_PASTE_END)
        if not mark:  # what is too long is forgotten but for its last characters, with which the mark may begin
            self._pasted = text if len(text) < PASTE_LENGTH + _MARK else text[:PASTE_LENGTH] + text[-_MARK:]
            return ""
        self._pasted = None
        # Textual is told of an empty paste, which it reports; ours is the one that counts.
        yield from (message for message in super().feed(mark) if not isinstance(message, Paste))
        yield Paste(clean(text[:PASTE_LENGTH], newlines=True))
        return rest


class InputDriver(LinuxDriver):
    """Textual's driver with the parser above, and with U+FFFD for every byte that is not UTF-8."""

    def run_input_thread(self) -> None:
        """Read and pass on until the app ends or the terminal is gone, which `Vanishing` notices."""
        parser = InputParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        while not self.exit_event.is_set():
            if select.select([self.fileno], [], [], TURN_S)[0]:
                try:
                    data = os.read(self.fileno, READ_BYTES)
                except OSError:
                    return
                if not data:
                    return
                for message in parser.feed(decode(data)):
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)
