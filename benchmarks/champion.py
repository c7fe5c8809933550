"""Our contenders, a seed after another, each written to results/MACHINE/PRESET.json as soon as it is trained.

    python -m benchmarks.champion [--preset champion_5m] [--seeds 0 1 2 3 4] [--runs DIR] [--set KEY=VALUE]

A seed is a run like any other: last epoch, nothing chosen on the test set, which is looked at without and with
test-time augmentation. Called again it goes on with the seeds that this very recipe has not been trained with.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from engine import checkpoint, device, runs
from engine.data.dataset import load as load_data
from engine.evaluate import Views, logits_of, score
from engine.experiment import Experiment, load, loads
from engine.runs import RunFolder
from engine.training import Training

COMMAND = [sys.executable, "-m", "tui"]
EVERY_VIEW: tuple[Views, ...] = ("none", "flip", "flip_translate")


def main() -> int:
    """Train what is missing, write every seed down, print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="champion_5m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--runs", type=Path, help="where the runs go; by default where cifar-tui keeps them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another recipe, as for --run")
    options = parser.parse_args()
    changes = [(key, value) for key, _, value in (text.partition("=") for text in options.set)]
    recipe = load(options.preset, changes).group_hash
    results: list[dict[str, Any]] = report.saved(options.preset, on_gpu=True).get("seeds", [])
    for seed in options.seeds:
        if any((result["recipe"], result["seed"]) == (recipe, seed) for result in results):
            print(f"{options.preset}, seed {seed}: written already")
            continue
        run = trained(options.preset, seed, options.set, runs.runs_root(options.runs))
        if run is None:
            return 1
        results.append({"recipe": recipe, **judged(run)})
        report.save(options.preset, {"seeds": results}, on_gpu=True)
    print(summary(options.preset, [result for result in results if result["recipe"] == recipe]))
    return 0


def trained(preset: str, seed: int, changes: list[str], root: Path) -> RunFolder | None:
    """The finished run of a seed, which goes on if this process ends; None where it did not come to its end."""
    where = ["--runs", str(root)]
    arguments = [part for change in changes for part in ("--set", change)]
    start = [
        *COMMAND,
        "--run",
        preset,
        "--seed",
        str(seed),
        "--name",
        f"{preset} {seed}",
        "--detach",
        *where,
        *arguments,
    ]
    name = subprocess.run(start, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    subprocess.run([*COMMAND, "--watch", name, *where], check=False)
    run = runs.find(root, name)
    return run if run.view().state == "finished" else None


def judged(run: RunFolder) -> dict[str, Any]:
    """Accuracy in percent of the last weights in every set of views, and what it took."""
    experiment = loads(run.config_text(), str(run.path / "config.yaml"))
    summary = run.summary()
    return {
        "seed": experiment.train.seed,
        "run": run.id,
        "when": time.strftime("%Y-%m-%d"),
        "device": summary["device"],
        "torch": str(torch.__version__),
        "parameters": summary["parameters"],
        "epochs": summary["epochs"],
        "active_s": summary["active_s"],
        "accuracy": accuracies(experiment, run),
    }


def accuracies(experiment: Experiment, run: RunFolder) -> dict[str, float]:
    """On the test set, by views."""
    runtime = device.settle(experiment.train, experiment.total_steps)
    device.apply(runtime)
    training = Training(experiment, runtime, load_data(experiment.data))
    training.load_state_dict(checkpoint.weights(run.path / "ckpt", "last")[0], None)
    images, labels = training.data.test_images, training.data.test_labels
    found: dict[str, float] = {}
    with training.evaluated_weights() as model:
        for views in EVERY_VIEW:
            size = experiment.train.eval_batch_size
            logits = logits_of(model, images, training.normalise, runtime, size, views)
            found[views] = score(logits, labels, training.plain_loss).accuracy
    return found


def summary(preset: str, results: list[dict[str, Any]]) -> str:
    """A line a seed, and mean and standard deviation."""
    rows = [
        [
            str(result["seed"]),
            *(f"{result['accuracy'][views]:.2f}" for views in EVERY_VIEW),
            f"{result['active_s']:.0f}",
        ]
        for result in results
    ]
    columns = [[result["accuracy"][views] for result in results] for views in EVERY_VIEW]
    if len(results) > 1:
        spread = [f"{statistics.mean(column):.2f} ± {statistics.stdev(column):.2f}" for column in columns]
        rows.append(["mean ± sd", *spread, ""])
    return report.table([f"{preset}, seed", "test %", "with mirror %", "with six views %", "seconds"], rows)


if __name__ == "__main__":
    sys.exit(main())
