"""The engine as a process of its own: a run from folder to test result, kills and resumes, longer runs, odd inputs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import engine
from engine import checkpoint, launch, process, queue
from engine.continuation import continue_from
from engine.errors import UserError
from engine.experiment import loads
from engine.runs import RunFolder, create

pytestmark = pytest.mark.slow

PRESET = """
name: small
architecture: {family: resnet, stem: 8, channels: [8, 16], blocks: [1, 1], pool: 0, head: []}
augmentation: {ops: [{op: flip}, {op: normalize, statistics: half}]}
optimizer: {algorithm: sgd, lr: 0.05, schedule: {kind: cosine}}
data: {name: shapes, validation: 1000, train_limit: 1000}
train: {epochs: 3, batch_size: 50, threads: 1, log_every: 5, checkpoint_every: 0, ema: {decay: 0.9}}
"""
CLOCK = ("t", "images_s", "epoch_s", "eval_s")


def make(root: Path, *overrides: tuple[str, str]) -> RunFolder:
    experiment = loads(PRESET, overrides=overrides)
    summary = {"state": "starting", **experiment.headline()}
    return create(root, experiment.to_yaml(), summary, {"name": "small", "tags": [], "note": ""})


def records(run: RunFolder) -> list[dict[str, Any]]:
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCK} for line in lines]


def final_weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state, _ = checkpoint.weights(run.path / "ckpt", "last")
    weights: dict[str, torch.Tensor] = state["model"]
    return weights


def finished(run: RunFolder) -> RunFolder:
    launch.start(run, by="test")
    assert launch.wait(run, 120).state == "finished", run.log_tail()
    return run


def wait_for_step(run: RunFolder, step: int) -> None:
    while run.view().state in ("starting", "running"):
        if run.view().step >= step or _last_step(run) >= step:
            return
        time.sleep(0.02)


def _last_step(run: RunFolder) -> int:
    path = run.path / "metrics.jsonl"
    whole_lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return max((json.loads(line).get("step", 0) for line in whole_lines), default=0)


def test_a_run_leaves_everything_a_reader_needs(tmp_path: Path) -> None:
    run = finished(make(tmp_path))
    view = run.view()
    assert (view.step, view.epoch) == (60, 3.0)
    assert view.test is not None
    kinds = [record["kind"] for record in records(run)]
    assert kinds.count("epoch") == 3
    assert kinds[-3:] == ["test", "test", "end"]
    result = json.loads((run.path / "results" / "test" / "result.json").read_text())
    assert sum(map(sum, result["checkpoints"]["last"]["confusion"])) == 2000
    assert result["checkpoints"]["best"]["accuracy"] == view.test
    assert json.loads((run.path / "model.json").read_text())["parameters"] == view.parameters
    network = engine.load(run.path)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_kill_9_at_any_step_and_resume_is_exact(tmp_path: Path) -> None:
    unbroken = finished(make(tmp_path))
    broken = make(tmp_path)
    launch.start(broken, by="test")
    for step in (5, 20, 35, 50):
        wait_for_step(broken, step)
        attempt = broken.newest_attempt()
        identity = attempt.engine() if attempt else None
        if identity is not None:
            process.send(identity, signal.SIGKILL)
        if launch.wait(broken, 60).state == "finished":
            break
        assert broken.view().state == "crashed"
        launch.resume(broken, by="test")
    assert launch.wait(broken, 120).state == "finished", broken.log_tail()
    attempt = broken.newest_attempt()
    assert attempt is not None
    assert attempt.number > 1
    assert records(broken) == records(unbroken)
    expected = final_weights(unbroken)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in final_weights(broken).items())


def test_a_stopped_run_resumes_exactly(tmp_path: Path, until: Callable[[Callable[[], object], str], None]) -> None:
    unbroken = finished(make(tmp_path))
    stopped = make(tmp_path)
    launch.start(stopped, by="test")
    wait_for_step(stopped, 10)
    launch.pause(stopped, by="test")  # else it might finish before the signal comes
    until(lambda: stopped.view().state == "paused", "it holds")
    launch.stop(stopped)
    view = launch.wait(stopped, 60)
    assert (view.state, view.exit_code) == ("stopped", 143)
    launch.resume(stopped, by="test")
    assert launch.wait(stopped, 120).state == "finished"
    kept = [record for record in records(stopped) if record["kind"] != "control"]
    assert kept == records(unbroken)


def test_the_newest_checkpoint_is_passed_over_when_it_is_damaged(tmp_path: Path) -> None:
    run = finished(make(tmp_path, ("train.epochs", "1")))
    newest, older = checkpoint.candidates(run.path / "ckpt")
    (run.path / "ckpt" / newest.file).write_bytes(b"damaged")
    longer = continue_from(tmp_path, run, [("train.epochs", "2")])
    launch.start(longer, by="test")
    assert launch.wait(longer, 120).state == "finished"
    assert f"checkpoint {newest.file} is not used" in longer.log_tail()
    assert f"resumed at step {older.step}" in longer.log_tail()


def test_a_finished_run_goes_on_as_a_longer_one(tmp_path: Path) -> None:
    run = finished(make(tmp_path, ("optimizer.schedule", "{kind: constant}")))
    before = records(run)
    longer = continue_from(tmp_path, run, [("train.epochs", "5")])
    launch.start(longer, by="test")
    view = launch.wait(longer, 120)
    assert (view.state, view.epoch, view.parent) == ("finished", 5.0, run.id)
    assert [r for r in records(longer) if r["kind"] == "epoch"][:3] == [r for r in before if r["kind"] == "epoch"]
    whole = finished(make(tmp_path, ("optimizer.schedule", "{kind: constant}"), ("train.epochs", "5")))
    expected = final_weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in final_weights(longer).items())


def test_a_run_that_stopped_early_goes_on_without_early_stopping(tmp_path: Path) -> None:
    stubborn = "{patience: 1, min_delta: 100}"
    run = finished(make(tmp_path, ("train.early_stopping", stubborn), ("optimizer.schedule", "{kind: constant}")))
    assert (run.view().epoch, run.view().reason) == (2.0, "early stopping")
    with pytest.raises(UserError, match=r"has trained 2 epochs and stopped early.*--set train.early_stopping=null"):
        continue_from(tmp_path, run, [("train.epochs", "3")])
    longer = finished(continue_from(tmp_path, run, [("train.early_stopping", "null")]))
    whole = finished(make(tmp_path, ("optimizer.schedule", "{kind: constant}")))
    expected = final_weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in final_weights(longer).items())


def test_a_longer_run_may_stop_early_where_the_one_before_could_not(tmp_path: Path) -> None:
    run = finished(make(tmp_path, ("train.epochs", "1")))
    stubborn = ("train.early_stopping", "{patience: 1, min_delta: 100}")
    assert finished(continue_from(tmp_path, run, [("train.epochs", "9"), stubborn])).view().epoch == 3.0


def test_a_continuation_that_would_train_nothing_is_refused(tmp_path: Path) -> None:
    run = finished(make(tmp_path, ("train.epochs", "1")))
    with pytest.raises(UserError, match="leave nothing to train"):
        continue_from(tmp_path, run, [("train.epochs", "1")])
    with pytest.raises(UserError, match="start a new run"):
        continue_from(tmp_path, run, [("optimizer.lr", "1")])


@pytest.mark.parametrize(
    ("override", "state", "reason"),
    [
        (("optimizer.lr", "1e30"), "diverged", "loss is not finite at step"),
        (("train.device", "cuda:7"), "failed", "cuda:7"),
    ],
)
def test_a_run_that_cannot_go_on_says_why(override: tuple[str, str], state: str, reason: str, tmp_path: Path) -> None:
    run = make(tmp_path, override)
    launch.start(run, by="test")
    view = launch.wait(run, 120)
    assert view.state == state
    assert reason in view.reason
    assert "Traceback" not in run.log_tail()


def test_results_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    run = finished(make(tmp_path, ("train.epochs", "1")))
    results = run.path / "results" / "test"
    (results / "result.json").unlink()
    results.rmdir()
    results.write_text("in the way")
    again = [sys.executable, "-P", "-m", "engine", "--evaluate", str(run.path)]
    outcome = subprocess.run(again, capture_output=True, text=True, timeout=120, check=False)
    assert outcome.returncode == 2
    assert outcome.stderr == f"cifar-tui: {results}: cannot be written: File exists\n"


def test_eight_runs_at_once_on_one_device_each_end_as_a_lone_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    lone = [finished(make(tmp_path / "lone", ("train.seed", seed))) for seed in ("1", "2")]
    assert of_training(lone[0]) != of_training(lone[1])
    root = tmp_path / "together"
    together = [make(root, ("train.seed", str(1 + number % 2))) for number in range(8)]
    queue.set_capacity(root, "cpu", 8)
    for run in together:
        run.write_summary(state="queued")
        queue.add(run)
    hold_until_all_are_there(together)
    for run in together:
        launch.proceed(run, "test")
    for number, run in enumerate(together):
        assert launch.wait(run, 300).state == "finished", run.log_tail()
        assert of_training(run) == of_training(lone[number % 2])
        expected = final_weights(lone[number % 2])
        assert all(torch.equal(tensor, expected[name]) for name, tensor in final_weights(run).items())


def hold_until_all_are_there(runs: list[RunFolder]) -> None:
    """Pause each as it comes, so that the first is not over before the last begins."""
    asked: set[str] = set()
    while not all(run.view().state == "paused" for run in runs):
        for run in runs:
            assert run.view().state not in ("finished", "failed", "crashed"), run.log_tail()
            if run.id not in asked and run.view().state in ("starting", "running"):
                launch.pause(run, "test")
                asked.add(run.id)
        time.sleep(0.05)


def of_training(run: RunFolder) -> list[dict[str, Any]]:
    """The records but for those that say what was asked of the run."""
    return [record for record in records(run) if record["kind"] != "control"]


def test_a_second_engine_is_refused(tmp_path: Path) -> None:
    run = make(tmp_path)
    assert run.lock.acquire(1)
    outcome = subprocess.run(
        [sys.executable, "-P", "-m", "engine", str(run.path)], capture_output=True, text=True, timeout=60, check=False
    )
    run.lock.release()
    assert outcome.returncode == 2
    assert "held by another engine" in outcome.stderr
