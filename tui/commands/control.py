"""``--stop``, ``--pause``, ``--continue`` and ``--queue``: steer what runs and what waits."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine import launch, queue, runs
from engine.errors import UserError
from engine.queue import Place, QueueView, Waiting
from tui import format
from tui.commands.folder import find_run, runs_folder
from tui.commands.run import who
from tui.headless.json_events import view_to_json
from tui.strict_json import to_line
from tui.table import Column, render


def stop(args: Namespace) -> int:
    """``--stop RUN``: end it after its current step, with a checkpoint; a waiting one leaves the queue."""
    run = find_run(args, args.stop)
    view = run.view()
    launch.refuse_elsewhere(view)
    if view.state == "queued":
        queue.remove(run.path.parent, run.id, by=who())
        print(f"run {run.id} is taken out of the queue")
    elif view.live and launch.stop(run):
        print(f"run {run.id} ends after its current step, with a checkpoint")
    else:
        raise UserError(f"run {run.id} is {view.state}: there is nothing to stop on this machine")
    return 0


def pause(args: Namespace) -> int:
    """``--pause RUN``"""
    run = find_run(args, args.pause)
    launch.pause(run, who())
    print(f"run {run.id} holds at its next step; cifar-tui --continue {run.id} lets it go on")
    return 0


def proceed(args: Namespace) -> int:
    """``--continue RUN``"""
    run = find_run(args, args.continue_)
    launch.proceed(run, who())
    print(f"run {run.id} goes on")
    return 0


def show_queue(args: Namespace) -> int:
    """``--queue [show|start|pause|continue]``"""
    root = runs_folder(args)
    match args.queue:
        case "pause":
            queue.pause(runs.prepare_root(root))
        case "start" | "continue":
            queue.resume(runs.prepare_root(root))
    view = queue.view(root)
    print(to_line(_as_json(view)) if args.json else "\n".join(_as_text(root, view)))
    return 0


def _as_json(view: QueueView) -> dict[str, Any]:
    return {
        "paused": view.paused,
        "advancing": view.advancing,
        "slots": [{**asdict(place.slot), "runs": [view_to_json(run) for run in place.runs]} for place in view.places],
        "waiting": [{"id": one.run.id, "device": one.device, "held": one.held, "why": one.why} for one in view.waiting],
        "done": [run.id for run in view.done],
    }


def _as_text(root: Path, view: QueueView) -> list[str]:
    state = "paused" if view.paused else "advancing" if view.advancing else "at rest"
    lines = [f"{root}: queue {state}", "", *_slots(view.places)]
    if not view.waiting:
        return [*lines, "", "Nothing waits. cifar-tui --run PRESET --queue adds a run"]
    return [*lines, "", *_waiting(view.waiting)]


def _slots(places: tuple[Place, ...]) -> list[str]:
    rows = []
    for place in places:
        taken = [(run.name, run.id, format.progress(run.epoch, run.epochs), _left(run.eta_s)) for run in place.runs]
        rows += [(place.slot.label, *cells) for cells in taken or [("free", "", "", "")]]
    columns = (Column("slot"), Column("name", limit=44), Column("id"), Column("epoch", right=True), Column("left"))
    return render(columns, rows)


def _left(seconds: float | None) -> str:
    return format.remaining(seconds, "in")


def _waiting(waiting: tuple[Waiting, ...]) -> list[str]:
    rows = [(str(number), one.run.name, one.run.id, one.device, one.why) for number, one in enumerate(waiting, start=1)]
    columns = (Column("", right=True), Column("waits", limit=44), Column("id"), Column("device"), Column("why"))
    return render(columns, rows)
