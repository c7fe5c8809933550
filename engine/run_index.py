"""A throw-away cache of the views of runs that are over, so that ten thousand of them list at once.

The folders stay the truth: the cache is asked only about names that are there, and any doubt about it means reading the
folder. Whoever changes a run adds its id to the journal ``.touched`` of the runs folder, which outdates what was read
before. Folders that changed behind our back (by rsync, say) show by their modification time, which is compared at every
look for the newest runs and by turns for the older ones.

SQLite, msgspec and hashlib are imported where they are used: the processes that run beside an engine for days only note
changes here, and these three would cost each of them 8 MB.
"""

import os
import re
import stat
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import atomic
from engine.ownership import is_ours, make_folder
from engine.run_view import RUN_ID, RunView, look
from engine.text import clean

if TYPE_CHECKING:
    import sqlite3

    import msgspec

VERSION = 1
CHECKED = 500
FETCHED = 500
LOCKED_S = 0.5

_NETWORK = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs")
)
_TABLE = (
    "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, stamp INTEGER, touched INTEGER, view BLOB) WITHOUT ROWID"
)
_FIELDS = tuple(field.name for field in fields(RunView))
_HARMLESS = re.compile(rb'(?:[ -\[\]-~]++|\\["\\n])*+')  # JSON of printable ASCII, quotes, backslashes and line breaks
_UPSERT = (
    "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " stamp = excluded.stamp, touched = excluded.touched, view = excluded.view WHERE excluded.touched >= touched"
)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Around a change to a run folder: what any cache knows of the run is outdated, before the change and after it."""
    _touch(folder)
    yield
    _touch(folder)


@lru_cache(maxsize=8)
def of(root: Path) -> "RunIndex":
    """The index of a runs folder in this process."""
    return RunIndex(root)


@dataclass(slots=True)
class _Row:
    """What is known of a run that is over: the folder's modification time and the journal's length when it was read.

    Without a ``view`` it is still in the cache file only.
    """

    stamp: int
    touched: int
    view: RunView | None = None


class RunIndex:
    """Views of the runs in one folder, safe to use from several threads.

    ``folders_read`` counts the folders that had to be read, which is what listing costs.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = _CacheFile(root)
        self._journal = _Journal(root / ".touched")
        self._rows: dict[str, _Row] = {}
        self._unsaved: dict[str, _Row] = {}
        self._trusted: bool | None = None
        self._turn = 0
        self._guard = threading.RLock()
        self.folders_read = 0

    def views(self, names: list[str]) -> Iterator[RunView]:
        """Views of the named runs in their order, each read when it is asked for, so that the first show at once."""
        with self._guard:
            self._refresh(names)
        for start in range(0, len(names), FETCHED):
            batch = names[start : start + FETCHED]
            with self._guard:
                self._fetch(batch)
            for name in batch:
                with self._guard:
                    view = self._view(name)
                yield view

    def save(self) -> None:
        """Write what was learnt to the cache file; a cache that cannot be written is no error."""
        with self._guard:
            if self._unsaved and self._trusted:
                self._file.save(self._unsaved)
            self._unsaved = {}

    def _refresh(self, names: list[str]) -> None:
        trusted = is_ours(self._root)
        if not self._journal.follow() or trusted != self._trusted:
            known = self._file.load() if trusted else {}
            # A row from beyond the end of the journal was made with another journal, and cannot be judged by this one.
            self._rows = {name: row for name, row in known.items() if row.touched <= self._journal.length}
            self._trusted = trusted
        present = set(names)
        for name in [name for name in self._rows if name not in present]:
            del self._rows[name]
        for name in names if self._file.remote else self._to_check(names):
            row = self._rows.get(name)
            if row is not None and row.stamp != _stamp(self._root / name):
                del self._rows[name]

    def _to_check(self, names: list[str]) -> list[str]:
        older = names[CHECKED:]
        start = self._turn if self._turn < len(older) else 0
        self._turn = start + CHECKED
        return names[:CHECKED] + older[start : start + CHECKED]

    def _fetch(self, names: list[str]) -> None:
        """Bring in from the cache file what is known of these runs, a batch at a time so that memory stays small."""
        wanted = [name for name in names if (row := self._rows.get(name)) is not None and row.view is None]
        if wanted:
            for name, data in self._file.views(wanted):
                self._rows[name].view = _decode(data, self._root / name)

    def _view(self, name: str) -> RunView:
        row = self._rows.get(name)
        if row is not None and row.view is not None and row.touched >= self._journal.last_touch(name):
            return row.view
        return self._read(name)

    def _read(self, name: str) -> RunView:
        path = self._root / name
        stamp, touched = _stamp(path), self._journal.length
        view = look(path)
        self.folders_read += 1
        self._rows.pop(name, None)
        if view.settled:
            self._rows[name] = row = _Row(stamp, touched, view)
            if not view.read_only:
                self._unsaved[name] = row
        return view


class _Journal:
    """``.touched``: one run id a line, in the order in which runs were changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = -1
        self._touches: dict[str, int] = {}
        self.length = 0

    def last_touch(self, name: str) -> int:
        """Length of the journal just after the run was last changed; 0 if it never was."""
        return self._touches.get(name, 0)

    def follow(self) -> bool:
        """Read what was added. False when it is not the file that was read before, and nothing remembered holds."""
        try:
            fd = atomic.open_regular(self._path, os.O_RDONLY)
        except OSError:
            known, self._inode, self.length, self._touches = self._inode, 0, 0, {}
            return known == 0
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            same = status.st_ino == self._inode and status.st_size >= self.length
            if not same:
                self._inode, self.length, self._touches = status.st_ino, 0, {}
            file.seek(self.length)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.length += len(line)
                self._touches[sys.intern(line.decode("ascii", "replace").strip())] = self.length
        return same


def _touch(folder: Path) -> None:
    """Note a change; a runs folder that takes no note takes no change either."""
    with suppress(OSError):
        fd = atomic.open_regular(folder.parent / ".touched", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, f"{folder.name}\n".encode())
        finally:
            os.close(fd)


class _CacheFile:
    """The SQLite file: beside the runs on a local disk, in the user's cache without WAL for runs on a network one."""

    def __init__(self, root: Path) -> None:
        self.remote = on_network(root)
        self._path = _cache_folder() / f"runs-{_digest(root)}.db" if self.remote else root / ".index.db"
        # Rows of another version, of another view or of a folder since moved mean nothing here.
        meaning = [VERSION, str(root), list(_FIELDS)]
        self._fingerprint = zlib.crc32(repr(meaning).encode()) & 0x7FFFFFFF

    def load(self) -> dict[str, _Row]:
        """All rows without their views; none when the file is missing, foreign, in use or broken."""
        rows = self._read("SELECT id, stamp, touched FROM runs", [])
        return {sys.intern(row[0]): _Row(*row[1:]) for row in rows if _is_sound(row)}

    def views(self, names: list[str]) -> list[tuple[str, bytes]]:
        """The encoded views of the named runs, as far as they are there."""
        places = ",".join("?" * len(names))
        rows = self._read(f"SELECT id, view FROM runs WHERE id IN ({places})", names)
        return [(name, view) for name, view in rows if isinstance(view, bytes)]

    def _read(self, query: str, values: list[str]) -> list[tuple[Any, ...]]:
        """What a query finds. A file that turns out to be broken is removed."""
        if not _is_own_file(self._path):
            return []
        import sqlite3

        try:
            with closing(sqlite3.connect(self._path, timeout=LOCKED_S)) as database:
                if database.execute("PRAGMA user_version").fetchone()[0] != self._fingerprint:
                    return []
                return database.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            return []
        except sqlite3.DatabaseError:
            self._remove()
            return []

    def save(self, rows: dict[str, _Row]) -> None:
        """Add rows, unless the file is foreign or in use."""
        import sqlite3

        encoded = [(name, row.stamp, row.touched, _encode(row.view)) for name, row in rows.items() if row.view]
        try:
            self._create()
            with closing(sqlite3.connect(self._path, timeout=LOCKED_S)) as database:
                self._prepare(database)
                with database:
                    database.executemany(_UPSERT, encoded)
        except sqlite3.OperationalError:
            return
        except sqlite3.DatabaseError:
            self._remove()
        except OSError:
            return

    def _create(self) -> None:
        """Make the file ours alone before SQLite opens it. Raises OSError when something else has its name."""
        make_folder(self._path.parent)
        if not _is_own_file(self._path):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def _prepare(self, database: "sqlite3.Connection") -> None:
        database.execute(f"PRAGMA journal_mode = {'DELETE' if self.remote else 'WAL'}")
        database.execute("PRAGMA synchronous = NORMAL")
        if database.execute("PRAGMA user_version").fetchone()[0] == self._fingerprint:
            return
        with database:
            database.execute("DROP TABLE IF EXISTS runs")
            database.execute(_TABLE)
            database.execute(f"PRAGMA user_version = {self._fingerprint}")

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                os.unlink(f"{self._path}{suffix}")


def on_network(folder: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether a folder is on a file system that several machines share, by the type of its mount."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    place = str(folder.resolve())
    best, kind = "", ""
    for _, mounted, mounted_kind, *_ in (line.split(" ") for line in lines if line.count(" ") >= 3):
        where = mounted.replace("\\040", " ").rstrip("/")
        if (place == where or place.startswith(f"{where}/")) and len(where) >= len(best):
            best, kind = where, mounted_kind
    return kind in _NETWORK or kind == "fuse" or kind.startswith("fuse.")


def _cache_folder() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "cifar-tui"


def _digest(root: Path) -> str:
    import hashlib

    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def _is_own_file(path: Path) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _stamp(path: Path) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0


def _is_sound(row: tuple[Any, ...]) -> bool:
    name, stamp, touched = row
    return isinstance(name, str) and isinstance(stamp, int) and isinstance(touched, int)


@cache
def _decoder() -> "msgspec.json.Decoder[RunView]":
    import msgspec

    return msgspec.json.Decoder(RunView, dec_hook=lambda kind, value: kind(value))


def _encode(view: RunView) -> bytes:
    import msgspec

    return msgspec.json.encode(view, enc_hook=str)


def _decode(data: bytes, path: Path) -> RunView | None:
    """The view in a row, or None where `look` would never have given it: who wrote the file is not known."""
    try:
        view = _decoder().decode(data)
    except (ValueError, TypeError):
        return None
    own = view.path == path and view.id == path.name and RUN_ID.fullmatch(view.id)
    return view if own and view.settled and not view.read_only and _is_clean(view, data) else None


def _is_clean(view: RunView, data: bytes) -> bool:
    """Whether no text in it says anything to a terminal; `data` is the same as JSON, which escapes what could."""
    return _HARMLESS.fullmatch(data) is not None or all(text == clean(text, newlines=True) for text in _texts(view))


def _texts(view: RunView) -> Iterator[str]:
    for value in (getattr(view, name) for name in _FIELDS):
        match value:
            case str():
                yield value
            case tuple():
                yield from (part for part in value if isinstance(part, str))
            case dict():
                yield from value
                yield from (part for part in value.values() if isinstance(part, str))
