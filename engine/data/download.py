"""Published data sets by way of torchvision, which knows their addresses and checksums and fetches them.

It takes seconds to import, so that happens where it is asked something, never where a run merely reads its data.
"""

import errno
import fcntl
import http.client
import importlib
import os
import socket
import ssl
import tarfile
import tempfile
import urllib.error
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, Self

from platformdirs import user_cache_path

from engine import atomic
from engine.data.releases import RELEASES, Release, unreachable
from engine.errors import UserError
from engine.ownership import is_ours, make_folder

Report = Callable[[str], None]

_SILENCE_S = 10.0  # a server that sends nothing for so long is gone
_PART = ".part"
_UNREACHABLE = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError)


@dataclass(frozen=True)
class Published:
    """The md5 of the ``archives`` that every one of the ``mirrors`` offers, and of the ``files`` that are read."""

    mirrors: tuple[str, ...]
    archives: dict[str, str]
    files: dict[str, str]


def published(name: str) -> Published:
    """What torchvision knows of the data set ``name``. Raises UserError where torchvision cannot be imported."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # built for another torch, it raises either
        title = RELEASES[name].title
        raise UserError(
            f"{title} needs torchvision for its checksums, and that cannot be imported ({error}): install the one made "
            "for this torch, as pip install torch torchvision does"
        ) from None
    if name == "mnist":
        files = dict(datasets.MNIST.resources)
        return Published(tuple(datasets.MNIST.mirrors), files, files)
    source: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    files = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    return Published((source.url.removesuffix(source.filename),), {source.filename: source.tgz_md5}, files)


def checksums(name: str) -> dict[str, str]:
    """The md5 of every file of the data set ``name``: asked of torchvision once, then kept in the user's cache."""
    path = user_cache_path("cifar-tui") / "checksums" / f"{name}.json"
    known = atomic.read_json(path) if is_ours(path.parent) else None
    if known is None or known.keys() != set(RELEASES[name].files):
        known = published(name).files
        with suppress(OSError):  # without a cache the next run asks again
            make_folder(path.parent)
            atomic.write_json(path, known)
    return known


def download(name: str, root: Path, report: Report) -> Path:
    """Bring the data set ``name`` into ``root`` and return the folder of its files.

    An archive that already lies in ``root`` is used instead of the network. The folder appears whole, under its final
    name, after every checksum fits.

    Raises:
        UserError: the folder cannot be written, no server can be reached, or what came is not what was published.
    """
    release = RELEASES[name]
    folder = root / release.folder
    try:
        make_folder(root)
        with _only_one(root / ".download.lock", release.title, report):
            if all(os.path.isfile(folder / file) for file in release.files):
                return folder
            for leftover in filter(is_ours, root.glob(f".*{_PART}")):
                rmtree(leftover)  # of a killed download: the lock says that nobody writes to it
            with tempfile.TemporaryDirectory(prefix=".", suffix=_PART, dir=root) as fresh:
                _bring(release, published(name), root, Path(fresh), report)
                make_folder(folder.parent)
                (Path(fresh) / release.folder).rename(folder)
    except OSError as error:
        raise UserError(_cannot_store(release, root, error)) from None
    return folder


def _cannot_store(release: Release, root: Path, error: OSError) -> str:
    reason = error.strerror or error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{release.title} is not in {root}, and that folder cannot be written ({reason}): "
            "use --data DIR with a folder that holds it or that can be written"
        )
    if error.errno == errno.ENOTEMPTY:
        return f"{root / release.folder} is there but holds none of {release.title}: move it away, or use --data DIR"
    return f"{release.title} could not be stored in {root} ({reason}): use --data DIR with another folder"


@contextmanager
def _only_one(path: Path, title: str, report: Report) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the kernel releases it when the process ends, however it ends."""
    with open(atomic.open_regular(path, os.O_RDWR | os.O_CREAT), "r+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"another run is downloading {title}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bring(release: Release, source: Published, root: Path, fresh: Path, report: Report) -> None:
    """Put the files of ``release`` into ``fresh``, in the folder they belong to."""
    for name, md5 in source.archives.items():
        if name in release.files:
            _fetch(release, source.mirrors, fresh / release.folder / name, md5, root, report)
            continue
        archive = root / name
        if not _is_good(archive, md5, report):
            archive = fresh / name
            _fetch(release, source.mirrors, archive, md5, root, report)
        try:
            _unpack(archive, release, fresh)
        except (tarfile.TarError, zlib.error, EOFError) as error:
            raise UserError(f"{archive} cannot be unpacked ({error}): move it away") from None


def _unpack(archive: Path, release: Release, into: Path) -> None:
    """Take out the files that are read, each by its name: no other path and no link in an archive is looked at."""
    wanted = {f"{release.folder}/{name}" for name in release.files}
    make_folder(into / release.folder)
    with open(atomic.open_regular(archive, follow=True), "rb") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() and member.name in wanted else None
            if content is not None:
                atomic.write_bytes(into / member.name, content.read())


def _is_good(archive: Path, md5: str, report: Report) -> bool:
    """Whether ``archive`` is there and what was published; one that is not is set aside."""
    from torchvision.datasets.utils import calculate_md5

    if not os.path.isfile(archive):
        return False
    found = calculate_md5(archive)
    if found != md5:
        aside = archive.rename(archive.with_name(f"{archive.name}.{found[:8]}.bad"))
        report(f"{archive} has md5 {found} instead of {md5}; set aside as {aside.name}")
    return bool(found == md5)


def _fetch(release: Release, mirrors: tuple[str, ...], path: Path, md5: str, root: Path, report: Report) -> None:
    """Download ``path``, a file of ``release``, from the first of ``mirrors`` that has it."""
    from torchvision.datasets.utils import download_url

    reason: object = ""
    for mirror in mirrors:
        url = mirror + path.name
        report(f"downloading {url}")
        try:
            with _in_lines(partial(_Lines, report, path.name)):
                download_url(url, path.parent, path.name, md5)
            return
        except _UNREACHABLE as error:
            reason = reason or getattr(error, "reason", None) or error
        except RuntimeError:
            raise UserError(
                f"what came from {url} has not the md5 {md5}, so it was thrown away: try again, or download "
                f"{path.name} elsewhere and copy it to {root}"
            ) from None
    raise UserError(unreachable(release, root, str(reason)))


@contextmanager
def _in_lines(bar: Callable[..., Any]) -> Iterator[None]:
    """torchvision's downloads with ``bar`` for a progress bar, and an end to waiting for a server that fell silent."""
    utils: Any = importlib.import_module("torchvision.datasets.utils")
    drawn, patience = utils.tqdm, socket.getdefaulttimeout()
    utils.tqdm = bar
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        yield
    finally:
        utils.tqdm = drawn
        socket.setdefaulttimeout(patience)


class _Lines:
    """Stands where torchvision has tqdm: a line at each tenth, where a bar that redraws itself would fill a log."""

    def __init__(self, report: Report, name: str, total: int | None, **_: object) -> None:
        self._report, self._name, self._total = report, name, total
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left open."""

    def update(self, count: int) -> None:
        before, self._done = self._done, self._done + count
        if self._total and self._done * 10 // self._total > before * 10 // self._total:
            self._report(f"downloading {self._name}, {self._done / 1e6:.1f} of {self._total / 1e6:.1f} MB")
