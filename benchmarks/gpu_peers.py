"""A peer's script, by its own file and timer, before and after our preset, whose time its run folder notes."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


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
