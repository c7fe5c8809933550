"""``python -m benchmarks.torture``: hours of faults, then a table of what was tried and what survived.

``--brief`` is a few minutes of the same; ``--only kills,disks`` takes some of it. Needs no network; what needs root and
loop devices, or a GPU, says so and is left out without them. Each trial's figures go to
benchmarks/results/torture.json as they come, so that a night cut short leaves those it had.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.torture import disks, fuzz, gpu, hostile, kills, scale, slow, storms, strangers
from benchmarks.torture.outcome import Budget, Outcome, Trial, timed

TRIALS: dict[str, Trial] = {
    "kills": kills.kills,
    "cuts": disks.power_cuts,
    "disks": disks.full_disks,
    "slow": slow.slow_disk,
    "checkpoints": fuzz.checkpoints,
    "presets": fuzz.presets,
    "metrics": fuzz.metrics,
    "folders": fuzz.folders,
    "strangers": strangers.strangers,
    "runs": scale.many_runs,
    "strays": scale.strays,
    "logs": scale.long_logs,
    "plain": hostile.in_plain_output,
    "screens": hostile.on_screens,
    "storms": storms.storms,
    "terminals": storms.lost_terminals,
    "gpu": gpu.memory_after_kill,
    "soak": scale.soak,
}
NIGHT = Budget(seeds=5, kills=200, cuts=30, fuzz=20_000, runs=10_000, storms=10, soak_s=3600)
BRIEF = Budget(seeds=1, kills=20, cuts=5, fuzz=1_000, runs=1_000, storms=1, soak_s=60)


def main() -> int:
    """Run the trials; returns 1 when anything did not survive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--brief", action="store_true", help="a few minutes instead of hours")
    for name in ("seeds", "kills", "cuts", "fuzz", "runs", "storms"):
        parser.add_argument(f"--{name}", type=int, help=f"{vars(NIGHT)[name]:,}; brief {vars(BRIEF)[name]:,}")
    parser.add_argument("--soak", dest="soak_s", type=float, metavar="SECONDS", help="3600; with --brief 60")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices: 1")
    parser.add_argument("--only", default=",".join(TRIALS), help=f"some of {','.join(TRIALS)}")
    parser.add_argument("--unrecorded", action="store_true", help="write no figures")
    args = parser.parse_args()
    base = BRIEF if args.brief else NIGHT
    given = {name: value for name in vars(base) if (value := getattr(args, name)) is not None}
    budget = replace(base, **given)
    chosen = args.only.split(",")
    if unknown := set(chosen) - set(TRIALS):
        parser.error(f"no such trial: {', '.join(sorted(unknown))}")
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    outcomes: list[Outcome] = []
    try:
        for name in chosen:
            print(f"{name} …", flush=True)
            found = []
            for outcome in timed(TRIALS[name], budget, random.Random(f"{args.seed} {name}"), folder / name):
                found.append(outcome)
                for failure in outcome.failures[:5]:
                    print(f"    {failure[:500]}", flush=True)
                if not args.unrecorded:
                    _record(name, found, budget)
            outcomes += found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(_table(outcomes))
    return int(any(outcome.failures for outcome in outcomes))


def _table(outcomes: list[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        held = "skipped" if outcome.skipped else f"{outcome.survived:,} of {outcome.tries:,}"
        rows.append((outcome.fault, f"{outcome.tries:,}", held, f"{outcome.seconds:.0f} s"))
    table = report.table(("fault", "tries", "survived", "time"), rows)
    notes = [(outcome.fault, outcome.skipped or outcome.detail) for outcome in outcomes]
    return "\n".join([table, "", *(f"{fault}: {note}" for fault, note in notes if note)])


def _record(trial: str, outcomes: list[Outcome], budget: Budget) -> None:
    """Put what is known of one trial into the results, whose other trials stay as they are."""
    path = report.RESULTS / "torture.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    found = {**report.environment(), "budget": vars(budget), "faults": [vars(outcome) for outcome in outcomes]}
    path.write_text(json.dumps({**recorded, trial: found}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
