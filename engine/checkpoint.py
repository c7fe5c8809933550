"""Checkpoints that are never half there: written from a copy by a thread, named by a manifest with their sha256.

Order of a save: state copied, metrics on disk, temporary file, fsync, rename, fsync of the folder, manifest the same
way, and only then are older files deleted. torch.load checks no CRC, hence the sha256; nothing but
``weights_only=True`` is ever used.
"""

import hashlib
import io
import os
import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine import atomic, ownership
from engine.errors import UserError

SCHEMA = 1
KEEP = 2
UNVERIFIED_BYTES = 1 << 36
MANIFEST = "manifest.json"

State = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A file the manifest vouches for."""

    file: str
    size: int
    sha256: str
    step: int
    epoch: float
    metrics_offset: int
    best: str = ""

    @classmethod
    def from_json(cls, value: Any) -> "Entry | None":
        """An entry of the manifest, or None when it is not one of ours."""
        try:
            entry = cls(**value)
        except TypeError:
            return None
        names = (entry.file, entry.best)
        counts = (entry.size, entry.step, entry.metrics_offset)
        if not all(isinstance(name, str) and "/" not in name and not name.startswith(".") for name in names):
            return None
        if not all(type(count) is int and count >= 0 for count in counts):
            return None
        return entry if isinstance(entry.sha256, str) and isinstance(entry.epoch, int | float) else None


class Checkpointer:
    """Writes the checkpoints of one run. ``problem`` says why the last save failed; the next one tries again.

    ``flush_log`` puts on disk the records that a checkpoint counts on; it is called on the thread that writes.
    """

    def __init__(self, folder: Path, flush_log: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._flush_log = flush_log
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None
        self.problem = ""

    @property
    def busy(self) -> bool:
        """Whether a save is still under way, for whose end the next one would wait."""
        return self._pending is not None and not self._pending.done()

    def save(self, state: State, best: State | None, metrics_offset: int) -> None:
        """Write ``state`` (and the best weights it goes with) behind the caller's back.

        The tensors are copied before this returns. Waits for a save that is still under way.
        """
        self.wait()
        step, epoch = state["step"], state["epoch"]
        payload = _copied({**state, "schema": SCHEMA})
        best_payload = _copied({**best, "schema": SCHEMA}) if best else None
        self._pending = self._pool.submit(self._write, payload, best_payload, step, epoch, metrics_offset)
        self._pending.add_done_callback(self._note)

    def wait(self) -> None:
        """Return when no save is under way; a failed one is kept in ``problem``."""
        if self._pending is None:
            return
        error = self._pending.exception()
        self._note(self._pending)
        self._pending = None
        if error is not None and not isinstance(error, (OSError, UserError)):
            raise error

    def _note(self, save: "Future[None]") -> None:
        error = save.exception()
        why = getattr(error, "strerror", None) or error
        self.problem = "" if error is None else f"checkpoint not written: {why}"

    def close(self) -> None:
        """Wait for the last save and end the thread."""
        self.wait()
        self._pool.shutdown()

    def _write(self, state: State, best: State | None, step: int, epoch: float, offset: int) -> None:
        self._flush_log()
        entries = read_manifest(self._folder)
        best_file = ""
        if best is not None:
            best_file = f"best_{best['step']:08d}.pt"
            known = next((entry for entry in entries if entry.file == best_file), None)
            best_entry = known or _write_file(self._folder, best_file, best, best["step"], best["epoch"])
            entries = [entry for entry in entries if entry.file != best_file] + [best_entry]
        name = _unused_name(step, entries)
        entries = [entry for entry in entries if entry.step != step or not entry.file.startswith("ck_")]
        # The manifest says both too; here they serve when it is lost.
        state = {**state, "metrics_offset": offset, "best_file": best_file}
        entries.append(_write_file(self._folder, name, state, step, epoch, offset, best_file))
        entries = _newest(entries)
        _write_manifest(self._folder, entries)
        kept = {entry.file for entry in entries}
        for path in self._folder.glob("*.pt"):
            if path.name not in kept:
                path.unlink(missing_ok=True)


def _write_file(
    folder: Path, name: str, state: State, step: int = 0, epoch: float = 0.0, offset: int = 0, best: str = ""
) -> Entry:
    # Into memory first: torch.save on a full disk raises "unexpected pos", not an OSError.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    atomic.write_bytes(folder / name, data)
    return Entry(name, len(data), hashlib.sha256(data).hexdigest(), step, epoch, offset, best)


def _write_manifest(folder: Path, entries: list[Entry]) -> None:
    atomic.write_json(folder / MANIFEST, {"schema": SCHEMA, "files": [vars(entry) for entry in entries]})


def save_weights(path: Path, weights: State) -> None:
    """Write the weights of a network alone, which its folder's manifest vouches for from then on. Raises OSError."""
    others = [entry for entry in _vouched(path.parent) or [] if entry.file != path.name]
    _write_manifest(path.parent, [*others, _write_file(path.parent, path.name, weights)])


def load_weights(path: Path) -> State | None:
    """What ``save_weights`` wrote, on the CPU; None where it is not, or no manifest vouches for it.

    Raises UserError as ``load`` does.
    """
    _refuse_foreign(path.parent)
    entry = next((entry for entry in _vouched(path.parent) or [] if entry.file == path.name), None)
    return _unpickled(path, _read_vouched(path, entry)) if entry and os.path.lexists(path) else None


def _unused_name(step: int, entries: list[Entry]) -> str:
    """A name that the manifest does not vouch for yet: a kill between the file and the manifest must cost nothing."""
    name = f"ck_{step:08d}.pt"
    return f"ck_{step:08d}_again.pt" if any(entry.file == name for entry in entries) else name


def _newest(entries: list[Entry]) -> list[Entry]:
    last = sorted((e for e in entries if e.file.startswith("ck_")), key=lambda e: e.step)[-KEEP:]
    wanted = {entry.best for entry in last}
    return [entry for entry in entries if entry.file in wanted] + last


def read_manifest(folder: Path) -> list[Entry]:
    """The files the manifest vouches for, in its order; without one that can be read, all that load, unverified."""
    vouched = _vouched(folder)
    return _unverified(folder) if vouched is None else vouched


def is_verified(folder: Path) -> bool:
    """Whether a manifest is there that can be read."""
    return _vouched(folder) is not None


def _vouched(folder: Path) -> list[Entry] | None:
    files = (atomic.read_json(folder / MANIFEST) or {}).get("files")
    if not isinstance(files, list):
        return None
    entries = [Entry.from_json(value) for value in files]
    return [entry for entry in entries if entry is not None]


def _unverified(folder: Path) -> list[Entry]:
    """Entries made from the files themselves: these are whole, since they were renamed into place.

    Raises UserError for a folder that is not ours alone.
    """
    _refuse_foreign(folder)
    entries = []
    for path in sorted(folder.glob("*_*.pt")):
        try:
            data = atomic.read_regular(path, UNVERIFIED_BYTES)
            state = _decode(path, data)
            place = (state["step"], state["epoch"], state.get("metrics_offset", 0), state.get("best_file", ""))
        except (OSError, UserError, KeyError):
            continue
        entries.append(Entry(path.name, len(data), hashlib.sha256(data).hexdigest(), *place))
    return entries


def candidates(folder: Path) -> list[Entry]:
    """Training states to resume from, newest first. Raises UserError for a folder that is not ours alone."""
    _refuse_foreign(folder)
    entries = [entry for entry in read_manifest(folder) if entry.file.startswith("ck_")]
    return sorted(entries, key=lambda entry: entry.step, reverse=True)


def load(folder: Path, entry: Entry) -> State:
    """Read one checkpoint after its size and sha256 fit. Raises UserError that names what does not."""
    _refuse_foreign(folder)
    path = folder / entry.file
    return _decode(path, _read_vouched(path, entry))


def _read_vouched(path: Path, entry: Entry) -> bytes:
    try:
        data = atomic.read_regular(path, entry.size)
    except FileNotFoundError:
        raise UserError(f"{path} is gone: put it back, or {_anew(path.parent)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) != entry.size:
        raise UserError(f"{path}: {len(data)} bytes where the manifest says {entry.size}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise UserError(f"{path}: sha256 is {digest[:12]}… where the manifest says {entry.sha256[:12]}…")
    return data


def _anew(folder: Path) -> str:
    return f"train the run anew with cifar-tui --run {folder.parent / 'config.yaml'}"


def _refuse_foreign(folder: Path) -> None:
    if os.path.lexists(folder) and not ownership.private(folder):
        why = "it or the run's folder belongs to another user or can be written by one"
        raise UserError(f"{folder}: its checkpoints are not loaded, as {why}")


def _decode(path: Path, data: bytes) -> State:
    state = _unpickled(path, data)
    if state.get("schema") != SCHEMA:
        raise UserError(f"{path}: format {state.get('schema')}, this version reads {SCHEMA}; update cifar-tui")
    return {key: value for key, value in state.items() if key != "schema"}


def _unpickled(path: Path, data: bytes) -> State:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything at all
        raise UserError(f"{path}: not a checkpoint of cifar-tui: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: not a checkpoint of cifar-tui: it holds a {type(state).__name__}")
    return state


def load_best(folder: Path, entry: Entry) -> State | None:
    """The best weights that the training state of ``entry`` goes with. Raises UserError as ``load`` does."""
    if not entry.best:
        return None
    best = next((other for other in read_manifest(folder) if other.file == entry.best), None)
    if best is None:
        raise UserError(f"{folder / entry.best}: not in the manifest")
    return load(folder, best)


def weights(folder: Path, which: str) -> tuple[State, Entry]:
    """State with the weights of the ``best`` or ``last`` checkpoint. Raises UserError when there is none to trust."""
    entries = candidates(folder)
    for entry in entries:
        wanted = entry
        if which == "best" and entry.best:
            wanted = next((e for e in read_manifest(folder) if e.file == entry.best), entry)
        return load(folder, wanted), wanted
    raise UserError(f"{folder}: no checkpoint to load; {_anew(folder)}")


def _copied(value: Any) -> Any:
    """``value`` with every tensor copied to the CPU, so that training may go on at once."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(entry) for entry in value)
    return value


def rng_state(device: torch.device) -> State:
    """State of every random generator that a network on ``device`` may draw from.

    Other GPUs are left alone: to ask for their state would take memory on each of them.
    """
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "python": random.getstate()}


def restore_rng_state(state: State, device: torch.device) -> None:
    """Put every random generator back where ``rng_state`` found it."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if state["cuda"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"][0], device)
