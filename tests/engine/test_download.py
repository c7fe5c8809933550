"""torchvision downloads published data sets: whole or not at all, by one run at a time, never where they lie."""

import errno
import fcntl
import gzip
import hashlib
import io
import os
import socket
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.data import download as downloads
from engine.data.download import Published, checksums, download, published
from engine.data.releases import RELEASES, needs_download
from engine.errors import UserError
from engine.options.data import Data

(ARCHIVE,) = RELEASES["cifar10"].archives
FOLDER = RELEASES["cifar10"].folder
FILES = {name: name.encode() * 9 for name in RELEASES["cifar10"].files}
PAGE = b"<html>sorry</html>"

Publish = Callable[..., Published]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def quiet(line: str) -> None:
    pass


def tarball(files: dict[str, bytes], extra: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if extra:
            extra(tar)
    return buffer.getvalue()


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests are no part of what a test says."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server on this machine, and the folder it serves."""
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as serving:
        threading.Thread(target=partial(serving.serve_forever, poll_interval=0.01), daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/", folder
        serving.shutdown()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address on this machine at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Make an archive at some addresses what torchvision knows of CIFAR-10."""

    def publishing(archive: bytes, *mirrors: str) -> Published:
        source = Published(mirrors, {ARCHIVE: md5(archive)}, {name: md5(content) for name, content in FILES.items()})
        monkeypatch.setattr(downloads, "published", lambda name: source)
        return source

    return publishing


@pytest.fixture
def _on_offer(server: tuple[str, Path], publish: Publish) -> None:
    """CIFAR-10 can be downloaded from the server."""
    address, offered = server
    archive = tarball(FILES)
    (offered / ARCHIVE).write_bytes(archive)
    publish(archive, address)


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_torchvision_knows_every_file_and_archive(name: str) -> None:
    known, release = published(name), RELEASES[name]
    assert tuple(known.archives) == release.archives
    assert known.files.keys() == set(release.files)
    assert known.mirrors[0] == release.url


def test_checksums_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = checksums("cifar10")
    assert known == published("cifar10").files
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert checksums("cifar10") == known
    with pytest.raises(UserError, match="MNIST needs torchvision"):
        checksums("mnist")


def test_downloads_checks_and_unpacks(tmp_path: Path, server: tuple[str, Path], publish: Publish) -> None:
    address, offered = server
    archive = tarball(FILES)
    (offered / ARCHIVE).write_bytes(archive)
    publish(archive, address)
    lines: list[str] = []
    root = tmp_path / "data"
    assert needs_download(Data(), root)
    assert download("cifar10", root, lines.append) == root / FOLDER
    assert {path.name: path.read_bytes() for path in (root / FOLDER).iterdir()} == FILES
    assert {path.name for path in root.iterdir()} == {".download.lock", FOLDER}
    assert lines[0] == f"downloading {address}{ARCHIVE}"
    assert lines[-1].startswith(f"downloading {ARCHIVE}, ")
    assert socket.getdefaulttimeout() is None


def test_mnist_comes_from_the_mirror_that_has_it(
    tmp_path: Path, server: tuple[str, Path], nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, offered = server
    sums = {}
    for name in RELEASES["mnist"].files:
        (offered / name).write_bytes(gzip.compress(name.encode()))
        sums[name] = md5((offered / name).read_bytes())
    monkeypatch.setattr(downloads, "published", lambda name: Published((nowhere, address), sums, sums))
    folder = download("mnist", tmp_path / "data", quiet)
    assert folder == tmp_path / "data" / "MNIST" / "raw"
    assert {path.name for path in folder.iterdir()} == set(sums)


def test_what_arrives_wrong_is_thrown_away(tmp_path: Path, server: tuple[str, Path], publish: Publish) -> None:
    address, offered = server
    (offered / ARCHIVE).write_bytes(PAGE)
    archive = tarball(FILES)
    publish(archive, address)
    root = tmp_path / "data"
    with pytest.raises(UserError, match="thrown away") as raised:
        download("cifar10", root, quiet)
    assert md5(archive) in str(raised.value)
    assert [path.name for path in root.iterdir()] == [".download.lock"]


def test_a_wrong_archive_at_hand_is_set_aside(tmp_path: Path, server: tuple[str, Path], publish: Publish) -> None:
    address, offered = server
    archive = tarball(FILES)
    (offered / ARCHIVE).write_bytes(archive)
    publish(archive, address)
    root = tmp_path / "data"
    root.mkdir()
    (root / ARCHIVE).write_bytes(b"half of it")
    lines: list[str] = []
    download("cifar10", root, lines.append)
    assert (root / f"{ARCHIVE}.{md5(b'half of it')[:8]}.bad").read_bytes() == b"half of it"
    assert md5(b"half of it") in lines[0]
    assert md5(archive) in lines[0]
    assert (root / FOLDER / "test_batch").is_file()


def test_an_archive_copied_by_hand_needs_no_network(tmp_path: Path, nowhere: str, publish: Publish) -> None:
    archive = tarball(FILES)
    publish(archive, nowhere)
    root = tmp_path / "data"
    root.mkdir()
    (root / ARCHIVE).write_bytes(archive)
    download("cifar10", root, quiet)
    assert (root / FOLDER / "batches.meta").is_file()
    assert (root / ARCHIVE).is_file()


@pytest.mark.usefixtures("_on_offer")
def test_what_a_killed_download_left_is_never_taken_and_swept(tmp_path: Path) -> None:
    root = tmp_path / "data"
    half = root / ".x1.part" / FOLDER
    half.mkdir(parents=True)
    (half / "test_batch").write_bytes(b"half")
    assert needs_download(Data(), root)
    download("cifar10", root, quiet)
    assert not list(root.rglob("*.part"))


def test_offline_names_address_target_and_both_ways_out(tmp_path: Path, nowhere: str, publish: Publish) -> None:
    publish(tarball(FILES), nowhere)
    root = tmp_path / "data"
    with pytest.raises(UserError) as raised:
        download("cifar10", root, quiet)
    for part in ("CIFAR-10 is not in", RELEASES["cifar10"].url, f"copy {ARCHIVE} to {root}", "refused", "--data DIR"):
        assert part in str(raised.value)
    assert [path.name for path in root.iterdir()] == [".download.lock"]


def test_a_server_that_falls_silent_is_given_up(
    tmp_path: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_SILENCE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(tarball(FILES), f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(UserError, match="timed out"):
            download("cifar10", tmp_path / "data", quiet)


def test_an_archive_cannot_write_elsewhere(tmp_path: Path, server: tuple[str, Path], publish: Publish) -> None:
    def hostile(tar: tarfile.TarFile) -> None:
        for name, kind in ((f"{FOLDER}/way", tarfile.SYMTYPE), (f"{FOLDER}/test_batch", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path)
            tar.addfile(member)
        for name in (f"{FOLDER}/../../../escaped", str(tmp_path / "escaped"), "escaped", f"{FOLDER}/way/escaped"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))

    address, offered = server
    archive = tarball(FILES, hostile)
    (offered / ARCHIVE).write_bytes(archive)
    publish(archive, address)
    root = tmp_path / "data"
    download("cifar10", root, quiet)
    assert {path.name for path in tmp_path.iterdir()} == {"server", "data"}
    assert {path.name for path in root.iterdir()} == {".download.lock", FOLDER}
    assert {path.name: path.read_bytes() for path in (root / FOLDER).iterdir()} == FILES


def test_what_is_no_archive_is_named(tmp_path: Path, server: tuple[str, Path], publish: Publish) -> None:
    address, offered = server
    for content in (PAGE, tarball(FILES)[:-40]):
        (offered / ARCHIVE).write_bytes(content)
        publish(content, address)
        with pytest.raises(UserError, match="cannot be unpacked"):
            download("cifar10", tmp_path / "data", quiet)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".download.lock"]


def test_a_lock_that_somebody_else_put_there_is_not_followed(tmp_path: Path, nowhere: str, publish: Publish) -> None:
    publish(tarball(FILES), nowhere)
    root = tmp_path / "data"
    root.mkdir()
    (root / ".download.lock").symlink_to(tmp_path / "planted")
    with pytest.raises(UserError, match="symbolic links"):
        download("cifar10", root, quiet)
    assert not os.path.lexists(tmp_path / "planted")
    (root / ".download.lock").unlink()
    os.mkfifo(root / ".download.lock")
    with pytest.raises(UserError, match="not a regular file"):
        download("cifar10", root, quiet)


@pytest.mark.usefixtures("_on_offer")
def test_what_others_left_in_a_shared_folder_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for kept in (tmp_path / "theirs", root / ".theirs.part"):
        kept.mkdir(parents=True)
        (kept / "file").write_text("theirs")
    (root / ".theirs.part").chmod(0o777)
    (root / ".link.part").symlink_to(tmp_path / "theirs")
    download("cifar10", root, quiet)
    assert (root / ".link.part").is_symlink()
    for kept in (tmp_path / "theirs", root / ".theirs.part"):
        assert (kept / "file").read_text() == "theirs"


def test_the_second_of_two_runs_waits_and_finds_it_done(tmp_path: Path, nowhere: str, publish: Publish) -> None:
    publish(tarball(FILES), nowhere)  # whoever tried to download would fail
    root = tmp_path / "data"
    root.mkdir()
    said = threading.Event()
    waiter = threading.Thread(target=download, args=("cifar10", root, lambda line: said.set()))
    with (root / ".download.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiter.start()
        assert said.wait(10)
        (root / FOLDER).mkdir()
        for name, content in FILES.items():
            (root / FOLDER / name).write_bytes(content)
    waiter.join(10)
    assert not waiter.is_alive()


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "cannot be written"), (errno.EROFS, "cannot be written"), (errno.ENOSPC, "space")],
)
def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, nowhere: str, publish: Publish, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    publish(tarball(FILES), nowhere)
    monkeypatch.setattr(downloads.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(UserError, match=words) as raised:
        download("cifar10", tmp_path / "data", quiet)
    assert str(tmp_path / "data") in str(raised.value)


def test_what_stands_in_the_way_is_named(tmp_path: Path, nowhere: str, publish: Publish) -> None:
    archive = tarball(FILES)
    publish(archive, nowhere)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="could not be stored"):
        download("cifar10", tmp_path / "file", quiet)
    (tmp_path / "data" / FOLDER).mkdir(parents=True)
    (tmp_path / "data" / FOLDER / "readme.html").touch()
    (tmp_path / "data" / ARCHIVE).write_bytes(archive)
    with pytest.raises(UserError, match="holds none of CIFAR-10: move it away"):
        download("cifar10", tmp_path / "data", quiet)
