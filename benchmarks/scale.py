"""Whether a run may be long and its batches any size: time and memory must stay flat.

    python -m benchmarks.scale [--quick]

10,000 epochs of logging, a million logged steps tailed into curves, and batches of 1 to 50,000 images on a tiny
network.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import report

EPOCHS, STEPS, PARTS = 10_000, 1_000_000, 10
BATCHES = (1, 10, 100, 1_000, 10_000, 50_000)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the epochs and steps, batches to 1,000")
    quick = parser.parse_args().quick
    share = 10 if quick else 1
    with tempfile.TemporaryDirectory() as folder:
        epochs = logged_epochs(Path(folder), EPOCHS // share)
        steps = tailed_steps(Path(folder) / "metrics.jsonl", STEPS // share)
    print(parts_table(f"logging {EPOCHS // share:,} epochs", "us an epoch", epochs))
    print()
    print(parts_table(f"tailing {STEPS // share:,} step records into curves", "us a record", steps))
    batches = batch_sizes(BATCHES[:4] if quick else BATCHES)
    rows = [[f"{row['batch']:,}", f"{row['images_s']:,.0f}", f"{row['peak_mib']:,.0f}"] for row in batches]
    print()
    print(report.table(["images a step, tiny network", "im/core-s", "peak memory MiB"], rows))
    report.save("scale", {"epochs": epochs, "steps": steps, "batches": batches})


def parts_table(head: str, unit: str, parts: list[dict[str, float]]) -> str:
    """A line a tenth of the way."""
    rows = [[f"{part['done']:,.0f}", f"{part['us']:.1f}", f"{part['mib']:.0f}"] for part in parts]
    return report.table([head, unit, "memory MiB"], rows)


def logged_epochs(folder: Path, epochs: int) -> list[dict[str, float]]:
    """What a recorder spends on an epoch, and the memory of the process, ten times on the way."""
    from engine import runs
    from engine.recorder import Recorder

    run = runs.create(folder, "train: {}\n", {"state": "running"}, {})
    parts = []
    with Recorder(run, {}) as recorder:
        for part in range(PARTS):
            began = time.process_time()
            for epoch in range(part * epochs // PARTS, (part + 1) * epochs // PARTS):
                accuracy = 90 + epoch % 7
                recorder.record("epoch", epoch=epoch, step=epoch * 400, train_loss=0.1, train_accuracy=accuracy)
                recorder.add_spark(accuracy)
                recorder.update(epoch=epoch, last={"train_accuracy": accuracy})
            spent = time.process_time() - began
            parts.append(_part((part + 1) * epochs // PARTS, spent * PARTS / epochs))
    return parts


def tailed_steps(path: Path, steps: int) -> list[dict[str, float]]:
    """What a screen spends on following a log that grows, and its memory, ten times on the way."""
    from engine.curves import Curves

    curves = Curves(path)
    parts = []
    with path.open("a") as log:
        for part in range(PARTS):
            first, last = part * steps // PARTS, (part + 1) * steps // PARTS
            log.writelines(_line(step) for step in range(first, last))
            log.flush()
            began = time.process_time()
            while curves.poll():
                pass
            curves.series("loss")
            parts.append(_part(last, (time.process_time() - began) / (last - first)))
    return parts


def _line(step: int) -> str:
    return (
        f'{{"kind":"step","schema":1,"t":{1.7e9 + step / 100:.2f},"step":{step},"epoch":{step / 391:.6f},'
        f'"loss":{2 / (1 + step / 1e4):.6f},"accuracy":{step % 100}.5,"lr":0.1,"grad_norm":0.84,"images_s":9241.0}}\n'
    )


def _part(done: int, seconds: float) -> dict[str, float]:
    return {"done": done, "us": 1e6 * seconds, "mib": psutil.Process().memory_info().rss / 2**20}


def batch_sizes(sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """Speed and peak memory of a few steps at each size, each in a process of its own."""
    rows = []
    for size in sizes:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, f"{_speed(size)}".encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            speed = answer.read()
        _, status, usage = os.wait4(child, 0)
        if status:
            raise RuntimeError(f"a batch of {size} ended with status {status}")
        rows.append({"batch": size, "images_s": float(speed), "peak_mib": usage.ru_maxrss / 2**10})
    return rows


def _speed(size: int) -> float:
    """Images per CPU second over at least two steps."""
    import torch

    from engine import device
    from engine.data.dataset import Dataset
    from engine.experiment import load
    from engine.training import Training

    settings = load(
        "quickstart",
        [
            ("data.name", "cifar10"),
            ("data.validation", "0"),
            ("train.threads", "1"),
            ("train.batch_size", str(size)),
        ],
    )
    runtime = device.settle(settings.train, settings.total_steps)
    device.apply(runtime)
    pixels = torch.randint(0, 256, (50_000, 32, 32, 3), dtype=torch.uint8)
    answers = torch.randint(0, 10, (50_000,))
    data = Dataset(pixels, answers, pixels[:0], answers[:0], pixels[:8], answers[:8], tuple("abcdefghij"))
    training = Training(settings, runtime, data)
    plan = training.draw_epoch()
    training.take_step(plan, 0)
    steps = min(max(2, 2_000 // size), settings.steps_per_epoch - 1) or 1
    began = report.cpu_seconds()
    for position in range(1, steps + 1):
        training.take_step(plan, position if settings.steps_per_epoch > 1 else 0)
    return steps * size / (report.cpu_seconds() - began)


if __name__ == "__main__":
    main()
