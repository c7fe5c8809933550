"""A sweep on its way: a line when a run begins and when it ends, and on a terminal one that says what goes on."""

import shutil
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from engine import text
from engine.options.training import Published
from engine.runs import RunView
from engine.sweep import Member
from engine.tested import compared
from tui import format, glyphs
from tui.strict_json import to_line

Pairs = Sequence[tuple[Member, RunView | None]]
Write = Callable[[str], object]


class Progress(Protocol):
    """What shows the runs of a sweep."""

    def begin(self, pairs: Pairs, *, paused: bool) -> None:
        """What there is to do, and whether the queue is paused."""

    def show(self, pairs: Pairs) -> None:
        """The runs as they are now."""

    def say(self, sentence: str) -> None:
        """Something a person should know."""

    def end(self) -> None:
        """Nothing more comes."""


class JsonProgress:
    """One object a line: kind `sweep` first, then `row` whenever a run's state or epoch changes."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._seen: dict[str, tuple[str, int]] = {}

    def begin(self, pairs: Pairs, *, paused: bool) -> None:
        self._write(to_line({"kind": "sweep", "runs": len(pairs), "queue_paused": paused}))

    def show(self, pairs: Pairs) -> None:
        for member, run in pairs:
            if run is not None and self._seen.get(run.id) != (run.state, int(run.epoch)):
                self._seen[run.id] = run.state, int(run.epoch)
                self._write(to_line(_as_json(member, run)))

    def say(self, sentence: str) -> None:
        self._write(to_line({"kind": "message", "text": sentence}))

    def end(self) -> None:
        return


def _as_json(member: Member, run: RunView) -> dict[str, object]:
    return {
        "kind": "row",
        "row": member.row + 1,
        "name": member.name,
        "seed": member.seed,
        "id": run.id,
        "state": run.state,
        "reason": run.reason,
        "epoch": run.epoch,
        "epochs": run.epochs,
        "best": run.best,
        "test": run.test,
    }


class PlainProgress:
    """Lines for people. On a terminal (``status``) the last line is written over as the runs go on."""

    def __init__(self, write: Write, status: TextIO | None, rows: int) -> None:
        self._write = write
        self._status = status
        self._rows = rows
        self._states: dict[str, str] = {}
        self._shown = ""

    def begin(self, pairs: Pairs, *, paused: bool) -> None:
        states = [run.state for _, run in pairs if run is not None]
        finished = states.count("finished")
        self._states = {run.id: run.state for _, run in pairs if run is not None and run.state == "finished"}
        runs = "1 run" if len(pairs) == 1 else f"{len(pairs)} runs"
        self._line(f"{runs}: {finished} finished before, {len(pairs) - finished} to do")
        if paused and finished < len(pairs):
            self._line("the queue is paused; cifar-tui --queue continue lets it go on")

    def show(self, pairs: Pairs) -> None:
        for member, run in pairs:
            if run is None or self._states.get(run.id) == run.state:
                continue
            self._states[run.id] = run.state
            line = self._change(member, run)
            if line:
                self._line(line)
        self._rewrite(_summary(pairs))

    def say(self, sentence: str) -> None:
        self._line(sentence)

    def end(self) -> None:
        self._rewrite("")

    def _change(self, member: Member, run: RunView) -> str:
        label = f"{glyphs.active().state(run.state)} row {member.row + 1}/{self._rows} {member.name}"
        if run.state in ("queued", "starting"):
            return ""
        if run.state == "running":
            return f"{label}: run {run.id}, seed {run.seed}, {run.device or 'starting'}"
        reason = f": {run.reason}" if run.reason else ""
        return f"{label}: {run.state}{reason}{_figures(member, run)}"

    def _line(self, line: str) -> None:
        self._rewrite("")
        self._write(line)

    def _rewrite(self, line: str) -> None:
        """Put ``line`` where the last status stands, which is always the line the cursor is in."""
        if self._status is None or line == self._shown:
            return
        room = shutil.get_terminal_size().columns - 1
        self._shown = line
        try:
            self._status.write(f"\r\x1b[2K{text.shorten(line, room, glyphs.active().ellipsis)}")
            self._status.flush()
        except (OSError, ValueError):
            self._status = None


def _figures(member: Member, run: RunView) -> str:
    """`; 28 epochs in 3 m 04 s, test 89.66 %, published 89.66 %, difference ±0.00`"""
    if run.state != "finished":
        return ""
    published = member.experiment.published or Published()
    ours = compared(run, published.checkpoint)
    epochs = "1 epoch" if run.epoch == 1 else f"{format.epochs(round(run.epoch, 1))} epochs"
    words = f"; {epochs} in {format.duration(run.active_s)}"
    words += f", test {format.accuracy(ours)} %"
    if published.test_accuracy is None or ours is None:
        return words
    difference = format.delta(ours - published.test_accuracy)
    return f"{words}, published {format.accuracy(published.test_accuracy)} %, difference {difference}"


def _summary(pairs: Pairs) -> str:
    """`2 of 8 finished, 5 wait; SGD .01 12/100 88.12 % in 3 m`"""
    known = {run.id: (member, run) for member, run in pairs if run is not None}
    states = [run.state for _, run in known.values()]
    parts = [f"{states.count('finished')} of {len(known)} finished, {states.count('queued')} wait"]
    for member, run in known.values():
        if run.state in ("starting", "running", "paused"):
            parts.append(_going(member, run))
    return "; ".join(parts)


def _going(member: Member, run: RunView) -> str:
    words = f"{member.name} {run.state if run.state != 'running' else ''}".strip()
    words += f" {format.progress(run.epoch, run.epochs)}"
    if run.best is not None:
        words += f" {format.accuracy(run.best)} %"
    return f"{words} {format.remaining(run.eta_s, 'in')}" if run.eta_s is not None else words
