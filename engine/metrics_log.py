"""The append-only log of a run: one JSON object a line, written by one engine and followed by any number of readers."""

import json
import os
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import atomic

if TYPE_CHECKING:
    import msgspec

SCHEMA = 1
RECORD_BYTES = 4096
TEXT_LENGTHS = (RECORD_BYTES, 500, 100)  # characters left of each text until a record is short enough
QUEUE_BYTES = 8 << 20
LINE_BYTES = 1 << 16
ANCHOR_BYTES = 64

_KIND = b'{"kind"'

Record = dict[str, Any]


class MetricsWriter:
    """Appends records, each with a single write(2), and never stops the training because the disk is full.

    ``problem`` is a sentence for the reader while records wait in memory, else "". Errors other than a lack of room
    are raised.
    """

    def __init__(self, path: Path) -> None:
        self._fd = atomic.open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._end = os.fstat(self._fd).st_size
        self._waiting: deque[tuple[bool, bytes]] = deque()
        self._waiting_bytes = 0
        self.dropped = 0
        self.problem = ""
        if self._end and os.pread(self._fd, 1, self._end - 1) != b"\n":
            self._enqueue(False, b"\n")
            self._drain()

    @property
    def offset(self) -> int:
        """Bytes of whole records in the file, which a checkpoint remembers."""
        return self._end

    def append(self, record: Record) -> None:
        """Write one record of kind ``record["kind"]``; NaN and infinity become null, which is drawn as a gap."""
        line = _encode(record)
        self._enqueue(record["kind"] == "step", line)
        self._drain()

    def sync(self) -> None:
        """Try again what waits, then make everything below ``offset`` survive a power cut."""
        self.retry()
        self.flush()

    def retry(self) -> None:
        """Try again what waits."""
        self._drain()

    def flush(self) -> None:
        """Make what is written survive a power cut. Another thread may append meanwhile: a disk can take seconds."""
        try:
            _fdatasync(self._fd)
        except OSError as error:
            if not atomic.out_of_room(error):
                raise
            self.problem = self._describe(error)

    def shrink(self, room: int) -> None:
        """Give up the oldest waiting records, those of steps first, until the rest takes at most `room` bytes."""
        while self._waiting_bytes > room:
            self._drop_oldest()

    def close(self) -> None:
        """Write and sync what can be, then let go of the file."""
        self.sync()
        os.close(self._fd)

    def _enqueue(self, droppable: bool, line: bytes) -> None:
        self._waiting.append((droppable, line))
        self._waiting_bytes += len(line)
        while self._waiting_bytes > QUEUE_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Forget the oldest step record; the rarer kinds go only when no step record is left."""
        index = next((i for i, (droppable, _) in enumerate(self._waiting) if droppable), 0)
        self._waiting_bytes -= len(self._waiting[index][1])
        del self._waiting[index]
        self.dropped += 1

    def _drain(self) -> None:
        while self._waiting:
            line = self._waiting[0][1]
            try:
                self._write(line)
            except OSError as error:
                if not atomic.out_of_room(error):
                    raise
                self.problem = self._describe(error)
                return
            self._end += len(line)
            self._waiting_bytes -= len(line)
            self._waiting.popleft()
        self.problem = ""

    def _write(self, line: bytes) -> None:
        """Write one line or none of it."""
        written = os.write(self._fd, line)
        if written == len(line):
            return
        # A nearly full disk takes the head of a record without an error; what is wrong shows at the next write.
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise

    def _describe(self, error: OSError) -> str:
        waiting = f"{len(self._waiting)} records wait in memory"
        dropped = f", {self.dropped} older ones were given up" if self.dropped else ""
        return f"metrics.jsonl: {atomic.out_of_room(error)}; {waiting}{dropped}"


def _encode(record: Record) -> bytes:
    stamped = {"kind": record["kind"], "schema": SCHEMA, "t": time.time(), **record}
    for length in TEXT_LENGTHS:
        cut = {key: value[:length] if isinstance(value, str) else value for key, value in stamped.items()}
        line = atomic.encode_json(cut, compact=True).encode("ascii") + b"\n"
        if len(line) <= RECORD_BYTES:
            return line
    raise ValueError(f"a {record['kind']} record of {len(line)} bytes is longer than {RECORD_BYTES}")


def _fdatasync(fd: int) -> None:
    getattr(os, "fdatasync", os.fsync)(fd)


def set_aside(path: Path, offset: int, into: Path) -> int:
    """Move the bytes of ``path`` past ``offset`` to the end of ``into``, durably, then cut ``path``; return how many.

    Raises ValueError when the file is shorter than ``offset`` or when ``offset`` is not the start of a line.
    """
    fd = atomic.open_regular(path, os.O_RDWR)
    try:
        size = os.fstat(fd).st_size
        if size < offset:
            raise ValueError(f"metrics.jsonl has {size} bytes, fewer than the {offset} that the checkpoint remembers")
        if offset and os.pread(fd, 1, offset - 1) != b"\n":
            raise ValueError(f"byte {offset} of metrics.jsonl is inside a record")
        if size > offset:
            _copy_range(fd, offset, size, into)
            os.ftruncate(fd, offset)
            os.fsync(fd)
        return size - offset
    finally:
        os.close(fd)


def _copy_range(source: int, start: int, end: int, into: Path) -> None:
    target = atomic.open_regular(into, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        while start < end:
            piece = os.pread(source, min(1 << 20, end - start), start)
            if not piece:
                break
            start += len(piece)
            while piece:
                piece = piece[os.write(target, piece) :]
        os.fsync(target)
    finally:
        os.close(target)
    with atomic.open_folder(into.parent) as folder:
        atomic.sync_folder(folder)


@dataclass(frozen=True)
class Chunk:
    """Whole lines of a log: ``data`` starts at byte ``start`` of the file and ends with a newline, or is empty."""

    start: int
    data: bytes


class MetricsTail:
    """Follows a log that grows, is cut, is replaced or is damaged. Holds no descriptor between polls and no record.

    After a poll, ``restarted`` says that the file was cut or replaced and the records begin from its start again.
    ``unreadable`` counts the lines that gave no record since then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        self.unreadable = 0
        self.offset = 0
        self._file: tuple[int, int] | None = None
        self._anchor = b""
        self._skipping = False

    def poll(self, limit: int = 4 << 20) -> list[Record]:
        """Records of the whole lines among the next ``limit`` bytes; a last line without its newline waits."""
        return self.decode(self.poll_chunk(limit).data)

    def poll_chunk(self, limit: int = 4 << 20) -> Chunk:
        """The whole lines among the next ``limit`` bytes, not yet decoded."""
        self.restarted = False
        try:
            fd = atomic.open_regular(self.path, os.O_RDONLY)
        except OSError:
            return Chunk(self.offset, b"")
        try:
            self._notice_restart(fd)
            data = os.pread(fd, limit, self.offset)
        finally:
            os.close(fd)
        return self._whole_lines(data, limit)

    def decode(self, data: bytes) -> list[Record]:
        """Decode whole lines, counting what cannot be read."""
        if not data:
            return []
        try:
            records = _decoder().decode_lines(data)
        except ValueError:
            records = None
        if records is not None and all(isinstance(record.get("kind"), str) for record in records):
            return records
        return self._salvage(data)

    def _notice_restart(self, fd: int) -> None:
        """Start over when the file is another one, shorter, or no longer holds the bytes that were read last.

        A resume cuts the log and grows it again, perhaps past the old length between two polls.
        """
        status = os.fstat(fd)
        same = (status.st_dev, status.st_ino)
        if self._file is None:
            self._file = same
        before = os.pread(fd, len(self._anchor), self.offset - len(self._anchor))
        kept = status.st_size >= self.offset and before == self._anchor
        if same == self._file and kept:
            return
        self._file = same
        self.restarted = True
        self.unreadable = 0
        self.offset = 0
        self._anchor = b""
        self._skipping = False

    def _whole_lines(self, data: bytes, limit: int) -> Chunk:
        start = self.offset
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) == limit:
            # A line longer than a whole poll is no record: pass over it to its end.
            self._skipping = True
            end = len(data)
        self.offset += end
        self._anchor = (self._anchor + data[:end])[-ANCHOR_BYTES:]
        whole = data[:end]
        if not self._skipping:
            return Chunk(start, whole)
        newline = whole.find(b"\n") + 1
        if newline == 0:
            return Chunk(self.offset, b"")
        self._skipping = False
        self.unreadable += 1
        return Chunk(start + newline, whole[newline:])

    def _salvage(self, data: bytes) -> list[Record]:
        records: list[Record] = []
        for line in data.split(b"\n"):
            stripped = line.strip(b"\0\r\t \xef\xbb\xbf")
            if not stripped:
                self.unreadable += bool(line.strip(b"\r\t "))
                continue
            found, bad = _records_in(stripped)
            records += found
            self.unreadable += bad
        return records


@cache
def _decoder() -> "msgspec.json.Decoder[Record]":
    """Made when first needed: msgspec takes 3 MB of memory, which a process that only writes can do without."""
    import msgspec

    return msgspec.json.Decoder(dict[str, Any])


def _records_in(line: bytes) -> tuple[list[Record], bool]:
    """Records in a damaged line (two on one line, a torn one before a good one), and whether some was unreadable."""
    if len(line) > LINE_BYTES:
        return [], True
    record = _decode_record(line)
    if record is not None:
        return [record], False
    starts = [i for i in range(len(line)) if line.startswith(_KIND, i)]
    pieces = [line[start:end] for start, end in pairwise([*starts, len(line)])]
    decoded = [_decode_record(piece.strip(b"\0\r\t ")) for piece in pieces]
    found = [record for record in decoded if record is not None]
    bad = not found or len(found) < len(pieces) or starts[0] > 0
    return found, bad


def _decode_record(line: bytes) -> Record | None:
    try:
        # The standard decoder, unlike msgspec's, takes the NaN and Infinity that other writers leave.
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(record, dict) and isinstance(record.get("kind"), str):
        return record
    return None
