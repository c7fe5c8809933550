"""The published data sets: where they come from, what their files must hold, and where they lie; free of torch."""

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from engine.options.data import Data


@dataclass(frozen=True)
class Release:
    """A data set as its authors published it.

    ``archives`` maps a file name at ``url`` to its md5; ``files`` maps what is read, inside ``folder``, to its md5.
    The md5 sums are the published ones, which torchvision carries too.
    """

    title: str
    folder: str
    url: str
    archives: dict[str, str]
    files: dict[str, str]


RELEASES: dict[str, Release] = {
    "cifar10": Release(
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        url="https://www.cs.toronto.edu/~kriz/",
        archives={"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
        files={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    "cifar100": Release(
        title="CIFAR-100",
        folder="cifar-100-python",
        url="https://www.cs.toronto.edu/~kriz/",
        archives={"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
        files={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    ),
    "mnist": Release(
        title="MNIST",
        folder="MNIST/raw",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        archives={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        files={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
}


def data_root(root: Path | None) -> Path:
    """The folder data sets lie in: ``root``, else CIFAR_TUI_DATA, else the user's cache."""
    if root is not None:
        return root.expanduser()
    named = os.environ.get("CIFAR_TUI_DATA")
    return Path(named).expanduser() if named else user_cache_path("cifar-tui") / "data"


def locate(data: Data, root: Path | None = None) -> Path | None:
    """The folder that holds the files of ``data``, or None when they have yet to be downloaded (shapes: always None).

    ``root`` may be that folder or the one it lies in. A folder counts as soon as it holds one of the files, so that
    reading it can name the one that is missing.
    """
    release = RELEASES.get(data.name)
    if release is None:
        return None
    parent = data_root(root)
    for folder in (parent / release.folder, parent):
        if any((folder / name).is_file() for name in release.files):
            return folder
    return None


def needs_download(data: Data, root: Path | None = None) -> bool:
    """Whether a run on ``data`` would have to download it first."""
    return data.name in RELEASES and locate(data, root) is None
