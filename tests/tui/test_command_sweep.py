"""``--sweep``: what is queued, skipped, resumed and begun anew, what is printed and written, and the exit code."""

import csv
import io
import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import atomic, queue, runs
from engine import sweep as sweeps
from engine.runs import RunFolder, RunView, SummaryWriter
from tui import cli, sweep_table
from tui.commands import sweep as command
from tui.headless.plain import result_lines
from tui.headless.sweep_progress import PlainProgress

SWEEP = """\
about: Two rates and one of them twice
notes: On drawn shapes.
base:
  architecture: tiny
  augmentation: shapes_flip
  optimizer: quick
  data: {name: shapes, validation: 1000}
  train: {epochs: 3, seed: 5}
published: {source: a paper}
rows:
  - name: fast
    published: {test_accuracy: 90.0, parameters: 70000, note: "Read off a figure | roughly."}
  - {name: slow, set: {optimizer.lr: 0.01}, published: {test_accuracy: 80.0}}
  - {name: "=again"}
"""


class World:
    """A runs folder whose queue advances by what the test says instead of by engines."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = tmp_path / "runs"
        self.path = tmp_path / "trial.yaml"
        self.path.write_text(SWEEP)
        self.begun: list[str] = []
        self.outcomes: dict[str, str] = {}
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def patience(self, act: Callable[[float], object]) -> None:
        """What happens while the command sleeps."""
        self._monkeypatch.setattr(command, "time", SimpleNamespace(sleep=act, monotonic=time.monotonic))

    def sweep(self, *arguments: str) -> tuple[int, str, str]:
        code = cli.main(["--sweep", str(self.path), "--runs", str(self.root), *arguments])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def advance(self, seconds: float = 0.0) -> None:
        """One waiting run is taken to its end."""
        waiting = queue.view(self.root).waiting
        if waiting:
            self.end(waiting[0].run)

    def end(self, view: RunView) -> None:
        run = RunFolder(view.path)
        self.begun.append(run.id)
        attempt = run.new_attempt()
        state = self.outcomes.get(view.name, "finished")
        facts = {
            **run.summary(),
            "state": state,
            "epoch": 3.0,
            "active_s": 61.0,
            "parameters": 70618,
            "macs": 6_000_000,
        }
        facts |= {"best": {"metric": "val_accuracy", "value": 88.0, "epoch": 2}, "last": {"train_accuracy": 99.0}}
        if state == "finished":
            facts["test"] = {"best": 89.5 + 0.5 * (view.seed or 0), "last": 1.0}
        else:
            facts["reason"] = "no luck"
        SummaryWriter(run.path / "summary.json").write(facts)
        attempt.write_exit(code=0 if state == "finished" else 1)

    def views(self) -> list[RunView]:
        return runs.list_runs(self.root)[::-1]


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, capsys, monkeypatch)
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)
    made.patience(made.advance)
    return made


def test_every_row_is_queued_once_and_the_table_says_what_came_out(world: World) -> None:
    code, out, _ = world.sweep()
    assert code == 0
    views = world.views()
    assert sorted((view.name, view.sweep, view.sweep_row) for view in views) == [
        ("fast", "trial", 1),
        ("slow", "trial", 2),
    ]
    assert [RunFolder(world.root / run_id).view().name for run_id in world.begun] == ["fast", "slow"]
    assert "3 runs: 0 finished before, 3 to do" in out
    assert "row 1/3 fast: finished; 3 epochs in 1 m 01 s, test 92.00 %, published 90.00 %, difference +2.00" in out
    assert "trial: 3 of 3 runs finished, seed 5" in out
    assert "fast: Read off a figure | roughly." in out
    assert str(world.root / "sweeps" / "trial" / "table.md") in out


def test_finished_rows_are_skipped_and_nothing_is_trained_twice(world: World) -> None:
    world.sweep()
    code, out, _ = world.sweep()
    assert code == 0
    assert len(world.begun) == len(world.views()) == 2
    assert "3 runs: 3 finished before, 0 to do" in out


def test_a_failure_stops_nothing_and_is_tried_anew(world: World) -> None:
    world.outcomes["fast"] = "failed"
    code, out, _ = world.sweep()
    assert code == 1
    assert [view.state for view in world.views()].count("finished") == 1
    assert "row 1/3 fast: failed: no luck" in out
    world.outcomes.clear()
    assert world.sweep()[0] == 0
    assert sorted(view.state for view in world.views()) == ["failed", "finished", "finished"]


def test_a_stopped_row_goes_on_in_its_own_folder(world: World) -> None:
    world.outcomes["slow"] = "stopped"
    assert world.sweep()[0] == 1
    stopped = next(view for view in world.views() if view.state == "stopped")
    atomic.write_json(stopped.path / "ckpt" / "manifest.json", {"files": []})
    world.outcomes.clear()
    assert world.sweep()[0] == 0
    assert len(world.views()) == 2
    assert RunFolder(stopped.path).view().attempt == 2


def test_a_stopped_row_without_a_checkpoint_is_begun_anew(world: World) -> None:
    world.outcomes["slow"] = "stopped"
    world.sweep()
    world.outcomes.clear()
    assert world.sweep()[0] == 0
    assert len(world.views()) == 3


def test_seeds_give_a_mean_and_a_spread(world: World) -> None:
    code, out, _ = world.sweep("--seeds", "2", "--json")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0] == {"kind": "sweep", "runs": 6, "queue_paused": False}
    assert {event["seed"] for event in events if event["kind"] == "row"} == {5, 6}
    table = events[-1]
    fast = table["rows"][0]
    assert (fast["seeds"], fast["finished"], fast["test_accuracy"], fast["difference"]) == (2, 2, 92.25, 2.25)
    assert fast["test_deviation"] == pytest.approx(0.353553)
    assert table["rows"][2]["published_test_accuracy"] is None
    assert all(Path(path).is_file() for path in table["files"])


def test_epochs_and_settings_make_another_sweep_that_leaves_the_table_alone(world: World) -> None:
    assert world.sweep("--epochs", "1", "--set", "train.batch_size=50")[0] == 0
    assert {view.epochs for view in world.views()} == {1.0}
    folder = world.root / "sweeps"
    assert sorted(path.name for path in folder.iterdir()) == ["trial-changed"]
    page = (folder / "trial-changed" / "table.md").read_text()
    assert "train.batch\\_size=50, train.steps=null, train.epochs=1." in page


@pytest.mark.parametrize(
    ("named", "trained"), [(["2"], ["slow"]), (["SLO"], ["slow"]), (["1", "slow"], ["fast", "slow"])]
)
def test_only_the_named_rows_are_trained(world: World, named: list[str], trained: list[str]) -> None:
    code, out, _ = world.sweep(*[word for name in named for word in ("--row", name)])
    assert code == 0
    assert sorted(view.name for view in world.views()) == trained
    done = "1 of 3" if trained == ["slow"] else "3 of 3"  # the third row is the first again
    assert f"trial: {done} runs finished" in out


def test_a_row_that_is_not_there_is_named_with_those_that_are(world: World) -> None:
    code, _, err = world.sweep("--row", "quick")
    assert code == 2
    assert err == 'cifar-tui: --row quick: no row of trial is called that; there are 1 "fast", 2 "slow", 3 "=again"\n'
    assert world.views() == []


def test_a_mistake_in_the_file_queues_nothing(world: World) -> None:
    world.path.write_text(SWEEP.replace("optimizer.lr", "optimizer.lrr"))
    code, out, err = world.sweep()
    assert (code, out) == (2, "")
    assert 'optimizer.lrr: unknown key; did you mean "lr"?' in err
    assert not (world.root / ".queue.json").exists()


def test_detached_the_ids_are_printed_and_the_queue_does_the_rest(world: World) -> None:
    code, out, _ = world.sweep("--detach")
    assert code == 0
    assert out.split() == [view.id for view in sorted(world.views(), key=lambda view: view.sweep_row or 0)]
    assert {view.state for view in world.views()} == {"queued"}


def test_jobs_is_how_many_run_at_a_time_and_is_given_back(world: World) -> None:
    seen: list[dict[str, int]] = []

    def advance(seconds: float) -> None:
        seen.append(queue.read_plan(world.root).capacities)
        world.advance()

    world.patience(advance)
    assert world.sweep("--jobs", "2", "--device", "cpu")[0] == 0
    assert {capacities["cpu"] for capacities in seen} == {2}
    assert queue.read_plan(world.root).capacities["cpu"] == 1


def test_ctrl_c_takes_the_waiting_rows_out_of_the_queue(world: World) -> None:
    def interrupt(seconds: float) -> None:
        if not world.begun:
            world.advance()
            signal.raise_signal(signal.SIGINT)

    world.patience(interrupt)
    code, out, _ = world.sweep()
    assert code == 130
    assert sorted(view.state for view in world.views()) == ["finished", "stopped"]
    assert "stopping after this step, with checkpoints; the same command goes on from there" in out
    world.patience(world.advance)
    assert world.sweep()[0] == 0
    assert len(world.views()) == 2


def test_a_paused_queue_is_said(world: World) -> None:
    queue.pause(runs.prepare_root(world.root))
    world.patience(world.advance)
    assert "the queue is paused; cifar-tui --queue continue lets it go on" in world.sweep()[1]


def test_the_tables_as_files(world: World) -> None:
    world.sweep()
    folder = world.root / "sweeps" / "trial"
    page = (folder / "table.md").read_text()
    assert page.startswith("# trial\n\nTwo rates and one of them twice\n\nOn drawn shapes.\n\n")
    assert (
        "| fast | ✓ finished | 90.00 | 92.00 | +2.00 | 88.00 | 99.00 | 70.0 k | 70.6 k | 6.0 M | 3 | 1 m 01 s |" in page
    )
    assert "val published" not in page
    assert r"- fast: Read off a figure \| roughly." in page
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert [row["name"] for row in rows] == ["fast", "slow", "'=again"]
    assert (rows[1]["test_accuracy"], rows[1]["difference"], rows[1]["time_s"]) == ("92.0", "12.0", "61.0")
    whole = json.loads((folder / "table.json").read_text())
    assert whole["rows"][0]["runs"] == [next(view.id for view in world.views() if view.name == "fast")]
    assert tuple(whole["rows"][0]) == sweep_table.FIELDS


@pytest.mark.parametrize(("output", "files"), [("here", ["table.csv", "table.json", "table.md"]), ("one.csv", [])])
def test_output_names_a_folder_or_one_file(world: World, tmp_path: Path, output: str, files: Sequence[str]) -> None:
    target = tmp_path / output
    assert world.sweep("--output", str(target))[0] == 0
    assert (sorted(path.name for path in target.iterdir()) if files else []) == list(files)
    assert target.exists()
    assert not (world.root / "sweeps").exists()


def test_an_output_of_another_kind_is_refused_before_anything_is_trained(world: World, tmp_path: Path) -> None:
    code, _, err = world.sweep("--output", str(tmp_path / "table.pdf"))
    assert code == 2
    assert "cannot write .pdf" in err
    assert world.begun == []


def test_the_state_of_several_seeds_is_counted(world: World) -> None:
    chosen = sweeps.load(str(world.path))
    members = sweeps.members(chosen, seeds=3)

    def view(state: Any) -> RunView:
        return RunView(id="x", path=Path("x"), state=state, epoch=1.0, epochs=3.0)

    found = [view("finished"), None, None, view("running"), None, None, None, None, None]
    table = sweeps.results(chosen, members, found)
    assert sweep_table.state(table[0]) == "1/3 finished, 1 running, 1 to do"
    assert sweep_table.state(table[1]) == "0/3 finished, 3 to do"
    single = sweeps.results(chosen, sweeps.members(chosen), [view("running"), None, None])
    assert sweep_table.state(single[0]).endswith("running 1/3")


def test_on_a_terminal_the_last_line_is_written_over(world: World) -> None:
    status, lines = io.StringIO(), list[str]()
    progress = PlainProgress(lines.append, status, rows=3)
    member = sweeps.members(sweeps.load(str(world.path)))[0]
    running = RunView(
        id="x", path=Path("x"), state="running", epoch=1.5, epochs=3.0, best=70.0, eta_s=30.0, device="cpu"
    )
    progress.show([(member, running)])
    progress.end()
    assert lines == ["● row 1/3 fast: run x, seed None, cpu"]
    assert "\r\x1b[2K0 of 1 finished, 0 wait; fast 1.5/3 70.00 % in 30 s" in status.getvalue()
    assert status.getvalue().endswith("\r\x1b[2K")


@pytest.mark.slow
def test_a_sweep_trains_with_the_real_queue_and_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trial.yaml"
    small = "{name: shapes, validation: 100, train_limit: 200}"
    path.write_text(SWEEP.replace("{name: shapes, validation: 1000}", small))
    arguments = ["--sweep", str(path), "--runs", str(tmp_path / "runs"), "--device", "cpu", "--epochs", "1", "--json"]
    assert cli.main(arguments) == 0
    table = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["finished"] for row in table["rows"]] == [1, 1, 1]
    assert all(row["parameters"] and row["macs"] and row["time_s"] for row in table["rows"])
    assert len(runs.list_runs(tmp_path / "runs")) == 2


def test_a_figure_of_the_last_epoch_is_set_against_the_last_checkpoint() -> None:
    published: dict[str, float | str] = {"test_accuracy": 90.0, "checkpoint": "last"}
    view = RunView(id="x", path=Path("x"), state="finished", test=95.0, test_last=91.0, published=published)
    assert result_lines(view)[-1] == "published 90.00 %, difference +1.00"
