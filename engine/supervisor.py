"""The process between a run and everything that may die around it: the terminal, the connection, the launcher.

It has a session of its own, ignores hang-ups, holds the run's lock, starts the engine, hands it the stop signals,
gathers its orphans and writes down how it ended. Without torch it costs some 20 MB beside the engine, 14 of them its
own. Were it killed, the engine would go on; only the exit code would stay unknown.
"""

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from engine import atomic, system
from engine.process import Identity
from engine.runs import Attempt, RunFolder

LOG_LIMIT = 50_000_000
LOG_HEAD = 1_000_000  # the first lines of a log name devices and versions; they stay when its middle is cut
LOG_TAIL = 25_000_000
COPY_BYTES = 1 << 20
TURN_S = 1.0  # how often the log's size is looked at; signals and the engine's end interrupt the wait
ORPHANS_S = 10.0  # a process in uninterruptible sleep does not die at once; after this it is left behind
SUPERVISOR_BYTE, ENGINE_BYTE = 0, 1
PR_SET_CHILD_SUBREAPER = 36
STARTED = "started"
FAILED, HELD = 1, 2
NOT_STARTED = 127  # the shell's code for a command that cannot be run

ENGINE = (sys.executable, "-P", "-m", "engine")

# What env.json may hold of the environment: what changes numbers, speed or devices, and nothing that carries a secret.
RECORDED = (
    "CIFAR_TUI_DATA",
    "CIFAR_TUI_RUNS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "GOMP_SPINCOUNT",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "PYTHONHASHSEED",
    "PYTHONUNBUFFERED",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "SLURM_JOB_ID",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_LOGS",
    "VIRTUAL_ENV",
)


def engine_command(run: Path, *, resume: bool, allow_inexact: bool, prefix: Sequence[str] = ()) -> list[str]:
    """The command that trains a run. `prefix` stands in place of this Python's ``-P -m engine``, as torchrun would."""
    command = [*(prefix or ENGINE), str(run)]
    if resume:
        command.append("--resume")
    if allow_inexact:
        command.append("--allow-inexact")
    return command


def main(path: str, arguments: Sequence[str]) -> int:
    """Supervise one attempt of the run folder at `path` until its engine has ended.

    Arguments: ``--resume``, ``--allow-inexact``, ``--by WHO``, ``--slot SLOT`` (recorded for the queue), and after
    ``--`` what stands in place of ``python -P -m engine``. Standard error gets the one word "started" once the engine
    runs, else a sentence that says why not; from then on it is the run's log, so that whoever waits at the other end
    sees it close.

    Returns the engine's exit code, 128 + n for signal n; 1 where the run folder cannot be written, 2 where the run's
    supervisor or engine still lives or the run has begun before, 127 where there is no such command.
    """
    options = _read_arguments(arguments)
    signals = _Signals()
    os.umask(0o077)
    run = RunFolder(Path(path))
    try:
        if not run.lock.acquire(SUPERVISOR_BYTE) or run.lock.held_elsewhere(ENGINE_BYTE):
            _say(f"run {run.id} is in progress in another process; watch it, or stop it first")
            return HELD
        if run.newest_attempt() is not None and not options.resume:  # two launchers, and the first one's run is over
            _say(f"run {run.id} has been started before; use --resume {run.id} to continue it")
            return HELD
        return _attempt(run, options, signals)
    except OSError as error:
        _say(f"run {run.id} could not be supervised: {error.strerror}: {error.filename or run.path}")
        return FAILED
    finally:
        run.lock.release()


def _read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    own, prefix = list(arguments), []
    if "--" in own:
        cut = own.index("--")
        own, prefix = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(prog="python -m engine --supervise RUN")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--allow-inexact", action="store_true")
    parser.add_argument("--by", default="")
    parser.add_argument("--slot", default="")
    return parser.parse_args(own, argparse.Namespace(prefix=prefix))


def _attempt(run: RunFolder, options: argparse.Namespace, signals: "_Signals") -> int:
    attempt = run.new_attempt()
    _adopt_orphans()
    oom_kills = system.oom_kills()
    engine = _start_engine(run, attempt, options)
    if engine is None:
        return NOT_STARTED
    machine = system.SystemLog(run.path / "system.jsonl", engine.pid)
    machine.start()
    sent = _watch(engine.pid, run.path / "log.txt", signals)
    code, orphans = _bury(engine)
    machine.stop()
    if code >= 0:
        attempt.write_exit(code=code, orphans_killed=orphans)
        return code
    stranger = code == -signal.SIGKILL and signal.SIGKILL not in sent
    oom = stranger and oom_kills is not None and (system.oom_kills() or 0) > oom_kills
    attempt.write_exit(signal=-code, orphans_killed=orphans, oom=oom)
    return 128 - code


def _start_engine(run: RunFolder, attempt: Attempt, options: argparse.Namespace) -> "subprocess.Popen[bytes] | None":
    """Start the engine in a session of its own with the run's log as its output. None when there is no such command."""
    prefix: list[str] = options.prefix
    command = engine_command(run.path, resume=options.resume, allow_inexact=options.allow_inexact, prefix=prefix)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    recorded = {name: environment[name] for name in RECORDED if name in environment}
    attempt.write_environment({"command": command, "environment": recorded})
    run.write_summary(**_starting(attempt, options))
    log = atomic.open_regular(run.path / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        engine = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
        )
    except OSError as error:
        _say(f"run {run.id} could not be started: {command[0]}: {error.strerror}")
        attempt.write_exit(code=NOT_STARTED)
        return None
    identity = Identity.of(engine.pid)
    with suppress(OSError):  # a disk that is full now is no reason to let go of an engine that runs
        if identity is not None:  # else it has ended already, and exit.json will say how
            attempt.set_engine(identity)
    _say(STARTED)
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    return engine


def _say(text: str) -> None:
    """One line to the launcher, which may be gone."""
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())


def _starting(attempt: Attempt, options: argparse.Namespace) -> dict[str, Any]:
    """What the summary says until the engine's first word; what it knew of an earlier attempt's end is taken out."""
    own = {"state": "starting", "attempt": attempt.number, "by": options.by, "slot": options.slot}
    return own | {"reason": "", "phase": "", "ended": None, "exit": None}


def _adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, so that none escapes `_bury`. See prctl(2); Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch(engine_pid: int, log: Path, signals: "_Signals") -> list[int]:
    """Until the engine has ended, pass on the stop signals, the third as SIGKILL; returns those sent.

    The engine stays a zombie until `_bury`, so that its pid and its group remain its own.
    """
    sent: list[int] = []
    pidfd = os.pidfd_open(engine_pid)
    while not _reap_orphans(engine_pid):
        for number in signals.stops[len(sent) :]:
            sent.append(number if len(sent) < 2 else signal.SIGKILL)
            signal.pidfd_send_signal(pidfd, sent[-1])
        with suppress(OSError):
            cut_log(log)
        signals.wait(TURN_S)
    os.close(pidfd)
    return sent


def _reap_orphans(engine_pid: int) -> bool:
    """Reap what ended besides the engine; True once the engine has."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        if ended.si_pid == engine_pid:
            return True
        os.waitpid(ended.si_pid, 0)
    return False


def _bury(engine: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Kill what the ended engine left behind and reap all; returns its exit code, -n for signal n, and how many it was.

    Its descendants are our children by now, in whatever group or session they hid.
    """
    deadline = time.monotonic() + ORPHANS_S
    killed = _kill_children(engine.pid)
    with suppress(ProcessLookupError):
        os.killpg(engine.pid, signal.SIGKILL)
    _, status = os.waitpid(engine.pid, 0)
    engine.returncode = code = os.waitstatus_to_exitcode(status)
    with suppress(ChildProcessError):  # no child is left
        while time.monotonic() < deadline:
            killed |= _kill_children(engine.pid)
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)
    return code, len(killed)


def _kill_children(engine_pid: int) -> set[int]:
    killed = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if child.pid != engine_pid and child.status() != psutil.STATUS_ZOMBIE:
                child.kill()
                killed.add(child.pid)
    return killed


def cut_log(path: Path, limit: int = LOG_LIMIT, head: int = LOG_HEAD, tail: int = LOG_TAIL) -> None:
    """Take the middle out of a log of over `limit` bytes, leaving its first `head` and last `tail`. Raises OSError.

    The engine writes straight to the file, which is opened to append: nothing here can block it, and it needs no
    reader. (A pipe would fill when its reader dies; RLIMIT_FSIZE would stop checkpoints too.) The tail moves down in
    place, which takes no free disk, until the copy has caught up with the writer; only what is written between that
    and the cut is lost.
    """
    if (size := path.stat().st_size) <= limit:
        return
    descriptor = atomic.open_regular(path, os.O_RDWR)
    try:
        source, target = size - tail, head
        notice = f"\n--- {source - head:,} bytes of the log were cut here ---\n".encode()
        target += os.pwrite(descriptor, notice, target)
        give_up = size + tail  # a writer that outruns the copy for this long is met again at the next turn
        while source < give_up and (chunk := os.pread(descriptor, COPY_BYTES, source)):
            target += os.pwrite(descriptor, chunk, target)
            source += len(chunk)
        os.ftruncate(descriptor, target)
    finally:
        os.close(descriptor)


class _Signals:
    """The stop signals that came, in order, and a pipe that wakes whoever waits for one or for the end of a child."""

    def __init__(self) -> None:
        self.stops: list[int] = []
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # the default writes nothing to the pipe
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stops.append(number)

    def wait(self, seconds: float) -> None:
        """Until a signal comes or the time is over."""
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)
