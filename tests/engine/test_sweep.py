"""Sweeps: rows and grids expanded, mistakes named by line, members found again among runs, results averaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import runs, sweep
from engine.errors import UserError
from engine.runs import RunFolder, RunView

MakeRun = Callable[..., RunFolder]

BASE = """\
base:
  architecture: tiny
  augmentation: shapes_flip
  optimizer: quick
  data: {name: shapes, validation: 1000}
  train: {epochs: 3, seed: 5}
"""
ROWS = (
    BASE
    + """\
notes: Of all rows.
published: {source: a paper, checkpoint: last}
rows:
  - name: plain
    published: {test_accuracy: 90.0, note: a slip}
  - name: slow
    set: {optimizer.lr: 0.01, architecture: {use: tiny, channels: [8, 16, 32]}}
    notes: Of this row.
  - name: again
"""
)
GRID = (
    BASE
    + """\
grid:
  optimizer: [quick, sgd_1e-2]
  train.batch_size: [50, 100]
"""
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "trial.yaml"
        path.write_text(text)
        return str(path)

    return write


Write = Callable[[str], str]


def view(member: sweep.Member, state: str = "finished", run_id: str = "20260131-142233-000001", **more: Any) -> RunView:
    fields = {"config_hash": member.experiment.config_hash, **more}
    return RunView(id=run_id, path=Path(run_id), state=state, **fields)  # type: ignore[arg-type]


def test_a_row_changes_the_base_and_carries_its_figures(write: Write) -> None:
    found = sweep.load(write(ROWS))
    assert found.name == "trial"
    plain, slow, again = (row.experiment for row in found.rows)
    assert (plain.name, plain.optimizer.lr, plain.notes) == ("plain", 0.1, "Of all rows.")
    assert plain.published is not None
    assert (plain.published.test_accuracy, plain.published.source) == (90.0, "a paper")
    assert plain.published.checkpoint == "last"
    assert (slow.optimizer.lr, slow.notes) == (0.01, "Of all rows.\nOf this row.")
    assert slow.architecture.name == "tiny"
    assert slow.published is not None
    assert slow.published.test_accuracy is None
    assert again.config_hash == plain.config_hash != slow.config_hash


def test_a_grid_has_every_combination_named_by_its_settings(write: Write) -> None:
    found = sweep.load(write(GRID))
    assert [row.name for row in found.rows] == [
        "quick, batch size 50",
        "quick, batch size 100",
        "sgd_1e-2, batch size 50",
        "sgd_1e-2, batch size 100",
    ]
    assert {(row.experiment.optimizer.name, row.experiment.train.batch_size) for row in found.rows} == {
        ("quick", 50),
        ("quick", 100),
        ("sgd_1e-2", 50),
        ("sgd_1e-2", 100),
    }


def test_the_base_may_be_a_preset_whose_figures_are_not_the_rows(write: Write) -> None:
    found = sweep.load(write("base: best_5m\nrows:\n  - {name: slower, set: {optimizer.lr: 1e-4}}\n"))
    experiment = found.rows[0].experiment
    assert experiment.architecture.name == "resnet_5m"
    assert experiment.optimizer.lr == 1e-4
    assert experiment.published is None
    assert experiment.notes.startswith("The student project's best network")


def test_overrides_come_after_the_rows_own_changes(write: Write) -> None:
    found = sweep.load(write(ROWS), [("optimizer.lr", "0.5"), ("train.epochs", "1")])
    assert {row.experiment.optimizer.lr for row in found.rows} == {0.5}
    assert {row.experiment.total_epochs for row in found.rows} == {1.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROWS.replace("lr: 0.01", "lrr: 0.01"), ':13: optimizer.lrr: unknown key; did you mean "lr"?'),
        (ROWS.replace("lr: 0.01", "lr: fast"), ':13: optimizer.lr: found "fast"; allowed is a number'),
        (ROWS.replace("epochs: 3", "epochs: -3"), ":6: train.epochs: found -3; allowed is more than 0"),
        (ROWS.replace("use: tiny", "use: tinny"), ':13: architecture: no architecture preset is called "tinny"'),
        (ROWS.replace("test_accuracy: 90.0", "test: 90.0"), ":11: rows.0.published.test: unknown key"),
        (ROWS.replace("name: again", "name: plain"), 'two rows are called "plain"'),
        (ROWS.replace("rows:", "row:"), ':9: row: unknown key; did you mean "rows"?'),
        (BASE, "a sweep has either rows or a grid"),
        (ROWS + "grid: {optimizer.lr: [1.0]}\n", "a sweep has either rows or a grid"),
        (BASE + "grid: {optimizer.lr: []}\n", "grid.optimizer.lr has no values"),
        (BASE + f"grid: {{a: {[*range(200)]}, b: {[*range(51)]}}}\n", "the grid has 10,200 combinations; 10,000 are"),
        ("rows: [{name: a}]\n", ":1: base: missing"),
        (ROWS.replace("lr: 0.01", "warmup.epochs: 9"), ":12: optimizer.warmup is longer than the run of 3 epochs"),
        ("- 1\n", "a preset is a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_line(write: Write, text: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        sweep.load(write(text))
    assert said in str(refusal.value)


def test_a_mistake_in_the_base_is_said_once(write: Write) -> None:
    with pytest.raises(UserError) as refusal:
        sweep.load(write(ROWS.replace("epochs: 3", "epochs: -3")))
    assert len(str(refusal.value).splitlines()) == 1


def test_a_sweep_is_found_by_name_with_the_nearest_spelling() -> None:
    assert len(sweep.load("seed_c_optimizers").rows) == 8
    with pytest.raises(UserError, match='did you mean "seed_c_optimizers"'):
        sweep.load("seed_c_optimisers")


def test_seeds_count_up_from_the_rows_own_and_come_after_each_other(write: Write) -> None:
    members = sweep.members(sweep.load(write(GRID)), seeds=2)
    assert [(member.row, member.seed) for member in members] == [(row, seed) for seed in (5, 6) for row in range(4)]
    assert len({member.experiment.config_hash for member in members}) == 8
    assert len({member.experiment.group_hash for member in members}) == 4


def test_gathered_are_all_seeds_that_were_run_and_rows_that_were_not(write: Write) -> None:
    found = sweep.load(write(GRID))
    members = sweep.members(found, seeds=3)
    ran = [
        view(member, seed=member.seed, group_hash=member.experiment.group_hash, run_id=f"20260131-142233-00000{index}")
        for index, member in enumerate(members)
        if (member.row, member.seed) in ((0, 5), (0, 7), (2, 6))
    ]
    gathered, runs_of = sweep.gather(found, [*ran, RunView(id="x", path=Path("x"), state="finished", seed=1)])
    assert [(member.row, member.seed) for member in gathered] == [(0, 5), (0, 7), (1, 5), (2, 6), (3, 5)]
    assert [run is None for run in runs_of] == [False, False, True, False, True]


def test_too_many_runs_are_refused(write: Write) -> None:
    with pytest.raises(UserError, match="more than 10000 runs"):
        sweep.members(sweep.load(write(GRID)), seeds=99_999)


def test_a_member_is_found_by_what_decides_it(write: Write) -> None:
    members = sweep.members(sweep.load(write(ROWS)))
    stopped = view(members[1], "stopped", "20260131-142233-000009")
    older = view(members[0], "finished", "20260131-142233-000001")
    newer = view(members[0], "finished", "20260131-142233-000002")
    live = view(members[0], "running", "20260131-142233-000003")
    found = sweep.match(members, [stopped, live, newer, older, RunView(id="x", path=Path("x"), state="finished")])
    assert found == [newer, stopped, newer]
    assert sweep.match(members, [stopped, live])[0] == live
    assert sweep.match(members, []) == [None, None, None]


def test_a_run_made_for_a_member_is_found_again(write: Write, tmp_path: Path) -> None:
    member = sweep.members(sweep.load(write(ROWS)))[1]
    summary = {**member.experiment.headline(), "sweep": {"name": "trial", "row": 2}}
    run = runs.create(tmp_path / "runs", member.experiment.to_yaml(), summary, {"name": "slow"})
    found = sweep.match([member], runs.list_runs(tmp_path / "runs"))[0]
    assert found is not None
    assert (found.id, found.state, found.sweep, found.sweep_row) == (run.id, "queued", "trial", 2)


def test_results_are_means_with_their_spread_beside_the_published_figure(write: Write) -> None:
    found = sweep.load(write(ROWS))
    members = sweep.members(found, seeds=2)
    finished = {"best_metric": "val_accuracy", "last": {"train_accuracy": 99.0}, "epoch": 3.0, "active_s": 10.0}
    one = view(members[0], best=91.0, test=92.0, test_last=89.0, parameters=7, macs=8, **finished)
    two = view(members[3], best=93.0, test=92.0, test_last=91.0, **finished)
    failed = view(members[1], "failed", test_last=1.0)
    table = sweep.results(found, members, [one, failed, None, two, None, None])
    plain, slow, _ = table
    assert plain.test is not None
    assert (plain.test.mean, plain.test.count, plain.difference) == (90.0, 2, 0.0)
    assert plain.test.deviation == pytest.approx(2**0.5)
    assert plain.validation is not None
    assert plain.validation.mean == 92.0
    assert (plain.parameters, plain.macs, plain.finished, plain.notes) == (7, 8, 2, "a slip")
    assert (slow.test, slow.difference, slow.finished) == (None, None, 0)


def test_a_single_run_has_no_spread(write: Write) -> None:
    found = sweep.load(write(ROWS.replace(", checkpoint: last", "")))
    members = sweep.members(found)
    table = sweep.results(found, members, [view(members[0], test=92.0, test_last=89.0), None, None])
    assert table[0].test == sweep.Figure(92.0, None, 1)
    assert table[0].difference == 2.0
