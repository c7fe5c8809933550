"""Runs folders as weeks of work leave them, made in a moment: states, curves, tags, ages."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from engine import attempts, runs
from engine.metrics_log import Record
from engine.runs import MetricsWriter, RunFolder, SummaryWriter

NOON = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, 0))

CONFIG = """\
name: {name}
architecture: {{family: resnet, name: {architecture}}}
augmentation: {{name: crop_flip_rotate, ops: []}}
optimizer: {{name: adamw_1e-3, algorithm: adamw, lr: {lr}, weight_decay: 0.0005}}
data: {{name: cifar10, validation: 5000}}
train: {{epochs: {epochs}, batch_size: 128, seed: {seed}}}
"""


@dataclass(frozen=True)
class Sample:
    """One invented run. `ago` is how long ago it ended, in seconds; `done` the share of its epochs that it did."""

    name: str
    state: str = "finished"
    architecture: str = "resnet_5m"
    parameters: int = 4_779_530
    macs: int = 264_996_096
    epochs: int = 200
    done: float = 1.0
    best: float | None = 92.5
    test: float | None = None
    took: float = 98.0
    ago: float = 3600.0
    seed: int = 1
    lr: float = 1e-3
    reason: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    group: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


SAMPLES = (
    Sample("best_5m-s3", "running", done=0.685, best=92.67, took=72, seed=3, tags=("paper",), note="third seed"),
    Sample(
        "wrn28_10_cutout-s1", "running", "wrn28_10", 36_490_000, 5_240_000_000, done=0.305, best=89.94, took=292,
        tags=("paper",),
    ),
    Sample("densenet121-b256", "paused", "densenet121", 6_960_000, 888_000_000, done=0.44, best=93.12, took=340),
    Sample("resnet110-he-s2", "queued", "resnet110", 1_730_000, 253_000_000, epochs=164, done=0, best=None,
           tags=("he2016",)),
    Sample("best_5m-s2", best=93.04, test=92.49, ago=720, seed=2, tags=("paper",)),
    Sample("best_5m-s1", best=92.98, test=92.31, ago=840, tags=("paper",)),
    Sample("best_5m-crop_flip_rotate-adamw-wd0.003", best=92.36, test=91.87, ago=1860, tags=("wd-sweep",)),
    Sample("resnext29_32x4d-b4096", "failed", "resnext29_32x4d", 4_770_000, 772_000_000, done=0, best=None, took=6.2,
           ago=2280, reason="CUDA out of memory at batch 4096; 1024 would fit"),
    Sample("resnet18-plateau", "finished", "resnet18", 11_170_000, 555_000_000, best=95.20, test=95.03, took=144,
           ago=3120, tags=("paper",)),
    Sample("airbench94-s20", "finished", "airbench94", 1_970_000, 62_000_000, 8, best=94.12, test=94.03, took=2.1,
           ago=4000, tags=("speed",)),
    Sample("airbench94-s19", "finished", "airbench94", 1_970_000, 62_000_000, 8, best=93.98, test=94.01, took=2.1,
           ago=4100, tags=("speed",)),
    Sample("resnet56-lr0.5", "diverged", "resnet56", 860_000, 125_000_000, 164, done=0.02, best=19.40, took=1.9,
           ago=7300, reason="loss NaN at step 702, lr 0.5; try 0.1"),
    Sample("best_5m-dropout0.5", "stopped", parameters=4_790_000, done=0.29, best=90.62, took=28, ago=7900),
    *(
        Sample(f"resnet32-he-s{seed}", "finished", "resnet32", 460_000, 69_000_000, 164, best=best, test=best - 0.15,
               took=64, ago=10_900, seed=seed, tags=("he2016",), group="resnet32-he")
        for seed, best in ((5, 92.58), (4, 92.71), (3, 92.49))
    ),
    Sample("dla-plateau", "crashed", "dla", 16_290_000, 1_030_000_000, done=0.715, best=94.88, took=371, ago=18_100),
    Sample("preact18-plateau", "finished", "preact18", 11_170_000, 555_000_000, best=94.91, test=94.80, took=142,
           ago=22_000, tags=("paper",)),
    Sample("wrn28_10-plateau", "finished", "wrn28_10", 36_490_000, 5_240_000_000, best=95.81, test=95.53, took=972,
           ago=32_500, tags=("paper",)),
    Sample("vgg_a-b128", "finished", "vgg_a", 9_750_000, 153_000_000, 60, best=88.74, test=88.42, took=29, ago=90_000,
           tags=("bn",)),
    Sample("quickstart", "finished", "tiny", 70_618, 7_520_896, 14, best=97.9, test=97.15, took=57, ago=432_000),
)  # fmt: skip


def epochs_of(sample: Sample, now: float) -> list[Record]:
    """Records of the epochs that a run did: accuracy rises to its best as such curves do, validation below train."""
    noise = random.Random(sample.name)
    count = int(sample.epochs * sample.done)
    best = sample.best or 10.0
    records: list[Record] = []
    for epoch in range(1, count + 1):
        share = 1 - math.exp(-9 * epoch / sample.epochs)
        val = min(30 + (best - 30.4) * share + noise.uniform(-0.3, 0.3), best)
        train = 24 + 75.4 * share
        records.append(
            {
                "kind": "epoch", "schema": 1, "t": now - sample.took * (1 - epoch / max(count, 1)), "epoch": epoch,
                "step": epoch * 352, "train_loss": 2.2 * math.exp(-5 * epoch / sample.epochs) + 0.03,
                "train_accuracy": train, "val_loss": 2.0 * math.exp(-7 * epoch / sample.epochs) + 0.34,
                "val_accuracy": val, "lr": sample.lr, "images_s": 92_400.0, "epoch_s": 0.5, "eval_s": 0.02,
            }
        )  # fmt: skip
    if records and sample.best is not None:
        records[int(len(records) * 0.8)]["val_accuracy"] = sample.best
    return records


def make_sample(root: Path, sample: Sample, now: float | None = None, number: int = 0) -> RunFolder:
    """A run folder as the engine would have left it. What is live is so by this very process."""
    now = time.time() if now is None else now
    live = sample.state in runs.LIVE
    ended = now - (0 if live else sample.ago)
    started = ended - sample.took
    run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(started))}-{number:06x}"
    facts = _facts(sample, started)
    config = CONFIG.format(
        name=sample.name, architecture=sample.architecture, lr=sample.lr, epochs=sample.epochs, seed=sample.seed
    )
    user = {"name": sample.name, "tags": list(sample.tags), "note": sample.note, "archived": False}
    with patch.object(runs, "new_run_id", lambda: run_id):
        run = runs.create(root, config, {**facts, "state": "queued"}, user)
    if sample.state == "queued":
        return run
    attempt = run.new_attempt()
    _fill(run, sample, facts, ended)
    if not live:
        killed = sample.state == "crashed"
        with patch.object(attempts, "time", SimpleNamespace(time=lambda: ended)):
            attempt.write_exit(code=None if killed else _CODES.get(sample.state, 0), signal=9 if killed else None)
    return run


_CODES = {"failed": 1, "diverged": 1, "stopped": 143}


def _facts(sample: Sample, started: float) -> dict[str, Any]:
    return {
        "architecture": sample.architecture, "augmentation": "crop_flip_rotate", "optimizer": "adamw_1e-3",
        "dataset": "cifar10", "batch_size": 128, "lr": sample.lr, "seed": sample.seed, "epochs": float(sample.epochs),
        "steps": sample.epochs * 352, "parameters": sample.parameters, "macs": sample.macs, "precision": "bf16",
        "device": "cuda:0 NVIDIA H100", "group_hash": sample.group or sample.name, "started": started,
    }  # fmt: skip


def _fill(run: RunFolder, sample: Sample, facts: dict[str, Any], ended: float) -> None:
    records = epochs_of(sample, ended)
    log = MetricsWriter(run.path / "metrics.jsonl")
    for record in records:
        log.append(record)
    log.close()
    done = len(records)
    state = "running" if sample.state == "crashed" else sample.state
    values = [record["val_accuracy"] for record in records]
    at = values.index(sample.best) + 1 if sample.best in values else done
    summary = {
        **facts, "state": state, "reason": sample.reason, "phase": "training" if sample.state == "running" else "",
        "epoch": float(done), "step": done * 352, "active_s": sample.took, "images_s": 92_400.0,
        "eta_s": sample.took * (1 / sample.done - 1) if sample.done else None,
        "ended": None if state == "running" else ended,
        "spark": values[:: max(len(values) // 20, 1)][-32:],
        "best": {"metric": "val_accuracy", "value": sample.best, "epoch": at} if sample.best is not None else None,
        "test": {"best": sample.test, "last": sample.test} if sample.test is not None else None,
        **sample.extra,
    }  # fmt: skip
    SummaryWriter(run.path / "summary.json").write(summary)


def make_samples(root: Path, now: float | None = None) -> list[RunFolder]:
    """All sample runs in one folder, in the order of `SAMPLES`."""
    return [make_sample(root, sample, now, number) for number, sample in enumerate(SAMPLES)]


@pytest.fixture
def sample_runs(tmp_path: Path) -> Path:
    """A runs folder with every state in it; returns it."""
    root = tmp_path / "runs"
    make_samples(root)
    return root


@pytest.fixture
def still_runs(tmp_path: Path) -> Path:
    """The same folder at noon of one day, for pictures."""
    root = tmp_path / "runs"
    make_samples(root, NOON)
    return root


@pytest.fixture
def add_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Adds one run to that folder: `add_run("name", state="failed", reason="…")`."""
    numbers = iter(range(0x100, 0x10000))

    def add(name: str, **changes: Any) -> RunFolder:
        return make_sample(tmp_path / "runs", Sample(name, **changes), number=next(numbers))

    return add
