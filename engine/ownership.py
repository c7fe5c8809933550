"""Whose a folder is: what another user owns or can write is looked at, and nothing else is done with it."""

import errno
import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private(path: Path) -> bool:
    """Whether the run and its root are ours and nobody else can write there; otherwise neither is to be trusted."""
    return is_ours(path) and is_ours(path.parent)


def is_ours(folder: Path) -> bool:
    """Whether a folder (no link) belongs to this user and nobody else can write there.

    A sticky bit changes nothing: others could not rename what is there, but put their own under a name of ours first.
    """
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE and stat.S_ISDIR(status.st_mode)


def make_folder(folder: Path) -> None:
    """Make a folder with mode 0700, and those above it that are missing likewise. Raises OSError."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent)
        make_folder(folder)
    except OSError:  # which of its errors mkdir(2) gives first for a folder on a read-only disk is its own affair
        if not folder.is_dir():
            raise


def make_private(folder: Path) -> None:
    """`make_folder`, and close it to writing by others.

    Raises OSError: EPERM for a folder, or a link to one, of another user's, and for one that is shared (sticky).
    """
    make_folder(folder)
    link, status = os.lstat(folder), os.stat(folder)
    if {link.st_uid, status.st_uid} != {os.geteuid()}:
        raise PermissionError(errno.EPERM, "it belongs to another user", os.fspath(folder))
    if not status.st_mode & _OTHERS_WRITE:
        return
    if status.st_mode & stat.S_ISVTX:
        raise PermissionError(errno.EPERM, "it is shared by all", os.fspath(folder))
    os.chmod(folder, stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)
