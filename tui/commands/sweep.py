"""``--sweep``: put the rows of a sweep into the queue, follow them, and set what came out beside what was published."""

import shutil
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine import atomic, inspection, launch, ownership, queue, runs, slots
from engine import sweep as sweeps
from engine.campaign import Campaign, is_over, stands
from engine.composition import Override
from engine.errors import UserError
from engine.runs import RunFolder
from engine.sweep import Sweep
from engine.text import clean
from tui import preflight, sweep_table
from tui.commands.folder import runs_folder
from tui.commands.run import EXIT_FAILED, EXIT_FINISHED, EXIT_INTERRUPTED, EXIT_STOPPED, who
from tui.commands.source import overrides, use_data_folder
from tui.headless.follow import Interrupts
from tui.headless.show import Lines, can_live
from tui.headless.sweep_progress import JsonProgress, PlainProgress, Progress
from tui.strict_json import to_line
from tui.table import render

POLL_S = 0.5
REVIVE_S = 10.0
FILES = ("table.md", "table.csv", "table.json")


def sweep(args: Namespace) -> int:
    """``--sweep SWEEP``: exit code 0 only when every row finished."""
    use_data_folder(args)
    chosen = sweeps.load(args.sweep, _changes(args))
    members, rows = sweeps.members(chosen, args.seeds or 1), _rows(chosen, args.row or [])
    campaign = Campaign(runs.prepare_root(runs_folder(args)), chosen, members, rows)
    files = _files(campaign, args.output)
    campaign.look()
    _check(campaign)
    with _capacity(campaign, args.jobs, keep=bool(args.detach)):
        campaign.enlist(who())
        if args.detach:
            print(*dict.fromkeys(run.id for _, run in campaign.asked() if run is not None), sep="\n")
            return EXIT_FINISHED
        signals = _follow(campaign, _progress(args, campaign))
    campaign.look()
    _report(campaign, files, as_json=bool(args.json))
    if campaign.complete:
        return EXIT_FINISHED
    if signals:
        return EXIT_INTERRUPTED if signal.SIGINT in signals else EXIT_STOPPED
    return EXIT_FAILED


def _changes(args: Namespace) -> list[Override]:
    changes = overrides(args)
    if args.epochs is not None:
        changes += [("train.steps", "null"), ("train.epochs", f"{args.epochs:g}")]
    return changes


def _rows(chosen: Sweep, wanted: Sequence[str]) -> frozenset[int]:
    """Positions of the rows that ``--row`` names by number or by a part of their name; without it all."""
    found = [index for text in wanted for index in _named(chosen, text)]
    return frozenset(found if wanted else range(len(chosen.rows)))


def _named(chosen: Sweep, text: str) -> list[int]:
    names = [row.name for row in chosen.rows]
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= len(names):
        return [int(text) - 1]
    exact = [index for index, name in enumerate(names) if name == text]
    found = exact or [index for index, name in enumerate(names) if text.lower() in name.lower()]
    if not found:
        listed = ", ".join(f'{number} "{name}"' for number, name in enumerate(names, start=1))
        raise UserError(f"--row {text}: no row of {chosen.name} is called that; there are {listed}")
    return found


def _check(campaign: Campaign) -> None:
    """Refuse what cannot succeed before anything is queued; each device and data set is looked at once."""
    begun = [member.experiment for member, run in campaign.asked() if run is None or not stands(run)]
    distinct = {(one.train.device, one.data.name): one for one in begun}
    counts = [inspection.cached(one) for one in begun]
    parameters = max((one.parameters for one in counts if one), default=None)
    for experiment in distinct.values():
        preflight.check(experiment, campaign.root, parameters)


@contextmanager
def _capacity(campaign: Campaign, jobs: int | None, *, keep: bool) -> Iterator[None]:
    """``--jobs N``: so many runs at a time on each device; given back at the end, unless we leave before it."""
    if jobs is None:
        yield
        return
    machine = slots.of_machine(queue.read_plan(campaign.root).capacities)
    devices = {member.experiment.train.device for member in campaign.members}
    before = {slot.name: slot.capacity for device in devices for slot in slots.suitable(machine, device)}
    for name in before:
        queue.set_capacity(campaign.root, name, jobs)
    try:
        yield
    finally:
        now = queue.read_plan(campaign.root).capacities
        for name, capacity in before.items():
            if not keep and now.get(name) == jobs:
                queue.set_capacity(campaign.root, name, capacity)


def _progress(args: Namespace, campaign: Campaign) -> Progress:
    lines = Lines(sys.stdout)
    if args.json:
        return JsonProgress(lines.write)
    status = sys.stdout if can_live(sys.stdout) and not args.lite else None
    return PlainProgress(lines.write, status, len(campaign.sweep.rows))


def _follow(campaign: Campaign, progress: Progress) -> list[int]:
    """Wait until every run is over; returns the signals that came.

    The first stops what we put into the queue, the second makes it leave at once, the third ends only us.
    """
    interrupts, signals, revived = Interrupts(), list[int](), time.monotonic()
    progress.begin(campaign.asked(), paused=queue.read_plan(campaign.root).paused)
    with interrupts.caught():
        while True:
            campaign.refresh()
            progress.show(campaign.asked())
            if campaign.over or len(signals) > 2:
                break
            while (number := interrupts.take()) is not None:
                signals.append(number)
                _stop(campaign, number)
                progress.say(_stopping(len(signals)))
            if time.monotonic() - revived > REVIVE_S:
                queue.ensure_runner(campaign.root)
                revived = time.monotonic()
            time.sleep(POLL_S)
    progress.end()
    return signals


def _stop(campaign: Campaign, number: int) -> None:
    for _, run in campaign.asked():
        if run is None or run.id not in campaign.ours or is_over(run):
            continue
        folder = RunFolder(run.path)
        if folder.view().state == "queued":
            queue.remove(campaign.root, run.id, by=who())
        else:
            launch.stop(folder, number)


def _stopping(count: int) -> str:
    match count:
        case 1:
            return "stopping after this step, with checkpoints; the same command goes on from there"
        case 2:
            return "leaving at once; what is written stays"
    return "no longer followed"


def _report(campaign: Campaign, files: Mapping[str, Path], *, as_json: bool) -> None:
    """Write the table into its files and print it."""
    results = campaign.results()
    texts = sweep_table.files(campaign.sweep, campaign.members, results)
    for name, path in files.items():
        _write(path, texts[name])
    paths = [str(path) for path in files.values()]
    if as_json:
        rows = [sweep_table.as_values(result) for result in results]
        print(to_line({"kind": "table", "sweep": campaign.sweep.name, "rows": rows, "files": paths}))
        return
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    table = render(*sweep_table.table(results), room)
    notes = [clean(f"{result.name}: {result.notes}", newlines=True) for result in results if result.notes]
    heading = clean(sweep_table.heading(campaign.sweep, campaign.members, results))
    print("", heading, *table, *(["", *notes] if notes else []), "", *paths, sep="\n")


def _files(campaign: Campaign, output: Path | None) -> dict[str, Path]:
    """Where each form of the table goes, by its usual name: one file where ``--output`` names it, else a folder."""
    if output is not None and output.suffix:
        name = f"table{output.suffix.lower()}"
        if name not in FILES:
            kind = output.suffix
            raise UserError(f"--output {output}: cannot write {kind}; end it in .csv, .json or .md, or name a folder")
        return {name: output}
    folder = campaign.root / "sweeps" / sweep_table.folder_name(campaign.sweep)
    chosen = output or folder
    return {name: chosen / name for name in FILES}


def _write(path: Path, text: str) -> None:
    try:
        ownership.make_folder(path.parent)
        atomic.write_text(path, text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
