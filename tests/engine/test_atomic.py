import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import atomic
from engine.atomic import DiskFullError, open_regular, read_json, sweep, write_bytes, write_json, write_text
from engine.process import Identity

ROOT = Path(__file__).parents[2]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    return path


def test_writes_whole_files_that_only_their_owner_reads(target: Path) -> None:
    before = os.umask(0)
    try:
        write_bytes(target, memoryview(b"new" * 100_000))
        write_text(target.with_name("made.txt"), "ü\udcff")
    finally:
        os.umask(before)
    assert target.read_bytes() == b"new" * 100_000
    assert target.with_name("made.txt").read_bytes() == "ü?".encode()
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.parent.iterdir()} == {0o600}
    assert len(list(target.parent.iterdir())) == 2


def calls_of_write(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    """What a write asks of the operating system, in order."""
    calls: list[str] = []

    def record(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            calls.append("fsync folder" if is_folder else name)
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, recorded)

    for name in ("write", "fsync", "replace"):
        record(name)
    write_bytes(path, b"new")
    return calls


@pytest.mark.skipif(sys.platform != "linux", reason="macOS flushes by fcntl")
def test_the_file_is_flushed_before_the_rename_and_the_folder_after(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calls_of_write(monkeypatch, target) == ["write", "fsync", "replace", "fsync folder"]


def fail(number: int) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return failing


def full_after_a_part(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A disk that takes two bytes, as full disks do, and then nothing."""
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        monkeypatch.setattr(os, "write", fail(number))
        return real(descriptor, data[:2])

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "size limit")]
)
def test_full_disk_is_named_and_changes_nothing(
    target: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    full_after_a_part(monkeypatch, number)
    with pytest.raises(DiskFullError, match=words) as refusal:
        write_bytes(target, b"new")
    assert refusal.value.errno == number
    assert refusal.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert os.listdir(target.parent) == [target.name]


def test_lack_of_inodes_is_told_from_lack_of_room(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Disk:
        f_files, f_favail = 1000, 0

    monkeypatch.setattr(os, "statvfs", lambda _: Disk)
    monkeypatch.setattr(os, "write", fail(errno.ENOSPC))
    with pytest.raises(DiskFullError, match="no inodes left"):
        write_bytes(target, b"new")


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_at_any_step_leaves_the_old_file_and_no_other(
    target: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    monkeypatch.setattr(os, step, fail(number))
    monkeypatch.setattr(atomic, "_FULL_SYNC", None)
    with pytest.raises(OSError, match=r".") as refusal:
        write_bytes(target, b"new")
    assert (refusal.value.errno, refusal.value.filename) == (number, str(target))
    assert target.read_bytes() == b"old"
    assert os.listdir(target.parent) == [target.name]


def test_an_interrupt_leaves_nothing_behind(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    monkeypatch.setattr(atomic, "_FULL_SYNC", None)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(target, b"new")
    assert os.listdir(target.parent) == [target.name]


def test_the_size_limit_of_a_process_is_felt_and_named(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from engine.atomic import DiskFullError, write_bytes\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "write_bytes(sys.argv[1], b'old')\n"
        "try: write_bytes(sys.argv[1], bytes(5000))\n"
        "except DiskFullError as error: print(error.strerror)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, cwd=ROOT)
    assert "size limit" in ran.stdout, ran.stderr
    assert (tmp_path / "f").read_bytes() == b"old"


def test_links_are_neither_followed_nor_replaced(tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('{"a": 1}')
    link = tmp_path / "summary.json"
    link.symlink_to(outside)
    with pytest.raises(OSError, match="symbolic link"):
        write_json(link, {"a": 2})
    assert read_json(link) is None
    with pytest.raises(OSError, match=r".") as refusal:
        open_regular(link, os.O_RDONLY)
    assert refusal.value.errno == errno.ELOOP
    assert link.is_symlink()
    assert read_json(outside) == {"a": 1}
    assert json.loads(link.read_text()) == {"a": 1}  # the plain way follows it


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    """Where a person names the file, it may be /dev/null, and the person root."""
    fifo = tmp_path / "fifo.json"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="no regular file"):
        write_json(fifo, {"a": 1})
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_json(tmp_path / "folder", {"a": 1})
    assert sorted(os.listdir(tmp_path)) == ["fifo.json", "folder"]


def test_what_is_there_is_kept_where_it_may_not_be_replaced(target: Path) -> None:
    with pytest.raises(FileExistsError):
        write_text(target, "new", replace=False)
    assert target.read_bytes() == b"old"
    target.unlink()
    write_text(target, "new", replace=False)
    assert target.read_bytes() == b"new"
    assert (target.stat().st_nlink, stat.S_IMODE(target.stat().st_mode)) == (1, 0o600)
    assert os.listdir(target.parent) == [target.name]


def test_fifos_folders_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "metrics.jsonl"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, Path("/dev/null")):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path, os.O_RDONLY)
        assert read_json(path) is None


def test_open_regular_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    descriptor = open_regular(__file__)
    os.close(descriptor)
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path)
    again = open_regular(__file__)
    os.close(again)
    assert again == descriptor


def test_what_open_regular_makes_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_regular(tmp_path / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log.txt").stat().st_mode) == 0o600


def test_json_round_trip_without_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"loss": float("nan"), "spark": [1.5, float("inf")], "name": "学習\udcff"})
    assert b"NaN" not in path.read_bytes()
    assert read_json(path) == {"loss": None, "spark": [1.5, None], "name": "学習\udcff"}


UNREADABLE = {
    "empty": b"",
    "list": b"[]",
    "text": b'"a"',
    "torn": b'{"a": 1',
    "NULs": b'{"a": 1}' + b"\0" * 9,
    "binary": b"\x89PNG\xff\xfe",
    "5,000 digits": b'{"a": ' + b"1" * 5000 + b"}",
    "deep": b'{"a": ' + b"[" * 200_000,
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_damaged_json_reads_as_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    assert read_json(path) is None


def test_absent_json_reads_as_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "a.json") is None
    assert read_json(tmp_path / "no" / "folder.json") is None


def test_infinities_from_another_writer_read_as_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": NaN, "b": 1e999, "c": -Infinity, "d": 1e3}')
    assert read_json(path) == {"a": None, "b": None, "c": None, "d": 1000.0}


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.write(b'{"a": 1}')
        file.truncate(1 << 40)  # sparse: reading it whole would not fit into memory
    assert read_json(path) is None
    path.write_bytes(b'{"a": 1}')
    assert read_json(path, limit=8) == {"a": 1}
    assert read_json(path, limit=7) is None


def leftover_of_killed_writer(target: Path) -> None:
    code = (
        "import os, signal, sys; from engine import atomic\n"
        "os.replace = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic.write_bytes(sys.argv[1], b'new')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(target)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL


def test_sweep_removes_what_killed_writers_left_and_nothing_else(target: Path) -> None:
    leftover_of_killed_writer(target)
    me = Identity.current()
    mine = target.with_name(f".summary.json.{me.pid}-{me.start_ticks}-7.tmp")
    recycled = target.with_name(f".summary.json.{me.pid}-{me.start_ticks - 1}-7.tmp")
    strangers = [target.with_name(name) for name in ("notes.tmp", ".x.tmp", ".x.1-2.tmp", "x.1-2-3.tmp")]
    for path in [mine, recycled, *strangers]:
        path.write_bytes(b"")
    folder = target.with_name(".folder.1-2-3.tmp")
    folder.mkdir()
    assert len(list(target.parent.iterdir())) == 9
    assert sweep(target.parent) == 2
    assert set(target.parent.iterdir()) == {target, mine, folder, *strangers}
    assert target.read_bytes() == b"old"


def test_sweep_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".a.4000000-1-1.tmp").symlink_to(outside)
    assert sweep(folder) == 0
    assert outside.read_bytes() == b"kept"


def test_threads_do_not_meet_in_one_temporary_file(target: Path) -> None:
    errors: list[BaseException] = []

    def write(letter: bytes) -> None:
        try:
            for _ in range(50):
                write_bytes(target, letter * 5000)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(target.read_bytes())) == 1
    assert os.listdir(target.parent) == [target.name]


def write_in_place(path: Path, data: bytes) -> None:
    """The mutant: what most programs do."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


@pytest.mark.mutant
def test_writing_in_place_would_lose_the_old_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_after_a_part(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        write_in_place(target, b"new")
    assert target.read_bytes() == b"ne"


@pytest.mark.mutant
@pytest.mark.parametrize("protection", ["_sync", "sync_folder"])
def test_a_flush_left_out_is_noticed(target: Path, monkeypatch: pytest.MonkeyPatch, protection: str) -> None:
    monkeypatch.setattr(atomic, protection, lambda _: None)
    assert calls_of_write(monkeypatch, target) != ["write", "fsync", "replace", "fsync folder"]


@pytest.mark.mutant
def test_a_flush_after_the_rename_is_noticed(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order a power cut leaves an empty file under the new name."""
    late: list[int] = []
    folder_first = atomic.sync_folder

    def sync_both(folder: int) -> None:
        os.fsync(late.pop())
        folder_first(folder)

    monkeypatch.setattr(atomic, "_sync", lambda descriptor: late.append(os.dup(descriptor)))
    monkeypatch.setattr(atomic, "sync_folder", sync_both)
    assert calls_of_write(monkeypatch, target) == ["write", "replace", "fsync", "fsync folder"]


def trap_the_temporary_name(target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A link under the name that the next writer will choose, to a file that is returned."""
    precious = target.with_name("precious")
    precious.write_bytes(b"kept")
    monkeypatch.setattr(atomic, "_temporary_name", lambda name: f".{name}.trap")
    target.with_name(f".{target.name}.trap").symlink_to(precious)
    return precious


def test_a_guessed_temporary_name_leads_nowhere(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = trap_the_temporary_name(target, monkeypatch)
    with pytest.raises(FileExistsError):
        write_bytes(target, b"new")
    assert (target.read_bytes(), precious.read_bytes()) == (b"old", b"kept")


@pytest.mark.mutant
def test_without_exclusive_creation_a_guessed_name_would_lead_away(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = trap_the_temporary_name(target, monkeypatch)
    monkeypatch.setattr(os, "O_EXCL", 0)
    write_bytes(target, b"new")
    assert precious.read_bytes() == b"newt"


@pytest.mark.mutant
def test_without_the_look_at_what_is_there_a_device_would_be_replaced(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(OSError, match="no regular file"):
        write_bytes(target, b"new")
    monkeypatch.setattr(atomic, "_refuse_odd", lambda path, folder: None)
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"


@pytest.mark.mutant
def test_without_the_look_at_its_kind_a_fifo_would_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "fifo")
    monkeypatch.setattr(stat, "S_ISREG", lambda mode: True)
    os.close(open_regular(tmp_path / "fifo"))


@pytest.mark.mutant
def test_without_nofollow_a_link_would_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "summary.json"
    link.symlink_to(__file__)
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
    os.close(open_regular(link))


@pytest.mark.mutant
def test_without_nonblock_a_fifo_would_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: Any) -> None:
        raise TimeoutError

    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(os, "O_NONBLOCK", 0)
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError):
            open_regular(tmp_path / "fifo")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
