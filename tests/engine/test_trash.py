"""Deleting runs, undoing it, and removing them for good."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import attempts, process, trash
from engine.errors import UserError
from engine.runs import RunFolder, SummaryWriter, create, delete, list_runs, undelete

Started = Callable[..., attempts.Attempt]
ME = process.Identity.current()


def write_state(run: RunFolder, state: str, **fields: Any) -> None:
    SummaryWriter(run.path / "summary.json").write({**run.summary(), "state": state, **fields})


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

    def test_nothing_is_brought_back_where_others_write(self, run: RunFolder, root: Path) -> None:
        name = delete(run)
        root.chmod(0o1777)
        with pytest.raises(UserError, match="belongs to another user or can be written by one"):
            undelete(root, name)
        assert [path.name for path in root.iterdir() if path.is_dir()] == [name]

    @pytest.mark.parametrize("call", ["rename", "open"], ids=["root", "run"])
    def test_what_cannot_be_moved_is_a_sentence(
        self, run: RunFolder, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        real = getattr(os, call)

        def refuse(path: Any, *arguments: Any, **named: Any) -> Any:
            if call == "rename" or str(path).endswith("lock"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **named)

        monkeypatch.setattr(os, call, refuse)
        with pytest.raises(UserError, match=f"run {run.id} cannot be moved to the trash of .*: Permission denied"):
            delete(run)

    def test_a_live_run_is_refused(self, run: RunFolder, started: Started) -> None:
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
