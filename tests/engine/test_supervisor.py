"""The supervisor's own parts: the log's limit, out-of-memory kills, a full disk at the end, signals that come early."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import attempts, launch, process, supervisor, system
from engine.runs import RunFolder, create

FakeEngine = Callable[[str], list[str]]
Until = Callable[[Callable[[], object], str], None]

# The supervisor in a process of its own, after lines that change something in it.
SUPERVISE = """
import errno, os, sys
from engine import attempts, supervisor, system
{}
sys.exit(supervisor.main(sys.argv[1], sys.argv[2:]))
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    made = create(tmp_path / "runs", "train: {device: cpu}\n", {"state": "starting"}, {"name": "one"})
    yield made
    attempt = made.newest_attempt()
    for identity in (attempt.supervisor(), attempt.engine()) if attempt else ():
        if identity:
            process.send(identity, signal.SIGKILL)


def supervise(run: RunFolder, engine: list[str], change: str = "", *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", SUPERVISE.format(change), str(run.path), *options, "--", *engine]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def exit_of(run: RunFolder) -> dict[str, Any]:
    attempt = run.newest_attempt()
    assert attempt is not None
    return attempt.exit() or {}


def test_the_exit_code_is_the_engines(run: RunFolder, fake_engine: FakeEngine) -> None:
    process = supervise(run, fake_engine("fail"))
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "started\n")


def test_a_killed_engine_gives_the_shells_code(run: RunFolder) -> None:
    shim = supervise(run, [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    shim.communicate(timeout=60)
    assert shim.returncode == 128 + signal.SIGKILL
    assert (exit_of(run)["signal"], exit_of(run)["oom"]) == (signal.SIGKILL, False)


def test_a_kill_that_the_kernel_counted_is_told_as_out_of_memory(run: RunFolder) -> None:
    counting = "counts = iter(range(9)); system.oom_kills = lambda: next(counts)"
    shim = supervise(run, [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], counting)
    shim.communicate(timeout=60)
    assert exit_of(run)["oom"] is True
    assert "memory" in run.view().reason


def test_a_crash_of_another_kind_is_no_lack_of_memory(run: RunFolder) -> None:
    counting = "counts = iter(range(9)); system.oom_kills = lambda: next(counts)"
    supervise(run, [sys.executable, "-c", "import os; os.abort()"], counting).communicate(timeout=60)
    assert (exit_of(run)["signal"], exit_of(run)["oom"]) == (signal.SIGABRT, False)


def test_the_verdict_is_written_on_a_full_disk_with_the_room_of_the_reserve(run: RunFolder) -> None:
    full = (
        "write = attempts.atomic.write_json\n"
        "def refuse(path, value):\n"
        "    if path.name == 'exit.json' and (path.parent.parent.parent / '.reserve').exists():\n"
        "        raise attempts.atomic.DiskFullError(errno.ENOSPC, 'the disk is full')\n"
        "    write(path, value)\n"
        "attempts.atomic.write_json = refuse"
    )
    shim = supervise(run, [sys.executable, "-c", "raise SystemExit(1)"], full)
    shim.communicate(timeout=60)
    assert exit_of(run)["code"] == 1
    assert not (run.path / ".reserve").exists()


def test_a_disk_that_fills_up_while_the_engine_starts_does_not_let_go_of_it(run: RunFolder) -> None:
    full = (
        "def refuse(self, identity):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "supervisor.Attempt.set_engine = refuse"
    )
    shim = supervise(run, [sys.executable, "-c", "raise SystemExit(7)"], full)
    shim.communicate(timeout=60)
    assert (shim.returncode, exit_of(run)["code"]) == (7, 7)


def test_a_folder_that_cannot_be_written_is_told_to_the_launcher(run: RunFolder) -> None:
    (run.path / "attempts").rmdir()
    (run.path / "attempts").symlink_to("/nowhere")
    shim = supervise(run, [sys.executable, "-c", ""])
    _, said = shim.communicate(timeout=60)
    assert shim.returncode == supervisor.FAILED
    assert "could not be supervised" in said


def test_a_folder_that_vanishes_under_a_run_is_not_made_again(run: RunFolder) -> None:
    # Away in one step: a tree that is removed piece by piece meets what the supervisor writes meanwhile.
    away = f"import os; os.rename({str(run.path)!r}, {str(run.path.with_name('away'))!r})"
    shim = supervise(run, [sys.executable, "-c", away])
    shim.communicate(timeout=60)
    assert shim.returncode == supervisor.FAILED
    assert not run.path.exists()


def test_signals_that_come_before_the_engine_does_are_passed_on(run: RunFolder) -> None:
    early = (
        "start = supervisor._start_engine\n"
        "def start_late(*arguments):\n"
        "    os.kill(os.getpid(), 15)\n"
        "    return start(*arguments)\n"
        "supervisor._start_engine = start_late"
    )
    shim = supervise(run, [sys.executable, "-c", "import time; time.sleep(600)"], early)
    shim.communicate(timeout=60)
    assert shim.returncode == 128 + signal.SIGTERM
    assert run.view().state == "stopped"


def test_an_engine_that_dies_at_once_is_recorded(run: RunFolder) -> None:
    for options in ([], *[["--resume"]] * 4):
        shim = supervise(run, ["/bin/false"], "", *options)
        shim.communicate(timeout=60)
        assert (shim.returncode, exit_of(run)["code"]) == (1, 1)


def test_orphans_that_end_while_the_engine_runs_are_reaped(run: RunFolder, until: Until) -> None:
    """A daemon that forks twice becomes the supervisor's child; its end must leave no zombie."""
    engine = (
        "import os, subprocess, sys, time\n"
        "grandchild = \"import subprocess; print(subprocess.Popen(['sleep', '0']).pid, flush=True)\"\n"
        "subprocess.run([sys.executable, '-c', grandchild]); time.sleep(600)"
    )
    shim = supervise(run, [sys.executable, "-c", engine])
    until(lambda: run.log_tail().strip().isdigit(), "the orphan's pid")
    orphan = int(run.log_tail())
    until(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan being reaped")
    launch.stop(run)
    shim.communicate(timeout=60)


def test_an_engine_whose_supervisor_is_gone_keeps_the_run(run: RunFolder) -> None:
    assert run.lock.acquire(supervisor.ENGINE_BYTE)
    try:
        shim = supervise(run, ["/bin/true"])
        _, said = shim.communicate(timeout=60)
    finally:
        run.lock.release()
    assert (shim.returncode, run.newest_attempt()) == (supervisor.HELD, None)
    assert "in progress" in said


def test_a_run_is_begun_once(run: RunFolder) -> None:
    supervise(run, ["/bin/true"]).communicate(timeout=60)
    again = supervise(run, ["/bin/true"])
    _, said = again.communicate(timeout=60)
    assert again.returncode == supervisor.HELD
    assert "--resume" in said


@pytest.mark.mutant
def test_without_the_engines_byte_a_second_engine_would_get_in(run: RunFolder) -> None:
    """What the test above would not notice if the byte were not looked at."""
    assert run.lock.acquire(supervisor.ENGINE_BYTE)
    try:
        shim = supervise(run, ["/bin/true"], "supervisor.ENGINE_BYTE = 7")
        shim.communicate(timeout=60)
    finally:
        run.lock.release()
    assert (shim.returncode, exit_of(run)["code"]) == (0, 0)


@pytest.mark.mutant
@pytest.mark.parametrize(("protection", "escapes"), [("", False), ("supervisor._adopt_orphans = lambda: None", True)])
def test_only_a_subreaper_catches_orphans_in_sessions_of_their_own(
    run: RunFolder, protection: str, escapes: bool, until: Until
) -> None:
    child = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
    engine = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], stdout=sys.stdout)\n"
        "while not os.path.getsize(sys.argv[1] + '/log.txt'): time.sleep(0.01)"
    )
    supervise(run, [sys.executable, "-c", engine], protection).communicate(timeout=60)
    orphan = process.Identity.of(int(run.log_tail()))
    assert (orphan is not None) is escapes
    if orphan:
        process.send(orphan, signal.SIGKILL)
        until(lambda: process.status(orphan) == "dead", "the orphan's end")


def test_a_log_within_its_limit_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"x" * 1000)
    supervisor.cut_log(log, limit=1000, head=100, tail=200)
    assert log.read_bytes() == b"x" * 1000


def test_a_log_beyond_its_limit_keeps_its_first_and_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    lines = [f"line {number:06d}\n" for number in range(10_000)]
    log.write_text("".join(lines))
    supervisor.cut_log(log, limit=100_000, head=1_200, tail=12_000)
    kept = log.read_text().splitlines(keepends=True)
    assert kept[:100] == lines[:100]
    assert "106,800 bytes of the log were cut here" in "".join(kept[100:103])
    assert kept[-1000:] == lines[-1000:]
    assert log.stat().st_size < 15_000


def test_cutting_a_log_neither_stops_its_writer_nor_mixes_its_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    count = 20_000

    def write() -> None:
        for number in range(count):
            os.write(descriptor, f"{number:010d}\n".encode())

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        supervisor.cut_log(log, limit=50_000, head=1_100, tail=22_000)
    os.close(descriptor)
    supervisor.cut_log(log, limit=50_000, head=1_100, tail=22_000)
    numbers = [int(line) for line in log.read_text().splitlines() if line.isdigit() and len(line) == 10]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    assert log.stat().st_size <= 50_000


def test_a_log_that_is_a_link_is_not_cut(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_bytes(b"x" * 1000)
    (tmp_path / "log.txt").symlink_to(other)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        supervisor.cut_log(tmp_path / "log.txt", limit=10, head=1, tail=2)
    assert caught.value.errno == errno.ELOOP
    assert other.stat().st_size == 1000


def test_the_engines_command_is_one_list() -> None:
    run = Path("/runs/20260131-142233-9f3a1c")
    own = supervisor.engine_command(run, resume=False, allow_inexact=False)
    assert own == [sys.executable, "-P", "-m", "engine", str(run)]
    torchrun = supervisor.engine_command(run, resume=True, allow_inexact=True, prefix=["torchrun", "-m", "engine"])
    assert torchrun == ["torchrun", "-m", "engine", str(run), "--resume", "--allow-inexact"]


def test_nothing_that_is_recorded_of_the_environment_sounds_secret() -> None:
    telling = ("KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL", "PROXY", "URL", "AUTH")
    assert not [name for name in supervisor.RECORDED if any(word in name for word in telling)]


def test_the_run_is_free_for_the_next_as_soon_as_the_verdict_is_there(run: RunFolder) -> None:
    supervise(run, ["/bin/true"]).communicate(timeout=60)
    assert not launch.is_held(run)
    assert attempts.newest(run.path) is not None
    assert system.oom_kills() is not None
