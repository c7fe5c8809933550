"""How long OpenMP's threads shall wait busily for each other: the engine's step in two threads, in turns.

    python -m benchmarks.threads [--rounds 3] [--seconds 8] [--networks tiny,resnet_5m]

Each way is a new process, alone and beside one that never rests, as on a machine that others use too. libgomp spins for
some milliseconds by default; on busy cores that keeps the thread that is waited for from running.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from benchmarks import report
from engine import device
from engine.data import shapes
from engine.data.dataset import Dataset
from engine.experiment import load
from engine.training import Training

WAYS: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
}
SPIN_FOREVER = [sys.executable, "-c", "while True: pass"]
PATIENCE_S = 90.0
BATCH = 100


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--networks", default="tiny,resnet_5m")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(speed(options.child, options.seconds))
        return
    figures, rows = {}, []
    for network in options.networks.split(","):
        for neighbours in (0, 1):
            speeds = in_turns(network, neighbours, options.rounds, options.seconds)
            figures[f"{network}, {neighbours} neighbours"] = speeds
            rows += [[network, f"{neighbours}", way, report.Spread.of(found).text()] for way, found in speeds.items()]
    print(report.table(["network, two threads", "busy neighbours", "way", "images/s (wall)"], rows))
    report.save("threads", {"images_s": figures})


def in_turns(network: str, neighbours: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Images per second of each way, a value a round; 0 where not even two steps were done in time."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    burning = [subprocess.Popen(SPIN_FOREVER) for _ in range(neighbours)]
    try:
        for _ in range(rounds):
            for way, settings in WAYS.items():
                found[way].append(child_speed(network, seconds, settings))
    finally:
        for process in burning:
            process.kill()
            process.wait()
    return found


def child_speed(network: str, seconds: float, settings: dict[str, str]) -> float:
    """The speed that a new process with these settings reports."""
    command = [sys.executable, "-m", "benchmarks.threads", "--child", network, "--seconds", str(seconds)]
    environment = {**os.environ, **settings}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return 0.0
    return float(done.stdout)


def speed(network: str, seconds: float) -> float:
    """Images per second of wall time of training steps in two threads."""
    step = prepared(network)
    step(0)
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step(steps % 4)
        steps += 1
    return BATCH * steps / (time.perf_counter() - began)


def prepared(network: str) -> Callable[[int], None]:
    """The step of a training with batches of drawn shapes, by position in its epoch of four."""
    settings = load(
        "quickstart",
        [
            ("architecture", network),
            ("train.threads", "2"),
            ("train.steps", "1000000"),
            ("train.batch_size", str(BATCH)),
        ],
    )
    runtime = device.settle(settings.train, settings.total_steps)
    device.apply(runtime)
    images, labels, *_ = shapes.draw(0, 4 * BATCH, 32, 3)
    pixels, answers = torch.from_numpy(images), torch.from_numpy(labels)
    data = Dataset(pixels, answers, pixels[:0], answers[:0], pixels[:8], answers[:8], shapes.CLASSES)
    training = Training(settings, runtime, data)
    plan = training.draw_epoch()
    return lambda position: training.take_step(plan, position)


if __name__ == "__main__":
    main()
