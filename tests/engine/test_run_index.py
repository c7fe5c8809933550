"""The cache of the list: fast because it reads little, and never believed against a folder."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from engine import process, run_index
from engine.run_view import RunView
from engine.runs import RunFolder, create, delete, list_runs, undelete

ME = process.Identity.current().to_json()
GONE = {**ME, "start_ticks": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def add_finished(root: Path, number: int) -> RunFolder:
    """A finished run as cheaply as its files allow."""
    root.mkdir(mode=0o700, exist_ok=True)
    path = root / f"20260101-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}-{number:06x}"
    attempt = path / "attempts" / "001"
    attempt.mkdir(parents=True)
    path.chmod(0o700)
    summary = {"schema": 1, "attempt": 1, "state": "finished", "architecture": "resnet_5m", "seed": number}
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "user.json").write_text(json.dumps({"name": f"run {number}"}))
    (attempt / "proc.json").write_text(json.dumps({"supervisor": GONE, "engine": GONE}))
    (attempt / "exit.json").write_text('{"code": 0, "ended": 1767225600.0}')
    return RunFolder(path)


def fresh(root: Path) -> tuple[list[RunView], int]:
    """The list as a process sees it that has just begun, and how many folders it had to read."""
    run_index.of.cache_clear()
    views = list_runs(root)
    return views, run_index.of(root).folders_read


def test_what_is_over_is_read_once(root: Path) -> None:
    for number in range(20):
        add_finished(root, number)
    assert fresh(root)[1] == 20
    views, read = fresh(root)
    assert read == 0
    assert [view.seed for view in views] == list(range(19, -1, -1))
    assert views[0].name == "run 19"


def test_cached_views_equal_those_read(root: Path) -> None:
    add_finished(root, 1)
    create(root, "", {"spark": [1.0, float("nan")], "published": {"a": 1, "b": "c"}}, {"tags": ["x"]})
    (read, _), (cached, _) = fresh(root), fresh(root)
    assert read == cached
    assert isinstance(cached[-1].path, Path)


def test_first_rows_cost_only_themselves(root: Path) -> None:
    for number in range(50):
        add_finished(root, number)
    run_index.of.cache_clear()
    assert len(list_runs(root, limit=5)) == 5
    assert run_index.of(root).folders_read == 5


def test_what_lives_is_always_read(root: Path) -> None:
    add_finished(root, 1)
    run = create(root, "", {}, {})
    fresh(root)
    views, read = fresh(root)
    assert (views[0].state, read) == ("queued", 1)
    run.lock.acquire(0)
    run.new_attempt()
    run.lock.release()
    assert list_runs(root)[0].state == "starting"


@pytest.mark.parametrize("checked", [0, 500], ids=["journal", "times"])
def test_changes_show_at_once(root: Path, monkeypatch: pytest.MonkeyPatch, checked: int) -> None:
    monkeypatch.setattr(run_index, "CHECKED", checked)
    run = add_finished(root, 1)
    fresh(root)
    list_runs(root)
    run.set_user(name="renamed", archived=False)
    assert list_runs(root)[0].name == "renamed"
    assert fresh(root)[0][0].name == "renamed"
    assert run.lock.acquire(0)
    run.new_attempt()
    run.lock.release()
    assert list_runs(root)[0].state == "starting"
    assert fresh(root)[0][0].state == "starting"


def test_changes_by_another_process_show_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "CHECKED", 0)
    run = add_finished(root, 1)
    list_runs(root)
    script = "import sys; from pathlib import Path; from engine.runs import RunFolder, list_runs\n"
    script += "run = RunFolder(Path(sys.argv[1])); list_runs(run.path.parent); run.set_user(name='theirs')"
    subprocess.run([sys.executable, "-c", script, str(run.path)], check=True)
    assert list_runs(root)[0].name == "theirs"
    assert fresh(root)[0][0].name == "theirs"


def test_changes_behind_our_back_show_by_turns(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "CHECKED", 4)
    runs = [add_finished(root, number) for number in range(12)]
    list_runs(root)
    for run in runs:
        replacement = run.path / "user.json.new"
        replacement.write_text('{"name": "synced"}')
        replacement.rename(run.path / "user.json")
    seen = [sum(view.name == "synced" for view in list_runs(root)) for _ in range(3)]
    assert seen == [8, 12, 12]


def test_an_old_reading_never_replaces_a_newer_one(root: Path) -> None:
    run = add_finished(root, 1)
    slow = run_index.RunIndex(root)
    (before,) = slow.views([run.id])
    run.set_user(name="newer")
    assert fresh(root)[0][0].name == "newer"
    slow.save()
    assert before.name == "run 1"
    assert fresh(root)[0][0].name == "newer"


def test_deleted_and_returned_runs(root: Path) -> None:
    runs = [add_finished(root, number) for number in range(3)]
    list_runs(root)
    trashed = delete(runs[1])
    assert [view.seed for view in list_runs(root)] == [2, 0]
    undelete(root, trashed)
    assert [view.seed for view in list_runs(root)] == [2, 1, 0]


def corrupt(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(8000))


def not_a_database(path: Path) -> None:
    path.write_bytes(b"hello" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def newer(path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript("DROP TABLE runs; CREATE TABLE runs (something BLOB); PRAGMA user_version = 77")
    database.close()


def nonsense_rows(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE runs SET view = x'00ff', stamp = 'late'")
    database.commit()
    database.close()


def nonsense_views(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE runs SET view = CAST('{\"id\": 7}' AS BLOB)")
    database.commit()
    database.close()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage", [corrupt, not_a_database, empty, newer, nonsense_rows, nonsense_views, directory, fifo, half]
)
def test_a_broken_cache_hides_nothing(root: Path, damage: object) -> None:
    for number in range(30):
        add_finished(root, number)
    expected, _ = fresh(root)
    index = root / ".index.db"
    assert callable(damage)
    damage(index)
    for _ in range(3):
        assert fresh(root)[0] == expected
    if index.is_file():
        assert fresh(root)[1] == 0, "what was broken is made anew"


@pytest.mark.parametrize("call", ["_create", "_prepare"], ids=["folder", "file"])
def test_a_cache_that_cannot_be_written_is_passed_by(root: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """On a disk that is read-only, or in a folder that is."""
    for number in range(5):
        add_finished(root, number)
    refusal = (
        PermissionError() if call == "_create" else sqlite3.OperationalError("attempt to write a readonly database")
    )

    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(run_index._CacheFile, call, refuse)
    for _ in range(2):
        views, read = fresh(root)
        assert ([view.seed for view in views], read) == ([4, 3, 2, 1, 0], 5)


def test_a_locked_cache_is_passed_by(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "LOCKED_S", 0.01)
    for number in range(5):
        add_finished(root, number)
    expected, _ = fresh(root)
    holder = sqlite3.connect(root / ".index.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    add_finished(root, 7)
    assert len(fresh(root)[0]) == 6
    holder.close()
    assert fresh(root)[0][1:] == expected


def test_a_cache_that_leads_elsewhere_is_not_written(root: Path, tmp_path: Path) -> None:
    add_finished(root, 1)
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (root / ".index.db").symlink_to(precious)
    assert len(fresh(root)[0]) == 1
    assert precious.read_text() == "keep"


def test_a_root_that_others_can_write_keeps_no_cache(root: Path) -> None:
    add_finished(root, 1)
    root.chmod(0o770)
    assert fresh(root)[0][0].read_only
    assert not (root / ".index.db").exists()
    root.chmod(0o700)
    assert not list_runs(root)[0].read_only


def test_a_moved_root_is_read_anew(root: Path, tmp_path: Path) -> None:
    add_finished(root, 1)
    fresh(root)
    root.rename(tmp_path / "moved")
    (view,), read = fresh(tmp_path / "moved")
    assert view.path.parent == tmp_path / "moved"
    assert read == 1


def test_a_lost_or_torn_journal_outdates_the_cache(root: Path) -> None:
    run = add_finished(root, 1)
    run.set_user(name="first")
    fresh(root)
    (root / ".touched").unlink()
    assert fresh(root)[1] == 1
    (root / ".touched").write_bytes(b"20260101-0000")
    run.set_user(name="second")
    assert fresh(root)[0][0].name == "second"


def test_network_disks_keep_the_cache_at_home_without_wal(
    root: Path, monkeypatch: pytest.MonkeyPatch, empty_home: Path
) -> None:
    monkeypatch.setattr(run_index, "on_network", lambda folder: True)
    monkeypatch.setattr(run_index, "CHECKED", 0)
    run = add_finished(root, 1)
    fresh(root)
    assert not (root / ".index.db").exists()
    (cache,) = (empty_home / "xdg_cache_home" / "cifar-tui").glob("runs-*.db")
    mode = sqlite3.connect(cache).execute("PRAGMA journal_mode").fetchone()
    assert mode == ("delete",)
    assert fresh(root)[1] == 0
    time.sleep(0.01)
    (run.path / "from another host").touch()
    assert fresh(root)[1] == 1, "every folder is compared where other hosts write"


def test_local_disks_use_wal_and_a_private_file(root: Path) -> None:
    add_finished(root, 1)
    fresh(root)
    index = root / ".index.db"
    assert index.stat().st_mode & 0o777 == 0o600
    assert sqlite3.connect(index).execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("mounts", "network"),
    [
        ("/dev/vda / ext4 rw 0 0\n", False),
        ("/dev/vda / ext4 rw 0 0\nserver:/home {there} nfs4 rw 0 0\n", True),
        ("server:/ / nfs rw 0 0\n/dev/vdb {there} xfs rw 0 0\n", False),
        ("/dev/vda / ext4 rw 0 0\nhost {parent} fuse.sshfs rw 0 0\n", True),
        ("/dev/vda / ext4 rw 0 0\nbucket {there} fuse rw 0 0\n", True),
        ("/dev/vda / ext4 rw 0 0\n/dev/vdb {there} fuseblk rw 0 0\n", False),
        ("/dev/vda / ext4 rw 0 0\nscratch {there}er lustre rw 0 0\n", False),
        ("", False),
    ],
)
def test_kind_of_disk(tmp_path: Path, mounts: str, network: bool) -> None:
    there = tmp_path / "my runs"
    there.mkdir()
    table = tmp_path / "mounts"
    table.write_text(mounts.format(there=str(there).replace(" ", "\\040"), parent=tmp_path))
    assert run_index.on_network(there, table) is network
    assert not run_index.on_network(there, tmp_path / "no such table")


@pytest.mark.slow
def test_ten_thousand_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10_000):
        add_finished(root, number)
    run_index.of.cache_clear()
    assert len(list_runs(root, limit=60)) == 60
    assert run_index.of(root).folders_read == 60
    assert len(list_runs(root)) == 10_000
    looks = 0
    real = os.lstat

    def count(*arguments: object, **named: object) -> os.stat_result:
        nonlocal looks
        looks += 1
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "lstat", count)
    views, read = fresh(root)
    assert len(views) == 10_000
    assert read == 0
    assert looks < 2 * run_index.CHECKED + 50, "a look at the list costs the names and a bounded number of folders"


def forge(root: Path, **fields: object) -> None:
    """A cache whose one row says what somebody wants it to say, as one that came with an unpacked runs folder may."""
    with closing(sqlite3.connect(root / ".index.db")) as database, database:
        ((name, view),) = database.execute("SELECT id, view FROM runs").fetchall()
        forged = json.dumps({**json.loads(view), **fields}, ensure_ascii=False).encode()
        database.execute("UPDATE runs SET view = ? WHERE id = ?", (forged, name))


ESCAPES = ("\x1b]52;c;aGk=\x07", "\x9b2J", "\x7f", "\u202e")
FORGED: dict[str, dict[str, object]] = {
    **{f"{escape!r} as a name": {"name": f"x{escape}"} for escape in ESCAPES},
    "escape in a tag": {"tags": [ESCAPES[0]]},
    "escape in a key": {"last": {ESCAPES[0]: 1.0}},
    "escape in a value": {"published": {"source": ESCAPES[1]}},
    "path of another folder": {"path": "/etc"},
    "a state that may change": {"settled": False, "state": "running"},
    "read only": {"read_only": True},
}


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED)
def test_a_row_that_no_look_would_give_is_not_believed(root: Path, fields: dict[str, object]) -> None:
    run = add_finished(root, 7)
    ((honest,), _) = fresh(root)
    forge(root, **fields)
    ((view,), read) = fresh(root)
    assert (view, read) == (honest, 1)
    assert view.path == run.path


@pytest.mark.mutant
def test_mutant_rows_that_are_not_checked_bring_escapes_along(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_finished(root, 7)
    fresh(root)
    forge(root, name=ESCAPES[0])
    monkeypatch.setattr(run_index, "_is_clean", lambda view, data: True)
    assert fresh(root)[0][0].name == ESCAPES[0]


def test_text_of_any_script_is_kept_in_the_cache(root: Path) -> None:
    run = add_finished(root, 7)
    run.set_user(name="学習 é 👩‍🔬 \u202e", note="line\n\tline", tags=["ü"])
    fresh(root)
    ((view,), read) = fresh(root)
    assert (view.name[:4], view.note, read) == ("学習 é", "line\n line", 0)
