"""Checkpoints: named by a manifest, trusted only when size and sha256 fit, never half there."""

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import atomic, checkpoint
from engine.errors import UserError
from engine.loading import load_trained
from engine.runs import RunFolder


def state(step: int, **extra: Any) -> dict[str, Any]:
    return {"step": step, "epoch": step / 10, "model": {"w": torch.full((4,), float(step))}, **extra}


def best(step: int) -> dict[str, Any]:
    return {"metric": "val_accuracy", "value": 90.0, "step": step, "epoch": step / 10, "weights": {"w": torch.ones(4)}}


def saved(folder: Path, *steps: int) -> None:
    checkpointer = checkpoint.Checkpointer(folder)
    for step in steps:
        checkpointer.save(state(step), best(step - step % 20), metrics_offset=100 * step)
    checkpointer.close()
    assert checkpointer.problem == ""


def test_two_newest_states_and_the_best_weights_they_go_with_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20, 30, 50)
    names = {path.name for path in tmp_path.glob("*.pt")}
    assert names == {"ck_00000030.pt", "ck_00000050.pt", "best_00000020.pt", "best_00000040.pt"}
    newest, older = checkpoint.candidates(tmp_path)
    assert (newest.step, older.step) == (50, 30)
    assert newest.metrics_offset == 5000
    assert torch.equal(checkpoint.load(tmp_path, newest)["model"]["w"], torch.full((4,), 50.0))


def test_a_step_saved_again_and_killed_before_the_manifest_keeps_what_was_saved_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 10)
    checkpointer = checkpoint.Checkpointer(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_json", lambda *_: (_ for _ in ()).throw(OSError(5, "killed")))
        checkpointer.save(state(10, extra=1), None, 1000)
        checkpointer.wait()
    (entry,) = checkpoint.candidates(tmp_path)
    assert "extra" not in checkpoint.load(tmp_path, entry)
    for extra in (2, 3):
        checkpointer.save(state(10, extra=extra), None, 1000)
        checkpointer.wait()
        (entry,) = checkpoint.candidates(tmp_path)
        assert checkpoint.load(tmp_path, entry)["extra"] == extra
        assert [path.name for path in tmp_path.glob("ck_*.pt")] == [entry.file]
    checkpointer.close()


class Killed:
    """Ends this process at the given call among those that a save makes of the operating system."""

    CALLS = ("write", "fsync", "replace", "unlink")

    def __init__(self, at: int) -> None:
        self._left = at
        for name in self.CALLS:
            setattr(os, name, partial(self._count, getattr(os, name)))

    def _count(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            os._exit(9)
        return call(*arguments, **named)


def save_and_die(folder: Path, at: int) -> bool:
    """Whether a child that saves step 40, with new best weights, gets through it before the given call kills it."""
    child = os.fork()
    if child == 0:
        checkpointer = checkpoint.Checkpointer(folder)
        Killed(at)
        schema = {"schema": checkpoint.SCHEMA}
        checkpointer._write(state(40) | schema, best(40) | schema, 40, 4.0, 4000)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_a_kill_at_any_call_of_a_save_leaves_nothing_named_that_does_not_load(tmp_path: Path) -> None:
    survived, steps = False, []
    for at in range(100):
        folder = tmp_path / str(at)
        folder.mkdir(mode=0o700)
        saved(folder, 10, 20)
        survived = save_and_die(folder, at)
        entries = checkpoint.candidates(folder)
        steps.append(entries[0].step)
        for entry in entries:
            assert torch.equal(checkpoint.load(folder, entry)["model"]["w"], torch.full((4,), float(entry.step)))
            assert (checkpoint.load_best(folder, entry) or {})["step"] == entry.step - entry.step % 20
        assert atomic.sweep(folder) <= 1
        assert not list(folder.glob(".*.tmp"))
        if survived:
            break
    assert survived
    assert steps == sorted(steps)
    assert steps.count(20) > 8


def test_without_a_manifest_nothing_of_others_is_loaded_to_look_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 10)
    (tmp_path / checkpoint.MANIFEST).unlink()
    assert [entry.step for entry in checkpoint.candidates(tmp_path)] == [10]
    tmp_path.chmod(0o777)
    loaded: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *arguments, **_: loaded.append(arguments))
    with pytest.raises(UserError, match="are not loaded"):
        checkpoint.read_manifest(tmp_path)
    assert loaded == []


def test_weights_of_another_network_are_a_sentence(trained_run: Callable[..., RunFolder]) -> None:
    run = trained_run()
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("[8, 12]", "[8, 16]"))
    with pytest.raises(UserError, match=r"the last checkpoint of run .* does not fit its config.yaml: .*size mismatch"):
        load_trained(run.path, "last")


def test_what_others_can_write_is_not_loaded(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    (entry,) = checkpoint.candidates(tmp_path)
    tmp_path.chmod(0o770)
    for read in (checkpoint.candidates, lambda folder: checkpoint.load(folder, entry)):
        with pytest.raises(UserError, match="belongs to another user or can be written by one"):
            read(tmp_path)


def test_what_is_saved_is_a_copy_of_the_moment(tmp_path: Path) -> None:
    weights = torch.zeros(3)
    checkpointer = checkpoint.Checkpointer(tmp_path)
    checkpointer.save(state(1, model={"w": weights}), None, 0)
    weights.fill_(7.0)
    checkpointer.close()
    loaded = checkpoint.load(tmp_path, checkpoint.candidates(tmp_path)[0])
    assert torch.equal(loaded["model"]["w"], torch.zeros(3))


@pytest.mark.parametrize("position", [0, 100, 700, -1])
def test_one_flipped_bit_is_refused(position: int, tmp_path: Path) -> None:
    saved(tmp_path, 10)
    entry = checkpoint.candidates(tmp_path)[0]
    path = tmp_path / entry.file
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="sha256"):
        checkpoint.load(tmp_path, entry)


@pytest.mark.parametrize("kept", [0, 1, 500])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    saved(tmp_path, 10)
    entry = checkpoint.candidates(tmp_path)[0]
    os.truncate(tmp_path / entry.file, kept)
    with pytest.raises(UserError, match="bytes where the manifest says"):
        checkpoint.load(tmp_path, entry)


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch hostile-ran",)


def test_a_pickle_that_would_run_code_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    import hashlib

    data = pickle.dumps(Hostile())
    (tmp_path / "ck_00000001.pt").write_bytes(data)
    entry = checkpoint.Entry("ck_00000001.pt", len(data), hashlib.sha256(data).hexdigest(), 1, 0.1, 0)
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(tmp_path, entry)
    assert not (tmp_path / "hostile-ran").exists()


def test_a_save_that_fails_says_so_and_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpointer = checkpoint.Checkpointer(tmp_path)
    checkpointer.save(state(10), None, 0)
    checkpointer.wait()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_bytes", full)
        checkpointer.save(state(20), None, 0)
        checkpointer.wait()
    assert "No space left" in checkpointer.problem
    assert [entry.step for entry in checkpoint.candidates(tmp_path)] == [10]
    checkpointer.save(state(30), None, 0)
    checkpointer.close()
    assert checkpointer.problem == ""
    assert checkpoint.candidates(tmp_path)[0].step == 30


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b'{"files": 3}', b'{"files": [{"file": "../../x.pt"}]}', b'{"files": [7, {"file": "a"}]}', b"\0" * 64],
)
def test_a_manifest_that_is_damaged_vouches_for_nothing(manifest: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    assert checkpoint.candidates(tmp_path) == []


def test_an_entry_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    entry = {"file": "../ck_1.pt", "size": 1, "sha256": "", "step": 1, "epoch": 1.0, "metrics_offset": 0}
    assert checkpoint.Entry.from_json(entry) is None


def test_without_a_checkpoint_the_sentence_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "ckpt"
    saved(folder, 10)
    entry = checkpoint.candidates(folder)[0]
    (folder / entry.file).unlink()
    anew = f"train the run anew with cifar-tui --run {tmp_path / 'config.yaml'}"
    with pytest.raises(UserError, match=rf"{folder / entry.file} is gone: put it back, or {anew}"):
        checkpoint.weights(folder, "last")
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=rf"{folder}: no checkpoint to load; {anew}"):
        checkpoint.weights(folder, "best")
