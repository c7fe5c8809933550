"""Training speed of the engine against the usual loop: same network, same batch, in turns, on one CPU thread.

    python -m benchmarks.engine [--rounds 5] [--steps 3]

Images per second of CPU time (worker processes included), since wall time on shared cores says little. Each way has a
process of its own, since the engine sets switches of the C library that would serve the usual loop as well. Beside
them, in the same turns: what the processor reaches in a matrix product, and in the network's convolutions alone, one
after another with nothing between them; no step is faster than these. Both in the engine's precision: bf16 where the
processor multiplies it, else fp32, as the usual loop.
"""

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

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
WAYS = ("usual", "engine")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}

Sizes = tuple[int, ...]


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("NETWORK", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        name, way = options.child
        answer(name, way, options.steps)
        return
    precision = settled(experiment(NETWORKS[0], 1)).precision
    figures, rows = {}, []
    for name in NETWORKS:
        found = figures[name] = compare(name, options.rounds, options.steps, DTYPES[precision])
        columns = ("usual", "engine", "ratio", "of_matmul", "of_convolutions", "convolutions_of_matmul")
        forms = (",.0f", ",.0f", ".2f", ".0%", ".0%", ".0%")
        rows.append(
            [name, *(report.Spread.of(found[key]).text(form) for key, form in zip(columns, forms, strict=True))]
        )
    head = [f"network, batch {BATCH}", "usual loop im/core-s", f"engine, {precision}", "ratio", "of the matmul rate"]
    print(report.table([*head, "of its convolutions alone", "these of the matmul rate"], rows))
    report.save("engine", {"precision": precision, "networks": figures})


def compare(name: str, rounds: int, steps: int, dtype: torch.dtype) -> dict[str, list[float]]:
    """Images per CPU second of each way, the FLOP rates beside them and what follows, a value a round, all in turns."""
    command = [sys.executable, "-m", "benchmarks.engine", "--steps", str(steps), "--child", name]
    pipe = subprocess.PIPE
    ways = {way: subprocess.Popen([*command, way], stdin=pipe, stdout=pipe, text=True) for way in WAYS}
    alone = convolutions(name)
    flops = training_flops(name)
    device.apply(settled(experiment(name, steps)))
    found: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        matmul, convolved = matmul_rate(dtype), BATCH * flops / sum(seconds(layer, dtype) for layer in alone)
        usual, engine = (ask(ways[way]) for way in WAYS)
        figures = {
            "matmul_gflops": matmul / 1e9,
            "usual": usual,
            "engine": engine,
            "ratio": engine / usual,
            "of_matmul": engine * flops / matmul,
            "of_convolutions": engine * flops / convolved,
            "convolutions_of_matmul": convolved / matmul,
        }
        if turn:  # the first warms up
            for key, value in figures.items():
                found.setdefault(key, []).append(value)
    for child in ways.values():
        child.communicate()
    return found


def ask(child: "subprocess.Popen[str]") -> float:
    """One more round of a child."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("again\n")
    child.stdin.flush()
    return float(child.stdout.readline())


def answer(name: str, way: str, steps: int) -> None:
    """Be the child that trains one way: a speed for every line that comes in."""
    images, labels, *_ = shapes.draw(0, BATCH * steps, 32, 3)
    once = usual_way(name, images, labels.tolist()) if way == "usual" else engine_way(name, images, labels, steps)
    for _ in sys.stdin:
        print(timed(once, BATCH * steps), flush=True)


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
    runtime = settled(settings)
    device.apply(runtime)
    pixels, answers = torch.from_numpy(images), torch.from_numpy(labels)
    data = Dataset(pixels, answers, pixels[:0], answers[:0], pixels[:8], answers[:8], shapes.CLASSES)
    training = Training(settings, runtime, data)

    def epoch() -> None:
        plan = training.draw_epoch()
        for position in range(steps):
            training.take_step(plan, position)
        training.meters.read()

    return epoch


def settled(settings: Experiment) -> device.Runtime:
    """What its `auto` becomes here."""
    return device.settle(settings.train, settings.total_steps)


def experiment(name: str, steps: int) -> Experiment:
    """The recipe both ways share: crop, flip, normalise, SGD with momentum."""
    overrides = [
        ("architecture", name),
        ("augmentation", "seed_a"),
        ("train.threads", "1"),
        ("train.steps", str(steps)),
    ]
    return load("quickstart", [*overrides, ("optimizer", "sgd_plateau"), ("train.batch_size", str(BATCH))])


def training_flops(name: str) -> int:
    """Of one image: twice the multiply-accumulates forward, and twice that backward."""
    from engine.counting import counted

    return 2 * 3 * counted(experiment(name, 1).architecture, 3, 32, 10, BATCH, "bf16").macs


def matmul_rate(dtype: torch.dtype, size: int = 2048, repeats: int = 3) -> float:
    """FLOP per CPU second of a matrix product, the best of several."""
    a, b = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(repeats):
        began = report.cpu_seconds()
        a @ b
        best = max(best, 2 * size**3 / (report.cpu_seconds() - began))
    return best


@dataclass(frozen=True)
class Convolution:
    """A convolution without its network, of which it has ``count``; ``inputs`` are (C, H, W)."""

    inputs: Sizes
    weights: Sizes
    stride: Sizes
    padding: Sizes
    count: int


def convolutions(name: str) -> list[Convolution]:
    """Those of a network."""
    architecture = experiment(name, 1).architecture
    seen: Counter[tuple[Sizes, Sizes, Sizes, Sizes]] = Counter()

    def note(layer: torch.nn.Module, inputs: tuple[torch.Tensor], _outputs: object) -> None:
        assert isinstance(layer, torch.nn.Conv2d)
        assert not isinstance(layer.padding, str)
        seen[tuple(inputs[0].shape[1:]), tuple(layer.weight.shape), layer.stride, layer.padding] += 1

    with torch.device("meta"):
        network = architecture.resolve_builder()(architecture, 3, 32, 10)
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(note)
        network(torch.empty(2, 3, 32, 32))
    return [Convolution(*shape, count) for shape, count in seen.items()]


def seconds(layer: Convolution, dtype: torch.dtype) -> float:
    """CPU seconds of all of its kind in a step: forward and backward in channels_last.

    As in training the first layer, which sees the images, passes no gradient on.
    """
    inputs, weights = (
        torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((BATCH, *layer.inputs), layer.weights)
    )
    weights.requires_grad_()
    inputs.requires_grad_(layer.inputs[0] > 3)
    best = float("inf")
    for _ in range(2):
        began = report.cpu_seconds()
        outputs = torch.nn.functional.conv2d(inputs, weights, None, layer.stride, layer.padding)
        between = report.cpu_seconds()
        upstream = torch.ones_like(outputs)
        resumed = report.cpu_seconds()
        torch.autograd.backward(outputs, upstream)
        best = min(best, between - began + report.cpu_seconds() - resumed)
    return layer.count * best


if __name__ == "__main__":
    main()
