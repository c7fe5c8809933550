"""A peer's script, by its own file and timer, before and after seeds of our preset, which share one process as the
peer's runs do: what is compiled once serves them all, and a first run that counts for nothing warms up.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from engine import device, runs
from engine.checkpoint import Checkpointer
from engine.data.dataset import Dataset
from engine.data.dataset import load as load_data
from engine.experiment import Experiment, load
from engine.recorder import Recorder
from engine.test_set import evaluate_test_set
from engine.train import train
from engine.training import Training

KEPT_LINES = 60


def beside_peer(peer: str, seeds: int, seconds: float) -> dict[str, Any]:
    """A peer's script, for ``seconds`` at the most, in turns with seeds of our preset: ``PRESET=SCRIPT``."""
    preset, _, script = peer.partition("=")
    path = Path(script).resolve()
    first = peer_run(path, seconds)
    ours = our_runs(preset, seeds)
    return {"preset": preset, "script": path.name, "peer": [first, peer_run(path, seconds)], "ours": ours}


def peer_run(path: Path, seconds: float) -> dict[str, Any]:
    """Run a script in its own folder until it ends or its time is up; the last of its lines hold its own figures."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
        peer = subprocess.Popen([sys.executable, path.name], cwd=path.parent, stdout=output, env=unbuffered)
        try:
            code: int | None = peer.wait(seconds)
        except subprocess.TimeoutExpired:
            peer.kill()
            peer.wait()
            code = None
        wall_s = time.perf_counter() - began
        output.seek(0)
        lines = output.read().replace("\r", "\n").splitlines()[-KEPT_LINES:]
    print(f"{path.name}, {'cut short' if code is None else f'exit code {code}'} after {wall_s:.0f} s", flush=True)
    print("\n".join(lines[-12:]), flush=True)
    return {"exit": code, "last_lines": lines, "wall_s": wall_s}


def our_runs(preset: str, seeds: int, *changes: tuple[str, str]) -> list[dict[str, Any]]:
    """Train and test a preset with seeds from 0, all in this process; a table of what they came to."""
    chosen = load(preset, changes)
    runtime = device.settle(chosen.train, chosen.total_steps)
    device.apply(runtime)
    data = load_data(chosen.data)
    found = []
    for seed in (0, *range(seeds)):  # the first warms up
        found.append(our_run(load(preset, [*changes, ("train.seed", str(seed))]), runtime, data))
        print(f"{preset} {found[-1]}", flush=True)
    counted = found[1:]
    spreads = {key: report.Spread.of([run[key] for run in counted]) for key in ("accuracy", "train_s", "test_s")}
    row = [preset, *(spread.text(",.3f") for spread in spreads.values())]
    print(report.table([f"{seeds} seeds, median (least–greatest)", *spreads], [row]), "\n", flush=True)
    return counted


def our_run(experiment: Experiment, runtime: device.Runtime, data: Dataset) -> dict[str, Any]:
    """Accuracy in percent of the last weights, and seconds of preparing (compilers and graph included), of training
    with its records and its checkpoint, and of testing with all views.
    """
    began = time.perf_counter()
    training = Training(experiment, runtime, data)
    problems = [problem for problem in (training.compile(), training.capture()) if problem]
    prepared_s = _now(training) - began
    with tempfile.TemporaryDirectory() as folder:
        run = runs.create(Path(folder), experiment.to_yaml(), {"state": "running"}, {})
        with Recorder(run, {}) as recorder:
            checkpointer = Checkpointer(run.path / "ckpt", recorder.flush)
            began = time.perf_counter()
            train(training, recorder, checkpointer)
            trained = _now(training)
            accuracy = evaluate_test_set(training, run, recorder)["test"]["last"]
            tested = _now(training)
            checkpointer.close()
    return {
        "seed": experiment.train.seed,
        "accuracy": accuracy,
        "prepare_s": prepared_s,
        "train_s": trained - began,
        "test_s": tested - trained,
        "problems": problems,
    }


def _now(training: Training) -> float:
    """The time once the device has done all that it was given."""
    if training.device.type == "cuda":
        torch.cuda.synchronize(training.device)
    return time.perf_counter()
