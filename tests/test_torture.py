"""A small share of every trial of `make torture`: each still runs, and everything survives it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ("--seeds=1", "--kills=3", "--cuts=1", "--fuzz=200", "--runs=40", "--storms=1", "--soak=4")

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "trials",
    [
        "checkpoints,presets,metrics,folders,strangers",
        "kills",
        "cuts,disks",
        "runs,strays,plain",
        "screens,terminals,soak",
    ],
)
def test_everything_survives(trials: str) -> None:
    command = [sys.executable, "-m", "benchmarks.torture", "--unrecorded", *SMALL, "--only", trials]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "survived" in ended.stdout
