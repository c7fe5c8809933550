"""Real engines by the hundred: torch is imported and the data read once; every attempt is a fork of this process."""

import importlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from engine import atomic, checkpoint, worker
from engine.data.dataset import Dataset, load
from engine.experiment import loads
from engine.process import Lock
from engine.runs import RunFolder, create
from engine.supervisor import ENGINE_BYTE

PRESET = """
name: tortured
architecture: {family: resnet, stem: 4, channels: [4, 8], blocks: [1, 1], pool: 0, head: [], dropout: [0.2]}
augmentation: {ops: [{op: crop, padding: 2}, {op: flip}, {op: normalize, statistics: half}]}
optimizer: {algorithm: sgd, lr: 0.05, momentum: 0.9, schedule: {kind: cosine}}
data: {name: shapes, validation: 200, train_limit: 400}
train: {epochs: EPOCHS, batch_size: 20, seed: 5, threads: 1, log_every: 2, checkpoint_every: 0, ema: {decay: 0.9},
        device: cpu, precision: fp32}
"""
LOOK_S = 2e-4  # a save takes some milliseconds; looking without a break would take a core from the engine
CLOCK = ("t", "images_s", "epoch_s", "eval_s", "reason")  # the reason tells of a disk that was full


@cache
def small_data() -> Dataset:
    """400 training, 200 validation and 200 test images of the shapes.

    With them comes torch's compiler, which the first optimiser loads even where nothing is compiled: here it is loaded
    once and not by every fork.
    """
    importlib.import_module("torch._inductor")
    data = load(loads(PRESET.replace("EPOCHS", "1")).data)
    return replace(data, test_images=data.test_images[:200], test_labels=data.test_labels[:200])


def make(root: Path, epochs: int, **train: str) -> RunFolder:
    """A run of 20 steps an epoch that saves every other step, as harshly as it can be asked to, but for `train`."""
    changes = [(f"train.{name}", value) for name, value in train.items()]
    experiment = loads(PRESET.replace("EPOCHS", str(epochs)), overrides=changes)
    summary = {"state": "starting", **experiment.headline()}
    return create(root, experiment.to_yaml(), summary, {"name": "tortured", "tags": [], "note": ""})


def begin(run: RunFolder, *, resume: bool = False, file_size: int = 0, sync_s: float = 0.0) -> int:
    """Begin an attempt and fork its engine, whose files may have `file_size` bytes each, and whose syncs of files take
    `sync_s` seconds longer. Returns its pid."""
    data = small_data()
    run.new_attempt()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    if file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if sync_s:
        slow_down_syncs(sync_s)
    _as_engine(run, data, resume)
    os._exit(99)


def _as_engine(run: RunFolder, data: Dataset, resume: bool) -> None:
    from engine import output

    log = atomic.open_regular(run.path / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    output.install()
    torch.set_num_threads(1)
    lock = Lock(run.path / "lock")
    if not lock.acquire(ENGINE_BYTE):
        os._exit(2)
    setattr(worker, "load_data", lambda *_, **__: data)  # noqa: B010
    os._exit(worker.main(run.path, resume=resume))


def slow_down_syncs(seconds: float) -> None:
    """Let every sync of a file in this process take so much longer, whichever thread waits for it."""
    real = os.fsync

    def sync(descriptor: int) -> None:
        time.sleep(seconds)
        real(descriptor)

    for name in ("fsync", "fdatasync"):
        setattr(os, name, sync)


def has_ended(pid: int) -> bool:
    """Whether a forked engine is over; `wait` tells how."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(run: RunFolder, pid: int) -> int:
    """Until the engine has ended; writes the supervisor's verdict. Returns the exit code, -n for signal n."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    attempt = run.newest_attempt()
    assert attempt is not None
    if code < 0:
        attempt.write_exit(signal=-code)
    else:
        attempt.write_exit(code=code)
    return code


def kill_when(run: RunFolder, pid: int, moment: Callable[[], bool], patience_s: float = 60.0) -> int:
    """SIGKILL the engine at a moment, unless it has ended before; returns what `wait` does."""
    deadline = time.monotonic() + patience_s
    while not moment() and time.monotonic() < deadline:
        if has_ended(pid):
            return wait(run, pid)
        time.sleep(LOOK_S)
    os.kill(pid, signal.SIGKILL)
    return wait(run, pid)


def records(run: RunFolder) -> list[dict[str, Any]]:
    """All records without what differs between two runs of the same clockwork."""
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCK} for line in lines]


def final_state(run: RunFolder) -> dict[str, Any]:
    """The newest checkpoint but for its clock and its place in the log."""
    folder = run.path / "ckpt"
    state = checkpoint.load(folder, checkpoint.candidates(folder)[0])
    return {
        key: value
        for key, value in state.items()
        if key not in ("active_s", "epoch_s", "metrics_offset", "config_hash")
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)
