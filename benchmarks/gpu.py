"""Everything worth knowing of a GPU inside eight minutes. Nothing else should run on it meanwhile.

    python -m benchmarks.gpu [--rounds 5] [--minutes 8]
    python -m benchmarks.gpu --peer airbench94=PATH/airbench94_muon.py --runs 10

Calibration (matrix product, copy, cost of one eager operation), the augmentation alone, and the training step: eager,
compiled, and captured in a graph, for three networks and two batch sizes. With ``--peer``, instead: that script as it
is, by its own file and timer, before and after our preset of that name, whose time its run folder notes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from engine import device
from engine.augment import EpochPlan
from engine.data import shapes
from engine.data.dataset import Dataset
from engine.experiment import load
from engine.training import Training

NETWORKS = ("resnet_5m", "resnet18", "wrn28_10")
BATCHES = (128, 512)
# Of train.compile and train.graph.
WAYS = {"eager": ("off", "off"), "graph": ("off", "on"), "compile": ("on", "off"), "compile + graph": ("on", "on")}
IMAGES = 50_000
STEPS_S = 0.4


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=8.0, help="cells that do not fit any more are left out")
    parser.add_argument("--peer", action="append", default=[], metavar="PRESET=SCRIPT", help="a peer's script")
    parser.add_argument("--runs", type=int, default=10, help="runs of each peer and of our preset")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.gpu needs a CUDA GPU, and torch sees none here.", file=sys.stderr)
        return 2
    if options.peer:
        report.save("gpu_peers", {"peers": [beside_peer(peer, options.runs) for peer in options.peer]})
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    figures: dict[str, Any] = {"calibration": calibration(), "augmentation": augmentation(), "steps": []}
    for batch in BATCHES:
        for network in NETWORKS:
            figures["steps"] += cells(network, batch, options.rounds, deadline)
            report.save("gpu", figures)
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


def beside_peer(peer: str, runs: int) -> dict[str, Any]:
    """A peer's script in turns with our preset; what each printed and the wall seconds of each process."""
    preset, _, script = peer.partition("=")
    path = Path(script).resolve()
    results: dict[str, Any] = {"preset": preset, "script": path.name, "peer": [], "ours": []}
    # The script times itself and repeats on its own; one process of it stands for all its runs.
    results["peer"].append(peer_run(path))
    for seed in range(runs):
        results["ours"].append(our_run(preset, seed))
        print(f"{preset} seed {seed}: {results['ours'][-1]}", flush=True)
    results["peer"].append(peer_run(path))
    return results


def peer_run(path: Path) -> dict[str, Any]:
    """Run a script in its own folder; its last lines hold its own figures."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, path.name], cwd=path.parent, capture_output=True, text=True, check=False)
    lines = done.stdout.replace("\r", "\n").splitlines()[-6:]
    print("\n".join(lines), flush=True)
    return {"exit": done.returncode, "last_lines": lines, "wall_s": time.perf_counter() - began}


def our_run(preset: str, seed: int) -> dict[str, Any]:
    """Train a preset; its accuracy, and the active seconds that its run folder notes (without compiling)."""
    command = str(Path(sys.executable).with_name("cifar-tui"))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        arguments = [command, "--run", preset, "--seed", str(seed), "--runs", folder]
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
        wall_s = time.perf_counter() - began
        result = json.loads(next(Path(folder).glob("*/results/test/result.json")).read_text())
    accuracy = result["checkpoints"]["last"]["accuracy"]
    return {"seed": seed, "accuracy": accuracy, "active_s": result["active_s"], "wall_s": wall_s}


if __name__ == "__main__":
    sys.exit(main())
