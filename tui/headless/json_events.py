"""A run as JSON, one object a line: where it is, the records of its log as the engine wrote them, states, result."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.runs import RunView
from engine.untrusted import as_number
from tui.headless.follow import Record
from tui.strict_json import to_line

Write = Callable[[str], object]


class JsonDisplay:
    """Writes one JSON object a line through ``write``.

    Kinds: `run` first, `state` when state, phase or notice changed, those of metrics.jsonl, and `result` at the end.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._seen = float("-inf")
        self._state: tuple[str, str, str] | None = None

    def show(self, view: RunView, records: list[Record], restarted: bool) -> None:
        """Write what is new since the last call."""
        if self._state is None:
            self._emit({"kind": "run", "id": view.id, "path": str(view.path), "name": view.name})
        if (view.state, view.phase, view.notice) != self._state:
            self._state = view.state, view.phase, view.notice
            said = {"state": view.state, "phase": view.phase, "reason": view.reason, "notice": view.notice}
            self._emit({"kind": "state", **said})
        for record in records:
            # After a resume has cut the log it is read again from its start; what was written before is not repeated.
            moment = as_number(record.get("t")) or 0.0
            if moment > self._seen or not restarted:
                self._emit(record)
            self._seen = max(self._seen, moment)

    def close(self, view: RunView) -> None:
        """Write the run as it now is."""
        self._emit({"kind": "result", **view_to_json(view)})

    def _emit(self, event: dict[str, Any]) -> None:
        self._write(to_line(event))


def view_to_json(view: RunView) -> dict[str, Any]:
    """A run as plain JSON values, in the units of the view."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(view).items()}
