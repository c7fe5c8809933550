"""What it costs that a run streams its metrics: the same epochs with and without, in turns, in CPU time.

    python -m benchmarks.logging_cost [--rounds 7] [--network resnet_5m]

Two answers. By the whole: CPU seconds of epochs that stream to a run folder against epochs that record nothing. By the
piece, which noise spoils less: CPU microseconds of one record, over the steps between two records.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from benchmarks.engine import BATCH, experiment, settled
from engine import device, runs
from engine.data import shapes
from engine.data.dataset import Dataset
from engine.recorder import Recorder
from engine.train import log_step
from engine.training import Training

RECORDS = 300


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--network", default="resnet_5m")
    parser.add_argument("--steps", type=int, default=2, help="steps a round and way")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training = prepared(options.network, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        run = runs.create(Path(folder), training.experiment.to_yaml(), {"state": "running"}, {})
        with Recorder(run, {}) as recorder:
            epochs = in_turns(training, recorder, options.rounds, options.steps)
            record_s = seconds_a_record(training, recorder)
    step_s = report.Spread.of(epochs["off"]).median / options.steps
    every = training.experiment.train.log_every
    share = record_s / (every * step_s)
    whole = report.Spread.of([on / off - 1 for on, off in zip(epochs["on"], epochs["off"], strict=True)])
    rows = [
        ["one step", f"{1e3 * step_s:.1f} ms"],
        ["one record", f"{1e6 * record_s:.0f} us"],
        [f"share at a record every {every} steps", f"{100 * share:.3f} %"],
        ["share at a record every step", f"{100 * record_s / step_s:.2f} %"],
        [
            "by the whole, a record every step",
            f"{100 * whole.median:+.1f} % ({100 * whole.least:+.1f}…{100 * whole.greatest:+.1f})",
        ],
    ]
    print(report.table([f"{options.network}, batch {BATCH}, CPU time", ""], rows))
    report.save(
        "logging_cost", {"network": options.network, "step_s": step_s, "record_s": record_s, "epochs_s": epochs}
    )


def prepared(network: str, steps: int) -> Training:
    """A training on drawn shapes that has taken its first steps."""
    settings = experiment(network, 10**6)
    images, labels, *_ = shapes.draw(0, BATCH * steps, 32, 3)
    pixels, answers = torch.from_numpy(images), torch.from_numpy(labels)
    data = Dataset(pixels, answers, pixels[:0], answers[:0], pixels[:8], answers[:8], shapes.CLASSES)
    runtime = settled(settings)
    device.apply(runtime)
    training = Training(settings, runtime, data)
    take(training, steps, None)
    return training


def take(training: Training, steps: int, recorder: Recorder | None) -> None:
    """Some steps, each with a record where there is a recorder."""
    plan = training.draw_epoch()
    for position in range(steps):
        training.take_step(plan, position)
        if recorder is not None:
            log_step(training, recorder)


def in_turns(training: Training, recorder: Recorder, rounds: int, steps: int) -> dict[str, list[float]]:
    """CPU seconds of some steps with a record each, and without, a value a round."""
    spent: dict[str, list[float]] = {"off": [], "on": []}
    ways: dict[str, Any] = {"off": None, "on": recorder}
    for turn in range(rounds):
        for name in ("off", "on") if turn % 2 else ("on", "off"):
            began = report.cpu_seconds()
            take(training, steps, ways[name])
            spent[name].append(report.cpu_seconds() - began)
    return spent


def seconds_a_record(training: Training, recorder: Recorder) -> float:
    """CPU seconds of reading the meters, the gradient's norm, and writing one record."""
    one = torch.ones((), device=training.device)
    began = time.process_time()
    for _ in range(RECORDS):
        training.meters.update(one, one, BATCH, training.step)
        log_step(training, recorder)
    return (time.process_time() - began) / RECORDS


if __name__ == "__main__":
    main()
