"""The training thread goes on while a disk takes its time."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import metrics_log, runs
from engine.checkpoint import Checkpointer
from engine.recorder import SYNCS_REMEMBERED, Recorder, StopRequested
from engine.runs import RunFolder, SummaryWriter

PATIENCE_S = 60.0

Until = Callable[[Callable[[], object], str], None]


class SlowDisk:
    """A disk operation that begins and does not end before it is let go."""

    def __init__(self) -> None:
        self.began, self.let_go = threading.Event(), threading.Event()

    def __call__(self, *_: Any) -> None:
        self.began.set()
        assert self.let_go.wait(PATIENCE_S)


def returns(call: Callable[[], object]) -> bool:
    """Whether ``call`` comes back; one that waits is left behind."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return not thread.is_alive()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return runs.create(tmp_path, "train: {}\n", {"state": "running"}, {})


@pytest.mark.parametrize("slow", ["the log's flush", "the summary's"])
def test_a_record_never_waits_for_a_slow_disk(slow: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk()
    if slow == "the log's flush":
        monkeypatch.setattr(metrics_log, "_fdatasync", disk)
    else:
        monkeypatch.setattr(SummaryWriter, "write", disk)
    recorder = Recorder(run, {})
    heart = threading.Thread(target=recorder.flush if slow == "the log's flush" else recorder.write_summary)
    heart.start()
    assert disk.began.wait(PATIENCE_S)
    assert returns(lambda: recorder.record("step", step=1))
    assert returns(lambda: recorder.update(step=1))
    assert returns(lambda: recorder.offset)
    disk.let_go.set()
    heart.join()
    assert b'"step":1' in (run.path / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("slow", ["the log's flush", "the summary's"])
def test_a_slow_disk_delays_neither_requests_nor_the_other_file(
    slow: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    disk, synced, written = SlowDisk(), threading.Event(), threading.Event()
    flush_is_slow = slow == "the log's flush"
    monkeypatch.setattr(metrics_log, "_fdatasync", disk if flush_is_slow else lambda _fd: synced.set())
    monkeypatch.setattr(SummaryWriter, "write", (lambda *_: written.set()) if flush_is_slow else disk)
    try:
        with Recorder(run, {}) as recorder:
            assert disk.began.wait(PATIENCE_S)
            run.request("pause", "ann")
            until(lambda: recorder.requests(), "the request is taken")
            (written if flush_is_slow else synced).clear()
            assert (written if flush_is_slow else synced).wait(PATIENCE_S)
            disk.let_go.set()
    finally:
        disk.let_go.set()


def test_a_slow_disk_is_said_beside_the_run_until_it_is_quick_again(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, takes_s = [100.0], [0.1]

    def sync(_fd: int) -> None:
        now[0] += takes_s[0]

    monkeypatch.setattr("engine.recorder.time.monotonic", lambda: now[0])
    monkeypatch.setattr(metrics_log, "_fdatasync", sync)
    recorder = Recorder(run, {})

    def said(syncs: int, each_s: float) -> str:
        takes_s[0] = each_s
        for _ in range(syncs):
            recorder.flush()
        recorder.write_summary()
        return run.view().notice

    recorder.note("compile", "not compiled: no room")
    assert said(1, 0.1) == "not compiled: no room"
    assert said(1, 5.0) == "not compiled: no room; the disk is slow: a write took 5 s"
    assert said(3, 0.1).endswith("the disk is slow: a write took 5 s")
    assert said(SYNCS_REMEMBERED, 0.1) == "not compiled: no room"
    said(1, 5.0)
    recorder.end("finished")
    assert run.view().notice == "not compiled: no room"
    assert Recorder(run, {})._notes == {"compile": "not compiled: no room", "disk": ""}


def test_of_two_summaries_the_newer_one_stays(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(run, {})
    written: list[int] = []
    monkeypatch.setattr(SummaryWriter, "write", lambda _self, summary: written.append(summary["step"]))
    with recorder._writing:
        older = threading.Thread(target=recorder.write_summary, kwargs={"step": 1})
        older.start()
        while recorder._summaries < 1:
            pass
        recorder.write_summary(step=2)
    older.join()
    assert written == [2]


def test_the_log_is_on_disk_before_the_checkpoint_that_counts_on_it(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(run, {})
    found: list[list[str]] = []
    folder = run.path / "ckpt"
    monkeypatch.setattr(metrics_log, "_fdatasync", lambda _fd: found.append([path.name for path in folder.iterdir()]))
    checkpointer = Checkpointer(folder, recorder.flush)
    checkpointer.save({"step": 1, "epoch": 0.1}, None, recorder.offset)
    checkpointer.close()
    assert found == [[]]
    assert (folder / "ck_00000001.pt").exists()


def test_a_stop_is_obeyed_before_the_first_step_and_other_requests_wait_for_it(run: RunFolder) -> None:
    recorder = Recorder(run, {})
    recorder._requests.extend([{"request": "pause"}, {"request": "checkpoint"}])
    recorder.leave_if_asked()
    assert [request["request"] for request in recorder.requests()] == ["pause", "checkpoint"]
    recorder._requests.append({"request": "stop", "by": "ann"})
    with pytest.raises(StopRequested) as stopped:
        recorder.leave_if_asked()
    assert (stopped.value.by, stopped.value.code) == ("ann", 143)
