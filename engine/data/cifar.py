"""Read the published files of CIFAR-10, CIFAR-100 and MNIST, after their checksums fit.

The CIFAR files are pickles. They are read by an unpickler that knows nothing but NumPy arrays, so that a forged file
can at most be refused.
"""

import gzip
import hashlib
import io
import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import atomic
from engine.errors import UserError

LARGEST = 256 << 20  # bytes of a published file; CIFAR-100's training set has 155 MB

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
Arrays = tuple[Bytes, Int64s, Bytes, Int64s, tuple[str, ...]]

_ALLOWED: dict[tuple[str, str], Any] = {
    # NumPy moved the module between its versions 1 and 2; pickles of either name the same function.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a data set")
        return _ALLOWED[module, name]


def unpickle_arrays(content: bytes) -> Any:
    """Unpickle containers, numbers, bytes and NumPy arrays; strings of Python 2 come as bytes.

    Raises:
        pickle.UnpicklingError: ``content`` names anything else, or is no pickle.
    """
    return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()


def read_checked(folder: Path, title: str, checksums: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of every file in ``folder`` that ``checksums`` has the md5 of.

    Raises:
        UserError: a file is missing, unreadable, or its md5 is not the published one.
    """

    def read(name: str) -> bytes:
        return _read_checked_file(folder / name, checksums[name], title)

    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing releases the interpreter lock
        return dict(zip(checksums, pool.map(read, checksums), strict=True))


def _read_checked_file(path: Path, md5: str, title: str) -> bytes:
    try:
        content = atomic.read_regular(path, LARGEST, follow=True)
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing from {title}: put it there, or move {path.parent} away to download all of it again."
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): correct its permissions or use --data DIR."
        ) from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(
            f"{path} is damaged: its md5 is {found}, {title} has {md5}; "
            f"move {path.parent} away to have it downloaded again, or use --data DIR with a good copy."
        )
    return content


def read_cifar10(contents: Mapping[str, bytes]) -> Arrays:
    """Images (N, 32, 32, 3), labels, the same for testing, and the class names."""
    batches = [_batch(contents, f"data_batch_{number}", b"labels", 10) for number in range(1, 6)]
    test_rows, test_labels = _batch(contents, "test_batch", b"labels", 10)
    images = _interleaved([rows for rows, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    names = _names(contents, "batches.meta", b"label_names", 10)
    return images, labels, _interleaved([test_rows]), test_labels, names


def read_cifar100(contents: Mapping[str, bytes]) -> Arrays:
    """As ``read_cifar10``, with the hundred fine labels."""
    rows, labels = _batch(contents, "train", b"fine_labels", 100)
    test_rows, test_labels = _batch(contents, "test", b"fine_labels", 100)
    names = _names(contents, "meta", b"fine_label_names", 100)
    return _interleaved([rows]), labels, _interleaved([test_rows]), test_labels, names


def read_mnist(contents: Mapping[str, bytes]) -> Arrays:
    """Images (N, 28, 28, 1), labels, the same for testing, and the class names."""
    images, labels = _idx_pair(contents, "train")
    test_images, test_labels = _idx_pair(contents, "t10k")
    return images, labels, test_images, test_labels, tuple("0123456789")


READERS = {"cifar10": read_cifar10, "cifar100": read_cifar100, "mnist": read_mnist}


def _batch(contents: Mapping[str, bytes], name: str, labels_key: bytes, classes: int) -> tuple[Bytes, Int64s]:
    """One pickled batch: rows (n, 3072) of bytes, the red plane first, then green and blue; and labels (n,)."""
    batch = _dictionary(contents, name)
    rows = batch.get(b"data")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
        raise UserError(f"{name} holds no images of 3 x 32 x 32 bytes under 'data'; use a fresh copy of the data set.")
    labels = _checked_labels(batch.get(labels_key), len(rows), classes, name)
    _refuse_black_images(rows, name)
    return rows, labels


def _interleaved(parts: list[Bytes]) -> Bytes:
    """Rows of three planes, (n, 3072) each, as images (N, 32, 32, 3).

    Copied a plane at a time, which is three times as fast as all at once.
    """
    images = np.empty((sum(len(rows) for rows in parts), 32, 32, 3), dtype=np.uint8)
    start = 0
    for rows in parts:
        planes = rows.reshape(-1, 3, 32, 32)
        for channel in range(3):
            images[start : start + len(rows), :, :, channel] = planes[:, channel]
        start += len(rows)
    return images


def _names(contents: Mapping[str, bytes], name: str, key: bytes, classes: int) -> tuple[str, ...]:
    names = _dictionary(contents, name).get(key)
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(text, bytes) for text in names):
        raise UserError(f"{name} holds no list of {classes} class names; use a fresh copy of the data set.")
    return tuple(text.decode("ascii", "replace") for text in names)


def _dictionary(contents: Mapping[str, bytes], name: str) -> dict[bytes, Any]:
    try:
        loaded = unpickle_arrays(contents[name])
    except Exception as error:  # a broken pickle raises nearly anything
        raise UserError(f"{name} cannot be unpickled safely ({error}); use a fresh copy of the data set.") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{name} holds no dictionary; use a fresh copy of the data set.")
    return loaded


def _checked_labels(found: Any, count: int, classes: int, name: str) -> Int64s:
    if not isinstance(found, list) or len(found) != count or not all(type(label) is int for label in found):
        raise UserError(f"{name} does not hold one label for each of its {count} images; use a fresh copy.")
    labels = np.array(found, dtype=np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise UserError(
            f"{name} has label {labels[wrong[0]]} at image {wrong[0]}, outside 0…{classes - 1}; use a fresh copy."
        )
    return labels


def _refuse_black_images(rows: Bytes, name: str) -> None:
    """An image that is zero all over is the sign of a file with holes."""
    black = np.flatnonzero(~rows.any(axis=1))
    if len(black):
        raise UserError(f"{name} has nothing but zeros at image {black[0]}; use a fresh copy of the data set.")


def _idx_pair(contents: Mapping[str, bytes], prefix: str) -> tuple[Bytes, Int64s]:
    """Images and labels in the IDX format: a magic number, the sizes (big-endian), then bytes."""
    images = _idx(contents, f"{prefix}-images-idx3-ubyte.gz", dimensions=3)
    labels_name = f"{prefix}-labels-idx1-ubyte.gz"
    labels = _checked_labels(_idx(contents, labels_name, dimensions=1).tolist(), len(images), 10, labels_name)
    return images[..., None], labels


def _idx(contents: Mapping[str, bytes], name: str, dimensions: int) -> Bytes:
    try:
        content = gzip.decompress(contents[name])
    except (OSError, EOFError) as error:
        raise UserError(f"{name} cannot be decompressed ({error}); use a fresh copy of the data set.") from None
    header = np.frombuffer(content[: 4 * (1 + dimensions)], dtype=">i4")
    sizes = tuple(int(length) for length in header[1:])
    body = np.frombuffer(content[4 * (1 + dimensions) :], dtype=np.uint8).copy()  # what PyTorch takes must be writable
    if len(header) != 1 + dimensions or header[0] != 0x800 + dimensions or body.size != int(np.prod(sizes)):
        raise UserError(f"{name} is no IDX file of {dimensions} dimensions; use a fresh copy of the data set.")
    return body.reshape(sizes)
