"""The state of a run, from what its processes left behind."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import atomic, attempts, launch, process
from engine.errors import UserError
from engine.runs import LIVE, STATES, MetricsWriter, RunFolder, SummaryWriter, create, delete, list_runs, new_run_id

Started = Callable[..., attempts.Attempt]
ME = process.Identity.current()
STRANGER = replace(ME, start_ticks=ME.start_ticks + 1)


@pytest.fixture
def sleeper() -> Iterator[process.Identity]:
    """Another living process."""
    child = subprocess.Popen(["sleep", "60"])
    identity = process.Identity.of(child.pid)
    assert identity is not None
    yield identity
    child.kill()
    child.wait()


def write_state(run: RunFolder, state: str, **fields: Any) -> None:
    SummaryWriter(run.path / "summary.json").write({**run.summary(), "state": state, **fields})


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestState:
    def test_the_ten_words(self) -> None:
        assert len(STATES) == 10
        assert set(STATES) > LIVE

    def test_killed_between_mkdir_and_config(self, root: Path) -> None:
        folder = root / new_run_id()
        folder.mkdir(parents=True, mode=0o700)
        root.chmod(0o700)
        (view,) = list_runs(root)
        assert (view.state, view.reason) == ("crashed", "never started")
        assert "missing" in view.problem
        delete(RunFolder(folder))
        assert list_runs(root) == []

    def test_launcher_gone_before_the_first_attempt(self, root: Path) -> None:
        run = create(root, "", {"state": "starting"}, {})
        assert run.view().state == "starting"
        edit(run.path / "summary.json", launcher=STRANGER.to_json())
        view = run.view()
        assert (view.state, view.reason) == ("crashed", "never started")

    def test_supervisor_gone_before_the_engine(self, run: RunFolder) -> None:
        attempt = run.new_attempt()
        assert run.view().state == "starting"
        atomic.write_json(attempt.path / "proc.json", {"supervisor": STRANGER.to_json()})
        assert (run.view().state, run.view().reason) == ("crashed", "never started")

    @pytest.mark.parametrize("state", ["running", "paused", "starting"])
    def test_a_living_engine_says_its_own_state(self, run: RunFolder, state: str, started: Started) -> None:
        started(run, ME)
        write_state(run, state)
        assert run.view().state == state

    def test_the_newest_attempt_alone_decides(self, run: RunFolder, started: Started) -> None:
        first = started(run, STRANGER)
        write_state(run, "failed", reason="out of memory")
        first.write_exit(code=1)
        assert (run.view().state, run.view().reason) == ("failed", "out of memory")
        started(run, ME)
        assert (run.view().state, run.view().reason) == ("starting", "")

    def test_an_ended_run_can_be_queued_again(self, run: RunFolder, started: Started) -> None:
        started(run, STRANGER).write_exit(signal=9)
        run.enqueue("test")
        assert run.view().state == "queued"
        run.new_attempt()
        assert run.view().state == "starting"

    @pytest.mark.parametrize(
        ("ended", "stored", "state", "reason"),
        [
            ({"code": 0}, "finished", "finished", ""),
            ({"code": 0}, "running", "finished", ""),
            ({"code": 1}, "diverged", "diverged", ""),
            ({"code": 1}, "running", "failed", "exit code 1"),
            ({"code": 2}, "running", "failed", "exit code 2"),
            ({"code": 143}, "stopped", "stopped", ""),
            ({"code": 130}, "running", "stopped", ""),
            ({"signal": 11}, "running", "crashed", "killed by SIGSEGV"),
            ({"signal": 9}, "running", "crashed", "killed by SIGKILL"),
            ({"signal": 9, "oom": True}, "running", "crashed", "killed by SIGKILL, probably out of memory"),
            ({"signal": 15}, "starting", "stopped", "by SIGTERM before the engine could save"),
            ({"signal": 6}, "finished", "finished", ""),
            ({"signal": 77}, "running", "crashed", "killed by signal 77"),
        ],
    )
    def test_verdict_of_the_supervisor(
        self, run: RunFolder, ended: dict[str, Any], stored: str, state: str, reason: str, started: Started
    ) -> None:
        attempt = started(run, STRANGER)
        write_state(run, stored)
        attempt.write_exit(**ended)
        view = run.view()
        assert (view.state, view.reason, view.settled) == (state, reason, True)
        assert view.exit_code == ended.get("code")
        assert view.ended is not None

    def test_supervisor_killed_and_engine_finished(
        self, run: RunFolder, sleeper: process.Identity, started: Started
    ) -> None:
        started(run, engine=sleeper, supervisor=STRANGER)
        write_state(run, "finished")
        assert (run.view().reason, run.view().settled) == ("", False)
        os.kill(sleeper.pid, signal.SIGKILL)
        wait_for(lambda: process.status(sleeper) == "dead")
        assert (run.view().state, run.view().reason) == ("finished", "exit code unknown")

    def test_summary_that_could_not_be_written_is_replaced_by_the_end_record(
        self, run: RunFolder, started: Started
    ) -> None:
        started(run, STRANGER)
        write_state(run, "running")
        writer = MetricsWriter(run.path / "metrics.jsonl")
        writer.append({"kind": "end", "state": "finished", "reason": "", "step": 10})
        view = run.view()
        assert (view.state, view.reason) == ("finished", "exit code unknown")

    def test_end_record_of_an_earlier_attempt_does_not_count(self, run: RunFolder, started: Started) -> None:
        MetricsWriter(run.path / "metrics.jsonl").append({"kind": "end", "state": "stopped", "t": time.time() - 60})
        started(run, STRANGER)
        write_state(run, "running")
        assert (run.view().state, run.view().reason) == ("crashed", "exit code unknown")

    def test_reboot(self, run: RunFolder, started: Started) -> None:
        started(run, replace(ME, boot_id="another boot"))
        write_state(run, "running")
        view = run.view()
        assert (view.state, view.reason) == ("crashed", "lost in a reboot of the machine")

    def test_another_host(self, run: RunFolder, started: Started) -> None:
        started(run, replace(ME, host="gpu\x1b[31m7", boot_id="another boot"))
        write_state(run, "running")
        view = run.view()
        assert view.state == "unknown"
        assert view.host == "gpu7"
        assert "on gpu7, last sign 0 s ago" in view.reason
        for change in (delete, launch.resume):
            with pytest.raises(UserError, match="may be in progress on gpu7"):
                change(run)

    def test_a_container_of_this_host(self, run: RunFolder, started: Started) -> None:
        started(run, replace(ME, pidns=ME.pidns + 1))
        write_state(run, "running")
        assert run.view().state == "unknown"

    def test_silence_is_quiet_but_never_ends_a_run(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch, started: Started
    ) -> None:
        started(run, ME)
        write_state(run, "running", promise_s=5.0)
        now = time.monotonic()
        for silent_s, quiet in ((14, False), (16, True), (3_000_000, True)):
            monkeypatch.setattr(time, "monotonic", lambda s=silent_s: now + s)
            view = run.view()
            assert (view.state, view.quiet) == ("running", quiet)
            assert view.heartbeat_age_s == pytest.approx(silent_s, abs=5)

    def test_quiet_is_measured_without_the_wall_clock(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch, started: Started
    ) -> None:
        started(run, ME)
        write_state(run, "running", eta_s=-40.0)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert not run.view().quiet
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert not run.view().quiet
        assert run.view().eta_s == 0.0

    def test_stopped_process_is_running(self, run: RunFolder, sleeper: process.Identity, started: Started) -> None:
        started(run, sleeper)
        write_state(run, "running")
        os.kill(sleeper.pid, signal.SIGSTOP)
        assert run.view().state == "running"

    @pytest.mark.parametrize("pid", [0, 1, -1, 2**40, "text", None, os.getppid()])
    def test_nonsense_and_strangers_in_proc_json(self, run: RunFolder, pid: object) -> None:
        attempt = run.new_attempt()
        identity = {**ME.to_json(), "pid": pid, "start_ticks": 1}  # our parent may have begun in our own tick
        (attempt.path / "proc.json").write_text(json.dumps({"supervisor": identity, "engine": identity}))
        write_state(run, "running")
        assert run.view().state == "crashed"
        assert not launch.stop(run, sig=0)  # a signal that does no harm where it arrives
