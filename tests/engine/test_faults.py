"""Faults that concern several rooms at once, and what each protection keeps away, seen with it switched off."""

import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import atomic, presets, process
from engine.attempts import free_reserve
from engine.errors import UserError
from engine.experiment import load, loads
from engine.recorder import Recorder
from engine.runs import MetricsTail, MetricsWriter, RunFolder, create, list_runs

Until = Callable[[Callable[[], object], str], None]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = create(tmp_path / "runs", "name: x\n", {"state": "starting"}, {"name": "x"})
    run.new_attempt()
    return run


class TestFolderGone:
    def test_a_deleted_run_folder_ends_the_engine_in_a_sentence_and_is_not_made_again(
        self, run: RunFolder, until: Until
    ) -> None:
        def ended() -> bool:
            try:
                recorder.requests()
            except UserError as error:
                return "is gone" in str(error)
            return False

        with Recorder(run, {"state": "running"}) as recorder:
            recorder.record("step", step=1)
            shutil.rmtree(run.path)
            until(ended, "the engine sees that its folder is gone")
            recorder.record("step", step=2)
            recorder.end("failed", "gone")
        assert not run.path.exists()

    def test_a_run_whose_folder_is_gone_is_no_longer_listed_and_reads_as_nothing(self, run: RunFolder) -> None:
        shutil.rmtree(run.path)
        assert run.log_tail() == ""
        assert run.summary() == {}
        assert run.view().state in ("crashed", "unknown")


class FullDisk:
    """A disk on which nothing can be written until it is freed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, data)


class TestFullDisk:
    def test_the_trouble_is_shown_while_it_lasts_and_no_longer(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = FullDisk(monkeypatch)
        with Recorder(run, {"state": "running", "problem": ""}) as recorder:
            disk.full = True
            recorder.record("step", step=1)
            disk.full = False
            recorder.update(problem="checkpoint not written: the disk is full")
            recorder.write_summary()
            assert "checkpoint not written" in run.view().problem
            recorder.update(problem="")
            recorder.record("step", step=2)
            recorder.write_summary()
            assert run.view().problem == ""
        assert [record["step"] for record in MetricsTail(run.path / "metrics.jsonl").poll()] == [1, 2]

    def test_the_last_records_are_paid_for_by_the_reserve(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = FullDisk(monkeypatch)

        def give_back(folder: Path) -> None:
            free_reserve(folder)
            disk.full = False

        monkeypatch.setattr("engine.recorder.free_reserve", give_back)
        with Recorder(run, {"state": "running"}) as recorder:
            disk.full = True
            for step in range(2000):
                recorder.record("step", step=step)
            recorder.record("epoch", epoch=1)
            recorder.end("finished")
        kinds = [record["kind"] for record in MetricsTail(run.path / "metrics.jsonl").poll()]
        assert kinds[-2:] == ["epoch", "end"]
        assert 0 < kinds.count("step") < 2000
        assert not (run.path / ".reserve").exists()


TWICE = """
import sys, time
from pathlib import Path
from engine import recorder
from engine.runs import RunFolder
recorder.ECHO_S = 0.0
with recorder.Recorder(RunFolder(Path(sys.argv[1])), {"state": "running"}) as clerk:
    clerk.record("step", step=1)
    while True:
        print(len(clerk.requests()), flush=True)
        time.sleep(0.01)
"""


def test_a_second_signal_leaves_at_once_and_the_state_says_so(run: RunFolder) -> None:
    engine = subprocess.Popen([sys.executable, "-P", "-c", TWICE, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    engine.stdout.readline()
    engine.send_signal(signal.SIGINT)
    while engine.stdout.readline() == "0\n":
        pass
    engine.send_signal(signal.SIGTERM)
    engine.communicate(timeout=60)
    assert engine.returncode == 128 + signal.SIGTERM
    assert (run.summary()["state"], run.summary()["reason"]) == ("stopped", "left at once, without a checkpoint")


def test_looking_at_a_run_changes_nothing_in_it(run: RunFolder) -> None:
    def everything() -> dict[Path, tuple[int, bytes]]:
        files = [path for path in run.path.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    (run.newest_attempt() or run.new_attempt()).set_engine(replace(process.Identity.current(), start_ticks=1))
    before = everything()
    for _ in range(2):
        list_runs(run.path.parent)
        run.view()
        MetricsTail(run.path / "metrics.jsonl").poll()
        run.log_tail()
    assert everything() == before


class TestReadOnlyDisk:
    @pytest.fixture
    def frozen(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
        """A run on a disk that takes no changes any more."""
        real = os.open

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        def reading_only(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            return refuse() if flags & (os.O_WRONLY | os.O_RDWR) else real(path, flags, *arguments, **named)  # type: ignore[return-value]

        monkeypatch.setattr(os, "open", reading_only)
        for name in ("mkdir", "rename", "replace", "unlink", "chmod"):
            monkeypatch.setattr(os, name, refuse)
        return run

    def test_it_is_browsed_and_a_start_is_refused_with_path_and_reason(self, frozen: RunFolder) -> None:
        root = frozen.path.parent
        assert [view.name for view in list_runs(root)] == ["x"]
        with pytest.raises(UserError, match=f"{root}: Read-only file system; give another folder with --runs"):
            create(root, "", {}, {})


class TestNamedFiles:
    """What a person names as a preset."""

    def test_odd_files_are_named_without_waiting_for_them(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "folder").mkdir()
        for name in ("fifo", "folder"):
            with pytest.raises(UserError, match="not a regular file"):
                presets.read(tmp_path / name)
        with pytest.raises(UserError, match="not a regular file"):
            presets.read(Path("/dev/zero"))
        for missing in (tmp_path / "missing", Path("a\0b")):
            with pytest.raises(UserError, match="no such file"):
                presets.read(missing)
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(UserError, match="cannot be read"):
            presets.read(tmp_path / "loop")

    def test_a_preset_deleted_under_the_run_is_not_missed(self, tmp_path: Path) -> None:
        preset = tmp_path / "mine.yaml"
        preset.write_text("architecture: tiny\naugmentation: shapes_flip\noptimizer: quick\ndata: {name: shapes}\n")
        experiment = load(str(preset))
        run = create(tmp_path / "runs", experiment.to_yaml(), {}, {})
        preset.unlink()
        assert loads(run.config_text()) == experiment

    def test_a_linked_preset_is_read_and_a_large_one_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "real.yaml").write_text("name: x\n")
        (tmp_path / "link.yaml").symlink_to("real.yaml")
        assert presets.read(tmp_path / "link.yaml").value == {"name": "x"}
        with (tmp_path / "large.yaml").open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(UserError, match="allowed are 65,536"):
            presets.read(tmp_path / "large.yaml")


def test_a_gigabyte_of_log_costs_what_is_shown_of_it(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with (run.path / "log.txt").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe last line\n")
    read, sizes = os.pread, []

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert run.log_tail().endswith("the last line\n")
    assert sum(sizes) <= 64 << 10


def test_a_clock_that_jumps_changes_neither_order_nor_durations(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write_summary(state="running", eta_s=-5.0, active_s=-3.0, attempt=1)
    now = time.time()
    for jump in (-3600.0, 86400.0 * 365):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        view = run.view()
        assert view.eta_s == 0.0
        assert view.active_s == 0.0
        assert not view.quiet


PRIVATE = """
import os, sys
os.umask(0)
from pathlib import Path
from engine import counts_cache, runs
from engine.queue import add, pause
from engine.recorder import Recorder
root = Path(sys.argv[1])
run = runs.create(root, "name: x\\n", {"state": "queued"}, {"name": "x"})
pause(root)
run.new_attempt()
with Recorder(run, {"state": "running"}) as recorder:
    recorder.record("step", step=1)
    recorder.end("finished")
run.set_user(note="y")
run.request("stop", "me")
runs.list_runs(root)
runs.delete(runs.create(root, "", {"state": "stopped"}, {"name": "z"}))
"""


def test_whatever_the_umask_nothing_is_readable_by_others(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-P", "-c", PRIVATE, str(tmp_path / "runs")], check=True)
    written = [tmp_path / "runs", *(tmp_path / "runs").rglob("*"), *Path.home().rglob("*")]
    ours = [path for path in written if path.lstat().st_uid == os.geteuid()]
    assert len(ours) > 12
    assert {path.name for path in ours if stat.S_IMODE(path.lstat().st_mode) & 0o077} == set()


class TestManifest:
    """Checkpoints are trusted by their manifest alone."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        torch = pytest.importorskip("torch")
        from engine.checkpoint import Checkpointer

        checkpointer = Checkpointer(tmp_path / "ckpt")
        for step in (10, 20):
            state = {"step": step, "epoch": step / 10, "model": {"w": torch.full((64,), float(step))}}
            checkpointer.save(state, {"step": 10, "epoch": 1.0, "weights": {}}, metrics_offset=step * 100)
        checkpointer.close()
        return tmp_path / "ckpt"

    @pytest.mark.parametrize("manifest", [None, b"", b"[]", b"\0" * 100, b'{"files": 7}'])
    def test_without_a_manifest_the_files_are_tried_newest_first(self, folder: Path, manifest: bytes | None) -> None:
        from engine import checkpoint

        before = checkpoint.candidates(folder)
        assert checkpoint.is_verified(folder)
        (folder / checkpoint.MANIFEST).unlink()
        if manifest is not None:
            (folder / checkpoint.MANIFEST).write_bytes(manifest)
        assert not checkpoint.is_verified(folder)
        assert checkpoint.candidates(folder) == before
        assert checkpoint.load_best(folder, before[0]) == {"step": 10, "epoch": 1.0, "weights": {}}
        (folder / before[0].file).write_bytes(b"damaged")
        assert checkpoint.candidates(folder) == before[1:]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"file": 3},
            {"best": None},
            {"size": -1},
            {"size": "7"},
            {"step": True},
            {"sha256": 5},
            {"epoch": "x"},
            {"file": "ck_x/../../../elsewhere.pt"},
            {"file": "ck_/x"},
            {"best": "../elsewhere.pt"},
            {"best": ".hidden"},
        ],
        ids=str,
    )
    def test_entries_of_other_types_vouch_for_nothing(self, folder: Path, wrong: dict[str, Any]) -> None:
        from engine import checkpoint

        manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
        manifest["files"][-1] |= wrong
        (folder / checkpoint.MANIFEST).write_text(json.dumps(manifest))
        assert [entry.step for entry in checkpoint.candidates(folder)] == [10]

    def test_an_impossible_size_costs_no_memory(self, folder: Path) -> None:
        from dataclasses import replace

        from engine import checkpoint

        entry = replace(checkpoint.candidates(folder)[0], size=1 << 60)
        with pytest.raises(UserError, match="where the manifest says"):
            checkpoint.load(folder, entry)

    @pytest.mark.mutant
    def test_mutant_without_the_sum_a_flipped_bit_is_loaded_silently(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        from engine import checkpoint

        entry = checkpoint.candidates(folder)[0]
        path = folder / entry.file
        data = bytearray(path.read_bytes())
        place = data.index(torch.full((64,), 20.0).numpy().tobytes())
        data[place + 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(UserError, match="sha256"):
            checkpoint.load(folder, entry)

        class Agreeable:
            def __init__(self, data: bytes) -> None:
                pass

            def hexdigest(self) -> str:
                return entry.sha256

        monkeypatch.setattr(hashlib, "sha256", Agreeable)
        assert not torch.equal(checkpoint.load(folder, entry)["model"]["w"], torch.full((64,), 20.0))

    @pytest.mark.mutant
    def test_mutant_without_the_schema_another_format_is_taken_for_ours(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from engine import checkpoint

        entry = checkpoint.candidates(folder)[0]
        monkeypatch.setattr(checkpoint, "SCHEMA", 2)
        with pytest.raises(UserError, match="format 1, this version reads 2"):
            checkpoint.load(folder, entry)

    @pytest.mark.mutant
    def test_mutant_without_the_look_at_names_a_manifest_leads_out_of_its_folder(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from engine import checkpoint

        elsewhere = folder.parent / "elsewhere.pt"
        elsewhere.write_bytes((folder / checkpoint.candidates(folder)[0].file).read_bytes())
        (folder / "ck_x").mkdir()
        manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
        manifest["files"][-1]["file"] = "ck_x/../../elsewhere.pt"
        (folder / checkpoint.MANIFEST).write_text(json.dumps(manifest))
        assert [entry.step for entry in checkpoint.candidates(folder)] == [10]
        monkeypatch.setattr(checkpoint.Entry, "from_json", lambda value: checkpoint.Entry(**value))
        assert checkpoint.load(folder, checkpoint.candidates(folder)[0])["step"] == 20

    @pytest.mark.mutant
    def test_mutant_without_the_look_at_owners_checkpoints_of_others_are_loaded(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from engine import checkpoint

        folder.chmod(0o777)
        with pytest.raises(UserError, match="are not loaded"):
            checkpoint.weights(folder, "last")
        monkeypatch.setattr("engine.ownership.private", lambda path: True)
        assert checkpoint.weights(folder, "last")[0]["step"] == 20

    @pytest.mark.mutant
    def test_mutant_without_the_look_at_shapes_a_network_becomes_as_vast_as_its_file_says(self) -> None:
        import torch

        network = torch.nn.Module()
        network.register_buffer("w", torch.zeros(64))
        vast = {"w": torch.zeros(1).expand(1 << 33)}
        with pytest.raises(RuntimeError, match="size mismatch"):
            network.load_state_dict(vast)
        network._buffers.update(vast)  # type: ignore[arg-type]
        assert network.get_buffer("w").numel() == 1 << 33

    def test_a_small_file_that_declares_huge_weights_is_refused_before_any_copy(self, folder: Path) -> None:
        import torch

        from engine.checkpoint import Checkpointer, candidates, load

        vast = torch.zeros(1).expand(1 << 33)
        checkpointer = Checkpointer(folder)
        checkpointer._write({"step": 30, "epoch": 3.0, "schema": 1, "model": {"w": vast}}, None, 30, 3.0, 0)
        checkpointer.close()
        entry = candidates(folder)[0]
        assert entry.size < 4000
        network = torch.nn.Module()
        network.register_buffer("w", torch.zeros(64))
        with pytest.raises(RuntimeError, match="size mismatch"):
            network.load_state_dict(load(folder, entry)["model"])


@pytest.mark.mutant
class TestMutants:
    """Each protection switched off: what it keeps away happens."""

    def test_mutant_without_start_times_a_stranger_is_taken_for_the_engine(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            me = process.Identity.current()
            stranger = process.Identity(child.pid, me.start_ticks, me.boot_id, me.host, me.pidns)
            assert process.status(stranger) == "dead"
            monkeypatch.setattr(process, "_start_ticks", lambda pid: me.start_ticks)
            assert process.status(stranger) == "alive"
        finally:
            child.communicate(b"\n")

    def test_mutant_without_the_bound_a_file_is_read_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "summary.json"
        path.write_text(json.dumps({"note": "x" * (1 << 21)}))
        assert atomic.read_json(path) is None
        assert atomic.read_json(path, limit=1 << 30) is not None

    def test_mutant_without_the_anchor_a_cut_log_is_read_on_from_the_wrong_place(self, tmp_path: Path) -> None:
        log = tmp_path / "metrics.jsonl"

        def rewrite(steps: range) -> None:
            log.touch()
            os.truncate(log, 0)
            writer = MetricsWriter(log)
            for step in steps:
                writer.append({"kind": "step", "step": step})
            writer.close()

        for protected in (True, False):
            rewrite(range(10))
            tail = MetricsTail(log)
            tail.poll()
            rewrite(range(100, 140))
            tail._anchor = tail._anchor if protected else b""
            found = [record["step"] for record in tail.poll() if "step" in record]
            assert (found == list(range(100, 140))) is protected

    def test_mutant_with_text_left_as_it_is_a_view_carries_an_escape(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.set_user(name="\x1b]52;c;eA==\x07name")
        assert run.view().name == "name"
        monkeypatch.setattr("engine.text.clean", lambda text, newlines=False: text)
        assert "\x1b" in run.view().name

    def test_mutant_without_the_look_at_owners_a_folder_of_others_is_trusted(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.path.chmod(0o777)
        assert run.view().read_only
        with pytest.raises(UserError, match="read-only"):
            run.request("stop", "me")
        monkeypatch.setattr("engine.ownership.is_ours", lambda folder: True)
        assert not run.view().read_only
        run.request("stop", "me")


class TestEngineErrors:
    """How the engine's process ends when something inside it goes wrong."""

    @staticmethod
    def ended(run: RunFolder, monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
        from engine import worker

        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(worker, "_run", fail)
        return worker.main(run.path)

    def test_an_exception_is_a_line_in_the_table_and_a_traceback_in_the_log(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("torch")
        assert self.ended(run, monkeypatch, ZeroDivisionError("of one\nby nothing")) == 1
        assert (run.view().state, run.view().reason) == ("failed", "ZeroDivisionError: of one")
        assert "Traceback" in capfd.readouterr().err

    def test_lack_of_gpu_memory_names_a_smaller_batch(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        torch = pytest.importorskip("torch")
        from engine import worker
        from engine.experiment import load

        monkeypatch.setattr(worker, "loads", lambda *_: load("quickstart", [("train.batch_size", "200")]))
        message = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
        assert self.ended(run, monkeypatch, torch.OutOfMemoryError(message)) == 1
        assert run.view().state == "failed"
        assert "out of memory at batch 200 (needed 2.00 GiB" in run.view().reason
        assert run.view().reason.endswith("try train.batch_size=128")
        assert "Traceback" not in capfd.readouterr().err

    def test_a_checkpoint_of_another_experiment_is_refused_with_both_named(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        torch = pytest.importorskip("torch")
        from engine import worker
        from engine.checkpoint import Checkpointer
        from engine.experiment import load

        experiment = load("quickstart")
        run = create(tmp_path / "runs", experiment.to_yaml(), {"state": "starting"}, {"name": "x"})
        run.new_attempt()
        checkpointer = Checkpointer(run.path / "ckpt")
        checkpointer.save({"step": 1, "epoch": 0.1, "model": {"w": torch.ones(3)}, "config_hash": "other"}, None, 0)
        checkpointer.close()
        assert worker.main(run.path, resume=True) == 2
        said = capfd.readouterr()
        assert f"it is of experiment other, this run is {experiment.config_hash}" in said.out
        assert "none of the 1 checkpoints" in run.view().reason

    @staticmethod
    def stopped_at_two_checkpoints(tmp_path: Path) -> RunFolder:
        """A run with a log of one record, a checkpoint at its end, and a later one that remembers a longer log."""
        pytest.importorskip("torch")
        from engine.checkpoint import Checkpointer

        experiment = load("quickstart")
        run = create(tmp_path / "runs", experiment.to_yaml(), {"state": "starting"}, {"name": "x"})
        run.new_attempt()
        log = MetricsWriter(run.path / "metrics.jsonl")
        log.append({"kind": "step", "step": 1})
        checkpointer = Checkpointer(run.path / "ckpt")
        for step, offset in ((1, log.offset), (2, 9_999)):
            checkpointer.save({"step": step, "epoch": 0.1, "config_hash": experiment.config_hash}, None, offset)
        checkpointer.close()
        log.close()
        return run

    def test_a_checkpoint_past_the_end_of_the_log_is_passed_over_for_the_one_before(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run = self.stopped_at_two_checkpoints(tmp_path)
        from engine import worker

        start = worker._starting_point(run)
        assert start is not None
        assert start.state["step"] == 1
        assert "checkpoint ck_00000002.pt is not used: metrics.jsonl has" in capfd.readouterr().out

    def test_checkpoints_without_a_manifest_are_said_to_be_unverified(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run = self.stopped_at_two_checkpoints(tmp_path)
        from engine import worker

        (run.path / "ckpt" / "manifest.json").write_text("{")
        assert worker._starting_point(run) is not None
        assert "manifest.json is missing or damaged: checkpoints are tried unverified" in capfd.readouterr().out
