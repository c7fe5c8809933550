"""Which process wrote this, does it still live, and who holds the lock: pids alone answer none of it.

A pid is reused, a zombie keeps its own, and a number from another machine or container means somebody else here.
On Linux an identity is the pid with its start time in clock ticks since boot, the boot, the host and the pid namespace,
and signals go through a pidfd. Elsewhere (macOS) the start time comes from psutil in microseconds; the boot and the
namespace stay empty, so that a reboot reads as "dead"; and a signal is sent by pid right after the check, a window of
microseconds that Linux does not have. Without psutil nothing can be said there, and nothing is signalled.
"""

import errno
import fcntl
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

Status = Literal["alive", "dead", "reboot", "elsewhere"]

_LINUX = sys.platform == "linux"
_PID_MAX = 2**22  # PID_MAX_LIMIT of 64-bit Linux; macOS stays under 100,000


@dataclass(frozen=True)
class Identity:
    """One process, told apart from every other one that has or will have its pid."""

    pid: int
    start_ticks: int  # field 22 of /proc/PID/stat, clock ticks since boot
    boot_id: str
    host: str
    pidns: int  # inode of the namespace in which `pid` is valid

    @classmethod
    def current(cls) -> "Identity":
        """The calling process. Its `start_ticks` is 0 where no start time can be had."""
        return cls(os.getpid(), _start_ticks(os.getpid()) or 0, _boot_id(), os.uname().nodename, _pid_namespace())

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The process that has `pid` now, or None if there is none or only its zombie."""
        ticks = _start_ticks(pid) if 0 < pid <= _PID_MAX else None
        return None if ticks is None else cls(pid, ticks, _boot_id(), os.uname().nodename, _pid_namespace())

    def to_json(self) -> dict[str, int | str]:
        """A record that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> "Identity | None":
        """The identity in a decoded JSON record, or None if any part of it is missing, mistyped or impossible."""
        if not isinstance(record, dict):
            return None
        counts = [record.get("pid"), record.get("start_ticks"), record.get("pidns")]
        names = [record.get("boot_id"), record.get("host")]
        if not all(map(_is_count, counts)) or not all(isinstance(name, str) for name in names):
            return None
        if not _is_plausible(record["pid"]):
            return None
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


def status(identity: Identity) -> Status:
    """Whether the process lives, died, was lost in a reboot, or cannot be judged from here.

    The host is looked at before the boot, as another host has another boot too.
    """
    boot_id, host, pidns = _boot_id(), os.uname().nodename, _pid_namespace()
    if identity.boot_id != boot_id:
        return "reboot" if identity.host == host else "elsewhere"
    if identity.pidns != pidns or (not boot_id and identity.host != host) or not identity.start_ticks:
        return "elsewhere"
    found = Identity.of(identity.pid)
    if found is None:
        return "elsewhere" if _is_hidden(identity.pid) else "dead"
    return "alive" if found.start_ticks == identity.start_ticks else "dead"


def send(identity: Identity, sig: int) -> bool:
    """Signal exactly this process. False when it is not alive here or not ours to signal; never signals another."""
    if not _is_plausible(identity.pid) or status(identity) != "alive":
        return False
    with suppress(OSError), _handle(identity.pid) as handle:
        # The pid may have passed to another process before the handle was opened, but cannot once it is open.
        if status(identity) != "alive":
            return False
        if handle is None:
            os.kill(identity.pid, sig)
        else:
            signal.pidfd_send_signal(handle, sig)
        return True
    return False


class Lock:
    """Exclusive locks on single bytes of a file, held until released or until the process ends, however it ends.

    POSIX record locks belong to the process and are not inherited by its children, so an orphan never keeps one; but
    closing *any* descriptor of the file drops them all. Every Lock of a process on one file therefore shares a single
    descriptor, found by device and inode, which is closed only when none of its bytes is held.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = os.fspath(path)

    def acquire(self, byte: int) -> bool:
        """Take a byte, or have it already. False if another process, or another Lock of this process, has it.

        The file is made (mode 0600) if it is missing. Raises OSError if it cannot be opened or is a symbolic link.
        """
        with _mutex, self._shared(create=True) as shared:
            if byte not in shared.owners and _try_lock(shared.descriptor, byte):
                shared.owners[byte] = self
            return shared.owners.get(byte) is self

    def release(self) -> None:
        """Give back every byte that this Lock took."""
        with _mutex:
            for shared in list(_shared_files.values()):
                for byte in [byte for byte, owner in shared.owners.items() if owner is self]:
                    fcntl.lockf(shared.descriptor, fcntl.LOCK_UN, 1, byte)
                    del shared.owners[byte]
                shared.close_if_idle()

    def held_elsewhere(self, byte: int) -> bool:
        """Whether another process, or another Lock of this one, holds the byte. Takes nothing and creates nothing."""
        with _mutex, suppress(FileNotFoundError), self._shared(create=False) as shared:
            owner = shared.owners.get(byte)
            return owner is not self if owner else _is_locked(shared.descriptor, byte)
        return False

    @contextmanager
    def _shared(self, create: bool) -> Iterator["_SharedFile"]:
        shared = self._known() or _share(_open(self._path, create))
        try:
            yield shared
        finally:
            shared.close_if_idle()

    def _known(self) -> "_SharedFile | None":
        """What this process has open at the path, found without opening it again."""
        try:
            return _shared_files.get(_key(os.stat(self._path, follow_symlinks=False)))
        except FileNotFoundError:
            return None


@dataclass
class _SharedFile:
    """The one descriptor of a locked file in this process, and which Lock took which byte."""

    key: tuple[int, int]
    descriptor: int
    owners: dict[int, Lock] = field(default_factory=dict)
    spares: list[int] = field(default_factory=list)

    def close_if_idle(self) -> None:
        if self.owners:
            return
        for descriptor in [self.descriptor, *self.spares]:
            os.close(descriptor)
        del _shared_files[self.key]


_mutex = threading.Lock()
_shared_files: dict[tuple[int, int], _SharedFile] = {}


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _share(descriptor: int) -> _SharedFile:
    key = _key(os.fstat(descriptor))
    if key in _shared_files:  # another file lay at the path a moment ago; closing this one would drop our locks
        _shared_files[key].spares.append(descriptor)
    return _shared_files.setdefault(key, _SharedFile(key, descriptor))


def _forget_locks() -> None:
    """A forked child holds none of its parent's locks."""
    global _mutex
    _mutex = threading.Lock()
    _shared_files.clear()


os.register_at_fork(after_in_child=_forget_locks)


def _open(path: str, create: bool) -> int:
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if create:
        return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o600)
    return os.open(path, flags | os.O_RDONLY)


def _try_lock(descriptor: int, byte: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_locked(descriptor: int, byte: int) -> bool:
    """Ask with F_GETLK, which takes nothing, so that asking never makes another process fail to acquire."""
    if _LINUX:  # struct flock: type, whence, start, length, pid
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
        return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
    # macOS: start, length, pid, type, whence
    answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack("qqihh", byte, 1, 0, fcntl.F_WRLCK, os.SEEK_SET))
    return bool(struct.unpack("qqihh", answer)[3] != fcntl.F_UNLCK)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_plausible(pid: object) -> bool:
    """A pid that may be one of our processes: 0 and negative ones address groups, 1 is init."""
    return type(pid) is int and 1 < pid <= _PID_MAX


def _start_ticks(pid: int) -> int | None:
    """When the process started, or None if there is no such process or only its zombie."""
    if not _LINUX:
        return _start_microseconds(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the name in parentheses, which may itself hold spaces and parentheses (proc(5)).
    state, *fields = stat.rpartition(b")")[2].split()
    return None if state in (b"Z", b"X", b"x") else int(fields[18])


def _is_hidden(pid: int) -> bool:
    """Whether another user has the process and /proc is mounted so that we may not see it (hidepid, proc(5))."""
    if not _is_plausible(pid) or os.path.exists(f"/proc/{pid}"):
        return False
    try:
        os.kill(pid, 0)  # sends nothing
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _start_microseconds(pid: int) -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 1e6)
    except psutil.Error:
        return None


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


@contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    """A pidfd of the process, or None where there are none: before Linux 5.3, in some sandboxes, on macOS."""
    descriptor = _open_pidfd(pid)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_pidfd(pid: int) -> int | None:
    if not _LINUX:
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return None
        raise
