"""Whose a folder is: what another user owns or can write is looked at, and nothing else is done with it."""

import os
import stat
from pathlib import Path


def private(path: Path) -> bool:
    """Whether the run and its root are ours and nobody else can write there; otherwise neither is to be trusted."""
    return is_ours(path) and is_ours(path.parent)


def is_ours(folder: Path) -> bool:
    """Whether a folder (no link) belongs to this user and nobody else can write there."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    writable_by_others = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    return status.st_uid == os.geteuid() and not writable_by_others and stat.S_ISDIR(status.st_mode)
