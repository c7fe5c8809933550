"""What damage, and another user's hand, do to a run: one row is marked, nothing is raised, nobody is followed."""

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import attempts, launch, process, run_index, run_view, trash
from engine.continuation import continue_from
from engine.errors import UserError
from engine.runs import (
    STATES,
    RunFolder,
    SummaryWriter,
    create,
    delete,
    list_runs,
)

FIXTURES = Path(__file__).parent / "fixtures"
Started = Callable[..., attempts.Attempt]
SUMMARY = {"architecture": "resnet_5m", "seed": 6953, "parameters": 4779530}
ME = process.Identity.current()
STRANGER = replace(ME, start_ticks=ME.start_ticks + 1)


def write_state(run: RunFolder, state: str, **fields: Any) -> None:
    SummaryWriter(run.path / "summary.json").write({**run.summary(), "state": state, **fields})


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


DEEP = 1_200


def make_deep(folder: Path, name: str) -> None:
    """Folders in folders, deeper than Python recurses and than any path may be long."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(DEEP):
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


@pytest.fixture
def work(root: Path) -> Iterator[Callable[[], list[str]]]:
    """What a program that has just begun asks of the file system to list the runs; deep folders go afterwards."""
    asked: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def ask(*arguments: Any, **named: Any) -> Any:
            asked.append(name)
            return real(*arguments, **named)

        return ask

    def look() -> list[str]:
        (root / ".index.db").unlink(missing_ok=True)
        run_index.of.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("scandir", "listdir", "open", "stat", "lstat", "readlink"):
                patch.setattr(os, name, noted(name))
            asked.clear()
            list_runs(root)
        return list(asked)

    yield look
    top = os.open(root, os.O_RDONLY)
    trash._empty(top)
    os.close(top)


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

    def test_nested_wrong_types(self, run: RunFolder, started: Started) -> None:
        started(run, STRANGER)
        bad = {"value": "x", "epoch": [], "metric": 3, "name": None, "row": "r", "best": {}, "last": True}
        edit(run.path / "summary.json", best=bad, test=bad, sweep=bad, published=bad, last=bad, spark=[1, "x", None, 2])
        view = run.view()
        assert (view.best, view.best_metric, view.sweep, view.test) == (None, "", "", None)
        assert view.spark == (1, 2)

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"code":"x"}', b'{"signal":[]}', b'{"signal":true}'])
    def test_a_damaged_verdict_is_not_a_success(self, run: RunFolder, content: bytes, started: Started) -> None:
        attempt = started(run, STRANGER)
        write_state(run, "running")
        (attempt.path / "exit.json").write_bytes(content)
        assert run.view().state == "crashed"

    @pytest.mark.parametrize("name", ["summary.json", "user.json", "metrics.jsonl", "config.yaml", "log.txt"])
    @pytest.mark.parametrize("kind", ["fifo", "socket", "link", "device", "directory"])
    def test_special_files_neither_hang_nor_lead_away(
        self, run: RunFolder, tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch, started: Started
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

    def test_strays_loops_and_deep_folders_cost_a_list_no_further_look(
        self, run: RunFolder, root: Path, work: Callable[[], list[str]], started: Started
    ) -> None:
        started(run, STRANGER).write_exit(code=0)
        write_state(run, "finished")
        before = work()
        for number in range(2_000):
            (root / f"stray-{number}").touch()
        for number in range(50):
            (root / f"20260101-000000-{number:06x}").symlink_to(root)
            (root / f"loop-{number}").symlink_to(f"loop-{number}")
        make_deep(run.path, "results")
        assert work() == before
        assert len(before) < 40

    def test_a_deep_folder_in_place_of_a_run_is_a_row_like_an_empty_one(
        self, root: Path, work: Callable[[], list[str]]
    ) -> None:
        folder = root / "20260101-000000-aaaaaa"
        folder.mkdir(parents=True)
        root.chmod(0o700)
        before = work()
        make_deep(folder, "attempts")
        assert len(work()) <= len(before) + 1
        assert [(view.state, view.reason) for view in list_runs(root)] == [("crashed", "never started")]

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
    def test_what_others_can_write_is_only_looked_at(
        self, run: RunFolder, root: Path, which: str, started: Started
    ) -> None:
        started(run, STRANGER)
        (run.path if which == "run" else root).chmod(0o770)
        assert run.view().read_only
        for change in (
            lambda: run.set_user(name="x"),
            lambda: run.request("stop", "me"),
            lambda: launch.stop(run),
            lambda: continue_from(root, run, []),
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
