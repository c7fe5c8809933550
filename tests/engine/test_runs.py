"""Run folders: how they are made, found, changed and asked, and where they live."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import atomic, attempts, process
from engine.errors import UserError
from engine.runs import (
    RUN_ID,
    MetricsWriter,
    RunFolder,
    SummaryWriter,
    create,
    find,
    list_runs,
    new_run_id,
    runs_root,
)

Started = Callable[..., attempts.Attempt]
ME = process.Identity.current()
STRANGER = replace(ME, start_ticks=ME.start_ticks + 1)


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def full_disk(path: Path, value: Any) -> None:
    raise atomic.DiskFullError(errno.ENOSPC, "the disk is full", str(path))


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

    @pytest.mark.mutant
    def test_mutant_a_stop_that_is_not_forgotten_stops_the_next_attempt(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.request("stop", "me")
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "_request_files", lambda self: [])
            run.new_attempt()
        assert [order["request"] for order in run.take_requests()] == ["stop"]

    @pytest.mark.mutant
    def test_mutant_without_the_list_of_requests_nonsense_reaches_the_engine(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("engine.runs.get_args", lambda kind: ("format the disk",))
        (run.path / "control" / "a.json").write_text('{"request": "format the disk"}')
        assert [order["request"] for order in run.take_requests()] == ["format the disk"]

    def test_nonsense_requests_are_thrown_away(self, run: RunFolder) -> None:
        control = run.path / "control"
        (control / "a.json").write_text('{"request": "format the disk"}')
        (control / "b.json").write_text("[]")
        (control / "c.json").symlink_to("/etc/passwd")
        (control / "notes.txt").write_text("x")
        (control / "d.json").mkdir()
        os.mkfifo(control / "e.json")
        assert run.take_requests() == []
        run.new_attempt()
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

    def test_the_reserve_pays_for_the_last_words(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch, started: Started
    ) -> None:
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

    def test_an_ended_run_gives_its_reserve_back(self, run: RunFolder, started: Started) -> None:
        started(run, STRANGER).write_exit(code=0)
        assert not (run.path / ".reserve").exists()


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
