"""Run folders: how they are made, what state they are in, and what damage or another's hand does to them."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import atomic, attempts, launch, process, run_view, trash
from engine.errors import UserError
from engine.runs import (
    LIVE,
    RUN_ID,
    STATES,
    MetricsWriter,
    RunFolder,
    SummaryWriter,
    create,
    delete,
    find,
    list_runs,
    new_run_id,
    runs_root,
    undelete,
)

FIXTURES = Path(__file__).parent / "fixtures"
SUMMARY = {"architecture": "resnet_5m", "seed": 6953, "parameters": 4779530}
ME = process.Identity.current()
STRANGER = replace(ME, start_ticks=ME.start_ticks + 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path) -> RunFolder:
    return create(root, "name: one\n", SUMMARY, {"name": "one", "tags": ["paper"], "note": "", "archived": False})


@pytest.fixture
def sleeper() -> Iterator[process.Identity]:
    """Another living process."""
    child = subprocess.Popen(["sleep", "60"])
    identity = process.Identity.of(child.pid)
    assert identity is not None
    yield identity
    child.kill()
    child.wait()


def started(run: RunFolder, engine: process.Identity, supervisor: process.Identity | None = None) -> attempts.Attempt:
    attempt = run.new_attempt()
    atomic.write_json(
        attempt.path / "proc.json", {"supervisor": (supervisor or engine).to_json(), "engine": engine.to_json()}
    )
    return attempt


def write_state(run: RunFolder, state: str, **fields: Any) -> None:
    SummaryWriter(run.path / "summary.json").write({**run.summary(), "state": state, **fields})


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


class TestCreation:
    def test_a_new_run_is_queued_and_whole(self, run: RunFolder) -> None:
        view = run.view()
        assert RUN_ID.fullmatch(run.id)
        assert (view.state, view.problem, view.read_only) == ("queued", "", False)
        assert (view.name, view.tags, view.architecture, view.seed) == ("one", ("paper",), "resnet_5m", 6953)
        assert run.config_text() == "name: one\n"
        assert abs(view.created - time.time()) < 60

    def test_two_runs_of_the_same_second_have_two_folders(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ids = iter(["20260101-000000-aaaaaa", "20260101-000000-aaaaaa", "20260101-000000-bbbbbb"])
        monkeypatch.setattr("engine.runs.new_run_id", lambda: next(ids))
        assert [create(root, "", {}, {}).id for _ in range(2)] == ["20260101-000000-aaaaaa", "20260101-000000-bbbbbb"]

    def test_nothing_is_readable_by_others_whatever_the_umask(self, root: Path) -> None:
        old = os.umask(0)
        try:
            run = create(root, "", {}, {})
            attempt = run.new_attempt()
            attempt.write_environment({})
            MetricsWriter(run.path / "metrics.jsonl").append({"kind": "step", "step": 1})
            run.set_user(name="x")
            run.request("stop", "test")
            list_runs(root)
        finally:
            os.umask(old)
        for path in [root, *root.rglob("*")]:
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path

    def test_a_group_writable_root_of_ours_is_closed(self, root: Path) -> None:
        root.mkdir()
        root.chmod(0o775)
        assert not create(root, "", {}, {}).view().read_only
        assert root.stat().st_mode & 0o022 == 0

    def test_an_unwritable_root_is_a_sentence(self, root: Path) -> None:
        root.write_text("a file")
        with pytest.raises(UserError, match=r"runs folder .* cannot be used: .*--runs"):
            create(root, "", {}, {})

    def test_text_of_a_person_never_becomes_a_path(self, root: Path) -> None:
        run = create(root, "", {}, {"name": "../../x\0/etc"})
        assert run.path.parent == root
        assert run.view().name == "../../x/etc"

    def test_ids_sort_by_time_in_utc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        try:
            stamp = time.strftime("%Y%m%d-%H%M", time.gmtime())
            assert new_run_id().startswith(stamp[:11])
        finally:
            monkeypatch.undo()
            time.tzset()


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
    def test_a_living_engine_says_its_own_state(self, run: RunFolder, state: str) -> None:
        started(run, ME)
        write_state(run, state)
        assert run.view().state == state

    def test_the_newest_attempt_alone_decides(self, run: RunFolder) -> None:
        first = started(run, STRANGER)
        write_state(run, "failed", reason="out of memory")
        first.write_exit(code=1)
        assert (run.view().state, run.view().reason) == ("failed", "out of memory")
        started(run, ME)
        assert (run.view().state, run.view().reason) == ("starting", "")

    def test_an_ended_run_can_be_queued_again(self, run: RunFolder) -> None:
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
        self, run: RunFolder, ended: dict[str, Any], stored: str, state: str, reason: str
    ) -> None:
        attempt = started(run, STRANGER)
        write_state(run, stored)
        attempt.write_exit(**ended)
        view = run.view()
        assert (view.state, view.reason, view.settled) == (state, reason, True)
        assert view.exit_code == ended.get("code")
        assert view.ended is not None

    def test_supervisor_killed_and_engine_finished(self, run: RunFolder, sleeper: process.Identity) -> None:
        started(run, engine=sleeper, supervisor=STRANGER)
        write_state(run, "finished")
        assert (run.view().reason, run.view().settled) == ("", False)
        os.kill(sleeper.pid, signal.SIGKILL)
        wait_for(lambda: process.status(sleeper) == "dead")
        assert (run.view().state, run.view().reason) == ("finished", "exit code unknown")

    def test_summary_that_could_not_be_written_is_replaced_by_the_end_record(self, run: RunFolder) -> None:
        started(run, STRANGER)
        write_state(run, "running")
        writer = MetricsWriter(run.path / "metrics.jsonl")
        writer.append({"kind": "end", "state": "finished", "reason": "", "step": 10})
        view = run.view()
        assert (view.state, view.reason) == ("finished", "exit code unknown")

    def test_end_record_of_an_earlier_attempt_does_not_count(self, run: RunFolder) -> None:
        MetricsWriter(run.path / "metrics.jsonl").append({"kind": "end", "state": "stopped", "t": time.time() - 60})
        started(run, STRANGER)
        write_state(run, "running")
        assert (run.view().state, run.view().reason) == ("crashed", "exit code unknown")

    def test_reboot(self, run: RunFolder) -> None:
        started(run, replace(ME, boot_id="another boot"))
        write_state(run, "running")
        view = run.view()
        assert (view.state, view.reason) == ("crashed", "lost in a reboot of the machine")

    def test_another_host(self, run: RunFolder) -> None:
        started(run, replace(ME, host="gpu\x1b[31m7", boot_id="another boot"))
        write_state(run, "running")
        view = run.view()
        assert view.state == "unknown"
        assert view.host == "gpu7"
        assert "on gpu7, last sign 0 s ago" in view.reason
        with pytest.raises(UserError, match="may be in progress"):
            delete(run)

    def test_a_container_of_this_host(self, run: RunFolder) -> None:
        started(run, replace(ME, pidns=ME.pidns + 1))
        write_state(run, "running")
        assert run.view().state == "unknown"

    def test_silence_is_quiet_but_never_ends_a_run(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        started(run, ME)
        write_state(run, "running", promise_s=5.0)
        now = time.monotonic()
        for silent_s, quiet in ((14, False), (16, True), (3_000_000, True)):
            monkeypatch.setattr(time, "monotonic", lambda s=silent_s: now + s)
            view = run.view()
            assert (view.state, view.quiet) == ("running", quiet)
            assert view.heartbeat_age_s == pytest.approx(silent_s, abs=5)

    def test_quiet_is_measured_without_the_wall_clock(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        started(run, ME)
        write_state(run, "running", eta_s=-40.0)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert not run.view().quiet
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert not run.view().quiet
        assert run.view().eta_s == 0.0

    def test_stopped_process_is_running(self, run: RunFolder, sleeper: process.Identity) -> None:
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


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestDamage:
    @pytest.mark.parametrize("name", ["summary.json", "user.json"])
    @pytest.mark.parametrize(
        "content",
        [b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"a":' * 10_000, b'{"note":"' + b"x" * 10_000_000 + b'"}'],
        ids=["empty", "list", "torn", "binary", "null", "deep", "10 MB"],
    )
    def test_a_damaged_file_marks_its_row_and_no_other(
        self, run: RunFolder, root: Path, name: str, content: bytes
    ) -> None:
        other = create(root, "", SUMMARY, {"name": "other"})
        (run.path / name).write_bytes(content)
        views = {view.id: view for view in list_runs(root)}
        assert name in views[run.id].problem
        assert views[run.id].state in STATES
        assert views[other.id].problem == ""

    def test_wrong_types_become_absent_values(self, run: RunFolder) -> None:
        wrong: list[Any] = [None, True, "text", [], {}, [[]], {"a": []}, 10**400, -1, 1e308]
        fields = set(run_view.RunView.__dataclass_fields__) | {"launcher", "attempt", "schema", "test"}
        for value in wrong:
            (run.path / "summary.json").write_text(json.dumps(dict.fromkeys(fields, value)))
            (run.path / "user.json").write_text(json.dumps(dict.fromkeys(fields, value)))
            assert run.view().state in STATES

    def test_nested_wrong_types(self, run: RunFolder) -> None:
        started(run, STRANGER)
        bad = {"value": "x", "epoch": [], "metric": 3, "name": None, "row": "r", "best": {}, "last": True}
        edit(run.path / "summary.json", best=bad, test=bad, sweep=bad, published=bad, last=bad, spark=[1, "x", None, 2])
        view = run.view()
        assert (view.best, view.best_metric, view.sweep, view.test) == (None, "", "", None)
        assert view.spark == (1, 2)

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"code":"x"}', b'{"signal":[]}', b'{"signal":true}'])
    def test_a_damaged_verdict_is_not_a_success(self, run: RunFolder, content: bytes) -> None:
        attempt = started(run, STRANGER)
        write_state(run, "running")
        (attempt.path / "exit.json").write_bytes(content)
        assert run.view().state == "crashed"

    @pytest.mark.parametrize("name", ["summary.json", "user.json", "metrics.jsonl", "config.yaml", "log.txt"])
    @pytest.mark.parametrize("kind", ["fifo", "socket", "link", "device", "directory"])
    def test_special_files_neither_hang_nor_lead_away(
        self, run: RunFolder, tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started(run, STRANGER)
        path = run.path / name
        path.unlink(missing_ok=True)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text('{"name": "stolen", "architecture": "stolen"}')
        monkeypatch.chdir(run.path)
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "socket":
                socket.socket(socket.AF_UNIX).bind(name)
            case "link":
                path.symlink_to(elsewhere)
            case "device":
                path.symlink_to("/dev/zero")
            case "directory":
                path.mkdir()
        view = run.view()
        assert "stolen" not in (view.name, view.architecture, run.config_text(), run.log_tail())

    def test_links_and_strange_names_in_the_runs_folder_are_passed_over(self, run: RunFolder, root: Path) -> None:
        (root / "20260101-000000-aaaaaa").symlink_to(root)
        (root / "20260101-000000-bbbbbb").symlink_to(root / "20260101-000000-bbbbbb")
        (root / "20260101-000000-cccccc").write_text("a file")
        (root / "20260101-000000-DDDDDD").mkdir()
        (root / "notes").mkdir()
        for number in range(2_000):
            (root / f"stray-{number}").touch()
        assert [view.id for view in list_runs(root)] == [run.id]

    def test_missing_and_unreadable_roots_have_no_runs(self, tmp_path: Path) -> None:
        assert list_runs(tmp_path / "nowhere") == []
        (tmp_path / "file").write_text("x")
        assert list_runs(tmp_path / "file") == []

    def test_input_output_error_marks_one_row(
        self, run: RunFolder, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = create(root, "", SUMMARY, {})
        real = os.open

        def broken(path: Any, *arguments: Any, **named: Any) -> int:
            if run.id in str(path) and str(path).endswith("summary.json"):
                raise OSError(errno.EIO, "Input/output error")
            return real(path, *arguments, **named)

        monkeypatch.setattr(os, "open", broken)
        views = {view.id: view for view in list_runs(root)}
        assert views[run.id].problem
        assert not views[other.id].problem

    def test_folder_deleted_under_a_view(self, run: RunFolder, root: Path) -> None:
        run.path.rename(root / "gone")
        assert run.view().state in STATES
        with pytest.raises(FileNotFoundError):
            SummaryWriter(run.path / "summary.json").write({"state": "running"})
        assert not run.path.exists(), "half a run is not made again"

    def test_texts_are_cleaned(self, root: Path) -> None:
        payload = "a\x1b]52;c;aGk=\x07b\x9b31mc\u202ed\x00"
        run = create(
            root,
            payload,
            {"architecture": payload, "device": payload, "published": {payload: payload}},
            {"name": payload, "tags": [payload], "note": payload + "\nsecond"},
        )
        (run.path / "log.txt").write_bytes(b"x" * 100 + b"\n" + payload.encode() + b"\n")
        view = run.view()
        shown = [view.name, *view.tags, view.note, view.architecture, view.device, *view.published, run.log_tail(64)]
        assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e" for c in "".join(shown))
        assert view.note.endswith("\nsecond")
        assert "xxx" not in run.log_tail(64)

    def test_a_newer_schema_opens_read_only(self, run: RunFolder) -> None:
        edit(run.path / "summary.json", schema=99, unheard_of={"x": 1})
        view = run.view()
        assert view.read_only
        assert "newer" in view.problem
        assert view.architecture == "resnet_5m"

    def test_a_run_of_format_1_opens(self) -> None:
        view = run_view.look(FIXTURES / "schema_1" / "20260131-142233-9f3a1c")
        assert (view.state, view.reason, view.problem) == ("finished", "", "")
        assert (view.name, view.tags, view.note) == ("fixture", ("format", "1"), "kept for ever")
        assert (view.best, view.best_epoch, view.best_metric) == (71.5, 2, "val_accuracy")
        assert (view.test, view.test_last) == (70.25, 69.5)
        assert (view.parameters, view.macs, view.attempt, view.exit_code) == (4779530, 264996096, 2, 0)
        assert (view.epoch, view.step, view.steps) == (3.0, 6, 6)
        assert (view.sweep, view.sweep_row, view.parent) == ("lr", 4, "20260130-090000-0a0b0c")
        assert view.published == {"test_accuracy": 92.49, "source": "seed-c"}


class TestOthers:
    @pytest.mark.parametrize("which", ["run", "root"])
    def test_what_others_can_write_is_only_looked_at(self, run: RunFolder, root: Path, which: str) -> None:
        run.new_attempt()
        (run.path if which == "run" else root).chmod(0o770)
        assert run.view().read_only
        for change in (
            lambda: run.set_user(name="x"),
            lambda: run.request("stop", "me"),
            lambda: launch.stop(run),
            lambda: delete(run),
        ):
            with pytest.raises(UserError, match="read-only"):
                change()
        assert list_runs(root)[0].read_only

    def test_what_belongs_to_another_user_is_only_looked_at(
        self, run: RunFolder, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert run.view().read_only
        with pytest.raises(UserError, match="belongs to another user"):
            create(root, "", {}, {})


class TestUser:
    def test_changes_keep_what_they_do_not_name(self, run: RunFolder) -> None:
        edit(run.path / "user.json", from_the_future=1)
        run.set_user(note="line one\nline two")
        run.set_user(archived=True)
        assert run.user()["from_the_future"] == 1
        view = run.view()
        assert (view.name, view.note, view.archived) == ("one", "line one\nline two", True)

    def test_limits(self, run: RunFolder) -> None:
        for change in ({"name": "x" * 201}, {"note": "x" * 20_001}, {"tags": ["t"] * 51}, {"tags": ["t" * 201]}):
            with pytest.raises(UserError, match="at most"):
                run.set_user(**change)
        with pytest.raises(TypeError):
            run.set_user(colour="red")

    def test_changes_at_once_are_not_lost(self, run: RunFolder) -> None:
        script = "import sys; from pathlib import Path; from engine.runs import RunFolder\n"
        script += "run = RunFolder(Path(sys.argv[1]))\n"
        script += "for i in range(30): run.set_user(**{sys.argv[2]: sys.argv[3]})"
        changes = [("name", "renamed"), ("note", "noted")]
        others = [subprocess.Popen([sys.executable, "-c", script, str(run.path), *change]) for change in changes]
        for _ in range(30):
            run.set_user(tags=["tagged"])
        assert [other.wait() for other in others] == [0, 0]
        view = run.view()
        assert (view.name, view.note, view.tags) == ("renamed", "noted", ("tagged",))

    def test_archived_runs_are_listed_on_request(self, run: RunFolder, root: Path) -> None:
        run.set_user(archived=True)
        assert list_runs(root) == []
        assert len(list_runs(root, archived=True)) == 1


class TestRequests:
    def test_requests_arrive_once_and_in_order(self, run: RunFolder) -> None:
        ids = [run.request("pause", "me"), run.request("continue", "me"), run.request("stop", "you")]
        taken = run.take_requests()
        assert [order["id"] for order in taken] == ids
        assert [order["request"] for order in taken] == ["pause", "continue", "stop"]
        assert taken[-1]["by"] == "you"
        assert run.take_requests() == []

    def test_requests_to_an_earlier_attempt_are_forgotten(self, run: RunFolder) -> None:
        run.request("stop", "me")
        run.new_attempt()
        assert run.take_requests() == []

    def test_nonsense_requests_are_thrown_away(self, run: RunFolder) -> None:
        control = run.path / "control"
        (control / "a.json").write_text('{"request": "format the disk"}')
        (control / "b.json").write_text("[]")
        (control / "c.json").symlink_to("/etc/passwd")
        (control / "notes.txt").write_text("x")
        assert run.take_requests() == []
        with pytest.raises(ValueError, match="no such request"):
            run.request("format", "me")  # type: ignore[arg-type]
        assert Path("/etc/passwd").exists()


class TestSummaryWriter:
    def test_at_most_one_a_second(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        writes: list[Path] = []
        monkeypatch.setattr(atomic, "write_json", lambda path, value: writes.append(path))
        now = time.monotonic()
        writer = SummaryWriter(run.path / "summary.json")
        for tick in range(100):
            monkeypatch.setattr(time, "monotonic", lambda t=tick: now + t / 10)
            writer.write_if_due({"state": "running"})
        assert len(writes) == 10

    def test_full_disk_is_a_notice(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        writer = SummaryWriter(run.path / "summary.json")
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "write_json", full_disk)
            writer.write({"state": "running"})
            assert "full" in writer.problem
        writer.write({"state": "running"})
        assert writer.problem == ""

    def test_the_reserve_pays_for_the_last_words(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        attempt = started(run, STRANGER)
        reserve = run.path / ".reserve"
        assert reserve.stat().st_size == 64 << 10
        real = atomic.write_json

        def write(path: Path, value: Any) -> None:
            (full_disk if reserve.exists() else real)(path, value)

        monkeypatch.setattr(atomic, "write_json", write)
        attempt.write_exit(code=0)
        assert attempt.exit() is not None
        assert not reserve.exists()

    def test_an_ended_run_gives_its_reserve_back(self, run: RunFolder) -> None:
        started(run, STRANGER).write_exit(code=0)
        assert not (run.path / ".reserve").exists()


def full_disk(path: Path, value: Any) -> None:
    raise atomic.DiskFullError(errno.ENOSPC, "the disk is full", str(path))


class TestFind:
    def test_by_id_prefix_name_and_last(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ids = iter(["20260101-000000-aaaaaa", "20260101-000000-bbbbbb", "20260201-000000-cccccc"])
        monkeypatch.setattr("engine.runs.new_run_id", lambda: next(ids))
        first, second, third = (create(root, "", {}, {"name": name}) for name in ("a", "b", "b"))
        assert find(root, first.id).id == first.id
        assert find(root, "202602").id == third.id
        assert find(root, "a").id == first.id
        assert find(root, "last").id == third.id
        with pytest.raises(UserError, match=r"2 runs .*aaaaaa.*bbbbbb|2 runs .*bbbbbb.*aaaaaa"):
            find(root, "20260101")
        with pytest.raises(UserError, match=r"2 runs .*cccccc"):
            find(root, "b")
        assert second.view().name == "b"

    @pytest.mark.parametrize("wanted", ["", " "])
    def test_nothing_means_no_run_not_even_one_without_a_name(self, root: Path, wanted: str) -> None:
        create(root, "", {}, {"name": wanted})
        with pytest.raises(UserError, match="no run is named"):
            find(root, wanted)

    @pytest.mark.parametrize("wanted", ["../../x", "/etc/passwd", ".", "-rf", "\0", "\x1b[31m", "x" * 10_000])
    def test_hostile_names_find_nothing(self, run: RunFolder, root: Path, wanted: str) -> None:
        with pytest.raises(UserError, match="no run in") as caught:
            find(root, wanted)
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 300 + len(str(root))

    def test_no_runs_at_all(self, root: Path) -> None:
        with pytest.raises(UserError, match="no runs in"):
            find(root, "last")


class TestRoot:
    def test_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        assert runs_root() == tmp_path / "data" / "cifar-tui" / "runs"
        (tmp_path / "runs").mkdir()
        assert runs_root() == tmp_path / "data" / "cifar-tui" / "runs", "a folder named runs need not be ours"
        create(tmp_path / "runs", "", {}, {})
        assert runs_root() == tmp_path / "runs"
        monkeypatch.setenv("CIFAR_TUI_RUNS", str(tmp_path / "named"))
        assert runs_root() == tmp_path / "named"
        assert runs_root(Path("explicit")) == tmp_path / "explicit"
        monkeypatch.setenv("CIFAR_TUI_RUNS", "~nobody-here/runs")
        assert runs_root() == tmp_path / "~nobody-here" / "runs"

    def test_checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "pyproject.toml").write_text('[project]\nname = "cifar-tui"\n')
        assert runs_root() == tmp_path / "runs"


class TestTrash:
    def test_deleting_can_be_undone(self, run: RunFolder, root: Path) -> None:
        before = run.view()
        name = delete(run)
        assert name == f".trash-{run.id}"
        assert list_runs(root) == []
        assert trash.trashed_runs(root) == [name]
        assert undelete(root, name).view() == before
        with pytest.raises(UserError, match="is back already"):
            undelete(root, name)

    def test_the_trash_keeps_for_thirty_days(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        old, kept, last = (create(root, "", {}, {"name": name}) for name in ("old", "kept", "last"))
        thrown = delete(old)
        later = delete(kept)
        assert trash.trashed_runs(root) == sorted([thrown, later], reverse=True)
        now = time.time()
        monkeypatch.setattr(trash.time, "time", lambda: now + 31 * 86_400)
        delete(last)
        assert thrown not in trash.trashed_runs(root)

    @pytest.mark.parametrize("name", ["x", "../x", ".trash-../../etc", ".trash-20260101-000000-aaaaaa/.."])
    def test_only_the_trash_is_undeleted(self, root: Path, name: str) -> None:
        with pytest.raises(UserError, match="not the name of a deleted run"):
            undelete(root, name)

    def test_a_live_run_is_refused(self, run: RunFolder) -> None:
        started(run, ME)
        write_state(run, "running")
        with pytest.raises(UserError, match="in progress"):
            delete(run)
        assert run.path.exists()

    def test_a_run_whose_lock_is_held_is_refused(self, run: RunFolder) -> None:
        assert run.lock.acquire(1)
        with pytest.raises(UserError, match="in progress"):
            delete(run)
        run.lock.release()
        delete(run)

    def test_purging_never_follows_links(self, run: RunFolder, root: Path, tmp_path: Path) -> None:
        precious = tmp_path / "precious"
        (precious / "deep").mkdir(parents=True)
        (precious / "deep" / "file").write_text("keep")
        (run.path / "results" / "link").symlink_to(precious)
        (run.path / "link").symlink_to(precious / "deep" / "file")
        (run.path / "loop").symlink_to(run.path)
        delete(run)
        assert trash.purge(root, older_than_s=3600) == 0
        assert trash.purge(root) == 1
        assert not list(root.glob(".trash*"))
        assert (precious / "deep" / "file").read_text() == "keep"

    def test_a_link_in_place_of_a_run_is_not_deleted(self, run: RunFolder, root: Path, tmp_path: Path) -> None:
        moved = tmp_path / "moved"
        run.path.rename(moved)
        run.path.symlink_to(moved)
        with pytest.raises(UserError, match="read-only"):
            delete(run)
        os.rename(run.path, root / f".trash-{run.id}")
        assert trash.purge(root) == 0
        assert (moved / "config.yaml").exists()

    def test_purging_deeper_than_descriptors_and_recursion_reach(self, run: RunFolder, root: Path) -> None:
        deep = os.open(run.path / "results", os.O_RDONLY)
        for _ in range(1_500):
            os.mkdir("d", dir_fd=deep)
            below = os.open("d", os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = below
        os.close(deep)
        assert len(list_runs(root)) == 1
        (run.path / ".lifted-0").mkdir()
        (run.path / ".lifted-0" / "file").touch()
        delete(run)
        assert trash.purge(root) == 1
        assert not list(root.glob(".trash*"))


class TestResume:
    def test_records_past_the_checkpoint_go_to_the_new_attempt(self, run: RunFolder) -> None:
        writer = MetricsWriter(run.path / "metrics.jsonl")
        writer.append({"kind": "step", "step": 1})
        offset = writer.offset
        writer.append({"kind": "step", "step": 2})
        writer.close()
        attempt = run.new_attempt()
        assert run.truncate_metrics(offset) > 0
        assert (run.path / "metrics.jsonl").stat().st_size == offset
        assert b'"step":2' in (attempt.path / "superseded.jsonl").read_bytes()

    def test_attempts_are_numbered_and_whole(self, run: RunFolder) -> None:
        for number in (1, 2, 3):
            attempt = run.new_attempt()
            assert attempt.number == number
            assert attempt.supervisor() == ME
        newest = run.newest_attempt()
        assert newest is not None
        assert newest.number == 3
