"""Every test sees an empty home: no configuration, runs or data of the person who runs the tests."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine import runs
from engine.metrics_log import Record
from engine.runs import MetricsWriter, RunFolder, SummaryWriter

OURS = ("CIFAR_TUI_RUNS", "CIFAR_TUI_DATA", "COLUMNS", "LINES")

CONFIG = """\
name: made by hand
architecture: {family: resnet, stem: 16}
optimizer: {algorithm: sgd, lr: 0.1}
data: {name: shapes}
train: {epochs: 3.0, batch_size: 100, seed: 1}
"""

MakeRun = Callable[..., RunFolder]


@pytest.fixture(autouse=True)
def empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own; returns it."""
    home = tmp_path_factory.mktemp("home")
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    return home


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes run folders as an engine leaves them, in ``tmp_path / "runs"``.

    A live state is one of this very process; ``exit_code`` None leaves out the supervisor's verdict.
    """

    def make(
        name: str = "first",
        state: str = "finished",
        exit_code: int | None = 0,
        records: Sequence[Record] = (),
        config: str = CONFIG,
        tags: Sequence[str] = (),
        note: str = "",
        **summary: Any,
    ) -> RunFolder:
        facts = {
            "architecture": "tiny",
            "augmentation": "shapes_flip",
            "optimizer": "quick",
            "dataset": "shapes",
            "batch_size": 100,
            "lr": 0.1,
            "seed": 1,
            "epochs": 3.0,
            "steps": 270,
        }
        user = {"name": name, "tags": list(tags), "note": note, "archived": False}
        run = runs.create(tmp_path / "runs", config, {**facts, "state": "queued"}, user)
        if state == "queued":
            return run
        attempt = run.new_attempt()
        log = MetricsWriter(run.path / "metrics.jsonl")
        for record in records:
            log.append(record)
        log.close()
        SummaryWriter(run.path / "summary.json").write({**facts, "state": state, **summary})
        if state not in runs.LIVE and exit_code is not None:
            attempt.write_exit(code=exit_code)
        return run

    return make
