"""What the queue screen says: the slots, when each waiting run will start, how today's runs ended. Plain functions."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.queue import MAX_CAPACITY, QueueView, Waiting
from engine.run_view import RunView
from engine.slots import CPU, Slot, suitable
from engine.system import Sample
from tui import format, glyphs
from tui.past_runs import Wanted, images_an_epoch, nearest
from tui.run_table import soon

_ENDINGS = ("finished", "failed", "diverged", "stopped", "crashed", "unknown")


@dataclass(frozen=True, slots=True)
class Takes:
    """Seconds a run will take; `rough` where no past run of its network stands behind them."""

    seconds: float
    rough: bool


@dataclass(frozen=True, slots=True)
class SlotRow:
    """One place of a slot. Utilisation in percent, memory in bytes, temperature in °C; `run` None is a free place."""

    label: str
    run: RunView | None = None
    utilisation: float | None = None
    memory: float | None = None
    celsius: float | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One waiting run. `starts_s` are seconds from now, None where that is unknown; `word` says what stands instead."""

    number: int
    run: RunView
    device: str
    held: bool = False
    takes: Takes | None = None
    starts_s: float | None = None
    rough: bool = False
    word: str = ""


@dataclass(frozen=True, slots=True)
class DoneRow:
    """One run that ended today. `words` say how, where it has no result to show."""

    run: RunView
    words: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the queue as a whole: a state's word for glyph and colour, what it is called, what that means."""

    state: str
    word: str
    text: str


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """All that the screen shows. `all_done_s` are seconds until nothing waits or runs any more, None if unknown.

    `empty` is what is said in place of waiting runs.
    """

    status: Status
    slots: tuple[SlotRow, ...] = ()
    waiting: tuple[WaitingRow, ...] = ()
    done: tuple[DoneRow, ...] = ()
    running: int = 0
    places: int = 0
    all_done_s: float | None = None
    all_done_rough: bool = False
    endings: str = ""
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that the sentences name, as people read them."""

    pause: str = "P"
    hold: str = "H"
    new: str = "n"
    add: str = "a"


DEFAULT_KEYS = Keys()


def figures(
    view: QueueView, past: Sequence[RunView], sample: Sample | None, host: str, keys: Keys = DEFAULT_KEYS
) -> QueueFigures:
    """The queue in figures, `past` being all known runs, from which estimates are made."""
    waiting, ends = _schedule(view, past)
    running = [run for place in view.places for run in place.runs]
    known = None if any(end is None for end in ends) or not ends else max(end for end in ends if end is not None)
    return QueueFigures(
        status=status(view, host, keys),
        slots=tuple(_slot_rows(view, sample)),
        waiting=waiting,
        done=tuple(DoneRow(run, ending_words(run)) for run in view.done),
        running=len(running),
        places=sum(place.slot.capacity for place in view.places),
        all_done_s=known,
        all_done_rough=any(row.rough or (row.takes and row.takes.rough) for row in waiting if not row.word),
        endings=count_endings(view.done),
        empty="" if view.waiting else f"Nothing waits. {keys.new} makes a run, {keys.add} adds it here",
    )


def status(view: QueueView, host: str, keys: Keys) -> Status:
    """Whether the queue advances, by whom, and if not, why and what helps."""
    free = [waiting for waiting in view.waiting if not waiting.held]
    able = [waiting for waiting in free if not _nowhere(waiting)]
    if view.paused:
        return Status("paused", "paused", f"nothing new starts; {keys.pause} lets it advance")
    if view.advancing:
        return Status("running", "advancing", f"runner on {host}; {_capacity(view)}; goes on after a failure")
    if able:
        return Status("starting", "starting", f"no runner lives; one is being started on {host}")
    if not view.waiting:
        return Status("queued", "at rest", f"{_capacity(view)}; starts what is added")
    if not free:
        return Status("queued", "at rest", f"all that waits is held; {keys.hold} releases")
    return Status("queued", "at rest", "what waits asks for a device that is not here")


def _capacity(view: QueueView) -> str:
    gpus = [place.slot for place in view.places if place.slot.number is not None]
    counts = {slot.capacity for slot in gpus or [place.slot for place in view.places]}
    if len(counts) > 1:
        return "runs per slot as set"
    count = next(iter(counts), 1)
    runs = "one run" if count == 1 else f"{count or 'no'} runs"
    return f"{runs} per GPU" if gpus else f"{runs} at a time"


def wrong_capacity(answers: Mapping[str, str]) -> str:
    """What is wrong with the numbers of runs that slots shall take, "" if nothing."""
    for text in answers.values():
        if not (text.isascii() and text.isdecimal() and len(text) < 4 and int(text) <= MAX_CAPACITY):
            return f"a slot takes 0 to {MAX_CAPACITY} runs, not {text or 'nothing'}"
    return ""


def capacity_words(slot: Slot, capacity: int) -> str:
    """`H100 0 takes 2 runs at a time`"""
    runs = f"{capacity} run{'' if capacity == 1 else 's'} at a time" if capacity else "no more runs"
    return f"{short_label(slot)} takes {runs}"


def _nowhere(waiting: Waiting) -> bool:
    return waiting.why.startswith("there is no ")


def short_label(slot: Slot) -> str:
    """`NVIDIA H100 80GB HBM3 0` as `H100 0`."""
    if slot.number is None:
        return slot.label
    name, _, index = slot.label.rpartition(" ")
    return f"{name.removeprefix('NVIDIA ').partition(' ')[0]} {index}"


def _slot_rows(view: QueueView, sample: Sample | None) -> Iterable[SlotRow]:
    for place in view.places:
        row = _with_device(SlotRow(short_label(place.slot), closed=place.slot.capacity == 0), place.slot, sample)
        entries: list[RunView | None] = [*place.runs, *([None] if place.free or not place.runs else [])]
        for index, run in enumerate(entries):
            yield replace(row, run=run) if index == 0 else SlotRow("", run)


def _with_device(row: SlotRow, slot: Slot, sample: Sample | None) -> SlotRow:
    if sample is None:
        return row
    if slot.name == CPU:
        return replace(row, utilisation=sample.cpu, memory=sample.ram_used)
    gpu = next((gpu for gpu in sample.gpus if gpu.uuid == slot.name), None)
    if gpu is None:
        return row
    return replace(row, utilisation=gpu.utilization, memory=gpu.memory_used, celsius=gpu.temperature)


def takes(run: RunView, past: Iterable[RunView], slot: Slot | None) -> Takes | None:
    """How long a run will take on a slot, by the epochs of the nearest past runs there. None where nothing is known."""
    left = (run.epochs or 0.0) - run.epoch
    wanted = Wanted(run.group_hash, run.architecture, run.batch_size, run.dataset, run.macs)
    found = nearest(wanted, [other for other in past if _was_on(other, slot)])
    if left <= 0 or found is None:
        return None
    epoch_s = statistics.median(_epoch_s(run, other, exact=found.exact) for other in found.runs)
    return Takes(left * epoch_s, rough=not found.exact)


def _epoch_s(run: RunView, other: RunView, *, exact: bool) -> float:
    """Seconds an epoch of `run` takes if it goes as that of another did: by its images, and by its MACs if need be."""
    images, others = images_an_epoch(run), images_an_epoch(other)
    share = images / others if images and others else 1.0
    macs = 1.0 if exact else (run.macs or 1) / (other.macs or 1)
    return other.active_s / other.epoch * share * macs


def _was_on(run: RunView, slot: Slot | None) -> bool:
    kind, _, name = run.device.partition(" ")
    if slot is None or slot.number is None:
        return kind.startswith(CPU) or not run.device
    return not kind.startswith(CPU) and (name or kind).lower() in slot.label.lower()


@dataclass(slots=True)
class _Free:
    """When a place of a slot comes free: seconds from now, infinite where that is unknown."""

    slot: Slot
    at: float
    rough: bool = False


def _schedule(view: QueueView, past: Sequence[RunView]) -> tuple[tuple[WaitingRow, ...], list[float | None]]:
    """When waiting runs start, if all goes as the runner does it: whenever a place comes free, the first in order
    that may go there. Also the ends of all runs, None for those that are unknown."""
    places = [free for place in view.places for free in _free_places(place.slot, place.runs)]
    ends: list[float | None] = [run.eta_s for place in view.places for run in place.runs]
    rows = [_waiting_row(number, waiting, view) for number, waiting in enumerate(view.waiting, start=1)]
    machine = [place.slot for place in view.places if place.slot.capacity]
    fitting = {row.run.id: suitable(machine, view.waiting[row.number - 1].device) for row in rows}
    waits = [row for row in rows if not row.word]
    started: dict[str, WaitingRow] = {}
    while waits:
        place = _next_place(places, [slot for row in waits for slot in fitting[row.run.id]])
        if place is None:
            break
        row = next(row for row in waits if place.slot in fitting[row.run.id])
        waits.remove(row)
        length = takes(row.run, past, place.slot)
        rough = place.rough or bool(length and length.rough)
        started[row.run.id] = replace(row, takes=length, starts_s=place.at, rough=place.rough)
        place.at, place.rough = place.at + (length.seconds if length else math.inf), rough
        ends.append(place.at if math.isfinite(place.at) else None)
    ends += [None] * len(waits)
    return tuple(started.get(row.run.id, _unplaced(row, past, fitting[row.run.id])) for row in rows), ends


def _free_places(slot: Slot, runs: Sequence[RunView]) -> Iterable[_Free]:
    for run in runs[: slot.capacity]:
        yield _Free(slot, math.inf if run.eta_s is None else run.eta_s)
    for _ in range(slot.capacity - len(runs)):
        yield _Free(slot, 0.0)


def _next_place(places: Sequence[_Free], wanted: Sequence[Slot]) -> _Free | None:
    usable = [place for place in places if place.slot in wanted and math.isfinite(place.at)]
    return min(usable, key=lambda place: place.at, default=None)


def _unplaced(row: WaitingRow, past: Sequence[RunView], fitting: Sequence[Slot]) -> WaitingRow:
    return replace(row, takes=takes(row.run, past, fitting[0] if fitting else None))


def _waiting_row(number: int, waiting: Waiting, view: QueueView) -> WaitingRow:
    word = ""
    if waiting.held:
        word = "held"
    elif _nowhere(waiting):
        word = f"no {waiting.device} here"
    elif view.paused:
        word = "paused"
    return WaitingRow(number, waiting.run, device_words(waiting.device, view), waiting.held, word=word)


def device_words(device: str, view: QueueView) -> str:
    """`any`, or the slot that a run asks for: `H100 1`, `CPU`."""
    if device == "auto":
        return "any"
    if device == CPU:
        return "CPU"
    named = (place.slot for place in view.places if place.slot.number is not None)
    return next((short_label(slot) for slot in named if device == f"cuda:{slot.number}"), device)


def count_endings(done: Sequence[RunView]) -> str:
    """`11 finished, 1 failed`"""
    counts = Counter[str](run.state for run in done)
    return ", ".join(f"{counts[state]} {state}" for state in _ENDINGS if counts[state])


def ending_words(run: RunView) -> str:
    """How a run ended that did not finish: its reason, how far it had come, whether it can go on from there."""
    if run.state == "finished":
        return run.problem
    at = f"at epoch {math.floor(run.epoch + 1e-6)}" if run.epoch >= 1 else ""
    reason = run.reason or (f"by {run.by}" if run.state == "stopped" and run.by else "")
    if run.state == "crashed":
        kept = f"checkpoint of epoch {math.floor(run.epoch + 1e-6)} kept" if run.epoch >= 1 else ""
        return "; ".join(part for part in (reason, kept) if part)
    if run.state == "stopped":
        return " ".join(part for part in (reason, at) if part)
    return "; ".join(part for part in (reason, run.problem) if part) or at


def wait_words(row: WaitingRow) -> str:
    """When a run starts: `in 33 s`, `next`, `held`, `–` where nobody can know."""
    if row.word:
        return row.word
    if row.starts_s is None:
        return format.unknown()
    if row.starts_s < 1:
        return "next"
    return soon(row.starts_s).replace(" ", f" {glyphs.active().about} " if row.rough else " ", 1)
