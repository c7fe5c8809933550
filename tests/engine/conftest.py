"""A stand-in for the training engine that imports no torch, and patience."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine import atomic, runs
from engine.process import Identity
from engine.runs import Attempt, RunFolder

if TYPE_CHECKING:
    from engine.data.dataset import Dataset

PATIENCE_S = 60.0

# An engine that counts to N in metrics.jsonl: `count N SECONDS_A_STEP`, or ends as its first argument says.
FAKE_ENGINE = """
import os, signal, subprocess, sys, time
from pathlib import Path
from engine.runs import MetricsWriter, RunFolder, SummaryWriter

how, *numbers = sys.argv[1].split()
run = RunFolder(Path(sys.argv[2]))
resumed = "--resume" in sys.argv
stops = []

def stop(number, frame):
    if stops:
        os._exit(128 + number)
    stops.append(number)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
if not run.lock.acquire(1):
    sys.exit(2)
summary, metrics = SummaryWriter(run.path / "summary.json"), MetricsWriter(run.path / "metrics.jsonl")
fields = run.summary()
fields["pid"] = os.getpid()

def say(state, **more):
    fields.update(state=state, **more)
    summary.write(fields)

def end(state, code, reason=""):
    metrics.append({"kind": "end", "state": state, "reason": reason, "step": 0})
    metrics.sync()
    say(state, reason=reason)
    os._exit(code)

say("running")
print("engine of", run.id, flush=True)
if how == "fail":
    print("Traceback: the loss has no gradient", file=sys.stderr, flush=True)
    end("failed", 1, "the loss has no gradient")
if how == "abort":
    os.abort()
if how == "deaf":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stops.append(number))
    while True:
        say("running", stops=len(stops))
        time.sleep(0.02)
if how == "orphans":
    child = "import os, time; os.setsid(); time.sleep(600)"
    orphan = [sys.executable, "-c", child]
    subprocess.Popen(orphan)
    subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"])
    time.sleep(0.3)
    end("finished", 0)
steps, seconds = int(numbers[0]), float(numbers[1])
for step in range(steps):
    metrics.append({"kind": "step", "step": step, "resumed": resumed})
    if step % 10 == 0:
        say("running", step=step)
    time.sleep(seconds)
    if stops:
        end("stopped", 128 + stops[0], "by a signal")
end("finished", 0)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a runs folder may be made."""
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path) -> RunFolder:
    """A run that waits."""
    summary = {"architecture": "resnet_5m", "seed": 6953, "parameters": 4779530}
    return runs.create(root, "name: one\n", summary, {"name": "one", "tags": ["paper"], "note": "", "archived": False})


@pytest.fixture
def started() -> Callable[..., Attempt]:
    """Begins an attempt of these processes: of an engine, and of a supervisor unless it is the same."""

    def begin(run: RunFolder, engine: Identity, supervisor: Identity | None = None) -> Attempt:
        attempt = run.new_attempt()
        identities = {"supervisor": (supervisor or engine).to_json(), "engine": engine.to_json()}
        atomic.write_json(attempt.path / "proc.json", identities)
        return attempt

    return begin


@pytest.fixture
def fake_engine(tmp_path: Path) -> Callable[[str], list[str]]:
    """Commands that stand in place of ``python -P -m engine``, by what that engine shall do."""
    script = tmp_path / "fake_engine.py"
    script.write_text(FAKE_ENGINE)
    return lambda how: [sys.executable, "-P", str(script), how]


@pytest.fixture
def until() -> Callable[[Callable[[], object], str], None]:
    """Waits for a condition with more patience than any machine needs."""

    def wait(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.02)

    return wait


TINY = """\
architecture: {family: vgg, channels: [8, 12], convolutions: [1, 1], batch_norm: true, global_pool: true, head: []}
augmentation: none
optimizer: {algorithm: sgd, lr: 0.05}
data: {name: shapes}
train: {steps: 6, batch_size: 20, seed: 1, threads: 1, device: cpu, precision: fp32}
"""


@pytest.fixture(scope="session")
def small_data() -> "Dataset":
    """400 training and 100 test images of the shapes."""
    from dataclasses import replace

    from engine.data.dataset import load
    from engine.options.data import Data

    data = load(Data(name="shapes", train_limit=400), None)
    return replace(data, test_images=data.test_images[:100], test_labels=data.test_labels[:100])


@pytest.fixture
def trained_run(tmp_path: Path, small_data: "Dataset", monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunFolder]:
    """Trains a small network for some steps in this process, into a run folder with checkpoints; tests nothing."""
    from engine import device
    from engine.analysis import source
    from engine.checkpoint import Checkpointer
    from engine.experiment import loads
    from engine.training import Training

    monkeypatch.setattr(source, "trained_data", lambda data: small_data)

    def train(text: str = TINY) -> RunFolder:
        experiment = loads(text)
        summary = {**experiment.headline(), "state": "starting"}
        run = runs.create(tmp_path / "runs", experiment.to_yaml(), summary, {"name": "small"})
        training = Training(experiment, device.settle(experiment.train, experiment.total_steps), small_data)
        while not training.finished:
            plan = training.draw_epoch()
            for position in training.remaining_positions():
                training.take_step(plan, position)
            training.end_epoch({}, None)
        checkpointer = Checkpointer(run.path / "ckpt")
        checkpointer.save(training.state_dict(), None, 0)
        checkpointer.close()
        return run

    return train
