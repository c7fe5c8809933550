"""Ten thousand runs, a hundred thousand records, a long soak: time and memory stay flat."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.torture.outcome import Budget, Outcome
from benchmarks.torture.terminal import Terminal
from engine import run_index
from engine.curves import Curves
from engine.runs import MetricsWriter, RunFolder, RunView, SummaryWriter, create, list_runs

GROWTH_BYTES = 10 << 20
RECORDS = 100_000
DEPTH = 5_000


def many_runs(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """A runs folder with very many runs: the first rows at once, the rest from the cache."""
    for number in range(budget.runs):
        _finished_run(folder, f"run {number}")
    outcome = Outcome(f"{budget.runs:,} runs listed")
    figures = {}
    for what in ("rebuilt", "first look", "warm"):
        if what != "warm":
            run_index.of.cache_clear()
        if what == "rebuilt":
            (folder / ".index.db").unlink(missing_ok=True)
        began = time.perf_counter()
        first = list_runs(folder, limit=60)
        shown = time.perf_counter() - began
        views = list_runs(folder)
        figures[what] = f"{what} {1000 * shown:.0f}/{1000 * (time.perf_counter() - began):.0f} ms"
        outcome.note("" if len(views) == budget.runs and len(first) == min(60, budget.runs) else f"{len(views)} listed")
    outcome.detail = "first 60 / all: " + ", ".join(figures.values())
    return [outcome]


def strays(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """Runs among files that are none, loops of links and folders without an end: they are listed as if alone."""
    for number in range(100):
        _finished_run(folder, f"run {number}")
    alone, _ = _listed(folder)
    count = 10 * budget.runs
    for number in range(count):
        (folder / f"stray-{number}").touch()
    for number in range(100):
        (folder / f"20260101-000000-{number:06x}").symlink_to(folder)
        (folder / f"loop-{number}").symlink_to(f"loop-{number}")
    deep = [folder / "notes", folder / "20260101-000001-abcdef"]
    for top in deep:
        _dig(top)
    outcome = Outcome(f"{count:,} stray files, 200 links in loops, folders {DEPTH:,} deep beside 100 runs: passed over")
    among, views = _listed(folder)
    names = {view.name for view in views if view.state == "finished"}
    outcome.note("" if len(views) == 101 and len(names) == 100 else f"{len(views)} listed, {len(names)} of them runs")
    outcome.detail = f"all listed anew in {1000 * among:.0f} ms, without the strays in {1000 * alone:.0f} ms"
    subprocess.run(["rm", "-rf", *map(str, deep)], check=True)
    return [outcome]


def _listed(folder: Path) -> tuple[float, list[RunView]]:
    """The runs as a program lists them that has just begun and finds no cache, and seconds it took."""
    (folder / ".index.db").unlink(missing_ok=True)
    run_index.of.cache_clear()
    began = time.perf_counter()
    views = list_runs(folder)
    return time.perf_counter() - began, views


def _dig(top: Path) -> None:
    """A folder in a folder in a folder, deeper than any path may be long."""
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("deeper", dir_fd=at)
        below = os.open("deeper", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def _finished_run(root: Path, name: str) -> RunFolder:
    run = create(root, "name: x\n", {"state": "starting"}, {"name": name})
    attempt = run.new_attempt()
    SummaryWriter(run.path / "summary.json").write({"state": "finished", "epoch": 3.0, "spark": [1.0, 2.0]})
    attempt.write_exit(code=0)
    return run


def long_logs(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """A run of a million steps: what a reader keeps does not grow with it."""
    outcome = Outcome(f"{10 * RECORDS:,} records read: memory of the reader stays flat")
    path = folder / "metrics.jsonl"
    writer = MetricsWriter(path)
    line = b'{"kind":"step","schema":1,"t":1.0,"step":%d,"epoch":0.5,"loss":1.5,"accuracy":50.0,"lr":0.1}\n'
    curves = Curves(path)
    sizes, times = [], []
    for turn in range(10):
        with path.open("ab") as file:
            file.writelines(line % (turn * RECORDS + step) for step in range(RECORDS))
        began = time.perf_counter()
        while curves.poll():
            pass
        times.append(time.perf_counter() - began)
        sizes.append(psutil.Process().memory_info().rss)
    writer.close()
    grown = sizes[-1] - sizes[1]
    outcome.note("" if grown < GROWTH_BYTES else f"grew by {grown >> 20} MB")
    outcome.detail = f"{grown / 2**20:+.1f} MB over 800,000 records; 100,000 read in {1000 * min(times):.0f} ms"
    return [outcome]


ENGINE = """
import sys, time
from pathlib import Path
from engine.runs import MetricsWriter, RunFolder, SummaryWriter
run = RunFolder(Path(sys.argv[1])); run.lock.acquire(1)
log, summary = MetricsWriter(run.path / "metrics.jsonl"), SummaryWriter(run.path / "summary.json")
step, facts = 0, {**run.summary(), "state": "running", "steps": 10**7, "epochs": 1e5}
while True:
    for _ in range(50):
        step += 1
        log.append({"kind": "step", "step": step, "epoch": step / 100, "loss": 1 / step, "accuracy": 50.0, "lr": 0.1})
    log.append({"kind": "epoch", "epoch": step // 50, "step": step, "train_loss": 1 / step, "val_accuracy": 50.0})
    print("epoch", step // 50, flush=True)
    log.sync(); summary.write_if_due({**facts, "step": step, "epoch": step / 100}); time.sleep(0.05)
"""


def soak(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """The terminal app open on a run of 1,000 steps a second (some fifty times a real one) for a long time."""
    outcome = Outcome(f"soak: app open on a run of 1,000 steps/s for {budget.soak_s:.0f} s: memory and handles flat")
    run = create(folder, "name: soak\n", {"state": "starting", "epochs": 3.0}, {"name": "soak"})
    run.new_attempt()
    with (run.path / "log.txt").open("ab") as log:
        engine = subprocess.Popen([sys.executable, "-P", "-c", ENGINE, str(run.path)], stdout=log, stderr=log)
    attempt = run.newest_attempt()
    from engine.process import Identity

    identity = Identity.of(engine.pid)
    if attempt and identity:
        attempt.set_engine(identity)
    with Terminal(folder) as terminal:
        terminal.settle()
        terminal.send("\r")
        app = psutil.Process(terminal.pid)
        samples: list[tuple[int, int]] = []
        deadline = time.monotonic() + budget.soak_s
        while time.monotonic() < deadline and terminal.alive():
            terminal.read(budget.soak_s / 20)
            samples.append((app.memory_info().rss, app.num_fds()))
        outcome.note(_grown(samples) if terminal.alive() else "the app is gone")
        if len(samples) > 10:
            middle, last = samples[len(samples) // 2], samples[-1]
            outcome.detail = (
                f"{(last[0] - middle[0]) / 2**20:+.1f} MB, {last[1] - middle[1]:+d} handles in the second half"
            )
    engine.kill()
    engine.wait()
    return [outcome]


def _grown(samples: list[tuple[int, int]]) -> str:
    half = samples[len(samples) // 2 :]
    if half[-1][0] - half[0][0] > GROWTH_BYTES:
        return f"grew by {(half[-1][0] - half[0][0]) >> 20} MB"
    return "" if half[-1][1] <= half[0][1] + 2 else f"{half[-1][1] - half[0][1]} more handles"
