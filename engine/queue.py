"""The queue of a runs folder: the runs that wait there, and the one process that starts them as slots come free.

What waits is what the run folders say; ``.queue.json`` only adds the order, what is held, whether all is paused, and
how many runs a slot takes. The runner is detached, one by lock, and ends when nothing can be started any more; whoever
adds to the queue or opens the program revives it. A run that was started is never started again by itself.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from engine import atomic, launch, slots
from engine.errors import UserError
from engine.ownership import is_ours
from engine.process import Lock
from engine.runs import LIVE, RUN_ID, RunFolder, RunView, list_runs
from engine.slots import Slot
from engine.supervisor import ENGINE

PLAN, LOCK, LOG = ".queue.json", ".queue.lock", ".queue.log"
RUNNER_BYTE, EDIT_BYTE = 0, 1
TURN_S = 2.0
EDIT_S = 5.0
LOG_BYTES = 1_000_000
MAX_CAPACITY = 64


@dataclass(frozen=True)
class Plan:
    """What a person decided about the queue: the contents of ``.queue.json``."""

    order: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    paused: bool = False
    capacities: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """A slot and the runs in it."""

    slot: Slot
    runs: tuple[RunView, ...] = ()

    @property
    def free(self) -> bool:
        """Whether another run may be started here."""
        return len(self.runs) < self.slot.capacity


@dataclass(frozen=True)
class Waiting:
    """A run that waits, the device it asks for, and why it has not been started."""

    run: RunView
    device: str
    held: bool
    why: str


@dataclass(frozen=True)
class QueueView:
    """The queue as it is now. `advancing` says that a runner lives; `done` are today's ended runs, latest first."""

    paused: bool
    advancing: bool
    places: tuple[Place, ...]
    waiting: tuple[Waiting, ...]
    done: tuple[RunView, ...]


def add(run: RunFolder, held: bool = False, by: str = "") -> None:
    """Put a run at the end of the queue: a new one, or one that ended and is to be resumed. Revives the runner.

    Raises UserError for a run that is in progress, finished, or not ours to start.
    """
    launch.check_free(run)
    if run.view().state != "queued":
        run.enqueue(by)
    root = run.path.parent
    marked = {run.id} if held else set()
    _edit(root, lambda plan: replace(plan, order=(*_without(plan.order, run.id), run.id), held=plan.held | marked))
    ensure_runner(root)


def move(root: Path, run_id: str, by: int) -> None:
    """Move a waiting run down by so many places, up where `by` is negative; it stops at the ends."""

    def moved(plan: Plan) -> Plan:
        ids = [view.id for view in _in_order(plan, list_runs(root, archived=True))]
        if run_id not in ids:
            raise UserError(f"run {run_id} does not wait in the queue")
        place = max(0, ids.index(run_id) + by)
        ids.remove(run_id)
        ids.insert(place, run_id)
        return replace(plan, order=tuple(ids))

    _edit(root, moved)


def remove(root: Path, run_id: str, by: str = "") -> None:
    """Take a waiting run out of the queue: it counts as stopped, and can be added again."""

    def removed(plan: Plan) -> Plan:
        run = _waiting_run(root, run_id)
        newest = run.newest_attempt()
        number = newest.number if newest else 0
        run.write_summary(state="stopped", reason="taken out of the queue", by=by, attempt=number, ended=time.time())
        return replace(plan, order=_without(plan.order, run_id), held=plan.held - {run_id})

    _edit(root, removed)


def hold(root: Path, run_id: str) -> None:
    """Keep a waiting run in its place without starting it."""
    run = _waiting_run(root, run_id)
    _edit(root, lambda plan: replace(plan, held=plan.held | {run.id}))


def release(root: Path, run_id: str) -> None:
    """Let a held run be started again."""
    run = _waiting_run(root, run_id)
    _edit(root, lambda plan: replace(plan, held=plan.held - {run.id}))
    ensure_runner(root)


def pause(root: Path) -> None:
    """Start nothing more; what runs goes on."""
    _edit(root, lambda plan: replace(plan, paused=True))


def resume(root: Path) -> None:
    """Start waiting runs again."""
    _edit(root, lambda plan: replace(plan, paused=False))
    ensure_runner(root)


def set_capacity(root: Path, slot_name: str, capacity: int) -> None:
    """How many runs a slot takes at a time: 0 to 64. Raises UserError beyond that or for a slot that is not there."""
    names = [slot.name for slot in slots.of_machine()]
    if slot_name not in names:
        raise UserError(f"there is no slot {slot_name!r} on this machine; there are {', '.join(names)}")
    if not 0 <= capacity <= MAX_CAPACITY:
        raise UserError(f"a slot takes 0 to {MAX_CAPACITY} runs, not {capacity}")
    _edit(root, lambda plan: replace(plan, capacities=plan.capacities | {slot_name: capacity}))
    ensure_runner(root)


def view(root: Path) -> QueueView:
    """Look at the queue. Never raises for what lies in the folder."""
    plan, runs = read_plan(root), list_runs(root, archived=True)
    places = _places(slots.of_machine(plan.capacities), runs)
    waiting = tuple(_why(run, plan, places) for run in _in_order(plan, runs))
    today = date.today()
    done = [run for run in runs if run.state not in LIVE and run.ended and date.fromtimestamp(run.ended) == today]
    done.sort(key=lambda run: run.ended or 0.0, reverse=True)
    used = any(place.runs for place in places if place.slot.number is None)
    asked = any(entry.device in (slots.CPU, "mps") for entry in waiting)
    shown = tuple(place for place in places if place.slot.number is not None or len(places) == 1 or used or asked)
    return QueueView(plan.paused, _runner_lives(root), shown, waiting, tuple(done))


def ensure_runner(root: Path) -> bool:
    """Start the runner if something waits that could be started and no runner lives; whether one was started.

    In a folder that others own or can write nothing could be. Raises UserError when it cannot be written.
    """
    if not os.path.exists(root / PLAN) or _runner_lives(root) or not _has_work(root):
        return False
    try:
        log = _open_log(root)
    except OSError as error:
        raise UserError(f"the queue of {root} cannot be started: {error.strerror}") from error
    try:
        runner = subprocess.Popen(
            [*ENGINE, "--queue", str(root.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    threading.Thread(target=runner.wait, name="reaper", daemon=True).start()
    return True


def main(root: str, engine_command: Sequence[str] = ()) -> int:
    """Run the queue of a runs folder until nothing more can be started; 0 at once if a runner lives or others can
    write there.

    `engine_command` stands in place of ``python -P -m engine``, as in `launch.start`.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    folder = Path(root)
    lock = Lock(folder / LOCK)
    if not is_ours(folder) or not lock.acquire(RUNNER_BYTE):
        return 0
    while True:
        if _start_next(folder, engine_command):
            continue
        if _finish(folder, lock):
            return 0
        time.sleep(TURN_S)


def _runner_lives(root: Path) -> bool:
    try:
        return Lock(root / LOCK).held_elsewhere(RUNNER_BYTE)
    except OSError:  # a link or a folder of that name: nothing of ours holds it
        return False


def _start_next(root: Path, engine_command: Sequence[str]) -> bool:
    """Start the first run that may go and has a free slot: one, as that takes long enough for plans to change."""
    plan, runs = read_plan(root), list_runs(root, archived=True)
    places = _places(slots.of_machine(plan.capacities), runs)
    for waiting in (_why(run, plan, places) for run in _in_order(plan, runs)):
        slot = _free_slot(waiting, places)
        if slot and not waiting.held and not plan.paused:
            _start(RunFolder(waiting.run.path), slot, engine_command)
            return True
    return False


def _start(run: RunFolder, slot: Slot, engine_command: Sequence[str]) -> None:
    """Start or resume a run; one that cannot be started has failed, and the queue goes on."""
    begin = launch.start if run.newest_attempt() is None else launch.resume
    print(f"{time.strftime('%F %T')} {run.id} goes to {slot.label}", flush=True)
    try:
        begin(run, by="the queue", slot=slot, engine_command=engine_command)
    except UserError as error:
        print(f"{time.strftime('%F %T')} {error}", flush=True)
        if run.view().state == "queued" and not launch.is_held(run):
            _give_up(run, str(error))


def _give_up(run: RunFolder, reason: str) -> None:
    newest = run.newest_attempt()
    number = newest.number if newest else 0
    try:
        run.write_summary(state="failed", reason=reason, attempt=number, ended=time.time())
    except OSError:  # it cannot even be marked; held, it does not stand in the way of the others
        _edit(run.path.parent, lambda plan: replace(plan, held=plan.held | {run.id}))


def _finish(root: Path, lock: Lock) -> bool:
    """Give the runner's lock back if nothing can be started any more.

    While plans cannot be changed, so that whoever adds a run either is seen here or finds no runner and starts one.
    """
    try:
        with _editing(root):
            if not _has_work(root):
                lock.release()
                return True
    except UserError:  # somebody is changing the plan just now
        return False
    except OSError:  # the runs folder is gone
        return True
    return False


def _has_work(root: Path) -> bool:
    """Whether something waits that may be started now or when a slot comes free."""
    plan = read_plan(root)
    if plan.paused:
        return False
    machine = [slot for slot in slots.of_machine(plan.capacities) if slot.capacity]
    return any(
        slots.suitable(machine, launch.device_setting(RunFolder(run.path)))
        for run in _in_order(plan, list_runs(root, archived=True))
        if run.id not in plan.held
    )


def _in_order(plan: Plan, runs: Sequence[RunView]) -> list[RunView]:
    """The waiting runs that are ours: first those with a place in the plan, then the others by age."""
    places = {run_id: place for place, run_id in enumerate(plan.order)}
    queued = [run for run in runs if run.state == "queued" and not run.read_only]
    return sorted(queued, key=lambda run: (places.get(run.id, len(places)), run.id))


def _places(machine: Sequence[Slot], runs: Sequence[RunView]) -> tuple[Place, ...]:
    """Which run is where, also those that nobody queued. Runs of other hosts take no slot here."""
    inside: dict[str, list[RunView]] = {slot.name: [] for slot in machine}
    for run in runs:
        if run.state in LIVE and run.state != "queued":
            inside.setdefault(_slot_name(run, machine), []).append(run)
    return tuple(Place(slot, tuple(inside[slot.name])) for slot in machine)


def _slot_name(run: RunView, machine: Sequence[Slot]) -> str:
    name = RunFolder(run.path).summary().get("slot")
    if isinstance(name, str) and name in [slot.name for slot in machine]:
        return name
    fitting = slots.suitable(machine, run.device.partition(" ")[0] or "auto")
    return fitting[0].name if fitting else ""


def _why(run: RunView, plan: Plan, places: Sequence[Place]) -> Waiting:
    device = launch.device_setting(RunFolder(run.path))
    fitting = slots.suitable([place.slot for place in places], device)
    held = run.id in plan.held
    if held:
        why = "held"
    elif plan.paused:
        why = "the queue is paused"
    elif not fitting:
        why = f"there is no {device} here"
    elif any(place.free for place in places if place.slot in fitting):
        why = "next"
    else:
        why = "waits for " + " or ".join(slot.label for slot in fitting)
    return Waiting(run, device, held, why)


def _free_slot(waiting: Waiting, places: Sequence[Place]) -> Slot | None:
    fitting = slots.suitable([place.slot for place in places], waiting.device)
    return next((place.slot for place in places if place.free and place.slot in fitting), None)


def _waiting_run(root: Path, run_id: str) -> RunFolder:
    run = RunFolder(root / run_id)
    if not RUN_ID.fullmatch(run_id) or run.view().state != "queued":
        raise UserError(f"run {run_id} does not wait in the queue")
    run.refuse_foreign()
    return run


def _without(ids: Sequence[str], run_id: str) -> tuple[str, ...]:
    return tuple(other for other in ids if other != run_id)


def read_plan(root: Path) -> Plan:
    """The plan as far as it can be read; what is damaged counts as not decided."""
    stored = atomic.read_json(root / PLAN) or {}
    capacities = stored.get("slots")
    return Plan(
        order=tuple(_ids(stored.get("order"))),
        held=frozenset(_ids(stored.get("held"))),
        paused=stored.get("paused") is True,
        capacities={
            name: count
            for name, count in (capacities.items() if isinstance(capacities, dict) else ())
            if type(count) is int and 0 <= count <= MAX_CAPACITY
        },
    )


def _ids(value: Any) -> list[str]:
    found = value if isinstance(value, list) else []
    return list(dict.fromkeys(item for item in found if isinstance(item, str) and RUN_ID.fullmatch(item)))


def _edit(root: Path, change: Callable[[Plan], Plan]) -> None:
    """Change the plan; what no longer waits is forgotten. Raises UserError when the folder cannot be written."""
    try:
        with _editing(root):
            plan = change(read_plan(root))
            waiting = {
                run_id for run_id in {*plan.order, *plan.held} if RunFolder(root / run_id).view().state == "queued"
            }
            stored = {
                "schema": 1,
                "order": [run_id for run_id in plan.order if run_id in waiting],
                "held": sorted(plan.held & waiting),
                "paused": plan.paused,
                "slots": plan.capacities,
            }
            atomic.write_json(root / PLAN, stored)
    except OSError as error:
        raise UserError(f"the queue of {root} cannot be changed: {error.strerror}") from error


@contextmanager
def _editing(root: Path) -> Iterator[None]:
    if not is_ours(root):
        raise UserError(f"the queue of {root} cannot be changed: it is not there, or is not yours alone")
    lock = Lock(root / LOCK)
    deadline = time.monotonic() + EDIT_S
    while not lock.acquire(EDIT_BYTE):
        if time.monotonic() > deadline:
            raise UserError(f"the queue of {root} is being changed by another program; try again")
        time.sleep(0.01)
    try:
        yield
    finally:
        lock.release()


def _open_log(root: Path) -> int:
    log = atomic.open_regular(root / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if os.fstat(log).st_size > LOG_BYTES:
        os.ftruncate(log, 0)
    return log
