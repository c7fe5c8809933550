"""The published data sets: where they come from, what their files are called, and where they lie; free of torch."""

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from engine.options.data import Data


@dataclass(frozen=True)
class Release:
    """A data set as its authors published it.

    ``files`` are what is read, inside ``folder``; ``archives`` are what is offered at ``url``. Their checksums are
    torchvision's to know (see ``engine.data.download``), and a test holds these names to its.
    """

    title: str
    folder: str
    url: str
    archives: tuple[str, ...]
    files: tuple[str, ...]


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_MNIST = tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))

RELEASES: dict[str, Release] = {
    "cifar10": Release(
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        url=_TORONTO,
        archives=("cifar-10-python.tar.gz",),
        files=(*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    ),
    "cifar100": Release(
        title="CIFAR-100",
        folder="cifar-100-python",
        url=_TORONTO,
        archives=("cifar-100-python.tar.gz",),
        files=("train", "test", "meta"),
    ),
    "mnist": Release(
        title="MNIST",
        folder="MNIST/raw",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        archives=_MNIST,
        files=_MNIST,
    ),
}


def data_root(root: Path | None) -> Path:
    """The folder data sets lie in: ``root``, else CIFAR_TUI_DATA, else the user's cache."""
    if root is not None:
        return root
    named = os.environ.get("CIFAR_TUI_DATA")
    return Path(os.path.expanduser(named)) if named else user_cache_path("cifar-tui") / "data"


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
        if any(os.path.isfile(folder / name) for name in release.files):
            return folder
    return None


def needs_download(data: Data, root: Path | None = None) -> bool:
    """Whether a run on ``data`` would have to download it first."""
    return data.name in RELEASES and locate(data, root) is None


def unreachable(release: Release, root: Path, reason: str) -> str:
    """What to tell a person whose machine cannot download ``release``: where it was looked for, and both ways out."""
    if release.archives == release.files:
        copy = f"put {', '.join(release.files)} into {root / release.folder}"
    else:
        copy = f"copy {release.archives[0]} to {root}"
    return (
        f"{release.title} is not in {root}, and {release.url} cannot be reached ({reason}): download it elsewhere "
        f"and {copy}, or name the folder that holds it with --data DIR"
    )
