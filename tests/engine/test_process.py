import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import process
from engine.process import Identity, Lock, send, status

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that sleeps."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"], stdout=-1
    ) as popen:
        assert popen.stdout
        popen.stdout.readline()
        yield popen
        popen.kill()


def identity_of(popen: subprocess.Popen[bytes]) -> Identity:
    found = Identity.of(popen.pid)
    assert found
    return found


def test_identity_survives_json_and_is_alive() -> None:
    me = Identity.current()
    assert Identity.from_json(me.to_json()) == me
    assert Identity.of(os.getpid()) == me
    assert status(me) == "alive"


NONSENSE: list[Any] = [0, 1, -1, 2**40, 2**22 + 1, "12", "text", 3.0, True, None, [], {}]


@pytest.mark.parametrize("pid", NONSENSE)
def test_nonsense_pids_are_no_identity(pid: Any) -> None:
    assert Identity.from_json({**Identity.current().to_json(), "pid": pid}) is None


@pytest.mark.parametrize("field", ["pid", "start_ticks", "boot_id", "host", "pidns"])
@pytest.mark.parametrize("value", [None, [], {}, -1, True, 1.5, 2**70])
def test_nonsense_fields_are_no_identity(field: str, value: Any) -> None:
    record: dict[str, Any] = Identity.current().to_json()
    assert Identity.from_json({**record, field: value}) is None
    del record[field]
    assert Identity.from_json(record) is None


@pytest.mark.parametrize("record", [None, [], "x", 3, {}])
def test_other_json_is_no_identity(record: Any) -> None:
    assert Identity.from_json(record) is None


def test_the_dead_and_the_zombie_are_dead(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child)
    assert status(identity) == "alive"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped: a zombie
    os.kill(child.pid, 0)
    assert psutil.pid_exists(child.pid)  # what a pid alone says
    assert status(identity) == "dead"
    assert Identity.of(child.pid) is None
    assert not send(identity, signal.SIGTERM)
    child.wait()
    assert status(identity) == "dead"
    assert not send(identity, signal.SIGTERM)


def test_another_boot_host_or_namespace() -> None:
    me = Identity.current()
    assert status(replace(me, boot_id="0-0")) == "reboot"
    assert status(replace(me, boot_id="0-0", host="other")) == "elsewhere"
    assert status(replace(me, pidns=me.pidns + 1)) == "elsewhere"
    assert status(replace(me, host="renamed")) == ("alive" if me.boot_id else "elsewhere")
    assert status(replace(me, start_ticks=0)) == "elsewhere"


def test_a_pid_taken_over_by_a_stranger_is_dead_and_never_signalled(child: subprocess.Popen[bytes]) -> None:
    previous = replace(identity_of(child), start_ticks=identity_of(child).start_ticks - 1)
    assert status(previous) == "dead"
    assert not send(previous, signal.SIGKILL)
    assert child.poll() is None


class Signals:
    """Every way to signal, recorded and not done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, int]] = []
        self.opened: list[int] = []
        monkeypatch.setattr(os, "kill", lambda pid, sig: self.sent.append(("kill", pid)) if sig else None)
        monkeypatch.setattr(os, "pidfd_open", self.open, raising=False)
        monkeypatch.setattr(signal, "pidfd_send_signal", lambda fd, sig: self.sent.append(("pidfd", fd)), raising=False)

    def open(self, pid: int) -> int:
        self.opened.append(pid)
        return os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize("pid", [0, 1, -1, 2**40, "text", None, True])
def test_system_pids_and_groups_are_never_signalled(pid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    signals = Signals(monkeypatch)
    monkeypatch.setattr(process, "status", lambda _: "alive")
    assert not send(replace(Identity.current(), pid=pid), signal.SIGKILL)
    assert not signals.sent
    assert not signals.opened
    monkeypatch.setattr(process, "_is_plausible", lambda _: True)  # the mutant
    send(replace(Identity.current(), pid=pid), signal.SIGKILL)
    assert signals.sent


@linux
def test_identity_is_checked_again_once_the_handle_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies and its pid passes on between the first look and the handle."""
    signals = Signals(monkeypatch)
    answers = iter(["alive", "dead"])
    monkeypatch.setattr(process, "status", lambda _: next(answers))
    assert not send(Identity.current(), signal.SIGKILL)
    assert signals.opened == [os.getpid()]
    assert not signals.sent


@linux
@pytest.mark.mutant
@pytest.mark.parametrize(
    ("part", "protection"), [("boot_id", "_boot_id"), ("pidns", "_pid_namespace"), ("start_ticks", "_start_ticks")]
)
def test_mutant_each_part_of_an_identity_keeps_a_stranger_from_being_signalled(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, part: str, protection: str
) -> None:
    found = identity_of(child)
    other = replace(found, **{part: found.boot_id[::-1] if part == "boot_id" else getattr(found, part) + 1})
    assert not send(other, signal.SIGKILL)
    assert child.poll() is None
    monkeypatch.setattr(process, protection, lambda *_: getattr(other, part))
    assert send(other, signal.SIGKILL)
    assert child.wait(timeout=60) == -signal.SIGKILL


@linux
@pytest.mark.mutant
def test_mutant_without_the_look_at_its_state_a_zombie_lives(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = identity_of(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert status(found) == "dead"

    def ticks_of_anything(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])

    monkeypatch.setattr(process, "_start_ticks", ticks_of_anything)
    assert status(found) == "alive"


def test_the_living_are_signalled(child: subprocess.Popen[bytes]) -> None:
    assert send(identity_of(child), signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM


@linux
def test_a_kernel_without_pidfd_is_served_by_pid(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: int) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    assert send(identity_of(child), signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM


def test_processes_of_others_give_false(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    monkeypatch.setattr(signal, "pidfd_send_signal", refused, raising=False)
    assert not send(Identity.current(), signal.SIGTERM)


@linux
def test_a_process_that_proc_hides_cannot_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError

    unseen = replace(Identity.current(), pid=2**22 - 1)
    assert status(unseen) == "dead"
    monkeypatch.setattr(os, "kill", refused)
    assert status(unseen) == "elsewhere"


@linux
def test_names_with_parentheses_do_not_shift_the_fields(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to(sys.executable)
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([program, "-c", code], stdin=-1, stdout=-1, cwd=ROOT) as popen:
        assert popen.stdin
        assert popen.stdout
        popen.stdout.readline()
        stat = Path(f"/proc/{popen.pid}/stat").read_text()
        assert "(a) S 1 (b)" in stat
        found = identity_of(popen)
        assert found.start_ticks != int(stat.split()[21])  # the mutant: fields counted from the front
        assert found.start_ticks == int(psutil.Process(popen.pid)._proc._parse_stat_file()["create_time"])  # type: ignore[attr-defined]
        popen.stdin.close()


def test_start_times_come_from_psutil_where_there_is_no_proc(
    monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setattr(process, "_LINUX", False)
    monkeypatch.setattr(process, "_boot_id", lambda: "")
    monkeypatch.setattr(process, "_pid_namespace", lambda: 0)
    identity = identity_of(child)
    assert status(identity) == "alive"
    assert status(replace(identity, start_ticks=identity.start_ticks + 10**6)) == "dead"
    assert status(replace(identity, host="other")) == "elsewhere"
    assert send(identity, signal.SIGTERM)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert status(identity) == "dead"


def test_without_proc_and_psutil_nothing_is_judged_or_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LINUX", False)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert status(Identity.current()) == "elsewhere"
    assert not send(Identity.current(), signal.SIGTERM)


# What another process finds: acquires byte 0, sees byte 0 held, sees byte 1 held.
PROBE = """
import sys
from engine.process import Lock
lock = Lock(sys.argv[1])
print(lock.acquire(0), lock.held_elsewhere(0), lock.held_elsewhere(1), flush=True)
sys.stdin.read()
"""


def probe(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROBE, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def found_by_another_process(path: Path) -> list[str]:
    return probe(path).communicate("")[0].split()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "lock"
    assert not process._shared_files, "a test left a lock open"


def test_bytes_are_locked_apart_and_given_back(path: Path) -> None:
    lock = Lock(path)
    assert not lock.held_elsewhere(0)
    assert not path.exists()  # looking creates nothing
    assert lock.acquire(1)
    assert lock.acquire(1)
    assert not lock.held_elsewhere(1)
    assert found_by_another_process(path) == ["True", "False", "True"]
    assert lock.acquire(0)
    assert found_by_another_process(path) == ["False", "True", "True"]
    lock.release()
    lock.release()
    assert found_by_another_process(path) == ["True", "False", "False"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_ends_with_its_process_however_it_ends(path: Path) -> None:
    with probe(path) as holder:
        assert holder.stdout
        assert holder.stdout.readline().split() == ["True", "False", "False"]
        lock = Lock(path)
        assert lock.held_elsewhere(0)
        assert not lock.acquire(0)
        assert lock.acquire(1)
        holder.kill()
        holder.wait()
        assert not lock.held_elsewhere(0)
        assert lock.acquire(0)
        lock.release()


def test_asking_never_makes_another_process_fail(path: Path) -> None:
    """The mutant asks by locking for a moment; F_GETLK does not."""
    path.touch()
    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "lockf", lambda *arguments: calls.append(1))
        assert not Lock(path).held_elsewhere(0)
    assert not calls


def test_a_second_lock_of_the_process_shares_and_does_not_drop_the_first(path: Path) -> None:
    first, second = Lock(path), Lock(path.parent / "." / path.name)
    assert first.acquire(0)
    assert not second.acquire(0)
    assert second.held_elsewhere(0)
    assert not second.held_elsewhere(1)
    assert second.acquire(1)
    second.release()
    assert found_by_another_process(path)[:2] == ["False", "True"]
    first.release()
    assert second.acquire(0)
    second.release()


@pytest.mark.mutant
def test_a_second_descriptor_would_drop_the_lock(path: Path) -> None:
    """Why the descriptor is shared: the mutant opens the file once more and closes it."""
    lock = Lock(path)
    assert lock.acquire(0)
    path.open("rb").close()
    assert found_by_another_process(path)[0] == "True"
    lock.release()


def test_a_file_put_in_the_place_of_another_is_another_lock(path: Path) -> None:
    old, new = Lock(path), Lock(path)
    assert old.acquire(0)
    path.rename(path.with_name("moved"))
    assert new.acquire(0)
    new.release()
    assert found_by_another_process(path.with_name("moved"))[0] == "False"
    old.release()


def test_a_file_that_comes_back_between_two_looks_keeps_its_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, late = Lock(path), Lock(path)
    assert lock.acquire(0)
    monkeypatch.setattr(Lock, "_known", lambda _: None)  # it was not there at the first look
    assert late.held_elsewhere(0)
    assert not late.acquire(0)
    assert found_by_another_process(path)[0] == "False"
    monkeypatch.undo()
    lock.release()


def test_a_forked_child_holds_nothing_and_drops_nothing(path: Path) -> None:
    lock = Lock(path)
    assert lock.acquire(0)
    answers = multiprocessing.get_context("fork").SimpleQueue()
    fork = multiprocessing.get_context("fork").Process(
        target=lambda: answers.put((lock.acquire(0), lock.held_elsewhere(0), Lock(path).acquire(1)))
    )
    fork.start()
    assert answers.get() == (False, True, True)
    fork.join()
    assert found_by_another_process(path)[0] == "False"
    lock.release()


def test_one_of_many_threads_gets_it(path: Path) -> None:
    taken: list[Lock] = []

    def take() -> None:
        lock = Lock(path)
        if lock.acquire(0):
            taken.append(lock)

    threads = [threading.Thread(target=take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    taken[0].release()


def test_looking_at_many_locks_keeps_no_descriptor(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    for number in range(50):
        (tmp_path / str(number)).touch()
        assert not Lock(tmp_path / str(number)).held_elsewhere(0)
    lock = Lock(tmp_path / "0")
    assert lock.acquire(0)
    for _ in range(50):
        assert Lock(tmp_path / "0").held_elsewhere(0)
    assert psutil.Process().num_fds() == before + 1
    lock.release()
    assert psutil.Process().num_fds() == before


def test_links_are_refused(path: Path) -> None:
    path.symlink_to(path.with_name("outside"))
    for ask in (Lock(path).acquire, Lock(path).held_elsewhere):
        with pytest.raises(OSError, match=r".") as refusal:
            ask(0)
        assert refusal.value.errno == errno.ELOOP
    assert not path.with_name("outside").exists()


def test_a_lock_that_may_only_be_read_can_be_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def access(descriptor: int, _: int) -> bool:
        return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY

    path.touch(mode=0o400)
    monkeypatch.setattr(process, "_is_locked", access)
    assert Lock(path).held_elsewhere(0)


def test_threads_take_turns_at_the_descriptors(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one could close what another is about to lock."""
    monkeypatch.setattr(process, "_try_lock", lambda *_: not process._mutex.locked())
    monkeypatch.setattr(process, "_is_locked", lambda *_: not process._mutex.locked())
    assert not Lock(path).acquire(0)
    assert not Lock(path).held_elsewhere(0)
