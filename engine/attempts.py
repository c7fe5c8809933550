"""The attempts of a run: one numbered folder a start or resume, of which the newest alone decides the run's state."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import atomic, process

SCHEMA = 1
RESERVE_BYTES = 64 << 10

_NUMBER = re.compile(r"[0-9]{3,6}")


@dataclass(frozen=True)
class Attempt:
    """One start or resume of a run: who runs it, in which environment, and how it ended."""

    folder: Path
    number: int

    @property
    def path(self) -> Path:
        """``attempts/NNN`` in the run folder."""
        return self.folder / "attempts" / f"{self.number:03d}"

    def started(self) -> float:
        """When its processes were written down, before the engine's first record; unix seconds, 0 when unknown."""
        try:
            return os.stat(self.path / "proc.json", follow_symlinks=False).st_mtime
        except OSError:
            return 0.0

    def engine(self) -> process.Identity | None:
        """The process that trains, or None before it is started or where proc.json does not say."""
        return process.Identity.from_json(self._read("proc.json").get("engine"))

    def supervisor(self) -> process.Identity | None:
        """The process that watches over the engine, or None where proc.json does not say."""
        return process.Identity.from_json(self._read("proc.json").get("supervisor"))

    def environment(self) -> dict[str, Any]:
        """The command and the recorded part of the environment; {} where there is none."""
        return self._read("env.json")

    def runtime(self) -> dict[str, Any]:
        """What the engine settled on, and whether it is ``compiling``; {} where there is none."""
        return self._read("runtime.json")

    def write_runtime(self, runtime: dict[str, Any]) -> None:
        """Record device, arithmetic and whatever else decides what the engine computes."""
        atomic.write_json(self.path / "runtime.json", {"schema": SCHEMA, **runtime})

    def exit(self) -> dict[str, Any] | None:
        """The supervisor's verdict {code | signal, ended, orphans_killed, oom}, or None while there is none."""
        return atomic.read_json(self.path / "exit.json")

    def set_engine(self, identity: process.Identity) -> None:
        """Record the engine's identity beside the supervisor's."""
        atomic.write_json(self.path / "proc.json", {**self._read("proc.json"), "engine": identity.to_json()})

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Record the command and what of the environment may be known."""
        atomic.write_json(self.path / "env.json", {"schema": SCHEMA, **environment})

    def write_exit(
        self, *, code: int | None = None, signal: int | None = None, orphans_killed: int = 0, oom: bool = False
    ) -> None:
        """Record how the engine ended, by exit code or by signal number, even on a full disk."""
        how = {"code": code} if signal is None else {"signal": signal}
        verdict = {"schema": SCHEMA, **how, "ended": time.time(), "orphans_killed": orphans_killed, "oom": oom}
        write_even_when_full(self.folder, self.path / "exit.json", verdict)
        free_reserve(self.folder)

    def _read(self, name: str) -> dict[str, Any]:
        return atomic.read_json(self.path / name) or {}


def newest(folder: Path) -> Attempt | None:
    """The attempt with the highest number; None before the first start."""
    try:
        with os.scandir(folder / "attempts") as entries:
            numbers = [int(e.name) for e in entries if _NUMBER.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return None
    return Attempt(folder, max(numbers)) if numbers else None


def begin(folder: Path, supervisor: process.Identity) -> Attempt:
    """Make the next attempt with its proc.json already inside. The caller holds both bytes of the run's lock."""
    previous = newest(folder)
    attempt = Attempt(folder, previous.number + 1 if previous else 1)
    draft = folder / "attempts" / f"new-{os.urandom(4).hex()}"
    draft.mkdir(mode=0o700)
    atomic.write_json(draft / "proc.json", {"schema": SCHEMA, "supervisor": supervisor.to_json()})
    os.rename(draft, attempt.path)
    return attempt


def make_reserve(folder: Path) -> None:
    """Set 64 KiB aside, given back when the last words of a run would not fit on a full disk."""
    fd = atomic.open_regular(folder / ".reserve", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        # Random bytes take room on file systems that compress or keep holes.
        os.write(fd, os.urandom(RESERVE_BYTES))
    except OSError as error:
        if not atomic.out_of_room(error):
            raise
    finally:
        os.close(fd)


def free_reserve(folder: Path) -> None:
    """Give back what `make_reserve` set aside, if it is still there."""
    (folder / ".reserve").unlink(missing_ok=True)


def write_even_when_full(folder: Path, path: Path, value: dict[str, Any]) -> None:
    """Write JSON atomically; when there is no room, give the reserve back and try once more."""
    try:
        atomic.write_json(path, value)
    except atomic.DiskFullError:
        free_reserve(folder)
        atomic.write_json(path, value)
