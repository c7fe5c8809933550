"""A sweep being carried out: which of its runs a folder holds, and putting those that are missing into the queue."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine import queue, runs
from engine import sweep as sweeps
from engine.errors import UserError
from engine.experiment import loads
from engine.runs import RunFolder, RunView
from engine.sweep import Member, Result, Sweep


@dataclass
class Campaign:
    """The members of a sweep with their runs in one runs folder.

    ``rows`` are the positions of the rows that are asked for, ``ours`` the runs that were put into the queue here.
    """

    root: Path
    sweep: Sweep
    members: list[Member]
    rows: frozenset[int]
    runs: list[RunView | None] = field(default_factory=list)
    ours: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Find each member's run among all runs."""
        listed = runs.list_runs(self.root, archived=True)
        self.runs = sweeps.match(self.members, translated(listed, translations(listed, self.sweep)))

    def refresh(self) -> None:
        """Look again at the runs that are not over."""
        self.runs = [run if run is None or is_over(run) else RunFolder(run.path).view() for run in self.runs]

    def results(self) -> list[Result]:
        """The table as it now is."""
        return sweeps.results(self.sweep, self.members, self.runs, sweeps.counts(self.sweep))

    def asked(self) -> list[tuple[Member, RunView | None]]:
        """The members that are asked for, with their runs."""
        pairs = zip(self.members, self.runs, strict=True)
        return [(member, run) for member, run in pairs if member.row in self.rows]

    @property
    def over(self) -> bool:
        return all(run is not None and is_over(run) for _, run in self.asked())

    @property
    def complete(self) -> bool:
        return all(run is not None and run.state == "finished" for _, run in self.asked())

    def enlist(self, by: str) -> None:
        """Put into the queue what is asked for and neither finished nor under way.

        Members that are the same experiment share a run. Raises UserError where the runs folder cannot be written.
        """
        placed: dict[str, RunView] = {}
        for index, (member, run) in enumerate(zip(self.members, self.runs, strict=True)):
            key = member.experiment.config_hash
            if member.row in self.rows and key not in placed:
                placed[key] = run if run is not None and stands(run) else self._queued(member, run, by)
            self.runs[index] = placed.get(key, run)

    def _queued(self, member: Member, run: RunView | None, by: str) -> RunView:
        """A run in the queue: the earlier one where it can go on, else a new one."""
        goes_on = run is not None and _can_go_on(run)
        folder = RunFolder(run.path) if run is not None and goes_on else self._create(member, by)
        queue.add(folder, by=by)
        self.ours.add(folder.id)
        return folder.view()

    def _create(self, member: Member, by: str) -> RunFolder:
        experiment, sweep = member.experiment, self.sweep
        place = {"name": sweep.name, "row": member.row + 1, "source": str(sweep.path), "changes": list(sweep.changes)}
        summary = {**experiment.headline(), "state": "queued", "by": by, "sweep": place}
        user = {"name": experiment.name, "tags": list(experiment.tags), "note": experiment.notes, "archived": False}
        return runs.create(self.root, experiment.to_yaml(), summary, user)


def of_run(run: RunFolder) -> Sweep:
    """The sweep that a run was made for, with the overrides of that time.

    Raises UserError when it was made for none, or when its file is gone or no longer fits.
    """
    place = run.summary().get("sweep")
    place = place if isinstance(place, dict) else {}
    source = place.get("source")
    name = str(place.get("name", ""))
    if not name:
        raise UserError(f"run {run.id} was made for no sweep")
    changes = place.get("changes")
    pairs = [tuple(map(str, pair)) for pair in changes] if isinstance(changes, list) else []
    found = source if isinstance(source, str) and os.path.isfile(source) else name
    return sweeps.load(found, [(pair[0], pair[1]) for pair in pairs if len(pair) == 2])


Hashes = tuple[str, str]


def translations(listed: Iterable[RunView], sweep: Sweep) -> dict[str, Hashes]:
    """Configuration and group hash by the id of runs that an earlier version of the program made.

    An option that is new since then changes the hash of every experiment, though not of what such a run did: its
    resolved configuration, read by this version, has the same hash as the row. This reads files.
    """
    groups = {row.experiment.group_hash for row in sweep.rows}
    headlines = {_headline(row.experiment.headline()) for row in sweep.rows}
    found: dict[str, Hashes] = {}
    for run in listed:
        told = {"architecture": run.architecture, "dataset": run.dataset, "batch_size": run.batch_size, "lr": run.lr}
        if run.group_hash in groups or _headline(told) not in headlines:
            continue
        with suppress(UserError):
            experiment = loads(RunFolder(run.path).config_text(), str(run.path))
            found[run.id] = experiment.config_hash, experiment.group_hash
    return found


def translated(listed: Iterable[RunView], known: Mapping[str, Hashes]) -> list[RunView]:
    """The runs with the hashes that ``translations`` found for them."""
    return [
        replace(run, config_hash=known[run.id][0], group_hash=known[run.id][1]) if run.id in known else run
        for run in listed
    ]


def _headline(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """What equal experiments have in common for certain, and what is known of a run without reading its files."""
    return tuple(facts[key] for key in ("architecture", "dataset", "batch_size", "lr"))


def is_over(run: RunView) -> bool:
    """Whether nothing more will come of it; a run on another machine may well go on."""
    return not run.live and run.state != "unknown"


def stands(run: RunView) -> bool:
    """Whether there is nothing to do about it: it is finished, or under way here or on another machine."""
    return run.state == "finished" or not is_over(run)


def _can_go_on(run: RunView) -> bool:
    """A run that was stopped or crashed goes on from its checkpoint; one that failed or diverged is begun anew."""
    if run.state not in ("stopped", "crashed") or run.read_only:
        return False
    return run.attempt == 0 or (run.path / "ckpt" / "manifest.json").is_file()
