"""Started runs: what survives of them when the terminal, the supervisor or the engine dies, and who may start what."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine import launch, process
from engine.errors import UserError
from engine.runs import MetricsTail, RunFolder, create

PATIENCE_S = 60.0

FakeEngine = Callable[[str], list[str]]
Until = Callable[[Callable[[], object], str], None]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    """A run that waits; whatever lives of it is killed when the test is over."""
    made = create(tmp_path / "runs", "train: {device: cpu}\n", {"state": "starting"}, {"name": "one"})
    yield made
    kill_all(made)


def kill_all(run: RunFolder) -> None:
    attempt = run.newest_attempt()
    for identity in (attempt.supervisor(), attempt.engine()) if attempt else ():
        if identity:
            process.send(identity, signal.SIGKILL)


def steps(run: RunFolder) -> list[int]:
    return [record["step"] for record in MetricsTail(run.path / "metrics.jsonl").poll() if record["kind"] == "step"]


def engine_of(run: RunFolder) -> process.Identity:
    attempt = run.newest_attempt()
    assert attempt is not None
    identity = attempt.engine()
    assert identity is not None
    return identity


def supervisor_of(run: RunFolder) -> process.Identity:
    attempt = run.newest_attempt()
    assert attempt is not None
    identity = attempt.supervisor()
    assert identity is not None
    return identity


def exit_of(run: RunFolder) -> dict[str, object]:
    attempt = run.newest_attempt()
    assert attempt is not None
    return attempt.exit() or {}


def test_a_started_run_has_both_processes_recorded_and_ends_with_a_verdict(
    run: RunFolder, fake_engine: FakeEngine
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 5 0.01"))
    assert run.newest_attempt() is not None
    view = launch.wait(run, PATIENCE_S)
    assert (view.state, view.exit_code) == ("finished", 0)
    assert steps(run) == [0, 1, 2, 3, 4]
    assert "engine of" in run.log_tail()
    assert exit_of(run)["orphans_killed"] == 0


def test_a_failing_engine_leaves_its_cause_its_code_and_its_log(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("fail"))
    view = launch.wait(run, PATIENCE_S)
    assert (view.state, view.exit_code, view.reason) == ("failed", 1, "the loss has no gradient")
    assert "Traceback" in run.log_tail()


def test_an_engine_that_aborts_is_crashed_with_the_signals_name(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("abort"))
    view = launch.wait(run, PATIENCE_S)
    assert view.state == "crashed"
    assert "SIGABRT" in view.reason


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_reaches_the_engine_which_ends_in_its_own_way(
    run: RunFolder, fake_engine: FakeEngine, number: int, code: int, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    until(lambda: steps(run), "a first step")
    assert launch.stop(run, number)
    view = launch.wait(run, PATIENCE_S)
    assert (view.state, view.exit_code) == ("stopped", code)


def test_a_stop_before_the_engine_can_hear_it_is_a_stop_and_no_crash(run: RunFolder) -> None:
    launch.start(run, "a test", engine_command=[sys.executable, "-c", "import time; time.sleep(600)"])
    assert launch.stop(run)
    assert launch.wait(run, PATIENCE_S).state == "stopped"


def test_the_third_stop_kills_an_engine_that_listens_to_nothing(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("deaf"))
    until(lambda: "stops" in run.summary(), "a heartbeat")
    for sent in (1, 2):
        assert launch.stop(run)
        until(lambda sent=sent: run.summary()["stops"] == sent, "the signal arriving")
    assert launch.stop(run)
    launch.wait(run, PATIENCE_S)
    assert exit_of(run)["signal"] == signal.SIGKILL


def test_a_stop_of_a_run_that_is_over_reaches_nobody(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 1 0"))
    launch.wait(run, PATIENCE_S)
    assert not launch.stop(run)


def test_hanging_up_on_supervisor_and_engine_changes_nothing(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 60 0.02"))
    until(lambda: steps(run), "a first step")
    sessions = {os.getsid(identity.pid) for identity in (supervisor_of(run), engine_of(run))}
    assert len(sessions - {os.getsid(0)}) == 2
    assert process.send(supervisor_of(run), signal.SIGHUP)
    assert process.send(engine_of(run), signal.SIGHUP)
    view = launch.wait(run, PATIENCE_S)
    assert (view.state, view.exit_code, view.reason) == ("finished", 0, "")
    assert steps(run) == list(range(60))


def test_an_engine_that_is_killed_is_recorded_as_killed_and_can_be_resumed(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    until(lambda: steps(run), "a first step")
    assert process.send(engine_of(run), signal.SIGKILL)
    view = launch.wait(run, PATIENCE_S)
    assert (view.state, exit_of(run)["signal"]) == ("crashed", signal.SIGKILL)
    assert exit_of(run)["oom"] is False
    launch.resume(run, by="a test", engine_command=fake_engine("count 3 0.01"))
    view = launch.wait(run, PATIENCE_S)
    assert (view.state, view.attempt) == ("finished", 2)
    records = MetricsTail(run.path / "metrics.jsonl").poll()
    assert [record["resumed"] for record in records if record["kind"] == "step"][-3:] == [True] * 3


def test_an_engine_outlives_a_killed_supervisor_and_keeps_the_run_to_itself(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 60 0.02"))
    until(lambda: steps(run), "a first step")
    assert process.send(supervisor_of(run), signal.SIGKILL)
    until(lambda: process.status(supervisor_of(run)) == "dead", "the supervisor being gone")
    with pytest.raises(UserError, match="in progress"):
        launch.resume(run, engine_command=fake_engine("count 3 0.01"))
    assert run.view().state == "running"
    view = launch.wait(run, PATIENCE_S)
    assert view.state == "finished"
    assert "exit code unknown" in view.reason
    assert steps(run) == list(range(60))


def test_a_stop_goes_to_the_engine_when_the_supervisor_is_gone(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    until(lambda: steps(run), "a first step")
    assert process.send(supervisor_of(run), signal.SIGKILL)
    until(lambda: process.status(supervisor_of(run)) == "dead", "the supervisor being gone")
    assert launch.stop(run)
    assert launch.wait(run, PATIENCE_S).state == "stopped"


def test_a_run_whose_two_processes_are_killed_is_crashed_and_free_at_once(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    until(lambda: steps(run), "a first step")
    for identity in (supervisor_of(run), engine_of(run)):
        assert process.send(identity, signal.SIGKILL)
    view = launch.wait(run, PATIENCE_S)
    assert view.state == "crashed"
    launch.resume(run, engine_command=fake_engine("count 1 0"))
    assert launch.wait(run, PATIENCE_S).state == "finished"


def test_a_stopped_process_is_not_taken_for_a_dead_one(run: RunFolder, fake_engine: FakeEngine, until: Until) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 40 0.02"))
    until(lambda: steps(run), "a first step")
    assert process.send(engine_of(run), signal.SIGSTOP)
    until(lambda: psutil.Process(engine_of(run).pid).status() == psutil.STATUS_STOPPED, "the engine holding still")
    assert run.view().state == "running"
    assert process.send(engine_of(run), signal.SIGCONT)
    assert launch.wait(run, PATIENCE_S).state == "finished"
    assert steps(run) == list(range(40))


def test_after_a_reboot_the_run_is_lost_and_can_be_resumed(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    until(lambda: steps(run), "a first step")
    kill_all(run)
    until(lambda: not launch.is_held(run), "both processes being gone")
    attempt = run.newest_attempt()
    assert attempt is not None
    (attempt.path / "exit.json").unlink(missing_ok=True)
    proc = json.loads((attempt.path / "proc.json").read_text())
    for who in ("supervisor", "engine"):
        proc[who]["boot_id"] = "00000000-0000-0000-0000-000000000000"
    (attempt.path / "proc.json").write_text(json.dumps(proc))
    view = run.view()
    assert view.state == "crashed"
    assert "reboot" in view.reason
    launch.resume(run, engine_command=fake_engine("count 1 0"))
    assert launch.wait(run, PATIENCE_S).state == "finished"


def test_everything_that_the_engine_leaves_behind_is_killed(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("orphans"))
    view = launch.wait(run, PATIENCE_S)
    assert view.state == "finished"
    assert exit_of(run)["orphans_killed"] == 4


def test_a_run_in_progress_is_not_started_twice(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    with pytest.raises(UserError, match="in progress"):
        launch.start(run, "another", engine_command=fake_engine("count 1 0"))
    second = subprocess.run(
        [sys.executable, "-P", "-m", "engine", "--supervise", str(run.path), "--", *fake_engine("count 1 0")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "in progress" in second.stderr
    attempt = run.newest_attempt()
    assert attempt is not None
    assert attempt.number == 1


def test_a_run_that_was_started_before_asks_for_a_resume(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 1 0"))
    launch.wait(run, PATIENCE_S)
    with pytest.raises(UserError, match="finished"):
        launch.start(run, "a test", engine_command=fake_engine("count 1 0"))
    with pytest.raises(UserError, match="finished"):
        launch.resume(run, engine_command=fake_engine("count 1 0"))


def test_a_command_that_does_not_exist_is_named_and_leaves_no_live_run(run: RunFolder) -> None:
    with pytest.raises(UserError, match="/nowhere/python: No such file"):
        launch.start(run, "a test", engine_command=["/nowhere/python"])
    view = launch.wait(run, PATIENCE_S)
    assert (view.state, view.exit_code) == ("failed", 127)


def test_no_zombie_stays_with_whoever_started_a_run(run: RunFolder, fake_engine: FakeEngine, until: Until) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 1 0"))
    supervisor = supervisor_of(run)
    launch.wait(run, PATIENCE_S)
    until(lambda: not psutil.pid_exists(supervisor.pid), "the supervisor being reaped")


def test_a_run_goes_on_when_its_launcher_is_killed_with_its_whole_session(
    run: RunFolder, fake_engine: FakeEngine
) -> None:
    script = (
        "import sys, time; from pathlib import Path; from engine import launch; from engine.runs import RunFolder\n"
        "launch.start(RunFolder(Path(sys.argv[1])), 'a terminal', engine_command=sys.argv[2:])\n"
        "print('launched', flush=True); time.sleep(600)"
    )
    terminal = subprocess.Popen(
        [sys.executable, "-P", "-c", script, str(run.path), *fake_engine("count 60 0.02")],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert terminal.stdout is not None
    assert terminal.stdout.readline() == b"launched\n"
    os.killpg(terminal.pid, signal.SIGKILL)
    terminal.communicate()
    assert launch.wait(run, PATIENCE_S).state == "finished"
    assert steps(run) == list(range(60))


def test_many_readers_that_are_killed_while_they_look_do_no_harm(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 150 0.01"))
    script = (
        "import sys, time; from pathlib import Path; from engine.runs import MetricsTail\n"
        "tail = MetricsTail(Path(sys.argv[1]) / 'metrics.jsonl'); seen = []\n"
        "while True:\n"
        "    seen += [r['step'] for r in tail.poll() if r['kind'] == 'step']\n"
        "    assert seen == list(range(len(seen))), seen\n"
        "    print(len(seen), flush=True); time.sleep(0.01)\n"
    )
    for _ in range(5):
        reader = subprocess.Popen([sys.executable, "-P", "-c", script, str(run.path)], stdout=subprocess.PIPE)
        assert reader.stdout is not None
        assert reader.stdout.readline().strip().isdigit()
        reader.kill()
        reader.communicate()
    assert launch.wait(run, PATIENCE_S).state == "finished"
    assert steps(run) == list(range(150))


def test_a_frozen_launcher_that_nobody_reads_does_not_hold_the_engine(run: RunFolder, until: Until) -> None:
    script = (
        "import sys, time; from pathlib import Path; from engine import launch; from engine.runs import RunFolder\n"
        "launch.start(RunFolder(Path(sys.argv[1])), 'me', engine_command=sys.argv[2:]); time.sleep(600)\n"
    )
    prints_more_than_a_pipe_holds = "for _ in range(300): print('x' * 1000, flush=True)"
    command = [sys.executable, "-P", "-c", script, str(run.path), sys.executable, "-c", prints_more_than_a_pipe_holds]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until(lambda: run.newest_attempt(), "an attempt")
        launcher.send_signal(signal.SIGSTOP)
        view = launch.wait(run, PATIENCE_S)
        assert (view.state, view.exit_code) == ("finished", 0)
        assert (run.path / "log.txt").stat().st_size > 300_000
    finally:
        launcher.kill()
        launcher.communicate()


def test_a_stranger_with_a_reused_pid_is_never_signalled(run: RunFolder) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        attempt = run.new_attempt()
        identity = process.Identity.of(stranger.pid)
        assert identity is not None
        forged = identity.to_json() | {"start_ticks": identity.start_ticks - 1}
        (attempt.path / "proc.json").write_text(json.dumps({"supervisor": forged, "engine": forged}))
        assert run.view().state == "crashed"
        assert not launch.stop(run, signal.SIGKILL)
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")


def test_four_starts_at_once_make_one_attempt(run: RunFolder, fake_engine: FakeEngine) -> None:
    script = (
        "import sys; from pathlib import Path; from engine import launch; from engine.errors import UserError\n"
        "from engine.runs import RunFolder\n"
        "try:\n    launch.start(RunFolder(Path(sys.argv[1])), 'me', engine_command=sys.argv[2:])\n"
        "except UserError:\n    sys.exit(2)\n"
    )
    command = [sys.executable, "-P", "-c", script, str(run.path), *fake_engine("count 30 0.02")]
    starters = [subprocess.Popen(command) for _ in range(4)]
    assert sorted(starter.wait(PATIENCE_S) for starter in starters) == [0, 2, 2, 2]
    assert launch.wait(run, PATIENCE_S).attempt == 1
    assert steps(run) == list(range(30))


def test_requests_go_to_runs_in_progress_only(run: RunFolder, fake_engine: FakeEngine, until: Until) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    until(lambda: run.view().state == "running", "the run running")
    request = launch.pause(run, "a test")
    assert [order["request"] for order in run.take_requests()] == ["pause"]
    assert request
    launch.stop(run)
    launch.wait(run, PATIENCE_S)
    with pytest.raises(UserError, match="stopped"):
        launch.proceed(run, "a test")


def test_nothing_secret_is_recorded_of_the_environment(
    run: RunFolder, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launch.start(run, "a test", engine_command=fake_engine("count 1 0"))
    launch.wait(run, PATIENCE_S)
    written = "".join(path.read_text(errors="replace") for path in run.path.rglob("*") if path.is_file())
    assert "hush-hush" not in written
    assert '"OMP_NUM_THREADS": "1"' in written


def test_folders_and_files_of_a_run_are_for_their_owner_alone(run: RunFolder) -> None:
    draw = "import os, sys; os.mkdir(sys.argv[1] + '/results/x'); open(sys.argv[1] + '/results/x/picture', 'w')"
    before = os.umask(0)
    try:
        launch.start(run, "a test", engine_command=[sys.executable, "-c", draw])
    finally:
        os.umask(before)
    launch.wait(run, PATIENCE_S)
    assert (run.path / "results" / "x" / "picture").exists()
    for path in run.path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_deterministic_run_gets_fixed_cublas_workspaces(tmp_path: Path) -> None:
    run = create(tmp_path / "runs", "train: {deterministic: true}\n", {"state": "starting"}, {"name": "one"})
    show = "import os; print(os.environ['CUBLAS_WORKSPACE_CONFIG'], os.environ['CUDA_DEVICE_ORDER'])"
    launch.start(run, "a test", engine_command=[sys.executable, "-c", show])
    launch.wait(run, PATIENCE_S)
    assert run.log_tail() == ":4096:8 PCI_BUS_ID\n"


@pytest.mark.parametrize(
    ("own", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_wait_busily_for_microseconds_unless_told_otherwise(
    own: dict[str, str], spins: str | None, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    show = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    launch.start(run, "a test", engine_command=[sys.executable, "-c", show])
    launch.wait(run, PATIENCE_S)
    assert run.log_tail() == f"{spins}\n"


def test_the_supervisor_needs_no_torch(run: RunFolder, fake_engine: FakeEngine) -> None:
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.01"))
    maps = Path(f"/proc/{supervisor_of(run).pid}/maps").read_text()
    assert "torch" not in maps
    assert "pydantic" not in maps
    assert "numpy" not in maps


@pytest.mark.slow
def test_thirty_kills_in_a_row_are_all_recorded_and_all_resumed(
    run: RunFolder, fake_engine: FakeEngine, until: Until
) -> None:
    """The engine alone, or both processes at once, at random moments from the very start on."""
    dice = random.Random(0)
    launch.start(run, "a test", engine_command=fake_engine("count 100000 0.002"))
    for attempt in range(1, 31):
        time.sleep(dice.random() * 0.5)
        victims = [supervisor_of(run), engine_of(run)][dice.choice([0, 1]) :]
        for victim in victims:
            assert process.send(victim, signal.SIGKILL)
        view = launch.wait(run, PATIENCE_S)
        assert (view.state, view.attempt) == ("crashed", attempt)
        launch.resume(run, engine_command=fake_engine("count 100000 0.002"))
    until(lambda: run.view().state == "running", "the last engine running")
    assert launch.stop(run)
    assert launch.wait(run, PATIENCE_S).state == "stopped"
    tail = MetricsTail(run.path / "metrics.jsonl")
    assert tail.poll(1 << 30)
    assert tail.unreadable == 0
