"""kill -9 at random moments and at the worst ones, each time a resume, at the end a look at an unbroken run."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.torture import engines
from benchmarks.torture.outcome import Budget, Outcome
from engine import checkpoint
from engine.errors import UserError
from engine.runs import RunFolder

STEPS_A_KILL = 8  # how much longer a run is made for each kill that it is to survive


def kills(budget: Budget, rng: random.Random, folder: Path) -> Iterator[Outcome]:
    """The engine killed again and again: every run ends as if nothing had been."""
    epochs = max(3, budget.kills * STEPS_A_KILL // 20)
    unbroken = engines.make(folder / "unbroken", epochs)
    if engines.wait(unbroken, engines.begin(unbroken)) != 0:
        raise RuntimeError(unbroken.log_tail(2000))
    for _ in range(budget.seeds):
        yield _one_seed(budget.kills, random.Random(rng.random()), folder, epochs, unbroken)


def _one_seed(count: int, rng: random.Random, folder: Path, epochs: int, unbroken: RunFolder) -> Outcome:
    began, outcome = time.monotonic(), Outcome(f"kill -9 of the engine, {epochs * 20} steps, resumed each time")
    run = engines.make(folder / "killed", epochs)
    resume, in_save = False, 0
    while outcome.tries < count:
        pid = engines.begin(run, resume=resume)
        code = engines.kill_when(run, pid, _moment(run, rng))
        resume = True
        if code != -signal.SIGKILL:
            break
        in_save += any((run.path / "ckpt").glob(".*.tmp"))
        outcome.note(_damage(run))
    if code == -signal.SIGKILL:
        code = engines.wait(run, engines.begin(run, resume=True))
    if code != 0:
        outcome.failures.append(f"ended with {code}: {run.log_tail(500)}")
    elif engines.records(run) != engines.records(unbroken):
        outcome.failures.append("metrics.jsonl differs from the unbroken run's")
    elif not engines.equal(engines.final_state(run), engines.final_state(unbroken)):
        outcome.failures.append("weights, averages, optimiser or generators differ from the unbroken run's")
    if outcome.failures:
        outcome.survived = 0
    else:
        outcome.detail = f"{in_save} inside a save; metrics, weights, optimiser and generators as in an unbroken run"
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _moment(run: RunFolder, rng: random.Random) -> Callable[[], bool]:
    """When to kill: at any time at all, soon after a step was logged, or while a temporary file is there."""
    began, log = time.monotonic(), run.path / "metrics.jsonl"
    size = log.stat().st_size if log.exists() else 0
    way, after = rng.random(), rng.uniform(0.0, 1.5)
    if way < 0.2:
        return lambda: time.monotonic() - began > after
    if way < 0.6:
        wanted = size + rng.randrange(200, 2500)
        return lambda: log.exists() and log.stat().st_size > wanted
    skip = rng.randrange(1, 6)
    seen: set[str] = set()

    def saving() -> bool:
        seen.update(path.name for path in (run.path / "ckpt").glob(".*.tmp"))
        return len(seen) >= skip

    return saving


def _damage(run: RunFolder) -> str:
    """What a kill broke: the state it is shown in, or a checkpoint that no longer loads."""
    if run.view().state != "crashed":
        return f"shown as {run.view().state}"
    try:
        for entry in checkpoint.candidates(run.path / "ckpt"):
            checkpoint.load(run.path / "ckpt", entry)
    except UserError as error:
        return str(error)
    return ""
