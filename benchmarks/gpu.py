"""Everything worth knowing of a GPU inside eight minutes. Nothing else should run on it meanwhile.

    python -m benchmarks.gpu [--rounds 5] [--minutes 8]
    python -m benchmarks.gpu --peer airbench94=PATH/airbench94_muon.py --seeds 10

Calibration (matrix product, copy, cost of one eager operation), the augmentation alone, the cost of streaming records,
the usual loop, and the training step: eager, compiled, and captured in a graph, for three networks and two batch sizes.
With ``--peer``, instead: that script as it is, beside our preset of that name (`benchmarks.gpu_peers`).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import report, usual_loop
from benchmarks.gpu_peers import beside_peer
from engine import device, runs
from engine.augment import EpochPlan
from engine.data import shapes
from engine.data.dataset import Dataset
from engine.experiment import load
from engine.recorder import Recorder
from engine.train import log_step, write_arrived
from engine.training import Training

NETWORKS = ("resnet_5m", "resnet18", "wrn28_10")
BATCHES = (128, 512)
# Of train.compile and train.graph.
WAYS = {"eager": ("off", "off"), "graph": ("off", "on"), "compile": ("on", "off"), "compile + graph": ("on", "on")}
IMAGES = 50_000
STEPS_S = 0.4
USUAL_BATCHES = 80


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=8.0, help="cells that do not fit any more are left out")
    parser.add_argument("--peer", action="append", default=[], metavar="PRESET=SCRIPT", help="a peer's script")
    parser.add_argument("--seeds", type=int, default=10, help="of our preset beside a peer")
    parser.add_argument("--peer-seconds", type=float, default=120.0, help="a peer's script is ended after that")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.gpu needs a CUDA GPU, and torch sees none here.", file=sys.stderr)
        return 2
    if options.peer:
        peers = [beside_peer(peer, options.seeds, options.peer_seconds) for peer in options.peer]
        report.save("gpu_peers", {"peers": peers}, on_gpu=True)
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    figures: dict[str, Any] = {
        "calibration": calibration(),
        "augmentation": augmentation(),
        "streaming": streaming("resnet_5m", 128, options.rounds),
        "usual": usual("resnet18", 128, 2),
        "steps": [],
    }
    for batch in BATCHES:
        for network in NETWORKS:
            figures["steps"] += cells(network, batch, options.rounds, deadline)
            report.save("gpu", figures, on_gpu=True)
    return 0


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Device seconds of one call, by events around ``repeats`` of them, after three to warm up."""
    for _ in range(3):
        work()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    began.record()
    for _ in range(repeats):
        work()
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3 / repeats


def calibration(size: int = 8192) -> dict[str, float]:
    """bf16 matrix product in TFLOP/s, copy in TB/s (bytes read and written), host microseconds of an eager op."""
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    small = torch.zeros(16, device="cuda")
    found = {
        "matmul_tflops": 2 * size**3 / seconds(lambda: a @ b, 20) / 1e12,
        "copy_tb_s": 2 * source.numel() / seconds(lambda: target.copy_(source), 20) / 1e12,
        "eager_op_us": 1e6 * host_seconds(lambda: small.add_(1), 2_000),
    }
    print(report.table(["calibration", ""], [[name, f"{value:,.2f}"] for name, value in found.items()]), "\n")
    return found


def host_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Seconds in which the host issues one call."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    spent = time.perf_counter() - began
    torch.cuda.synchronize()
    return spent / repeats


def augmentation(batch: int = 512) -> dict[str, float]:
    """Images per second of the augmentation alone, eager and compiled, and seconds to draw an epoch."""
    training = prepared("resnet_5m", batch, "off", "off")
    plan = training.draw_epoch()
    index = plan.order[:batch]
    data = training.data
    found = {}
    for name, augment in {"eager": training.augment, "compiled": torch.compile(training.augment.__call__)}.items():
        once = seconds(lambda augment=augment: augment(data.train_images, data.train_labels, index, plan), 100)  # type: ignore[misc]
        found[f"{name}_images_s"] = batch / once
    found["draw_epoch_s"] = host_seconds(training.draw_epoch, 3)
    print(report.table(["augmentation", ""], [[name, f"{value:,.3f}"] for name, value in found.items()]), "\n")
    return found


def cells(network: str, batch: int, rounds: int, deadline: float) -> list[dict[str, Any]]:
    """The step's figures in each way of one network and batch size, the ways in turns."""
    trainings: dict[str, tuple[Training, EpochPlan]] = {}
    warm_up: dict[str, float] = {}
    for way, (compiled, graph) in WAYS.items():
        if time.monotonic() > deadline:
            print(f"no time is left for {network} at {batch}, {way}")
            continue
        began = time.perf_counter()
        training = prepared(network, batch, compiled, graph)
        problem = training.compile() or training.capture()
        if problem:
            print(f"{network} at {batch}, {way}: not so: {problem}")
            continue
        plan = training.draw_epoch()
        run(training, plan, 3)
        torch.cuda.synchronize()
        trainings[way], warm_up[way] = (training, plan), time.perf_counter() - began
    found = {way: [measured(*trained, batch)] for way, trained in trainings.items()}
    for _ in range(rounds - 1):
        for way, trained in trainings.items():
            found[way].append(measured(*trained, batch))
    results = [summarised(network, batch, way, rows, warm_up[way]) for way, rows in found.items()]
    head = [f"{network}, batch {batch}", "images/s", "step ms", "host ms", "epoch s", "warm-up s"]
    print(report.table(head, [cell_row(cell) for cell in results]), "\n", flush=True)
    return results


def measured(training: Training, plan: EpochPlan, batch: int) -> tuple[float, float]:
    """(images per second, host seconds to issue a step) over about half a second of steps."""
    steps = training.experiment.steps_per_epoch - 1
    torch.cuda.synchronize()
    began = time.perf_counter()
    run(training, plan, 10)
    torch.cuda.synchronize()
    steps = min(steps, max(10, round(STEPS_S * 10 / (time.perf_counter() - began))))
    began = time.perf_counter()
    run(training, plan, steps)
    issued = time.perf_counter() - began
    torch.cuda.synchronize()
    return steps * batch / (time.perf_counter() - began), issued / steps


def run(training: Training, plan: EpochPlan, steps: int) -> None:
    """So many steps from the start of a plan that lies on the device already."""
    for position in range(steps):
        training.take_step(plan, position)


def summarised(network: str, batch: int, way: str, rows: list[tuple[float, float]], warm_up_s: float) -> dict[str, Any]:
    """A cell of the table as plain values."""
    return {
        "network": network,
        "batch": batch,
        "way": way,
        "images_s": [images_s for images_s, _ in rows],
        "host_ms": [1e3 * host for _, host in rows],
        "warm_up_s": warm_up_s,
    }


def cell_row(cell: dict[str, Any]) -> list[str]:
    """A cell as text."""
    speed, host = report.Spread.of(cell["images_s"]), report.Spread.of(cell["host_ms"])
    return [
        cell["way"],
        speed.text(),
        f"{1e3 * cell['batch'] / speed.median:.2f}",
        f"{host.median:.3f}",
        f"{IMAGES / speed.median:.2f}",
        f"{cell['warm_up_s']:.1f}",
    ]


def prepared(network: str, batch: int, compiled: str, graph: str) -> Training:
    """A training on the GPU: crop, flip, normalise, SGD with momentum, bf16, channels_last."""
    settings = load(
        "quickstart",
        [
            ("architecture", network),
            ("augmentation", "crop_flip"),
            ("optimizer", "sgd_cosine"),
            ("optimizer.lr", "1e-4"),  # the images are noise, of which a larger rate makes no finite loss
            ("data.name", "cifar10"),
            ("data.validation", "0"),
            ("train.device", "cuda"),
            ("train.epochs", "200"),
            ("train.batch_size", str(batch)),
            ("train.compile", f'"{compiled}"'),
            ("train.graph", f'"{graph}"'),
        ],
    )
    runtime = device.settle(settings.train, settings.total_steps)
    device.apply(runtime)
    return Training(settings, runtime, random_data())


def random_data() -> Dataset:
    """As many images as CIFAR-10 has, of noise."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 32, 32, 3), dtype=torch.uint8, generator=generator)
    answers = torch.randint(0, 10, (IMAGES,), generator=generator)
    return Dataset(pixels, answers, pixels[:0], answers[:0], pixels[:1000], answers[:1000], shapes.CLASSES)


def usual(network: str, batch: int, rounds: int) -> dict[str, Any]:
    """Images per second of the usual loop, by how many worker processes it is given."""
    architecture = prepared(network, batch, "off", "off").experiment.architecture
    pixels, answers, *_ = shapes.draw(0, USUAL_BATCHES * batch, 32, 3)
    pictures = usual_loop.Pictures(pixels, answers.tolist())
    found: dict[str, list[float]] = {}
    for workers in sorted({2, device.usable_cores()}):
        model = architecture.resolve_builder()(architecture, 3, 32, 10).to("cuda")
        batches = usual_loop.loader(pictures, batch, workers)
        speeds = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            _, seen = usual_loop.train(model, batches, "cuda")
            speeds.append(seen / (time.perf_counter() - began))
        found[f"{workers} workers"] = speeds[1:]  # the first warms up
    rows = [[way, report.Spread.of(speeds).text()] for way, speeds in found.items()]
    print(report.table([f"the usual loop, {network}, batch {batch}", "images/s"], rows), "\n", flush=True)
    return {"network": network, "batch": batch, "images_s": found}


def streaming(network: str, batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of the same captured steps with a record every `log_every` of them and with none, in turns."""
    training = prepared(network, batch, "off", "on")
    problem = training.capture()
    plan = training.draw_epoch()
    found: dict[str, list[float]] = {"off": [], "on": []}
    with tempfile.TemporaryDirectory() as folder:
        folder_of_run = runs.create(Path(folder), training.experiment.to_yaml(), {"state": "running"}, {})
        with Recorder(folder_of_run, {}) as recorder:
            ways = {"off": None, "on": recorder}
            for turn in range(rounds + 1):
                for way in ("off", "on") if turn % 2 else ("on", "off"):
                    spent = seconds_of_steps(training, plan, ways[way])
                    found[way] += [spent] if turn else []  # the first warms up
    cost = report.Spread.of([100 * (on / off - 1) for on, off in zip(found["on"], found["off"], strict=True)])
    head = [f"streaming, {network}, batch {batch}" + (f", not captured: {problem}" if problem else ""), "%"]
    print(report.table(head, [["what records cost", cost.text("+.2f")]]), "\n", flush=True)
    return {"network": network, "batch": batch, "seconds": found, "percent": cost.median}


def seconds_of_steps(training: Training, plan: EpochPlan, recorder: Recorder | None) -> float:
    """An epoch's steps, as `engine.train` takes and records them."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for position in range(training.experiment.steps_per_epoch - 1):
        training.take_step(plan, position)
        if recorder is not None and training.step % training.experiment.train.log_every == 0:
            log_step(training, recorder)
        elif recorder is not None:
            write_arrived(training, recorder)
    torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
