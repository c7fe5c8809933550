"""Training speed of the engine against the usual loop: same network, same batch, in turns, on one CPU thread.

    python -m benchmarks.engine [--rounds 5] [--steps 3]

Images per second of CPU time (worker processes included), since wall time on shared cores says little.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import report, usual_loop
from engine import device
from engine.data import shapes
from engine.data.dataset import Dataset
from engine.experiment import Experiment, load
from engine.training import Training

BATCH = 128
NETWORKS = ("resnet18", "resnet_5m")


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rate = bf16_matmul_rate()
    figures, rows = {}, []
    for name in NETWORKS:
        speeds = compare(name, options.rounds, options.steps)
        ratios = [ours / usual for usual, ours in zip(speeds["usual"], speeds["engine"], strict=True)]
        flops = 2 * 3 * macs(name)
        share = report.Spread.of(speeds["engine"]).median * flops / rate
        figures[name] = {**speeds, "ratio": ratios, "share_of_bf16_matmul": share}
        cells = [report.Spread.of(speeds[way]).text() for way in ("usual", "engine")]
        rows.append([name, *cells, report.Spread.of(ratios).text(".2f"), f"{100 * share:.0f} %"])
    head = ["network, batch 128", "usual loop im/core-s", "engine im/core-s", "ratio", "of bf16 matmul rate"]
    print(report.table(head, rows))
    report.save("engine", {"bf16_matmul_gflops": rate / 1e9, "networks": figures})


def compare(name: str, rounds: int, steps: int) -> dict[str, list[float]]:
    """Images per CPU second of each way, a value a round, the ways in turns."""
    images, labels, *_ = shapes.draw(0, BATCH * steps, 32, 3)
    usual, engine = usual_way(name, images, labels.tolist()), engine_way(name, images, labels, steps)
    usual(), engine()
    speeds: dict[str, list[float]] = {"usual": [], "engine": []}
    for _ in range(rounds):
        speeds["usual"].append(timed(usual, BATCH * steps))
        speeds["engine"].append(timed(engine, BATCH * steps))
    return speeds


def timed(pass_over: Callable[[], None], images: int) -> float:
    """Images per second of CPU time."""
    began = report.cpu_seconds()
    pass_over()
    return images / (report.cpu_seconds() - began)


def usual_way(name: str, images: np.ndarray, labels: list[int]) -> Callable[[], None]:
    """The usual loop over these images."""
    architecture = experiment(name, 1).architecture
    network = architecture.resolve_builder()(architecture, 3, 32, 10)
    batches = usual_loop.loader(usual_loop.Pictures(images, labels), BATCH, workers=2)
    return lambda: (usual_loop.train(network, batches, "cpu"), None)[1]


def engine_way(name: str, images: np.ndarray, labels: np.ndarray, steps: int) -> Callable[[], None]:
    """The engine's epochs over the same images, with whatever `auto` becomes here."""
    settings = experiment(name, steps)
    runtime = device.settle(settings.train, settings.total_steps)
    pixels, answers = torch.from_numpy(images), torch.from_numpy(labels)
    data = Dataset(pixels, answers, pixels[:0], answers[:0], pixels[:8], answers[:8], shapes.CLASSES)
    training = Training(settings, runtime, data)

    def epoch() -> None:
        plan = training.draw_epoch()
        for position in range(steps):
            training.take_step(plan, position)
        training.meters.read()

    return epoch


def experiment(name: str, steps: int) -> Experiment:
    """The recipe both ways share: crop, flip, normalise, SGD with momentum."""
    overrides = [
        ("architecture", name),
        ("augmentation", "seed_a"),
        ("train.threads", "1"),
        ("train.steps", str(steps)),
    ]
    return load("quickstart", [*overrides, ("optimizer", "sgd_plateau"), ("train.batch_size", str(BATCH))])


def macs(name: str) -> int:
    """Multiply-accumulates of one image forward."""
    from engine.counting import counted

    return counted(experiment(name, 1).architecture, 3, 32, 10, BATCH, "bf16").macs


def bf16_matmul_rate(size: int = 2048, rounds: int = 7) -> float:
    """FLOP per CPU second of a bf16 matrix product, the best of several."""
    a, b = (torch.randn(size, size, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(rounds):
        began = report.cpu_seconds()
        a @ b
        best = max(best, 2 * size**3 / (report.cpu_seconds() - began))
    return best


if __name__ == "__main__":
    main()
