"""A stand-in for the training engine that imports no torch, and patience."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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
