"""Published data sets: found, checked, read without trust, downloaded whole or not at all."""

import errno
import fcntl
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data import cifar, dataset, releases
from engine.data.dataset import load
from engine.data.download import download
from engine.data.releases import RELEASES, Release, locate, needs_download
from engine.errors import UserError
from engine.options.data import Data

ROWS = 20


def quiet(line: str) -> None:
    pass


def batch(seed: int) -> dict[bytes, Any]:
    rows = np.random.default_rng(seed).integers(1, 256, (ROWS, 3072), dtype=np.uint8)
    return {b"data": rows, b"labels": [row % 10 for row in range(ROWS)]}


def cifar10_files() -> dict[str, bytes]:
    files = {f"data_batch_{number}": pickle.dumps(batch(number), protocol=4) for number in range(1, 6)}
    files["test_batch"] = pickle.dumps(batch(6), protocol=4)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files["batches.meta"] = pickle.dumps({b"label_names": [name.encode() for name in names]}, protocol=4)
    return files


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def files() -> dict[str, bytes]:
    return cifar10_files()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], Release]:
    """Make a set of files the published CIFAR-10, so that their checksums fit."""

    def installed(files: dict[str, bytes]) -> Release:
        sums = {name: md5(content) for name, content in files.items()}
        release = replace(RELEASES["cifar10"], files=sums, url="file:///nowhere/")
        monkeypatch.setitem(releases.RELEASES, "cifar10", release)
        return release

    return installed


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CIFAR_TUI_DATA", raising=False)
    monkeypatch.setattr(releases, "user_cache_path", lambda name: tmp_path / "cache" / name)


def test_reads_what_was_written(tmp_path: Path, files: dict[str, bytes], install: Any, monkeypatch: Any) -> None:
    install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    for root in (tmp_path, tmp_path / "cifar-10-batches-py"):
        data = load(Data(), root)
        assert data.train_images.shape == (5 * ROWS, 32, 32, 3)
        planes = data.train_images.permute(0, 3, 1, 2).reshape(-1, 3072).numpy()
        assert np.array_equal(planes[:ROWS], batch(1)[b"data"])
        assert np.array_equal(planes[-ROWS:], batch(5)[b"data"])
        assert data.test_labels.tolist() == [row % 10 for row in range(ROWS)]
        assert data.classes[3] == "cat"
    monkeypatch.setenv("CIFAR_TUI_DATA", str(tmp_path))
    assert len(load(Data(), None).test_images) == ROWS
    assert not needs_download(Data())


def test_reading_needs_no_torchvision_and_no_network(
    tmp_path: Path, files: Any, install: Any, monkeypatch: Any
) -> None:
    install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    monkeypatch.setattr(dataset, "download", lambda *_: pytest.fail("downloaded"))
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    assert len(load(Data(validation=10), tmp_path).validation_images) == 10


def test_grey_and_resized(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    data = load(Data(grey=True, image_size=48), tmp_path)
    assert data.train_images.shape == (5 * ROWS, 48, 48, 1)
    assert data.test_images.shape == (ROWS, 48, 48, 1)


def test_a_missing_file_is_named(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(UserError, match="data_batch_3 is missing"):
        load(Data(), tmp_path)


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"<html></html>", lambda _: b""])
def test_a_damaged_file_is_named_with_both_sums(
    tmp_path: Path, files: dict[str, bytes], install: Any, damage: Callable[[bytes], bytes]
) -> None:
    release = install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    damaged = damage(files["test_batch"])
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(damaged)
    with pytest.raises(UserError, match="test_batch is damaged") as raised:
        load(Data(), tmp_path)
    assert md5(damaged) in str(raised.value)
    assert release.files["test_batch"] in str(raised.value)


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/should-not-exist",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Malice()),
        pickle.dumps({b"data": Malice()}),
        b"cbuiltins\neval\n(S'1+1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n.",
        pickle.dumps(np.random.default_rng),
    ],
)
def test_a_hostile_pickle_is_refused_before_anything_runs(
    tmp_path: Path, files: dict[str, bytes], install: Any, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("ran"))
    with pytest.raises(pickle.UnpicklingError, match="no place in a data set"):
        cifar.unpickle_arrays(content)
    files["data_batch_1"] = content
    install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    with pytest.raises(UserError, match="data_batch_1 cannot be unpickled safely"):
        load(Data(), tmp_path)


def test_arrays_of_both_numpy_generations_are_read() -> None:
    newer = pickle.dumps({b"data": np.arange(6, dtype=np.uint8)}, protocol=3)
    older = newer.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    for variant in (newer, older):
        assert cifar.unpickle_arrays(variant)[b"data"].tolist() == list(range(6))


def with_change(files: dict[str, bytes], key: bytes, value: Any) -> dict[str, bytes]:
    changed = batch(1) | {key: value}
    return files | {"data_batch_1": pickle.dumps(changed, protocol=4)}


def with_black_image() -> Any:
    rows = batch(1)[b"data"].copy()
    rows[7] = 0
    return rows


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (b"labels", [10] + [0] * (ROWS - 1), "label 10 at image 0"),
        (b"labels", [0] * (ROWS - 1) + [-1], f"label -1 at image {ROWS - 1}"),
        (b"labels", [0] * (ROWS - 1), "one label for each"),
        (b"labels", None, "one label for each"),
        (b"labels", ["0"] * ROWS, "one label for each"),
        (b"data", np.ones((ROWS, 3071), np.uint8), "no images of 3 x 32 x 32"),
        (b"data", np.ones((ROWS, 3072), np.int8), "no images of 3 x 32 x 32"),
        (b"data", b"raw", "no images of 3 x 32 x 32"),
        (b"data", with_black_image(), "nothing but zeros at image 7"),
    ],
)
def test_wrong_contents_are_named(
    tmp_path: Path, files: dict[str, bytes], install: Any, key: bytes, value: Any, words: str
) -> None:
    changed = with_change(files, key, value)
    install(changed)
    write(tmp_path / "cifar-10-batches-py", changed)
    with pytest.raises(UserError, match=words):
        load(Data(), tmp_path)


def test_reads_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(seed: int) -> bytes:
        rows = batch(seed)[b"data"]
        return pickle.dumps(
            {b"data": rows, b"fine_labels": list(range(80, 100)), b"coarse_labels": [0] * ROWS}, protocol=4
        )

    names = pickle.dumps({b"fine_label_names": [f"class {n}".encode() for n in range(100)]}, protocol=4)
    files = {"train": part(1), "test": part(2), "meta": names}
    sums = {name: md5(content) for name, content in files.items()}
    monkeypatch.setitem(releases.RELEASES, "cifar100", replace(RELEASES["cifar100"], files=sums))
    write(tmp_path / "cifar-100-python", files)
    data = load(Data(name="cifar100"), tmp_path)
    assert data.train_labels.tolist() == list(range(80, 100))
    assert data.classes[99] == "class 99"


def idx(array: np.ndarray[Any, Any]) -> bytes:
    header = np.array([0x800 + array.ndim, *array.shape], dtype=">i4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def test_reads_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 28, 28))
    labels = np.arange(ROWS) % 10
    files = {}
    for prefix in ("train", "t10k"):
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(images)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx(labels)
    sums = {name: md5(content) for name, content in files.items()}
    monkeypatch.setitem(releases.RELEASES, "mnist", replace(RELEASES["mnist"], files=sums))
    write(tmp_path / "MNIST" / "raw", files)
    data = load(Data(name="mnist"), tmp_path)
    assert np.array_equal(data.train_images[..., 0].numpy(), images)
    assert data.test_labels.tolist() == labels.tolist()


def tarball(files: dict[str, bytes], extra: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if extra:
            extra(tar)
    return buffer.getvalue()


def serve(release: Release, archive: bytes, folder: Path) -> Release:
    """``release`` with ``archive`` at a file: address."""
    folder.mkdir(exist_ok=True)
    (folder / "cifar-10-python.tar.gz").write_bytes(archive)
    return replace(release, url=folder.as_uri() + "/", archives={"cifar-10-python.tar.gz": md5(archive)})


def test_downloads_checks_and_unpacks(
    tmp_path: Path, files: dict[str, bytes], install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = serve(install(files), tarball(files), tmp_path / "server")
    monkeypatch.setitem(releases.RELEASES, "cifar10", release)
    lines: list[str] = []
    root = tmp_path / "data"
    assert needs_download(Data(), root)
    data = load(Data(), root, lines.append)
    assert len(data.train_images) == 5 * ROWS
    assert any("downloading" in line for line in lines)
    assert not list(root.rglob("*.part"))
    assert locate(Data(), root) == root / "cifar-10-batches-py"


def test_what_arrives_wrong_is_thrown_away(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    release = serve(install(files), tarball(files), tmp_path / "server")
    (tmp_path / "server" / "cifar-10-python.tar.gz").write_bytes(b"<html>sorry</html>")
    root = tmp_path / "data"
    with pytest.raises(UserError, match="thrown away") as raised:
        download(release, root, quiet)
    assert md5(b"<html>sorry</html>") in str(raised.value)
    assert [path.name for path in root.iterdir()] == [".download.lock"]


def test_a_wrong_archive_at_hand_is_set_aside(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    release = serve(install(files), tarball(files), tmp_path / "server")
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    download(release, root, quiet)
    assert (root / f"cifar-10-python.tar.gz.{md5(b'half of it')[:8]}.bad").read_bytes() == b"half of it"
    assert (root / "cifar-10-batches-py" / "test_batch").is_file()


def test_an_archive_copied_by_hand_needs_no_network(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    archive = tarball(files)
    release = replace(install(files), archives={"cifar-10-python.tar.gz": md5(archive)})
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(archive)
    download(release, root, quiet)
    assert (root / "cifar-10-batches-py" / "batches.meta").is_file()


def test_what_a_killed_download_left_is_never_taken_and_swept(
    tmp_path: Path, files: dict[str, bytes], install: Any
) -> None:
    release = serve(install(files), tarball(files), tmp_path / "server")
    root = tmp_path / "data"
    write(root, {".cifar-10-python.tar.gz.x1.part": b"half"})
    assert needs_download(Data(), root)
    download(release, root, quiet)
    assert not list(root.rglob("*.part"))


def test_offline_names_url_sum_target_and_both_ways_out(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    release = install(files)
    with pytest.raises(UserError) as raised:
        download(release, tmp_path / "data", quiet)
    message = str(raised.value)
    target = str(tmp_path / "data" / "cifar-10-python.tar.gz")
    for part in ("file:///nowhere/cifar-10-python.tar.gz", release.archives[Path(target).name], target, "--data DIR"):
        assert part in message
    assert not list((tmp_path / "data").glob("*.part"))


def test_an_archive_cannot_write_elsewhere(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    def hostile(tar: tarfile.TarFile) -> None:
        for name in ("../escaped", "/tmp/escaped-absolutely", "cifar-10-batches-py/../../escaped", "other/train"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)

    release = serve(install(files), tarball(files, hostile), tmp_path / "server")
    root = tmp_path / "data"
    folder = download(release, root, quiet)
    assert {path.name for path in folder.iterdir()} == set(files)
    assert not (folder / "test_batch").is_symlink()
    assert {path.name for path in root.iterdir()} == {".download.lock", "cifar-10-batches-py", "cifar-10-python.tar.gz"}
    assert {path.name for path in tmp_path.iterdir()} == {"server", "data"}


def test_the_second_of_two_runs_waits_and_finds_it_done(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    release = install(files)  # its address is nowhere: whoever tried to download would fail
    root = tmp_path / "data"
    root.mkdir()
    said = threading.Event()
    waiter = threading.Thread(target=download, args=(release, root, lambda line: said.set()))
    with (root / ".download.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiter.start()
        assert said.wait(10)
        write(root / "cifar-10-batches-py", files)
    waiter.join(10)
    assert not waiter.is_alive()


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "cannot be written"), (errno.EROFS, "cannot be written"), (errno.ENOSPC, "space")],
)
def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, files: dict[str, bytes], install: Any, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("engine.data.download.tempfile.mkstemp", refuse)
    with pytest.raises(UserError, match=words) as raised:
        download(install(files), tmp_path / "data", quiet)
    assert str(tmp_path / "data") in str(raised.value)


def test_a_file_where_the_folder_should_be(tmp_path: Path, files: dict[str, bytes], install: Any) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(UserError, match="could not be stored"):
        download(install(files), tmp_path / "data", quiet)


def test_locate_prefers_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(Data(), tmp_path) is None
    assert locate(Data(name="shapes"), tmp_path) is None
    assert not needs_download(Data(name="shapes"), tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").touch()
    assert locate(Data(), tmp_path) == folder
    assert locate(Data(), folder) == folder
    monkeypatch.setenv("CIFAR_TUI_DATA", str(tmp_path))
    assert locate(Data()) == folder
    assert locate(Data(), tmp_path / "cache") is None
