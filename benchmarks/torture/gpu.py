"""kill -9 of trainings on a GPU: what they held there is free again."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.torture import engines
from benchmarks.torture.outcome import Budget, Outcome
from engine import launch, process, slots, system
from engine.runs import RunFolder
from engine.slots import Slot

BACK_S = 5.0
NOISE_BYTES = 64 << 20  # what a driver keeps or gives back on its own
EPOCHS = 100_000
PATIENCE_S = 300.0


def memory_after_kill(budget: Budget, rng: random.Random, folder: Path) -> Iterator[Outcome]:
    """The engine killed in the middle of training, and its supervisor with it or not."""
    slot = next(iter(slots.suitable(slots.of_machine(), "cuda")), None)
    for supervisor_too in (False, True):
        beside = " and of its supervisor" if supervisor_too else ""
        outcome = Outcome(f"kill -9 of an engine on a GPU{beside}: its memory is back within {BACK_S:g} s")
        if slot is None:
            outcome.skipped = "needs a GPU"
        else:
            took = []
            for _ in range(budget.seeds):
                failure, seconds = _one_kill(folder, slot, supervisor_too)
                outcome.note(failure)
                took += [seconds]
            outcome.detail = f"back after {', '.join(f'{seconds:.2f}' for seconds in took)} s"
        yield outcome


def _one_kill(folder: Path, slot: Slot, supervisor_too: bool) -> tuple[str, float]:
    """What did not hold, or "", and the seconds until memory and process were gone."""
    before = _held(slot)
    run = engines.make(folder / "runs", EPOCHS, device="cuda")
    launch.start(run, by="torture", slot=slot)
    deadline = time.monotonic() + PATIENCE_S
    while run.view().step == 0 and run.view().live and time.monotonic() < deadline:
        time.sleep(0.05)
    trains, taken = run.view().step > 0, _held(slot) - before
    pid = _kill(run, supervisor_too)
    if not trains:
        return f"it did not train: {run.log_tail(500)}", 0.0
    if taken < NOISE_BYTES:
        return f"it held {taken >> 20} MiB, too little to see them go", 0.0
    return _given_back(run, slot, before, pid)


def _kill(run: RunFolder, supervisor_too: bool) -> int:
    """SIGKILL the engine, first its supervisor where that shall go too; returns the engine's pid."""
    attempt = run.newest_attempt()
    engine = attempt.engine() if attempt else None
    supervisor = attempt.supervisor() if attempt and supervisor_too else None
    for identity in (supervisor, engine):
        if identity is not None:
            process.send(identity, signal.SIGKILL)
    return engine.pid if engine else 0


def _given_back(run: RunFolder, slot: Slot, before: int, pid: int) -> tuple[str, float]:
    killed = time.monotonic()
    while (seconds := time.monotonic() - killed) < 2 * BACK_S:
        listed = pid in [one.pid for one in system.gpu_processes(slot.name)]
        if not listed and _held(slot) - before < NOISE_BYTES:
            break
        time.sleep(0.02)
    launch.wait(run, PATIENCE_S)
    if seconds < BACK_S:
        return "", seconds
    return f"{(_held(slot) - before) >> 20} MiB are still held {seconds:.1f} s after the kill", seconds


def _held(slot: Slot) -> int:
    return next((gpu.memory_used or 0 for gpu in system.gpus() if gpu.uuid == slot.name), 0)
