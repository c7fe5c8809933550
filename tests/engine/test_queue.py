"""The queue: order, holding, pausing, slots, and a runner that goes on after failures and can be killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import launch, process, queue
from engine.errors import UserError
from engine.process import Lock
from engine.queue import ensure_runner
from engine.runs import RunFolder, create, list_runs

FakeEngine = Callable[[str], list[str]]
Until = Callable[[Callable[[], object], str], None]

# The command that the runner's own stands for: the queue with the engine given by `how`.
RUNNER = """
import json, sys
from engine import queue
sys.exit(queue.main(sys.argv[3], json.loads(sys.argv[1])))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty runs folder on a machine without a GPU; no runner is started there unless `with_engine` is used."""
    monkeypatch.setattr(queue, "TURN_S", 0.1)
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folder = tmp_path / "runs"
    yield folder
    for view in list_runs(folder):
        attempt = RunFolder(view.path).newest_attempt()
        for identity in (attempt.supervisor(), attempt.engine()) if attempt else ():
            if identity:
                process.send(identity, signal.SIGKILL)


def waiting(root: Path, name: str, device: str = "cpu") -> RunFolder:
    return create(root, f"train: {{device: '{device}'}}\n", {}, {"name": name})


def names(root: Path) -> list[str]:
    return [entry.run.name for entry in queue.view(root).waiting]


def states(root: Path) -> dict[str, str]:
    return {view.name: view.state for view in list_runs(root)}


def fill(root: Path, *wanted: str) -> list[RunFolder]:
    runs = [waiting(root, name) for name in wanted]
    for run in runs:
        queue.add(run)
    return runs


def run_queue(root: Path, engine: list[str]) -> subprocess.Popen[bytes]:
    script = f"import engine.queue, sys\nengine.queue.TURN_S = 0.1\n{RUNNER}"
    return subprocess.Popen([sys.executable, "-P", "-c", script, json.dumps(engine), "--queue", str(root)])


def test_what_was_added_waits_in_that_order(root: Path) -> None:
    fill(root, "b", "a", "c")
    assert names(root) == ["b", "a", "c"]
    assert [entry.why for entry in queue.view(root).waiting] == ["next"] * 3


@pytest.mark.parametrize(
    ("place", "by", "expected"),
    [(0, 1, "bac"), (2, -1, "acb"), (2, -2, "cab"), (0, -5, "abc"), (0, 99, "bca")],
)
def test_moving_stops_at_the_ends(root: Path, place: int, by: int, expected: str) -> None:
    runs = fill(root, "a", "b", "c")
    queue.move(root, runs[place].id, by)
    assert "".join(names(root)) == expected


def test_a_queued_run_without_a_place_comes_last(root: Path) -> None:
    waiting(root, "unplaced")
    fill(root, "placed")
    assert names(root) == ["placed", "unplaced"]


def test_a_removed_run_no_longer_waits_and_can_be_added_again(root: Path) -> None:
    first, _ = fill(root, "a", "b")
    queue.remove(root, first.id)
    assert names(root) == ["b"]
    assert first.view().state == "stopped"
    queue.add(first)
    assert names(root) == ["b", "a"]


def test_only_waiting_runs_can_be_moved_held_or_removed(root: Path) -> None:
    fill(root, "a")
    for act in (queue.hold, queue.release, queue.remove, lambda root, run_id: queue.move(root, run_id, 1)):
        for run_id in ("20260101-000000-abcdef", "../../etc"):
            with pytest.raises(UserError, match="does not wait"):
                act(root, run_id)


def test_a_damaged_plan_counts_as_none(root: Path) -> None:
    fill(root, "a", "b")
    for damage in ("", "[]", "{", '{"order": 3, "held": {}, "slots": [1], "paused": "yes"}', '{"slots": {"cpu": -1}}'):
        (root / ".queue.json").write_text(damage)
        assert queue.read_plan(root) == queue.Plan()
        assert sorted(names(root)) == ["a", "b"]


def test_the_runner_starts_one_after_another_in_order_and_then_ends(root: Path, fake_engine: FakeEngine) -> None:
    runs = fill(root, "a", "b", "c")
    queue.move(root, runs[2].id, -2)
    assert run_queue(root, fake_engine("count 3 0.01")).wait(60) == 0
    for run in runs:
        launch.wait(run)
    assert set(states(root).values()) == {"finished"}
    begun = {view.name: RunFolder(view.path).newest_attempt().started() for view in list_runs(root)}  # type: ignore[union-attr]
    ended = {view.name: view.ended for view in list_runs(root)}
    assert begun["c"] < begun["a"] < begun["b"]
    assert ended["c"] <= begun["a"]
    assert ended["a"] <= begun["b"]
    assert [view.name for view in queue.view(root).done] == ["b", "a", "c"]


def test_the_queue_goes_on_after_a_failure_and_starts_nothing_twice(root: Path, fake_engine: FakeEngine) -> None:
    runs = fill(root, "a", "b")
    assert run_queue(root, fake_engine("fail")).wait(60) == 0
    for run in runs:
        assert launch.wait(run).state == "failed"
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    assert [run.view().attempt for run in runs] == [1, 1]


def test_a_run_that_cannot_be_started_has_failed_with_the_reason(root: Path) -> None:
    (run,) = fill(root, "a")
    assert run_queue(root, ["/nowhere/python"]).wait(60) == 0
    assert run.view().state == "failed"


def test_held_runs_and_paused_queues_wait(root: Path, fake_engine: FakeEngine) -> None:
    held, free = fill(root, "held", "free")
    queue.hold(root, held.id)
    assert [entry.why for entry in queue.view(root).waiting] == ["held", "next"]
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    assert launch.wait(free).state == "finished"
    assert held.view().state == "queued"
    queue.release(root, held.id)
    queue.pause(root)
    assert [entry.why for entry in queue.view(root).waiting] == ["the queue is paused"]
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    assert held.view().state == "queued"
    queue.resume(root)
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    assert launch.wait(held).state == "finished"


def test_a_slot_takes_as_many_runs_as_it_is_told(root: Path, fake_engine: FakeEngine, until: Until) -> None:
    runs = fill(root, "a", "b", "c")
    queue.set_capacity(root, "cpu", 2)
    runner = run_queue(root, fake_engine("count 100000 0.01"))
    until(lambda: sum(run.view().state == "running" for run in runs) == 2, "two runs running")
    seen = queue.view(root)
    assert seen.advancing
    assert {view.name for view in seen.places[0].runs} == {"a", "b"}
    assert [entry.why for entry in seen.waiting] == ["waits for CPU"]
    launch.stop(runs[0])
    until(lambda: runs[2].view().state == "running", "the third run in the free slot")
    for run in runs[1:]:
        launch.stop(run)
    assert runner.wait(60) == 0


def test_a_run_that_nobody_queued_takes_its_slot_too(root: Path, fake_engine: FakeEngine, until: Until) -> None:
    direct = create(root, "train: {device: cpu}\n", {"state": "starting"}, {"name": "direct"})
    launch.start(direct, "a test", engine_command=fake_engine("count 100000 0.01"))
    (run,) = fill(root, "a")
    runner = run_queue(root, fake_engine("count 1 0"))
    until(lambda: queue.view(root).advancing, "the runner")
    assert [entry.why for entry in queue.view(root).waiting] == ["waits for CPU"]
    launch.stop(direct)
    assert runner.wait(60) == 0
    assert launch.wait(run).state == "finished"


def test_there_is_one_runner(root: Path, fake_engine: FakeEngine, until: Until) -> None:
    runs = fill(root, "a", "b")
    first = run_queue(root, fake_engine("count 100000 0.01"))
    until(lambda: runs[0].view().state == "running", "the first run")
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    assert first.poll() is None
    for run in runs:
        until(lambda run=run: run.view().state == "running", "the next run")
        launch.stop(run)
    assert first.wait(60) == 0


def test_a_killed_runner_harms_no_run_and_the_next_one_goes_on(
    root: Path, fake_engine: FakeEngine, until: Until
) -> None:
    first, second = fill(root, "a", "b")
    runner = run_queue(root, fake_engine("count 100 0.02"))
    until(lambda: first.view().state == "running", "the first run")
    runner.kill()
    runner.wait()
    assert not queue.view(root).advancing
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    assert launch.wait(first).state == launch.wait(second).state == "finished"
    assert (first.view().attempt, first.view().step) == (1, 90)


def test_a_run_that_ended_waits_again_to_be_resumed(root: Path, fake_engine: FakeEngine, until: Until) -> None:
    (run,) = fill(root, "a")
    runner = run_queue(root, fake_engine("count 100000 0.01"))
    until(lambda: run.view().state == "running", "the run running")
    with pytest.raises(UserError, match="in progress"):
        queue.add(run)
    launch.stop(run)
    launch.wait(run)
    runner.wait(60)
    queue.add(run)
    assert run.view().state == "queued"
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    view = launch.wait(run)
    assert (view.state, view.attempt) == ("finished", 2)


def test_adding_starts_a_runner_that_outlives_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_engine: FakeEngine
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(queue, "ENGINE", [sys.executable, "-P", "-c", RUNNER, json.dumps(fake_engine("count 1 0"))])
    run = waiting(tmp_path / "runs", "a")
    queue.add(run)
    assert launch.wait(run, 60).state == "finished"
    assert "goes to CPU" in (tmp_path / "runs" / ".queue.log").read_text()


def test_no_runner_is_started_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(queue, "ENGINE", ["/nowhere/python"])
    root = tmp_path / "runs"
    assert not ensure_runner(root)
    queue.add(waiting(root, "a"), held=True)
    assert not ensure_runner(root)


def test_a_run_for_a_device_that_is_not_here_says_so_and_holds_up_nobody(root: Path, fake_engine: FakeEngine) -> None:
    queue.add(waiting(root, "gpu", "cuda:3"))
    (run,) = fill(root, "cpu")
    assert [entry.why for entry in queue.view(root).waiting] == ["there is no cuda:3 here", "next"]
    assert run_queue(root, fake_engine("count 1 0")).wait(60) == 0
    assert launch.wait(run).state == "finished"


def test_plans_made_at_the_same_moment_all_count(root: Path) -> None:
    runs = [waiting(root, str(number)) for number in range(8)]
    script = (
        "import sys; from pathlib import Path; from engine import queue; from engine.runs import RunFolder\n"
        "queue.ensure_runner = lambda root: False\n"
        "queue.add(RunFolder(Path(sys.argv[1])))\n"
    )
    adders = [subprocess.Popen([sys.executable, "-P", "-c", script, str(run.path)]) for run in runs]
    assert [adder.wait(60) for adder in adders] == [0] * 8
    assert sorted(queue.read_plan(root).order) == sorted(run.id for run in runs)


def test_nothing_is_added_between_the_runners_last_look_and_its_end(root: Path) -> None:
    """The runner gives its lock back while plans cannot be changed: whoever adds next finds no runner."""
    lock = Lock(root / ".queue.lock")
    fill(root, "a")
    assert lock.acquire(queue.RUNNER_BYTE)
    assert not queue._finish(root, lock)
    assert lock.acquire(queue.RUNNER_BYTE)
    queue.pause(root)
    editor = Lock(root / ".queue.lock")
    assert editor.acquire(queue.EDIT_BYTE)
    try:
        queue.EDIT_S, patience = 0.1, queue.EDIT_S
        assert not queue._finish(root, lock)
    finally:
        queue.EDIT_S = patience
        editor.release()
    assert queue._finish(root, lock)


def test_the_queue_of_a_folder_that_others_can_write_is_only_looked_at(root: Path) -> None:
    fill(root, "a")
    queue.resume(root)
    root.chmod(0o777)
    before = {path.name: path.stat().st_mtime_ns for path in root.iterdir()}
    for change in (queue.pause, queue.resume, lambda root: queue.set_capacity(root, "cpu", 2)):
        with pytest.raises(UserError, match="not yours alone"):
            change(root)
    assert not ensure_runner(root)
    assert queue.main(str(root)) == 0
    assert queue.view(root).waiting == ()
    assert {path.name: path.stat().st_mtime_ns for path in root.iterdir()} == before


@pytest.mark.mutant
def test_mutant_without_the_look_at_owners_the_queue_of_others_is_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root, "a")
    root.chmod(0o777)
    with pytest.raises(UserError, match="not yours alone"):
        queue.pause(root)
    monkeypatch.setattr(queue, "is_ours", lambda folder: True)
    queue.pause(root)
    assert queue.view(root).paused


def test_a_waiting_run_that_others_can_write_is_only_looked_at(root: Path) -> None:
    (run,) = fill(root, "a")
    run.path.chmod(0o777)
    before = run.summary()
    for change in (queue.remove, queue.hold, queue.release):
        with pytest.raises(UserError, match="read-only"):
            change(root, run.id)
    assert run.summary() == before


def test_an_unwritable_runs_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be changed"):
        queue.pause(tmp_path / "absent")
    assert queue.view(tmp_path / "absent").waiting == ()
