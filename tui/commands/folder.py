"""The runs folder that a command works on."""

from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from engine import queue, runs
from engine.errors import UserError
from engine.runs import RunFolder


def runs_folder(args: Namespace) -> Path:
    """``--runs`` or what stands in its place. A queue there whose runner is gone, say after a reboot, goes on."""
    root = runs.runs_root(args.runs)
    with suppress(UserError):  # a folder that can only be read can still be looked at
        queue.ensure_runner(root)
    return root


def find_run(args: Namespace, wanted: str) -> RunFolder:
    """The run that ``wanted`` means in that folder. Raises UserError when none fits or several do."""
    return runs.find(runs_folder(args), wanted)
