"""Small files written whole or not at all, and files of a run opened without trusting what lies at their path.

A temporary file in the same folder is written, flushed to the disk and renamed over the target; then the folder is
flushed too. Without the last step a power cut can undo the rename, without the first it leaves an empty file.
"""

import errno
import fcntl
import itertools
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine.process import Identity

# macOS: fsync leaves the data in the drive's own cache, this does not.
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)

_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file size limit (ulimit -f) is reached",
}
_TEMPORARY = re.compile(r"\..+\.(\d{1,7})-(\d{1,19})-\d+\.tmp", re.DOTALL)  # .NAME.PID-START-NUMBER.tmp
_number = itertools.count()


def out_of_room(error: OSError) -> str:
    """What ran out ("the disk is full", …), or "" when the error has another cause."""
    return _NO_ROOM.get(error.errno or 0, "")


class DiskFullError(OSError):
    """No room for a file: `errno` is ENOSPC, EDQUOT or EFBIG, and `strerror` says which in words."""


def write_bytes(path: Path | str, data: bytes | bytearray | memoryview, *, replace: bool = True) -> None:
    """Replace a file, or create it with mode 0600. After an error the old file is whole and no temporary one is left.

    Raises DiskFullError, and OSError for anything else: ELOOP for a symbolic link in its place, EINVAL for anything
    else that is no regular file, FileExistsError for whatever there is unless it may be replaced.
    """
    path = Path(path)
    with _naming(path), open_folder(path.parent) as folder:
        _refuse_odd(path, folder)
        temporary = _temporary_name(path.name)
        try:
            _write_synced(temporary, folder, data)
            if replace:
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            else:  # a link takes no name that is taken
                os.link(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
                os.unlink(temporary, dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        sync_folder(folder)


def write_text(path: Path | str, text: str, *, replace: bool = True) -> None:
    """`write_bytes` in UTF-8. Lone surrogates, which UTF-8 cannot hold, become question marks."""
    write_bytes(path, text.encode("utf-8", "replace"), replace=replace)


def write_json(path: Path | str, value: Any) -> None:
    """`write_bytes` of a JSON document. NaN and infinities, which JSON lacks, become null."""
    write_bytes(path, (encode_json(value) + "\n").encode("ascii"))


def read_json(path: Path | str, limit: int = 1 << 20) -> dict[str, Any] | None:
    """The object in a JSON file, or None if it is absent, unreadable, not regular, over `limit` bytes, or no object.

    NaN and infinities read as None.
    """
    try:
        data = read_regular(path, limit)
        value = json.loads(data, parse_constant=_no_constant, parse_float=_finite) if len(data) <= limit else None
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def open_regular(path: Path | str, flags: int = os.O_RDONLY, *, follow: bool = False) -> int:
    """A descriptor of a regular file, made with mode 0600 if `flags` say O_CREAT.

    Never waits for a FIFO or a device, and follows a link at the path only with `follow`, for files that a person
    named or keeps among their settings.

    Raises OSError: ELOOP for a symbolic link, EINVAL for anything else that is not a regular file.
    """
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return descriptor


def read_regular(path: Path | str, limit: int, *, follow: bool = False) -> bytes:
    """The first `limit` + 1 bytes of a regular file, so that a longer one shows. Raises OSError as `open_regular`."""
    with open(open_regular(path, follow=follow), "rb") as file:
        return file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)


def sweep(folder: Path | str) -> int:
    """Remove the temporary files of writers that no longer live, and return how many there were."""
    with os.scandir(folder) as entries:
        leftover = [entry for entry in entries if _is_leftover(entry)]
    for entry in leftover:
        with suppress(FileNotFoundError):
            os.unlink(entry.path)
    return len(leftover)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors name the file that was to be written, not the temporary one, and say which limit was reached."""
    try:
        yield
    except OSError as error:
        if not out_of_room(error) or isinstance(error, DiskFullError):
            error.filename, error.filename2 = os.fspath(path), None
            raise
        raise DiskFullError(error.errno, _which_limit(error, path.parent), os.fspath(path)) from error


def _which_limit(error: OSError, folder: Path) -> str:
    """ENOSPC also stands for a file system that has room but no inodes left."""
    with suppress(OSError):
        disk = os.statvfs(folder)
        if error.errno == errno.ENOSPC and disk.f_files and not disk.f_favail:
            return "the file system has no inodes left (too many files)"
    return out_of_room(error)


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """A descriptor of a folder, closed at the end."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_odd(path: Path, folder: int) -> None:
    """The rename would replace a link, a FIFO or a device: none is ours, so one here means that something is wrong."""
    with suppress(FileNotFoundError):
        mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, "is a symbolic link, which is never written to", os.fspath(path))
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a folder cannot be replaced by a file
            raise OSError(errno.EINVAL, "is no regular file, which is never replaced", os.fspath(path))


def _temporary_name(name: str) -> str:
    writer = Identity.current()
    return f".{name}.{writer.pid}-{writer.start_ticks}-{next(_number)}.tmp"


def _write_synced(name: str, folder: int, data: bytes | bytearray | memoryview) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        rest = memoryview(data).cast("B")
        while rest:  # a disk that fills up first takes a part without an error
            rest = rest[os.write(descriptor, rest) :]
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if _FULL_SYNC is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, _FULL_SYNC)


def sync_folder(descriptor: int) -> None:
    """Flush the names in an open folder to the disk."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network file systems that cannot flush a folder
            raise


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    match = _TEMPORARY.fullmatch(entry.name)
    if not match or not entry.is_file(follow_symlinks=False):
        return False
    writer = Identity.of(int(match[1]))
    return writer is None or writer.start_ticks != int(match[2])


def encode_json(value: Any, *, compact: bool = False) -> str:
    """JSON on one line, in ASCII, with `compact` without spaces. NaN and infinities, which JSON lacks, become null."""
    separators = (",", ":") if compact else None
    try:
        return json.dumps(value, allow_nan=False, separators=separators)
    except ValueError:
        return json.dumps(_without_infinities(value), allow_nan=False, separators=separators)


def _without_infinities(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    return value


def _no_constant(_: str) -> None:
    return None


def _finite(literal: str) -> float | None:
    number = float(literal)
    return number if math.isfinite(number) else None
