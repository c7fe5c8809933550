"""From checked experiments to run folders: started at once where a slot is free for a single run, else queued."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import launch, queue, runs, slots
from engine.experiment import Experiment
from engine.runs import RunFolder
from engine.slots import Slot
from tui import preflight


@dataclass(frozen=True, slots=True)
class Launched:
    """The runs that were made, in the order of the seeds, and whether the one of them was started at once."""

    run_ids: tuple[str, ...]
    started: bool


def make_runs(
    experiments: Sequence[Experiment], root: Path, by: str, parameters: int | None = None, *, wait: bool = False
) -> Launched:
    """Make a run folder for each experiment. With `wait` they go to the end of the queue whatever is free.

    Takes seconds: call it in a thread. Raises UserError when a run could not succeed or not be started.
    """
    for experiment in experiments[:1]:  # the others differ only in their seeds
        preflight.check(experiment, root, parameters)
    slot = None if wait or len(experiments) != 1 else free_slot(root, experiments[0].train.device)
    if slot is not None:
        run = _create(experiments[0], root, by, "starting")
        launch.start(run, by=by, slot=slot)
        return Launched((run.id,), started=True)
    made = []
    for experiment in experiments:
        run = _create(experiment, root, by, "queued")
        queue.add(run, by=by)
        made.append(run.id)
    return Launched(tuple(made), started=False)


def free_slot(root: Path, device: str) -> Slot | None:
    """The slot where a run could go now without overtaking one that waits; None when there is none."""
    view = queue.view(root)
    if view.paused or any(waiting.why == "next" for waiting in view.waiting):
        return None
    free = {place.slot.name for place in view.places if place.free}
    fitting = slots.suitable([place.slot for place in view.places], device)
    return next((slot for slot in fitting if slot.name in free), None)


def _create(experiment: Experiment, root: Path, by: str, state: str) -> RunFolder:
    summary = {**experiment.headline(), "state": state, "by": by}
    user = {"name": experiment.name, "tags": list(experiment.tags), "note": experiment.notes, "archived": False}
    return runs.create(root, experiment.to_yaml(), summary, user)
