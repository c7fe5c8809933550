"""The augmentation alone against the usual per-image pipeline: images per second of CPU time, in turns, one thread.

    python -m benchmarks.augment [--rounds 5] [--batches 40] [--eager]

The usual way is torchvision's transforms on one PIL image after another in two DataLoader workers, as most CIFAR code
has it. Ours is measured step by step, as the engine takes it on a CPU without AVX-512, and compiled by inductor, as
elsewhere. What the engine tells the C library of freed memory holds for both.
"""

import argparse
from collections.abc import Callable

import torch

from benchmarks import report, usual_loop
from benchmarks.engine import timed
from engine import device
from engine.augment import Augmenter, build
from engine.data import shapes
from engine.options.augmentation import Augmentation

BATCH = 128
Operations = list[dict[str, object]]

NORMALIZE: dict[str, object] = {"op": "normalize"}
CROP_FLIP: Operations = [{"op": "crop"}, {"op": "flip"}]
TASKS: dict[str, Operations] = {
    "crop, flip, normalise": [*CROP_FLIP, NORMALIZE],
    "rotate, crop, flip, normalise": [{"op": "rotate", "degrees": 5.0}, *CROP_FLIP, NORMALIZE],
}
OURS_ALONE: dict[str, Operations] = {"crop, flip, normalise, cutout": [*CROP_FLIP, NORMALIZE, {"op": "cutout"}]}

Pass = Callable[[], None]


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40, help="batches a round and way")
    parser.add_argument("--eager", action="store_true", help="leave out what needs a C++ compiler")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device.keep_freed_memory()
    figures, rows = {}, []
    for task, operations in {**TASKS, **OURS_ALONE}.items():
        speeds = compare(task, operations, options.rounds, options.batches, compiled=not options.eager)
        figures[task] = speeds
        rows += [row(task, way, speeds) for way in speeds]
    print(report.table(["augmentation, batch 128", "way", "im/core-s", "ratio to the usual"], rows))
    report.save("augment", {"batch": BATCH, "images_per_cpu_second": figures})


def row(task: str, way: str, speeds: dict[str, list[float]]) -> list[str]:
    """One line of the table; the ratio is taken round by round."""
    spread = report.Spread.of(speeds[way]).text()
    if "usual" not in speeds or way == "usual":
        return [task, way, spread, ""]
    ratios = [ours / usual for ours, usual in zip(speeds[way], speeds["usual"], strict=True)]
    return [task, way, spread, report.Spread.of(ratios).text(".1f")]


def compare(task: str, operations: Operations, rounds: int, batches: int, *, compiled: bool) -> dict[str, list[float]]:
    """Images per CPU second of each way, a value a round, the ways in turns."""
    images, labels, *_ = shapes.draw(0, BATCH * batches, 32, 3)
    pixels, answers = torch.from_numpy(images), torch.from_numpy(labels)
    augmenter = build(Augmentation.model_validate({"ops": operations}), 32, 3, len(shapes.CLASSES), pixels)
    ways: dict[str, Pass] = {}
    if task in TASKS:
        pictures = usual_loop.Pictures(images, labels.tolist(), rotate="rotate" in task)
        ways["usual"] = loaded(usual_loop.loader(pictures, BATCH, workers=2))
    ways["eager"] = augmented(augmenter, augmenter.__call__, pixels, answers)
    if compiled:
        ways["compiled"] = augmented(augmenter, torch.compile(augmenter.__call__), pixels, answers)
    for warm in ways.values():
        warm()
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, once in ways.items():
            speeds[way].append(timed(once, BATCH * batches))
    return speeds


def loaded(batches: torch.utils.data.DataLoader[tuple[torch.Tensor, int]]) -> Pass:
    """A pass over a DataLoader, its workers started and reaped within."""

    def once() -> None:
        for _ in batches:
            pass

    return once


def augmented(augmenter: Augmenter, step: Callable[..., object], pixels: torch.Tensor, answers: torch.Tensor) -> Pass:
    """A pass of ours, the epoch's draws included."""

    def once() -> None:
        plan = augmenter.draw_epoch(0, 0, len(pixels))
        for index in torch.split(plan.order, BATCH):
            step(pixels, answers, index, plan)

    return once


if __name__ == "__main__":
    main()
