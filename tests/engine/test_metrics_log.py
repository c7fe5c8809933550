"""The log of metrics under full disks, damage, replacement and resume."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.metrics_log import QUEUE_BYTES, RECORD_BYTES, MetricsTail, MetricsWriter, set_aside


def step(number: int, **fields: object) -> dict[str, object]:
    return {"kind": "step", "step": number, **fields}


def steps(records: list[dict[str, object]]) -> list[object]:
    return [record["step"] for record in records]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


class FullDisk:
    """Stands in for os.write: takes ``room`` bytes of records, the last write short, then raises."""

    def __init__(self, room: int, error: int = errno.ENOSPC) -> None:
        self.room = room
        self.error = error
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(self.error, os.strerror(self.error))
        taken = data[: self.room]
        self.room -= len(taken)
        return self._write(fd, taken)


def test_records_carry_kind_first_schema_and_time(log: Path) -> None:
    writer = MetricsWriter(log)
    writer.append(step(1, loss=float("nan"), accuracy=31.5))
    assert log.read_bytes().startswith(b'{"kind":"step","schema":1,"t":')
    (record,) = MetricsTail(log).poll()
    assert record["loss"] is None
    assert record["accuracy"] == 31.5


def test_each_record_is_one_write(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(data)
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    writer = MetricsWriter(log)
    for number in range(5):
        writer.append(step(number))
    assert len(writes) == 5
    assert all(line.endswith(b"\n") for line in writes)


def test_file_is_private_even_with_an_open_umask(log: Path) -> None:
    old = os.umask(0)
    try:
        MetricsWriter(log).append(step(1))
    finally:
        os.umask(old)
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "words"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "file size")]
)
def test_full_disk_keeps_records_in_memory_and_writes_them_later(
    log: Path, monkeypatch: pytest.MonkeyPatch, error: int, words: str
) -> None:
    writer = MetricsWriter(log)
    writer.append(step(0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", FullDisk(room=100, error=error))
        for number in range(1, 6):
            writer.append(step(number))
        writer.sync()
        assert words in writer.problem
        assert "wait in memory" in writer.problem
        assert log.read_bytes().endswith(b"\n"), "the head of a record that did not fit is rolled back"
        assert writer.offset == log.stat().st_size
    writer.sync()
    assert writer.problem == ""
    assert steps(MetricsTail(log).poll()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.mutant
def test_mutant_without_the_rollback_half_a_record_stays(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MetricsWriter(log)
    monkeypatch.setattr(os, "write", FullDisk(room=100))
    monkeypatch.setattr(os, "ftruncate", lambda descriptor, size: None)
    for number in range(3):
        writer.append(step(number))
    assert not log.read_bytes().endswith(b"\n")
    assert log.stat().st_size > writer.offset


def test_file_size_limit_of_the_process_loses_nothing(log: Path) -> None:
    script = (
        "import sys, resource\n"
        "from pathlib import Path\n"
        "from engine.metrics_log import MetricsWriter\n"
        "writer = MetricsWriter(Path(sys.argv[1]))\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))\n"
        "for number in range(50): writer.append({'kind': 'step', 'step': number})\n"
        "assert 'file size' in writer.problem, writer.problem\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
        "writer.close()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(log)], check=True)
    assert steps(MetricsTail(log).poll()) == list(range(50))


def test_memory_of_a_full_disk_is_bounded_and_rare_records_stay(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.metrics_log.QUEUE_BYTES", 2_000)
    writer = MetricsWriter(log)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", FullDisk(room=0))
        writer.append({"kind": "epoch", "epoch": 1})
        for number in range(100):
            writer.append(step(number))
        assert writer.dropped > 50
        assert "given up" in writer.problem
    writer.sync()
    records = MetricsTail(log).poll()
    assert records[0]["kind"] == "epoch"
    assert records[-1]["step"] == 99
    assert QUEUE_BYTES > 1 << 20


def test_other_errors_are_raised(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MetricsWriter(log)
    monkeypatch.setattr(os, "write", FullDisk(room=0, error=errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        writer.append(step(1))


def test_long_texts_are_cut_and_longer_records_refused(log: Path) -> None:
    writer = MetricsWriter(log)
    writer.append({"kind": "end", "state": "failed", "reason": "x" * 100_000})
    assert log.stat().st_size <= RECORD_BYTES
    with pytest.raises(ValueError, match="longer than"):
        writer.append({"kind": "step", **{f"series_{i}": 1.0 for i in range(1000)}})


def test_symbolic_link_is_not_written_through(log: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("precious")
    log.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        MetricsWriter(log)
    assert target.read_text() == "precious"


def test_torn_tail_of_a_dead_writer_does_not_swallow_the_next_record(log: Path) -> None:
    log.write_bytes(b'{"kind":"step","step":1}\n{"kind":"st')
    MetricsWriter(log).append(step(2))
    tail = MetricsTail(log)
    assert steps(tail.poll()) == [1, 2]
    assert tail.unreadable == 1


@pytest.mark.mutant
@pytest.mark.parametrize("layer", ["writer", "reader"])
def test_mutant_without_both_layers_a_torn_tail_takes_the_next_record_along(
    log: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    """The writer ends the torn line, the reader finds the record within; one of the two is enough."""
    torn = b'{"kind":"step","step":1}\n{"kind":"st'
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", lambda descriptor, size, offset: b"\n")
        log.write_bytes(torn)
        MetricsWriter(log).append(step(2))
    assert steps(MetricsTail(log).poll()) == [1, 2]
    if layer == "writer":
        log.write_bytes(torn)
        MetricsWriter(log).append(step(2))
    monkeypatch.setattr("engine.metrics_log._records_in", one_whole_record)
    assert steps(MetricsTail(log).poll()) == ([1, 2] if layer == "writer" else [1])


def one_whole_record(line: bytes) -> tuple[list[dict[str, Any]], bool]:
    """A reader that knows whole lines only."""
    try:
        return [json.loads(line)], False
    except ValueError:
        return [], True


def test_killed_writer_leaves_only_whole_records(log: Path) -> None:
    script = (
        "import sys, itertools\n"
        "from pathlib import Path\n"
        "from engine.metrics_log import MetricsWriter\n"
        "writer = MetricsWriter(Path(sys.argv[1]))\n"
        "for number in itertools.count():\n"
        "    writer.append({'kind': 'step', 'step': number})\n"
        "    number or print(flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(log)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    tail = MetricsTail(log)
    seen: list[object] = []
    while len(seen) < 1000:
        seen += steps(tail.poll())
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    while records := tail.poll():
        seen += steps(records)
    assert seen == list(range(len(seen)))
    assert tail.unreadable == 0


def test_tail_waits_for_the_rest_of_a_line(log: Path) -> None:
    tail = MetricsTail(log)
    assert tail.poll() == []
    log.write_bytes(b'{"kind":"step","st')
    assert tail.poll() == []
    with log.open("ab") as file:
        file.write(b'ep":7}\n')
    assert steps(tail.poll()) == [7]
    assert tail.unreadable == 0


GOOD = b'{"kind":"step","step":1}\n'


@pytest.mark.parametrize(
    ("damage", "found", "unreadable"),
    [
        (GOOD + b"\0" * 5000, [1], 0),
        (GOOD + b"\0" * 300 + b"\n" + b'{"kind":"step","step":2}\n', [1, 2], 1),
        (GOOD + b"\0\0\0" + b'{"kind":"step","step":2}\n', [1, 2], 0),
        (b'{"kind":"step","step":1}\r\n{"kind":"step","step":2}\r\n', [1, 2], 0),
        (b"\xef\xbb\xbf" + GOOD, [1], 0),
        (b'{"kind":"step","step":1}{"kind":"step","step":2}\n', [1, 2], 0),
        (b'{"kind":"st{"kind":"step","step":2}\n', [2], 1),
        (b"", [], 0),
        (b"\x80\x02\xff\xfe\n" + GOOD, [1], 1),
        (b"[]\n3\nnull\n{}\n" + GOOD, [1], 4),
        (b'{"kind":7,"step":1}\n' + GOOD, [1], 1),
        (b'{"kind":"step","step":1,"loss":NaN}\n{"kind":"step","step":2,"loss":-Infinity}\n', [1, 2], 0),
        (b'{"kind":"step","step":1,"loss":' + b"9" * 5000 + b"}\n" + GOOD, [1], 1),
        (b"[" * 50_000 + b"\n" + GOOD, [1], 1),
        (b"\n\n" + GOOD, [1], 0),
    ],
    ids=range(15),
)
def test_damage_costs_only_what_it_touches(log: Path, damage: bytes, found: list[int], unreadable: int) -> None:
    log.write_bytes(damage)
    tail = MetricsTail(log)
    assert steps(tail.poll()) == found
    assert tail.unreadable == unreadable


def test_ten_megabyte_line_is_skipped_in_small_pieces(log: Path) -> None:
    log.write_bytes(GOOD + b'{"kind":"step","x":"' + b"a" * 10_000_000 + b'"}\n' + b'{"kind":"step","step":2}\n')
    tail = MetricsTail(log)
    seen: list[object] = []
    for _ in range(60):
        chunk = tail.poll_chunk(limit=1 << 18)
        assert len(chunk.data) <= 1 << 18
        seen += steps(tail.decode(chunk.data))
    assert seen == [1, 2]
    assert tail.unreadable == 1


def test_any_bytes_are_read_without_an_error(log: Path) -> None:
    generator = random.Random(7)
    valid = b"".join(b'{"kind":"step","step":%d,"loss":0.5}\n' % i for i in range(30))
    for _ in range(200):
        data = bytearray(valid)
        for _ in range(generator.randrange(1, 20)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        log.write_bytes(data)
        records = MetricsTail(log).poll()
        assert all(isinstance(record["kind"], str) for record in records)


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "device"])
def test_what_is_no_regular_file_is_not_read(log: Path, tmp_path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(log)
    elif kind == "directory":
        log.mkdir()
    else:
        (tmp_path / "other").write_bytes(GOOD)
        log.symlink_to("/dev/zero" if kind == "device" else tmp_path / "other")
    assert MetricsTail(log).poll() == []


def test_replaced_file_is_read_from_its_start(log: Path, tmp_path: Path) -> None:
    log.write_bytes(GOOD)
    tail = MetricsTail(log)
    tail.poll()
    replacement = tmp_path / "replacement"
    replacement.write_bytes(b'{"kind":"step","step":10}\n{"kind":"step","step":11}\n')
    replacement.rename(log)
    assert steps(tail.poll()) == [10, 11]
    assert tail.restarted
    assert tail.poll() == []
    assert not tail.restarted


def test_cut_and_regrown_file_is_read_from_its_start(log: Path) -> None:
    log.write_bytes(b"".join(b'{"kind":"step","step":%d}\n' % i for i in range(5)))
    tail = MetricsTail(log)
    tail.poll()
    with log.open("r+b") as file:
        file.truncate(2 * len(GOOD))
        file.seek(0, os.SEEK_END)
        file.write(b"".join(b'{"kind":"step","step":%d}\n' % i for i in range(20, 40)))
    assert steps(tail.poll()) == [0, 1, *range(20, 40)]
    assert tail.restarted


def test_tail_keeps_no_descriptor(log: Path) -> None:
    log.write_bytes(GOOD)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc").exists() else 0
    tails = [MetricsTail(log) for _ in range(50)]
    for tail in tails:
        tail.poll()
    after = len(os.listdir("/proc/self/fd")) if Path("/proc").exists() else 0
    assert after == before


def test_set_aside_moves_records_past_the_offset(log: Path, tmp_path: Path) -> None:
    writer = MetricsWriter(log)
    writer.append(step(1))
    offset = writer.offset
    writer.append(step(2))
    writer.append(step(3))
    writer.close()
    whole = log.read_bytes()
    into = tmp_path / "superseded.jsonl"
    assert set_aside(log, offset, into) == len(whole) - offset
    assert log.read_bytes() + into.read_bytes() == whole
    assert steps(MetricsTail(into).poll()) == [2, 3]
    assert set_aside(log, offset, into) == 0


def test_set_aside_syncs_the_copy_before_it_cuts(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_bytes(GOOD * 2)
    calls: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("sync"))
    monkeypatch.setattr(os, "ftruncate", lambda fd, size: calls.append("cut"))
    set_aside(log, len(GOOD), tmp_path / "superseded.jsonl")
    assert calls == ["sync", "sync", "cut", "sync"]


def test_log_shorter_than_the_checkpoint_remembers_is_refused(log: Path, tmp_path: Path) -> None:
    log.write_bytes(GOOD)
    with pytest.raises(ValueError, match="fewer than the 1000"):
        set_aside(log, 1000, tmp_path / "superseded.jsonl")
    with pytest.raises(ValueError, match="inside a record"):
        set_aside(log, 5, tmp_path / "superseded.jsonl")
    assert log.read_bytes() == GOOD


def test_two_threads_of_one_writer_process_do_not_mix_lines(log: Path) -> None:
    writers = [MetricsWriter(log) for _ in range(4)]

    def write(writer: MetricsWriter) -> None:
        for number in range(200):
            writer.append(step(number, note="x" * 500))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tail = MetricsTail(log)
    assert len(tail.poll()) == 800
    assert tail.unreadable == 0
