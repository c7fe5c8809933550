"""``--stop``, ``--pause``, ``--continue`` and ``--queue``: steer what runs and what waits."""

from argparse import Namespace

from engine import launch, runs
from engine.errors import UserError
from engine.runs import RunFolder
from tui.commands.run import who


def stop(args: Namespace) -> int:
    """``--stop RUN``: end it after its current step, with a checkpoint."""
    run = _find(args, args.stop)
    state = run.view().state
    if state == "queued":
        raise UserError(f"run {run.id} has not begun; cifar-tui --delete {run.id} takes it out of the queue")
    if not launch.stop(run):
        raise UserError(f"run {run.id} is {state}: there is nothing to stop on this machine")
    print(f"run {run.id} ends after its current step, with a checkpoint")
    return 0


def pause(args: Namespace) -> int:
    """``--pause RUN``"""
    run = _find(args, args.pause)
    launch.pause(run, who())
    print(f"run {run.id} holds at its next step; cifar-tui --continue {run.id} lets it go on")
    return 0


def proceed(args: Namespace) -> int:
    """``--continue RUN``"""
    run = _find(args, args.continue_)
    launch.proceed(run, who())
    print(f"run {run.id} goes on")
    return 0


def _find(args: Namespace, wanted: str) -> RunFolder:
    return runs.find(runs.runs_root(args.runs), wanted)
