"""``python -P -m engine --serve``: answers one-off questions that need torch, so that the terminal never loads it.

JSON lines over standard input and output. The first line out is ``{"ready": true}``. A question is
``{"id": 7, "ask": "count", …}``; its answer is ``{"id": 7, "ok": …}`` or ``{"id": 7, "error": "one sentence"}``, in
the order of the questions. It ends when its input does, that is, also when whoever asked is gone, or when it is idle.
"""

import contextlib
import json
import os
import select
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from engine.errors import UserError
from engine.text import clean

IDLE_S = 600.0
MAX_LINE = 1 << 20
_PIECE = 1 << 16
_LONGEST_ERROR = 300


def main(source: TextIO, out: TextIO, idle_s: float = IDLE_S) -> int:
    """Answer what comes in on ``source`` until it ends; 0 also when nobody reads the answers any more."""
    # Whatever a library prints must not end up among the answers.
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(BrokenPipeError):
        _say(out, {"ready": True})
        _prepare_torch()
        for line in _lines(source.fileno(), idle_s):
            _say(out, answer(line))
    return 0


def answer(line: bytes | None) -> dict[str, Any]:
    """The answer to one line; None stands for a line beyond ``MAX_LINE``. Never raises for anything asked."""
    if line is None:
        return {"id": None, "error": f"a question is longer than {MAX_LINE} bytes"}
    try:
        question = json.loads(line)
    except (ValueError, RecursionError):
        return {"id": None, "error": "a question is not JSON"}
    if not isinstance(question, dict):
        return {"id": None, "error": "a question is not a JSON object"}
    identity = question.pop("id", None)
    identity = identity if type(identity) is int else None
    try:
        return {"id": identity, "ok": _ask(question)}
    except UserError as error:
        return {"id": identity, "error": _sentence(error)}
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return {"id": identity, "error": f"{type(error).__name__}: {_sentence(error)}"}


def _ask(question: Mapping[str, Any]) -> Any:
    from engine.questions import QUESTIONS

    name = question.get("ask")
    if not isinstance(name, str) or name not in QUESTIONS:
        raise UserError(f"there is no question {name!r}; there are {', '.join(QUESTIONS)}")
    return QUESTIONS[name]({key: value for key, value in question.items() if key != "ask"})


def _prepare_torch() -> None:
    """Load it before the first question is there. One thread: what is asked is small, and runs train beside us."""
    import torch

    torch.set_num_threads(1)
    from engine import questions  # noqa: F401


def _sentence(error: Exception) -> str:
    text = clean(str(error).strip().partition("\n")[0])
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _lines(descriptor: int, idle_s: float) -> Iterator[bytes | None]:
    """Lines as they come, None for one that is too long; ends with the input or after ``idle_s`` without any."""
    held, too_long = b"", False
    deadline = time.monotonic() + idle_s
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(descriptor, _PIECE)
        if not piece:
            return
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            yield None if too_long or len(line) > MAX_LINE else line
            too_long = False
            deadline = time.monotonic() + idle_s
        if len(held) > MAX_LINE:
            held, too_long = b"", True
