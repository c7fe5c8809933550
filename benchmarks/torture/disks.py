"""Disks that lose power, fill up, run out of inodes or limit the size of files."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.torture import engines
from benchmarks.torture.outcome import Budget, Outcome
from engine import checkpoint
from engine.checkpoint import Checkpointer
from engine.runs import MetricsTail, MetricsWriter, RunFolder

IMAGE_BYTES = 64 << 20
NO_ROOT = "needs root, mkfs.ext4 and loop devices"


def power_cuts(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """The image of a mounted disk copied in the middle of writing: what was promised is on the copy."""
    kept = Outcome("power cut while metrics and checkpoints are written (ext4)")
    control = Outcome("the same with fsync left out (control: should fail)")
    if not _can_mount():
        return [_skipped(kept), _skipped(control)]
    lost = 0
    for number in range(budget.cuts):
        kept.note(_one_cut(folder / f"cut{number}", rng, synced=True))
    for number in range(max(3, budget.cuts // 5)):
        lost += bool(_one_cut(folder / f"control{number}", rng, synced=False))
        control.tries += 1
    kept.detail = "nothing below the last sync was lost; the drive's own cache is not modelled"
    control.survived = control.tries - lost
    control.detail = f"{lost} of {control.tries} lost something: the method sees it"
    if not lost:
        control.failures.append("leaving fsync out was not noticed, so the trial above shows nothing")
    return [kept, control]


def _one_cut(folder: Path, rng: random.Random, synced: bool) -> str:
    folder.mkdir()
    image, mounted = folder / "disk.img", folder / "disk"
    report = folder / "promised"
    _make_ext4(image)
    with _mounted(image, mounted):
        pid = _fork(lambda: _write_for_ever(mounted, report, synced))
        deadline = time.monotonic() + 20
        while not report.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.2, 1.5))
        os.kill(pid, signal.SIGSTOP)
        promised = report.read_text().split() if report.exists() else ["0", "0"]
        copy = folder / "copy.img"
        shutil.copyfile(image, copy)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    image.unlink()
    with _mounted(copy, mounted):
        failure = _what_is_lost(mounted, int(promised[0]), int(promised[1]))
    copy.unlink()
    return failure


def _write_for_ever(disk: Path, report: Path, synced: bool) -> None:
    """Records and checkpoints until killed; `report`, on another disk, holds what a reader may count on."""
    if not synced:
        for flush in ("fsync", "fdatasync"):
            setattr(os, flush, lambda _: None)
    torch.set_num_threads(1)
    log, checkpointer = MetricsWriter(disk / "metrics.jsonl"), Checkpointer(disk / "ckpt")
    saved = step = 0
    weights = torch.zeros(200_000)
    while True:
        for _ in range(20):
            step += 1
            log.append({"kind": "step", "step": step, "loss": 1.0 / step})
        log.sync()
        if step % 200 == 0:
            state = {"step": step, "epoch": step / 100, "model": {"w": weights + step}}
            checkpointer.save(state, None, log.offset)
            checkpointer.wait()
            saved = step
        waiting = report.with_suffix(".new")
        waiting.write_text(f"{step} {saved}")
        waiting.rename(report)


def _what_is_lost(disk: Path, step: int, saved: int) -> str:
    tail = MetricsTail(disk / "metrics.jsonl")
    found: list[int] = []
    while batch := tail.poll():
        found += [record["step"] for record in batch]
    if found[:step] != list(range(1, step + 1)):
        return f"record {len(found)} is the last of {step} that were synced"
    if not saved:
        return ""
    for entry in checkpoint.candidates(disk / "ckpt"):
        state = checkpoint.load(disk / "ckpt", entry)
        if not bool((state["model"]["w"] == entry.step).all()):
            return f"{entry.file} holds other weights"
    newest = max((entry.step for entry in checkpoint.candidates(disk / "ckpt")), default=0)
    return "" if newest >= saved else f"newest checkpoint is of step {newest}, {saved} was promised"


def full_disks(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """A small file system that fills up under a run and gets its room back, or does not; and other limits."""
    unbroken = engines.make(folder / "unbroken", 3)
    engines.wait(unbroken, engines.begin(unbroken))
    again = Outcome("disk full at random moments, then room again (tmpfs): the run ends as an unbroken one")
    never = Outcome("disk full to the very end: verdict and state are told all the same")
    inodes = Outcome("no inodes left during a run: named, and the run goes on")
    limited = Outcome("file size limit (RLIMIT_FSIZE) below the checkpoints: named, and the run goes on")
    tries = max(1, budget.kills // 10)
    for number in range(tries):
        limited.note(_limited(folder / f"limited{number}"))
    if os.geteuid() != 0:
        return [*map(_skipped, (again, never, inodes)), limited]
    for number in range(tries):
        with _tmpfs(folder / f"again{number}", "size=3m") as disk:
            again.note(_filled(disk, rng, unbroken, for_ever=False))
        with _tmpfs(folder / f"never{number}", "size=3m") as disk:
            never.note(_filled(disk, rng, unbroken, for_ever=True))
        with _tmpfs(folder / f"inodes{number}", "size=16m,nr_inodes=64") as disk:
            inodes.note(_without_inodes(disk, unbroken))
    return [again, never, inodes, limited]


def _filled(disk: Path, rng: random.Random, unbroken: RunFolder, for_ever: bool) -> str:
    run = engines.make(disk / "runs", 3)
    pid = engines.begin(run)
    _until_records(run, pid)
    turns = 0
    _fill(disk / "filler")
    while not for_ever and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        _fill(disk / "filler")
        time.sleep(rng.uniform(0.05, 0.5))
        (disk / "filler").unlink()
        time.sleep(rng.uniform(0.3, 0.6))
        turns += 1
    code = engines.wait(run, pid)
    (disk / "filler").unlink(missing_ok=True)
    view = run.view()
    if for_ever:
        exit_code = view.exit_code
        return "" if view.state == "finished" and exit_code == 0 else f"{view.state}, exit code {exit_code}, {code}"
    if code != 0:
        return f"exit code {code}: {run.log_tail(300)}"
    return "" if engines.records(run) == engines.records(unbroken) else f"records lost after {turns} turns"


def _without_inodes(disk: Path, unbroken: RunFolder) -> str:
    run = engines.make(disk / "runs", 3)
    pid = engines.begin(run)
    _until_records(run, pid)
    made = []
    try:
        for number in range(64):
            path = disk / f"inode{number}"
            path.touch(exist_ok=False)
            made.append(path)
    except OSError:
        pass
    problem = _problem_told(run, pid, ("inodes",))
    for path in made:
        path.unlink()
    code = engines.wait(run, pid)
    if code != 0:
        return f"exit code {code}: {run.log_tail(300)}"
    if engines.records(run) != engines.records(unbroken):
        return "records lost"
    return problem


def _limited(folder: Path) -> str:
    run = engines.make(folder, 3)
    pid = engines.begin(run, file_size=12_000)
    code = engines.wait(run, pid)
    said = run.log_tail()
    if code not in (0, 1):
        return f"exit code {code}: {said[-300:]}"
    view = run.view()
    return "" if view.state == "finished" else f"{view.state}: {view.reason}: {said[-200:]}"


def _problem_told(run: RunFolder, pid: int, words: tuple[str, ...]) -> str:
    """Wait until the run's summary tells of the trouble; a run that ends first had none."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if all(word in run.view().problem for word in words):
            return ""
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return "" if words == ("inodes",) else "ended before the trouble was told"
        time.sleep(0.02)
    return f"never told: {run.view().problem!r}"


def _until_records(run: RunFolder, pid: int) -> None:
    log = run.path / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.005)


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


def _fork(job: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            job()
        finally:
            os._exit(1)
    return pid


def _can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and Path("/dev/loop-control").exists()


def _skipped(outcome: Outcome) -> Outcome:
    outcome.skipped = NO_ROOT
    return outcome


def _make_ext4(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)


@contextmanager
def _mounted(image: Path, place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def _tmpfs(place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
