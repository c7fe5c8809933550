"""What all screens share: threads that read the runs folder and the machine, so that no screen ever waits for a disk.

Each thread keeps the newest state as a frozen value and pokes the app with one message, which replaces any that still
waits; the screen on top then draws what it finds. Nothing is sent while nothing changes. Modules that only a thread
needs are imported there, after the first screen is seen.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from textual.message import Message

from engine import run_view, runs
from engine.curves import Axis, Curves, Points, Reading
from engine.errors import UserError
from engine.runs import MetricsTail, RunFolder, RunView
from tui.chrome import Device
from tui.engine_client import Deliver, EngineClient
from tui.run_table import QueuePlan
from tui.theme import Palette, RunColour, RunColours

if TYPE_CHECKING:
    from engine.system import Sample

_LOG = logging.getLogger("cifar-tui")

LIST_S = 1.0
REST_OF_LIST_S = 0.3
FEED_S = 0.1
SETTLED_FEED_S = 1.0
FULL_LIST_S = 30.0
MACHINE_S = 2.0
MACHINE_AT_REST_S = 60.0
FIRST_RUNS = 60
LOG_BYTES = 256 << 10
SYSTEM_RECORDS = 2_000
CHUNK_BYTES = 512 << 10


class Changed(Message):
    """Something that screens show is not as it was."""

    bubble = False

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Changed)


Poke = Callable[[], object]


class Poller(threading.Thread):
    """Calls `poll` at an interval until stopped, at once when woken. What it raises is logged, and it goes on."""

    def __init__(self, name: str, poke: Poke) -> None:
        super().__init__(name=name, daemon=True)
        self._poke = poke
        self._woken = threading.Event()
        self._stopped = False
        self._complained = ""

    @property
    def interval_s(self) -> float:
        raise NotImplementedError

    def poll(self) -> bool:
        """Look; whether anything changed."""
        raise NotImplementedError

    def wake(self) -> None:
        """Look now rather than at the next turn."""
        self._woken.set()

    def stop(self) -> None:
        """End at the next turn, without waiting for it."""
        self._stopped = True
        self._woken.set()

    def run(self) -> None:
        while not self._stopped:
            self._woken.clear()
            try:
                changed = self.poll()
            except Exception as error:
                changed = self._complain(error)
            if changed and not self._stopped:
                self._poke()
            self._woken.wait(self.interval_s)

    def _complain(self, error: Exception) -> bool:
        if str(error) != self._complained:
            self._complained = str(error)
            _LOG.exception("%s", self.name)
        return False


NO_PLAN = QueuePlan()


@dataclass(frozen=True, slots=True)
class Listing:
    """The runs of a folder, newest first. Until ``complete`` only the newest of them."""

    runs: tuple[RunView, ...] = ()
    complete: bool = False
    problem: str = ""
    plan: QueuePlan = NO_PLAN

    @property
    def next_run(self) -> str:
        """The waiting run that is started next, "" if none is."""
        places = {run_id: place for place, run_id in enumerate(self.plan.order)}
        waiting = [run.id for run in self.runs if run.state == "queued" and run.id not in self.plan.held]
        return min(waiting, key=lambda run_id: (places.get(run_id, len(places)), run_id), default="")

    def find(self, run_id: str) -> RunView | None:
        return next((run for run in self.runs if run.id == run_id), None)


NOT_LISTED = Listing()


class RunList(Poller):
    """Lists the runs once a second: all of them only when the folder changed, else those that are not over."""

    def __init__(self, root: Path, poke: Poke) -> None:
        super().__init__("run list", poke)
        self.root = root
        self.archived = False
        self.listing = NOT_LISTED
        self._signature: object = None
        self._full_due = 0.0

    @property
    def interval_s(self) -> float:
        return LIST_S if self.listing.complete else REST_OF_LIST_S

    def poll(self) -> bool:
        before = self.listing
        listed, complete = self._look(before)
        if listed == before.runs:
            listed = before.runs
        listing = Listing(listed, complete=complete, problem=_problem(self.root), plan=self._plan(listed))
        if listing == before:
            return False
        self.listing = listing
        return True

    def _look(self, before: Listing) -> tuple[tuple[RunView, ...], bool]:
        """The runs, and whether these are all: the first look is at the newest only, so that they are seen soon."""
        if before == NOT_LISTED:
            newest = self._list(FIRST_RUNS)
            if len(newest) == FIRST_RUNS:
                return newest, False
        signature, now = (_signature(self.root), self.archived), time.monotonic()
        if signature == self._signature and now < self._full_due:
            return tuple(run if run.settled else calm(run_view.look(run.path)) for run in before.runs), True
        listed = self._list()
        self._signature, self._full_due = signature, now + FULL_LIST_S
        return listed, True

    def _list(self, limit: int | None = None) -> tuple[RunView, ...]:
        return tuple(map(calm, runs.list_runs(self.root, archived=self.archived, limit=limit)))

    def _plan(self, listed: tuple[RunView, ...]) -> QueuePlan:
        """The queue's plan while something waits; the same object as long as it says the same."""
        if not any(run.state == "queued" for run in listed):
            return NO_PLAN
        from engine import queue

        read = queue.read_plan(self.root)
        plan = QueuePlan(read.order, read.held, read.paused)
        return self.listing.plan if plan == self.listing.plan else plan


def calm(run: RunView) -> RunView:
    """Without the age of the last sign of life, which changes at every look, unless it is a worry."""
    age = run.heartbeat_age_s
    shown = float(int(age)) if age is not None and run.quiet else None
    return run if shown == age else replace(run, heartbeat_age_s=shown)


def _signature(root: Path) -> tuple[int, int]:
    """Changes when a run comes, goes, or is changed by a program of ours."""
    stamps = []
    for path in (root, root / ".touched"):
        try:
            status = os.stat(path)
            stamps.append(status.st_mtime_ns + status.st_size)
        except OSError:
            stamps.append(0)
    return stamps[0], stamps[1]


def _problem(root: Path) -> str:
    """Why a runs folder cannot be read; one that is not there yet is none."""
    try:
        with os.scandir(root):
            return ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


class RunFeed(Poller):
    """All about one run as it grows: its view, curves, log and the machine's figures beside it.

    ``version`` rises with every change. `view`, `log` and `system` are replaced, never changed, so they may be kept.
    Of a run whose folder is `gone` all stays as it was last seen.
    """

    def __init__(self, folder: RunFolder, poke: Poke) -> None:
        super().__init__(f"feed of {folder.id}", poke)
        self.folder = folder
        self.users = 0
        self.version = 0
        self.loaded = False
        self.gone = False
        self.view = calm(folder.view())
        self.log = ""
        self.system: tuple[Mapping[str, Any], ...] = ()
        self._curves = Curves(folder.path / "metrics.jsonl")
        self._guard = threading.Lock()
        self._machine = MetricsTail(folder.path / "system.jsonl")
        self._stamps: dict[str, object] = {}
        self._view_due = 0.0
        self._config: str | None = None

    @property
    def interval_s(self) -> float:
        return SETTLED_FEED_S if self.view.settled else FEED_S

    @property
    def config(self) -> str:
        """The resolved experiment as YAML."""
        if self._config is None:
            self._config = self.folder.config_text()
        return self._config

    def names(self) -> list[str]:
        """Names of the series that have values."""
        with self._guard:
            return self._curves.names()

    def series(self, name: str, x: Axis = "epoch") -> Points:
        """Places and values of one series, at most about 4,000 points."""
        with self._guard:
            return self._curves.series(name, x)

    def exact(self, place: float, x: Axis = "epoch") -> Reading | None:
        """The records nearest to a place, read again from the file."""
        with self._guard:
            return self._curves.exact(place, x)

    @property
    def unreadable(self) -> int:
        """Lines of the log that gave no record."""
        return self._curves.unreadable

    def poll(self) -> bool:
        was_gone, self.gone = self.gone, self.loaded and not os.path.isdir(self.folder.path)
        changed = self.gone != was_gone
        if not self.gone:
            changed |= self._poll_metrics() | self._poll_view() | self._poll_log() | self._poll_system()
        if not self.loaded:
            self.loaded = changed = True
        self.version += changed
        return changed

    def _poll_metrics(self) -> bool:
        if not self._touched("metrics.jsonl"):
            return False
        changed = False
        while not self._stopped:
            with self._guard:
                if not self._curves.poll(CHUNK_BYTES):
                    break
            changed = True
        return changed

    def _poll_view(self) -> bool:
        now = time.monotonic()
        if not self._touched("summary.json", "user.json", "attempts") and now < self._view_due:
            return False
        self._view_due = now + LIST_S
        before, self.view = self.view, calm(self.folder.view())
        return self.view != before

    def _poll_log(self) -> bool:
        if not self._touched("log.txt"):
            return False
        before, self.log = self.log, self.folder.log_tail(LOG_BYTES)
        return self.log != before

    def _poll_system(self) -> bool:
        if not self._touched("system.jsonl"):
            return False
        records = self._machine.poll()
        if self._machine.restarted:
            self.system = ()
        fresh = [MappingProxyType(record) for record in records]
        self.system = (*self.system, *fresh)[-SYSTEM_RECORDS:]
        return bool(fresh)

    def _touched(self, *names: str) -> bool:
        """Whether any of the files is not as it was at the last look."""
        stamps = {name: _stamp(self.folder.path / name) for name in names}
        changed = any(self._stamps.get(name) != stamp for name, stamp in stamps.items())
        self._stamps |= stamps
        return changed


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Machine(Poller):
    """The device for the header: every 2 seconds while a run is live, else once a minute."""

    def __init__(self, poke: Poke) -> None:
        super().__init__("machine", poke)
        self.busy = False
        self.sample: Sample | None = None
        self.device: Device | None = None

    @property
    def interval_s(self) -> float:
        return MACHINE_S if self.busy else MACHINE_AT_REST_S

    def use(self, *, busy: bool) -> None:
        """Look more often while something runs."""
        if busy and not self.busy:
            self.busy = True
            self.wake()
        self.busy = busy

    def poll(self) -> bool:
        from engine import system

        self.sample = system.sample()
        before, self.device = self.device, _device(self.sample)
        return self.device != before


def _device(sample: "Sample") -> Device:
    if not sample.gpus:
        return Device("CPU", None, sample.cpu, sample.ram_used, sample.ram_total)
    gpu = max(sample.gpus, key=lambda one: one.utilization or 0.0)
    name = gpu.name.removeprefix("NVIDIA ").partition(" ")[0]
    return Device(name, gpu.index, gpu.utilization, gpu.memory_used, gpu.memory_total, gpu.temperature)


class Services:
    """Everything that outlives a screen: list the runs as the app begins, start the rest once they are seen."""

    def __init__(
        self, root: Path, poke: Poke, say: Callable[[str], object], deliver: Deliver = lambda function: function()
    ) -> None:
        self._poke, self._say = poke, say
        self.engine = EngineClient(deliver)
        self.runs = RunList(root, poke)
        self.machine = Machine(poke)
        self.marked: list[str] = []
        self._colours = RunColours()
        self._indices: dict[str, int | None] = {}
        self._feeds: dict[Path, RunFeed] = {}

    @property
    def root(self) -> Path:
        return self.runs.root

    @property
    def listing(self) -> Listing:
        """The runs as they were last seen."""
        return self.runs.listing

    def list_runs(self) -> None:
        """Begin to list the runs, the newest first."""
        self.runs.start()

    def start(self) -> None:
        """List all runs, watch the machine and keep the queue going."""
        self.runs.wake()
        self.machine.start()
        self._revive_queue()

    def stop(self) -> None:
        for poller in (self.runs, self.machine, *self._feeds.values()):
            poller.stop()
        self._feeds.clear()
        self.engine.close()

    def open_folder(self, root: Path) -> None:
        """Show another runs folder from now on."""
        self.runs.stop()
        self.marked.clear()
        self.runs = RunList(root, self._poke)
        self.runs.start()
        self._revive_queue()

    def _revive_queue(self) -> None:
        threading.Thread(target=self._ensure_runner, name="queue", daemon=True).start()

    def _ensure_runner(self) -> None:
        from engine import queue

        try:
            queue.ensure_runner(self.root)
        except UserError as error:
            self._say(str(error))
        except OSError:
            _LOG.exception("queue of %s", self.root)

    def feed(self, run_id: str) -> RunFeed:
        """The feed of a run, shared by whoever shows it; give it back with `release`."""
        path = self.root / run_id
        feed = self._feeds.get(path)
        if feed is None:
            feed = self._feeds[path] = RunFeed(RunFolder(path), self._poke)
            feed.start()
        feed.users += 1
        return feed

    def release(self, feed: RunFeed) -> None:
        """Stop reading a run when nobody shows it any more."""
        feed.users -= 1
        if feed.users <= 0:
            feed.stop()
            self._feeds.pop(feed.folder.path, None)

    def update_colours(self) -> None:
        """Give colours to live and marked runs, and take back those of the others."""
        wanted = [run for run in self.listing.runs if run.live and run.state != "queued"]
        by_id = {run.id: run for run in self.listing.runs} if self.marked else {}
        wanted += [by_id[run_id] for run_id in self.marked if run_id in by_id]
        self._indices = self._colours.update((run.id, run.group_hash) for run in wanted)
        self.machine.use(busy=any(run.state in ("running", "starting") for run in wanted))

    def colours_of(self, chosen: Sequence[RunView]) -> dict[str, int | None]:
        """Colour indices for runs that are shown together: those they have, for the others free ones."""
        held = [run for run in self.listing.runs if run.id in self._indices]
        shown = RunColours()
        shown.update((run.id, run.group_hash) for run in held)
        indices = shown.update((run.id, run.group_hash) for run in [*held, *chosen])
        return {run.id: self._indices.get(run.id, indices[run.id]) for run in chosen}

    def colour(self, run: RunView, palette: Palette) -> RunColour:
        """The run's colour while it is live or marked, else one for a screen that shows it alone."""
        return palette.run(self.colours_of([run])[run.id])

    @property
    def colour_indices(self) -> Mapping[str, int | None]:
        """Colours of the live and the marked runs."""
        return self._indices

    def mark(self, run_id: str) -> None:
        """Mark a run, or take its mark away."""
        if run_id in self.marked:
            self.marked.remove(run_id)
        else:
            self.marked.append(run_id)
        self.update_colours()

    def mark_all(self, run_ids: Sequence[str]) -> None:
        self.marked += [run_id for run_id in run_ids if run_id not in set(self.marked)]
        self.update_colours()

    def unmark(self, *run_ids: str) -> None:
        gone = set(run_ids)
        self.marked = [run_id for run_id in self.marked if run_id not in gone]
        self.update_colours()
