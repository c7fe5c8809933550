"""``--run``, ``--resume`` and ``--watch``: make a run, start it, and follow it until it is over."""

import getpass
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field

from engine import continuation, inspection, launch, profile_table, queue, runs, slots
from engine.composition import Override
from engine.errors import UserError
from engine.experiment import Experiment
from engine.runs import RunFolder, RunView
from tui import preflight
from tui.commands.folder import find_run, runs_folder
from tui.commands.source import overrides, read_experiment, use_data_folder
from tui.headless import show
from tui.headless.follow import Interrupts, follow

LOG_LINES = 20
CTRL_C_STOPS = "Ctrl-C stops, checkpoint written"
CTRL_C_LEAVES = "Ctrl-C leaves it running"

EXIT_FINISHED, EXIT_FAILED, EXIT_MISTAKE, EXIT_INTERRUPTED, EXIT_STOPPED = 0, 1, 2, 130, 143


def start(args: Namespace) -> int:
    """``--run PRESET``: train it here, in the background (``--detach``), or when its turn comes (``--queue``)."""
    use_data_folder(args)
    experiment = read_experiment(args.run, overrides(args))
    queued = args.queue is not None
    run = create(experiment, args, queued=queued)
    if queued:
        queue.add(run, by=who())
    else:
        _say_in_use(run)
        launch.start(run, by=who())
    return _hand_over(run, args)


def resume(args: Namespace) -> int:
    """``--resume RUN``: go on from its newest checkpoint, or train a finished run further as a new one."""
    use_data_folder(args)
    run = find_run(args, args.resume)
    changes = overrides(args)
    if changes:
        run = _longer(run, changes)
    if args.queue is not None:
        queue.add(run, by=who())
    else:
        _say_in_use(run)
        launch.resume(run, allow_inexact=bool(args.allow_inexact), by=who())
    return _hand_over(run, args)


def _say_in_use(run: RunFolder) -> None:
    """Say beforehand who computes on the GPU where a run will start that nobody sends elsewhere."""
    said = preflight.in_use(next(iter(slots.suitable(slots.of_machine(), launch.device_setting(run))), None))
    if said:
        print(f"cifar-tui: {said}", file=sys.stderr)


def watch(args: Namespace) -> int:
    """``--watch RUN``: show it as it goes. Ctrl-C leaves it running."""
    run = find_run(args, args.watch)
    interrupts = Interrupts()
    with interrupts.caught():
        view = follow(run, show.display(args, CTRL_C_LEAVES), lambda number: False, interrupts)
    if view.live:
        return EXIT_INTERRUPTED
    explain(run, view)
    return exit_code(view, interrupted=False)


def create(experiment: Experiment, args: Namespace, *, queued: bool) -> RunFolder:
    """Make the run folder after all that can be checked without torch. ``queued`` runs wait, others start at once."""
    root = runs_folder(args)
    counts = inspection.cached(experiment)
    preflight.check(experiment, root, counts.parameters if counts else None)
    summary = {**experiment.headline(), "state": "queued" if queued else "starting", "by": who()}
    user = {"name": experiment.name, "tags": list(experiment.tags), "note": experiment.notes, "archived": False}
    return runs.create(root, experiment.to_yaml(), summary, user)


def _longer(run: RunFolder, changes: list[Override]) -> RunFolder:
    """A new run that goes on from where a finished one ended."""
    state = run.view().state
    if state != "finished":
        raise UserError(
            f"run {run.id} is {state} and goes on with its own settings: leave out --set, --name, --seed, --device"
        )
    return continuation.continue_from(run.path.parent, run, changes)


def _hand_over(run: RunFolder, args: Namespace) -> int:
    if args.detach:
        return _tell_id(run)
    interrupts = Interrupts()
    stopping = Stopping(run, lambda line: print(line, file=sys.stderr, flush=True))
    with interrupts.caught():
        view = follow(run, show.display(args, CTRL_C_STOPS), stopping.on_signal, interrupts)
    explain(run, view)
    if args.profile and not args.json and (profile := profile_table.read(run.path)):
        print(f"\n{profile}")
    return exit_code(view, interrupted=stopping.by_ctrl_c)


def _tell_id(run: RunFolder) -> int:
    print(run.id)
    return EXIT_FINISHED


@dataclass
class Stopping:
    """Hands Ctrl-C and SIGTERM to the run: one finishes the step, a second leaves at once, a third ends only us."""

    run: RunFolder
    tell: Callable[[str], None]
    signals: list[int] = field(default_factory=list)

    @property
    def by_ctrl_c(self) -> bool:
        return signal.SIGINT in self.signals

    def on_signal(self, number: int) -> bool:
        self.signals.append(number)
        match len(self.signals):
            case 1:
                self.tell("stopping after this step, with a checkpoint; Ctrl-C again leaves at once")
            case 2:
                self.tell("leaving at once; what is written stays")
            case _:
                return False
        if not launch.stop(self.run, number) and self.run.view().state == "queued":
            queue.remove(self.run.path.parent, self.run.id, by=who())
        return True


def exit_code(view: RunView, *, interrupted: bool) -> int:
    """0 finished, 1 failed, diverged or crashed, 2 a user's mistake, 130 Ctrl-C here, 143 stopped by anybody else."""
    if view.state == "finished":
        return EXIT_FINISHED
    if interrupted:
        return EXIT_INTERRUPTED
    if view.state == "stopped" or view.live:
        return EXIT_STOPPED
    return EXIT_MISTAKE if view.exit_code == EXIT_MISTAKE else EXIT_FAILED


def explain(run: RunFolder, view: RunView) -> None:
    """Say on standard error why a run did not end well: a mistake's sentence, else the end of its log."""
    if view.state not in ("failed", "crashed"):
        return
    if view.exit_code == EXIT_MISTAKE:
        print(f"cifar-tui: {view.reason}", file=sys.stderr)
        return
    lines = run.log_tail().splitlines()[-LOG_LINES:]
    if lines:
        print(f"the last lines of {run.path / 'log.txt'}:", *(f"  {line}" for line in lines), sep="\n", file=sys.stderr)


def who() -> str:
    """Name for the record of who asked."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
