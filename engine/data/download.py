"""Download a published data set: one run at a time, and whole or not at all."""

import errno
import fcntl
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine.data.releases import Release
from engine.errors import UserError

Report = Callable[[str], None]

_TIMEOUT = 10.0  # seconds without a byte
_BLOCK = 1 << 20


def download(release: Release, root: Path, report: Report) -> Path:
    """Fetch ``release`` into ``root`` and return the folder of its files.

    An archive that already lies in ``root`` is used instead of the network. Files appear under their final names only
    after their md5 fits.

    Raises:
        UserError: the folder cannot be written, the server cannot be reached, or what came is not what was published.
    """
    folder = root / release.folder
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _only_one(root / ".download.lock", release.title, report):
            if all((folder / name).is_file() for name in release.files):
                return folder
            _sweep(root, folder)
            for name, md5 in release.archives.items():
                archive = _archive(release, root, name, md5, report)
                _unpack(archive, release, folder)
    except OSError as error:
        reason = error.strerror or error
        unwritable = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        raise UserError(
            f"{release.title} is not in {root}, and that folder cannot be written ({reason}): "
            "use --data DIR with a folder that holds it or that can be written."
            if unwritable
            else f"{release.title} could not be stored in {root} ({reason}): use --data DIR with another folder."
        ) from None
    return folder


@contextmanager
def _only_one(path: Path, title: str, report: Report) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the kernel releases it when the process ends, however it ends."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"another run is downloading {title}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(*folders: Path) -> None:
    """Remove what killed downloads left behind; whoever holds the lock knows that nobody writes to it."""
    for folder in folders:
        for part in folder.glob(".*.part"):
            part.unlink()


def _archive(release: Release, root: Path, name: str, md5: str, report: Report) -> Path:
    """The archive ``name`` in ``root``, verified; fetched when it is not there. A wrong one is set aside."""
    path = root / name
    if not path.is_file():
        _fetch(release, path, md5, report)
        return path
    found = _md5(path)
    if found == md5:
        return path
    aside = path.with_name(f"{name}.{found[:8]}.bad")
    path.replace(aside)
    report(f"{path} has md5 {found} instead of {md5}; set aside as {aside.name}")
    _fetch(release, path, md5, report)
    return path


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch(release: Release, path: Path, md5: str, report: Report) -> None:
    url = release.url + path.name
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = _copy(url, file.write, report)
            file.flush()
            os.fsync(file.fileno())
        if found != md5:
            raise UserError(
                f"what came from {url} has md5 {found} instead of {md5}, so it was thrown away: "
                f"try again, or copy the file to {path} by hand."
            )
        Path(part).replace(path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{release.title} is not in {path.parent} and {url} cannot be reached ({reason}): download it elsewhere "
            f"(md5 {md5}) and copy it to {path}, or use --data DIR with the folder that holds {release.folder}."
        ) from None
    finally:
        Path(part).unlink(missing_ok=True)


def _copy(url: str, write: Callable[[bytes], object], report: Report) -> str:
    """Stream ``url`` into ``write`` and return the md5 of what came, with a line of progress every tenth."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
        total = int(response.headers.get("Content-Length") or 0)
        done, reported = 0, 0
        while block := response.read(_BLOCK):
            write(block)
            digest.update(block)
            done += len(block)
            if total and done * 10 // total > reported:
                reported = done * 10 // total
                report(f"downloading {url}: {done >> 20} of {total >> 20} MiB")
    if total and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")
    return digest.hexdigest()


def _unpack(archive: Path, release: Release, folder: Path) -> None:
    """Put the files of ``archive`` into ``folder``.

    Only regular files with the published names are read, each through its own name, so that no member can say where it
    is written; anything else in the archive is ignored.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not tarfile.is_tarfile(archive):
        if archive.parent != folder:
            archive.replace(folder / archive.name)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            directory, _, name = member.name.rpartition("/")
            if directory != release.folder or name not in release.files or not member.isreg():
                continue
            source = tar.extractfile(member)
            if source is not None:
                _write_whole(folder / name, source)


def _write_whole(path: Path, source: IO[bytes]) -> None:
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())
    Path(part).replace(path)
