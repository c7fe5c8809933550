"""A disk on which every sync takes five seconds: the run that trains there, and the app beside it."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.torture import engines
from benchmarks.torture.outcome import Budget, Outcome
from benchmarks.torture.terminal import Terminal
from engine.metrics_log import MetricsTail
from engine.runs import RunFolder, SummaryWriter, create

SYNC_S = 5.0
EPOCHS = 10
ANSWER_S = 2.0  # a sync that a key had to wait for takes more
KEYS = ("\x14", "GA", "kA", "kD\r")  # the theme is remembered, runs are put away and deleted
SLOW_SYNCS = f"""
import os, time
real = os.fsync
os.fsync = os.fdatasync = lambda descriptor: (time.sleep({SYNC_S}), real(descriptor))[1]
"""


def slow_disk(budget: Budget, rng: random.Random, folder: Path) -> Iterator[Outcome]:
    """Nothing waits for a sync but the end of the run for its last checkpoint."""
    steps = Outcome(f"syncs that take {SYNC_S:g} s: steps go on as without; the disk and the wait at the end are told")
    free = _train(engines.make(folder / "free", EPOCHS, checkpoint_every="3600"), sync_s=0.0)
    slow = _train(engines.make(folder / "slow", EPOCHS, checkpoint_every="3600"), sync_s=SYNC_S)
    held_up = "" if slow.steps_s > free.steps_s / 2 else f"{slow.steps_s:.0f} steps/s instead of {free.steps_s:.0f}"
    unsaid = "" if slow.said_slow and slow.said_saving else "it was not said that the disk is slow, or is waited for"
    steps.note(slow.failure or held_up or unsaid)
    steps.detail = f"{slow.steps_s:.0f} steps/s instead of {free.steps_s:.0f}"
    yield steps
    keys = Outcome(f"syncs of the app that take {SYNC_S:g} s: keys are answered at once, and all is written")
    for number in range(budget.storms):
        failure, slowest = _type(folder / f"app{number}")
        keys.note(failure)
        keys.detail = f"the slowest answer took {slowest:.2f} s"
    yield keys


@dataclass
class Seen:
    """Steps a second of a run, and whether it said that the disk is slow and that it waits for it."""

    failure: str = ""
    steps_s: float = 0.0
    said_slow: bool = False
    said_saving: bool = False


def _train(run: RunFolder, sync_s: float) -> Seen:
    seen, pid = Seen(), engines.begin(run, sync_s=sync_s)
    while not engines.has_ended(pid):
        view = run.view()
        seen.said_slow |= "the disk is slow" in view.notice
        seen.said_saving |= view.phase == "saving"
        time.sleep(0.1)
    code = engines.wait(run, pid)
    seen.failure = "" if code == 0 else f"ended with {code}: {run.log_tail(500)}"
    steps = [record for record in MetricsTail(run.path / "metrics.jsonl").poll() if record["kind"] == "step"]
    if len(steps) > 1:
        seen.steps_s = (steps[-1]["step"] - steps[0]["step"]) / (steps[-1]["t"] - steps[0]["t"])
    return seen


def _type(root: Path) -> tuple[str, float]:
    """What was not answered in time or not written in the end, or ""; and the slowest answer, in seconds."""
    made = [_finished(root, f"run {number}") for number in range(5)]
    with Terminal(root, before=SLOW_SYNCS) as terminal:
        terminal.settle()
        slowest = 0.0
        for keys in KEYS:
            for key in keys:
                terminal.send(key)
                terminal.settle()
            if not terminal.alive():
                return "the app ended", slowest
            slowest = max(slowest, terminal.answers("?"), terminal.answers("\x1b"))
        deadline = time.monotonic() + 20 * SYNC_S
        while time.monotonic() < deadline and not _all_written(made):
            terminal.read(0.5)
    if slowest > ANSWER_S:
        return f"a key was answered after {slowest:.1f} s", slowest
    return "" if _all_written(made) else "what was done is not on the disk", slowest


def _all_written(made: list[RunFolder]) -> bool:
    """Whether two of the runs are put away and one is gone."""
    put_away = [
        json.loads(path.read_text()).get("archived")
        for path in (run.path / "user.json" for run in made)
        if path.exists()
    ]
    return put_away.count(True) == 2 and sum(not run.path.exists() for run in made) == 1


def _finished(root: Path, name: str) -> RunFolder:
    run = create(root, "name: x\n", {"state": "starting"}, {"name": name})
    attempt = run.new_attempt()
    SummaryWriter(run.path / "summary.json").write({"state": "finished", "epoch": 3.0, "epochs": 3.0, "step": 300})
    attempt.write_exit(code=0)
    return run
