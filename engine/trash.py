"""Deleting runs: first renamed within the runs folder, which can be undone, later removed without following a link."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from engine.errors import UserError
from engine.ownership import is_ours
from engine.process import Lock
from engine.run_view import RUN_ID, RunView, look
from engine.text import clean, shorten

DEPTH = 64

_TRASHED = re.compile(rf"\.trash-({RUN_ID.pattern})", re.ASCII)


def discard(path: Path) -> str:
    """Rename a run folder to ``.trash-ID`` beside it and return that name.

    Raises UserError when the run is in progress, perhaps so on another machine, not ours alone, or cannot be moved.
    """
    view = look(path)
    if view.read_only:
        raise UserError(f"run {view.id} is read-only: it belongs to another user or can be written by one")
    if view.state == "unknown":
        raise UserError(f"run {view.id} may be in progress {view.reason}; delete it there")
    lock = Lock(path / "lock")
    try:
        return _discard_held(view, lock)
    except OSError as error:
        raise UserError(f"run {view.id} cannot be moved to the trash of {path.parent}: {error.strerror}") from error
    finally:
        lock.release()


def _discard_held(view: RunView, lock: Lock) -> str:
    """Hold the lock over the rename, so that nothing starts in a folder that is about to go."""
    if view.state in ("starting", "running", "paused") or not (lock.acquire(0) and lock.acquire(1)):
        raise UserError(f"run {view.id} is in progress; stop it first with: cifar-tui --stop {view.id}")
    trashed = f".trash-{view.id}"
    os.rename(view.path, view.path.parent / trashed)
    return trashed


def restore(root: Path, trashed: str) -> Path:
    """Rename a trashed run back. Raises UserError when it is not there, its place is taken, or the root is not ours."""
    match = _TRASHED.fullmatch(trashed)
    if match is None:
        raise UserError(f"{trashed!r} is not the name of a deleted run; these begin with .trash-")
    if os.path.lexists(root) and not is_ours(root):
        raise UserError(f"{trashed} stays where it is: {root} belongs to another user or can be written by one")
    place = root / match[1]
    if os.path.lexists(place):
        raise UserError(f"run {match[1]} is back already in {root}")
    try:
        os.rename(root / trashed, place)
    except OSError as error:
        raise UserError(f"{trashed} cannot be taken back from {root}: {error.strerror}") from error
    return place


def find(root: Path, wanted: str) -> str:
    """Name in the trash of the run that ``wanted`` means: its id, the beginning of one, its name, or last.

    Raises UserError when no deleted run fits or several do.
    """
    names = trashed_runs(root)
    if wanted == "last":
        matches = sorted(names, key=lambda name: os.stat(root / name).st_ctime)[-1:]
    else:
        matches = [name for name in names if wanted and name.startswith(f".trash-{wanted}")]
        matches = matches or [name for name in names if wanted and look(root / name).name == wanted]
    if len(matches) == 1:
        return matches[0]
    if not names:
        raise UserError(f"the trash of {root} is empty")
    there = ", ".join(name.removeprefix(".trash-") for name in (matches or names)[:5])
    fits = f"{len(matches)} deleted runs in {root} fit" if matches else f"no deleted run in {root} fits"
    raise UserError(f'{fits} "{shorten(clean(wanted), 60)}"; there are {there}')


def trashed_runs(root: Path) -> list[str]:
    """Names of the deleted runs that can still be taken back, newest first."""
    try:
        with os.scandir(root) as entries:
            found = [e.name for e in entries if _TRASHED.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(found, reverse=True)


def purge(root: Path, older_than_s: float = 0.0) -> int:
    """Remove for good what was deleted more than so many seconds ago; return how many runs.

    Links inside are removed, never followed. Raises OSError when the disk refuses.
    """
    purged = 0
    with _opened(root, None) as root_fd:
        for name in trashed_runs(root):
            if time.time() - os.stat(name, dir_fd=root_fd, follow_symlinks=False).st_ctime < older_than_s:
                continue
            with _opened(name, root_fd) as top:
                _empty(top)
            os.rmdir(name, dir_fd=root_fd)
            purged += 1
    return purged


def _empty(top: int) -> None:
    """Remove all in a folder, however deep: what lies below DEPTH is lifted to the top and has its turn there."""
    lifted = count()
    while entries := _entries(top):
        for name, is_folder in entries:
            _remove(name, is_folder, top, top, lifted, DEPTH)


def _remove(name: str, is_folder: bool, parent: int, top: int, lifted: "count[int]", depth: int) -> None:
    """Remove one entry with at most ``depth`` more levels, each of which holds a descriptor."""
    if not is_folder:
        os.unlink(name, dir_fd=parent)
        return
    if depth == 0:
        os.rename(name, _free_name(top, next(lifted)), src_dir_fd=parent, dst_dir_fd=top)
        return
    with _opened(name, parent) as folder:
        for child, child_is_folder in _entries(folder):
            _remove(child, child_is_folder, folder, top, lifted, depth - 1)
    os.rmdir(name, dir_fd=parent)


def _free_name(top: int, number: int) -> str:
    """A name that nothing in the folder has, for a folder renamed onto an empty one would replace it."""
    name = f".lifted-{number}"
    with suppress(FileNotFoundError):
        while os.stat(name, dir_fd=top, follow_symlinks=False):
            name += "-"
    return name


def _entries(folder: int) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]


@contextmanager
def _opened(path: Path | str, parent: int | None) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if parent is None:
        flags &= ~os.O_NOFOLLOW
    fd = os.open(path, flags, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)
