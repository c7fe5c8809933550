"""The benchmarks' shared parts, and that each says what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import report

ROOT = Path(__file__).parents[1]
EVERY = ("augment", "engine", "gpu", "logging_cost", "scale", "startup", "threads")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_a_spread_is_median_least_and_greatest() -> None:
    assert report.Spread.of([3.0, 1.0, 2.0]).text(".1f") == "2.0 (1.0–3.0)"


def test_a_table_aligns_its_first_column_left_and_the_others_right() -> None:
    lines = report.table(["way", "speed"], [["ours", "12"], ["usual", "3"]]).splitlines()
    assert lines[2:] == ["ours      12", "usual      3"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_each_explains_itself(name: str) -> None:
    done = run(f"benchmarks.{name}", "--help")
    assert done.returncode == 0
    assert f"python -m benchmarks.{name}" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_gpu_benchmark_says_so_in_a_sentence() -> None:
    done = run("benchmarks.gpu")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "needs a CUDA GPU" in done.stderr


def test_an_unknown_argument_lists_the_benchmarks() -> None:
    done = run("benchmarks", "nonsense")
    assert done.returncode == 2
    assert "augment" in done.stderr
