"""What compiling needs before torch is asked for it: a folder for its kernels, and that it has not killed the run.

torch's own choice of a folder has a guessable name in the shared /tmp, and programs are loaded from it whoever put them
there. Where torch can make no folder at all, it cannot even import what every optimiser needs, and nothing would train.
"""

import os
import signal
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from engine.attempts import Attempt
from engine.ownership import is_ours, make_folder
from engine.runs import RunFolder

CACHE = "TORCHINDUCTOR_CACHE_DIR"
CRASHES = (signal.SIGBUS, signal.SIGSEGV, signal.SIGILL, signal.SIGABRT, signal.SIGFPE)


def prepare(run: RunFolder) -> str:
    """`keep_kernels` beside the run; returns why nothing should be compiled for it, or ""."""
    return keep_kernels(run.path) or _killed_before(run, Path(os.environ[CACHE]))


def keep_kernels(beside: Path) -> str:
    """Have torch keep kernels in the folder that the environment names, by default in the user's cache.

    Returns why nothing can be compiled, or "". Where the folder is of no use, torch is pointed at the one ``beside``,
    which is there and ours, so that it can be imported. Call it before anything makes an optimiser.
    """
    folder = Path(os.environ.get(CACHE) or user_cache_path("cifar-tui") / "compiled")
    problem = _problem(folder)
    os.environ[CACHE] = str(beside if problem else folder)
    return problem


def _problem(folder: Path) -> str:
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return f"{folder} cannot be written: {(error.strerror or str(error)).lower()}"
    return "" if is_ours(folder.resolve()) else f"{folder} belongs to another user or can be written by one"


def _killed_before(run: RunFolder, folder: Path) -> str:
    """That the attempt before died of compiling, as of a library in the cache that a power cut has left half there."""
    newest = run.newest_attempt()
    before = Attempt(run.path, newest.number - 1) if newest else None
    number = (before.exit() or {}).get("signal") if before else None
    if before is None or number not in CRASHES or before.runtime().get("compiling") is not True:
        return ""
    return f"{signal.Signals(number).name} killed the attempt before while it compiled; delete {folder} to try again"
