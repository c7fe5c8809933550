"""How long one waits: imports, the command line, the first step, the first metric. Wall seconds, each in a new process.

python -m benchmarks.startup [--rounds 5] [--quick]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report

SCRIPTS = {
    "nothing: the interpreter": "pass",
    "import engine.experiment (no torch)": "import engine.experiment",
    "import tui.cli": "import tui.cli",
    "import torch": "import torch",
    "import engine.worker (torch)": "import engine.worker",
    "first training step done": """
from engine import device
from engine.data.dataset import load as data
from engine.experiment import load
from engine.training import Training
settings = load("quickstart")
runtime = device.settle(settings.train, settings.total_steps)
device.apply(runtime)
training = Training(settings, runtime, data(settings.data, None))
training.take_step(training.draw_epoch(), 0)
""",
}
COMMANDS = {
    "cifar-tui --help": ["--help"],
    "cifar-tui --list": ["--list"],
    "cifar-tui --list-presets": ["--list-presets"],
}
COMMAND = str(Path(sys.executable).with_name("cifar-tui"))
PATIENCE_S = 120.0


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="leave out the whole run up to its first metric")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CIFAR_TUI_RUNS": folder}
        for _ in range(options.rounds):
            for name, script in SCRIPTS.items():
                seconds.setdefault(name, []).append(process([sys.executable, "-c", script], environment))
            for name, arguments in COMMANDS.items():
                command = [COMMAND, *arguments]
                seconds.setdefault(name, []).append(process(command, environment))
        if not options.quick:
            name = "cifar-tui --run quickstart: first metric"
            seconds[name] = [first_metric(Path(folder), environment) for _ in range(min(3, options.rounds))]
    rows = [[name, report.Spread.of(values).text(".2f")] for name, values in seconds.items()]
    print(report.table(["until", "seconds"], rows))
    report.save("startup", {"seconds": seconds})


def process(command: list[str], environment: dict[str, str]) -> float:
    """Wall seconds of one process. Raises CalledProcessError when it fails."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_metric(folder: Path, environment: dict[str, str]) -> float:
    """Wall seconds from the command to the first record of its metrics.jsonl; the run is stopped then."""
    before = set(folder.glob("*/metrics.jsonl"))
    command = [COMMAND, "--run", "quickstart", "--detach"]
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    while time.perf_counter() - began < PATIENCE_S:
        new = [path for path in set(folder.glob("*/metrics.jsonl")) - before if path.stat().st_size]
        if new:
            elapsed = time.perf_counter() - began
            stop = [COMMAND, "--stop", new[0].parent.name]
            subprocess.run(stop, env=environment, check=True, stdout=subprocess.DEVNULL)
            return elapsed
        time.sleep(0.01)
    raise TimeoutError(f"no metric after {PATIENCE_S:.0f} s")


if __name__ == "__main__":
    main()
