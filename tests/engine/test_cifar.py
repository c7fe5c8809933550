"""Published data sets: found, checked, read without trust."""

import gzip
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data import cifar, dataset, releases
from engine.data.dataset import load
from engine.data.releases import locate, needs_download
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
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], dict[str, str]]:
    """Make a set of files the published one, so that their checksums fit; returns these."""

    def installed(files: dict[str, bytes]) -> dict[str, str]:
        sums = {name: md5(content) for name, content in files.items()}
        monkeypatch.setattr(dataset, "checksums", lambda name: sums)
        return sums

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


def test_what_is_no_file_is_named_and_not_waited_for(
    tmp_path: Path, files: dict[str, bytes], install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of data sets may be open to all."""
    install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    place = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(UserError, match=r"data_batch_3 cannot be read \(not a regular file\)"):
        load(Data(), tmp_path)
    place.unlink()
    place.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="not a regular file"):
        load(Data(), tmp_path)
    place.unlink()
    monkeypatch.setattr(cifar, "LARGEST", len(files["data_batch_3"]) - 2)
    place.write_bytes(files["data_batch_3"])
    with pytest.raises(UserError, match="is damaged"):
        load(Data(), tmp_path)


def test_a_folder_that_cannot_be_entered_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(Data(), tmp_path / ("x" * 5000)) is None

    def refuse(path: object, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)
    assert locate(Data(), tmp_path) is None


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"<html></html>", lambda _: b""])
def test_a_damaged_file_is_named_with_both_sums(
    tmp_path: Path, files: dict[str, bytes], install: Any, damage: Callable[[bytes], bytes]
) -> None:
    sums = install(files)
    write(tmp_path / "cifar-10-batches-py", files)
    damaged = damage(files["test_batch"])
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(damaged)
    with pytest.raises(UserError, match="test_batch is damaged") as raised:
        load(Data(), tmp_path)
    assert md5(damaged) in str(raised.value)
    assert sums["test_batch"] in str(raised.value)


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


def test_reads_cifar100(tmp_path: Path, install: Any) -> None:
    def part(seed: int) -> bytes:
        rows = batch(seed)[b"data"]
        return pickle.dumps(
            {b"data": rows, b"fine_labels": list(range(80, 100)), b"coarse_labels": [0] * ROWS}, protocol=4
        )

    names = pickle.dumps({b"fine_label_names": [f"class {n}".encode() for n in range(100)]}, protocol=4)
    files = {"train": part(1), "test": part(2), "meta": names}
    install(files)
    write(tmp_path / "cifar-100-python", files)
    data = load(Data(name="cifar100"), tmp_path)
    assert data.train_labels.tolist() == list(range(80, 100))
    assert data.classes[99] == "class 99"


def idx(array: np.ndarray[Any, Any]) -> bytes:
    header = np.array([0x800 + array.ndim, *array.shape], dtype=">i4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def test_reads_mnist(tmp_path: Path, install: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 28, 28))
    labels = np.arange(ROWS) % 10
    files = {}
    for prefix in ("train", "t10k"):
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(images)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx(labels)
    install(files)
    write(tmp_path / "MNIST" / "raw", files)
    data = load(Data(name="mnist"), tmp_path)
    assert np.array_equal(data.train_images[..., 0].numpy(), images)
    assert data.test_labels.tolist() == labels.tolist()


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
