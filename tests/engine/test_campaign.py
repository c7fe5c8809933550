"""A sweep carried out: runs of earlier versions are recognised, a run leads back to its sweep."""

from pathlib import Path

import pytest

from engine import campaign, queue, runs, sweep
from engine.campaign import Campaign
from engine.errors import UserError
from engine.runs import RunFolder

SWEEP = """\
base:
  architecture: tiny
  augmentation: shapes_flip
  optimizer: quick
  data: {name: shapes, validation: 1000}
  train: {epochs: 3, seed: 5}
rows:
  - name: fast
  - {name: slow, set: {optimizer.lr: 0.01}}
"""


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)
    path = tmp_path / "trial.yaml"
    path.write_text(SWEEP)
    found = sweep.load(str(path), [("train.epochs", "2")])
    made = Campaign(runs.prepare_root(tmp_path / "runs"), found, sweep.members(found), frozenset({0, 1}))
    made.look()
    return made


def queued(whole: Campaign) -> list[RunFolder]:
    whole.enlist("a test")
    return [RunFolder(run.path) for run in whole.runs if run is not None]


def test_every_missing_run_is_queued_once_in_order(whole: Campaign) -> None:
    first, second = queued(whole)
    assert [waiting.run.id for waiting in queue.view(whole.root).waiting] == [first.id, second.id]
    assert (first.view().name, first.view().by, first.view().sweep, first.view().sweep_row) == (
        "fast",
        first.summary()["by"],
        "trial",
        1,
    )
    assert [run.id for run in queued(whole)] == [first.id, second.id]
    assert not whole.over
    assert not whole.complete


def test_a_run_leads_back_to_its_sweep_as_it_was_run(whole: Campaign) -> None:
    found = campaign.of_run(queued(whole)[1])
    assert found == whole.sweep
    assert found.rows[1].experiment.total_epochs == 2


def test_a_run_of_no_sweep_leads_nowhere(tmp_path: Path) -> None:
    run = runs.create(tmp_path / "runs", "train: {}\n", {}, {"name": "alone"})
    with pytest.raises(UserError, match="was made for no sweep"):
        campaign.of_run(run)


def test_runs_of_an_earlier_version_are_recognised_by_what_they_did(whole: Campaign) -> None:
    """There the configuration lacked an option, and so all hashes were others."""
    for run in queued(whole):
        older = run.config_text().replace("  deterministic: false\n", "")
        assert older != run.config_text()
        (run.path / "config.yaml").write_text(older)
        run.write_summary(config_hash="0" * 16, group_hash="1" * 16)
    listed = runs.list_runs(whole.root)
    assert sweep.match(whole.members, listed) == [None, None]
    whole.look()
    assert [run is not None and run.name for run in whole.runs] == ["fast", "slow"]


def test_runs_of_other_networks_are_not_even_read(whole: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    queued(whole)[0].write_summary(config_hash="", group_hash="", architecture="another")
    monkeypatch.setattr(RunFolder, "config_text", lambda run: pytest.fail("read"))
    assert campaign.translations(runs.list_runs(whole.root), whole.sweep) == {}


def test_a_run_whose_configuration_cannot_be_read_is_passed_over(whole: Campaign) -> None:
    for run in queued(whole):
        run.write_summary(group_hash="")
        (run.path / "config.yaml").write_text("architecture: [")
    assert campaign.translations(runs.list_runs(whole.root), whole.sweep) == {}
