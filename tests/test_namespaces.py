"""Faults that take a machine of one's own: a disk that takes no writing, a pid that comes back, another host.

Each happens in namespaces that end with the test (unshare(1)); where none are granted, the test is skipped.
"""

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import launch, process
from engine.data.releases import RELEASES
from engine.runs import MetricsTail, RunFolder, create

PATIENCE_S = 120.0
FOLDER = RELEASES["cifar10"].folder

Apart = Callable[..., str]


@pytest.fixture
def apart() -> Apart:
    """Runs a Python program as root of namespaces of its own, which options of unshare(1) name; returns its output."""
    ours = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]

    def run(options: list[str], program: str, *arguments: object) -> str:
        unshare = ["unshare", *ours, *options]
        if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
            pytest.skip(f"no namespaces here: {' '.join(unshare)}")
        command = [*unshare, sys.executable, "-P", "-c", program, *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        if ended.returncode == CANNOT:
            pytest.skip(ended.stderr.strip())
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return run


CANNOT = 77  # with which a program says on standard error what this machine does not let it do

READ_ONLY = """
import subprocess, sys
for options in (["--bind", sys.argv[1]], ["-o", "remount,ro,bind"]):
    subprocess.run(["mount", *options, sys.argv[1]], check=True)
"""


class TestReadOnlyData:
    """A data folder on a disk that cannot be written, not even by root."""

    LOOK = f"""{READ_ONLY}
import json, os
from pathlib import Path
from engine.data import cifar, download
from engine.data.releases import locate
from engine.errors import UserError
from engine.experiment import load
from engine.options.data import Data
from tui import preflight
root = Path(sys.argv[1])
os.environ["CIFAR_TUI_DATA"] = sys.argv[1]
packed = load("quickstart", [("data.name", "cifar100")])
def refused(act):
    try:
        return str(act())
    except UserError as error:
        return f"refused: {{error}}"
folder = locate(Data(), root)
print(json.dumps([
    refused(lambda: sorted(cifar.read_checked(folder, "CIFAR-10", json.loads(sys.argv[2])))),
    refused(lambda: cifar.read_checked(folder, "CIFAR-10", {{"test_batch": "0" * 32}})),
    refused(lambda: download.download("cifar100", root, print)),
    refused(lambda: preflight.check(packed, root.parent)),
]))
"""

    def test_what_is_good_is_read_and_what_is_not_is_refused(self, apart: Apart, tmp_path: Path) -> None:
        files = {name: name.encode() for name in RELEASES["cifar10"].files}
        root = self.written(tmp_path / "data", files)
        (archive,) = RELEASES["cifar100"].archives
        (root / archive).touch()
        read, damaged, *absent = json.loads(apart(["--mount"], self.LOOK, root, json.dumps(sums(files))))
        assert read == str(sorted(files))
        assert damaged.startswith(f"refused: {root / FOLDER / 'test_batch'} is damaged: its md5 is")
        for sentence in absent:
            assert sentence.startswith(f"refused: CIFAR-100 is not in {root}, and that folder cannot be written")
            assert "--data DIR" in sentence
        assert {path.name for path in root.iterdir()} == {FOLDER, archive}

    TRAIN = f"""{READ_ONLY}
from tui import cli
code = cli.main(["--run", sys.argv[2], "--data", sys.argv[1], "--runs", sys.argv[3]])
sys.exit(f"exit code {{code}}" if code != int(sys.argv[4]) else 0)
"""
    PRESET = """
architecture: {family: vgg, channels: [8], convolutions: [1], batch_norm: true, global_pool: true, head: []}
augmentation: none
optimizer: {algorithm: sgd, lr: 0.05}
data: {name: cifar10, validation: 20, train_limit: 60}
train: {steps: 6, batch_size: 20, threads: 1, device: cpu, precision: fp32}
"""

    @pytest.mark.slow
    @pytest.mark.parametrize("good", [True, False], ids=["good", "damaged"])
    def test_a_run_trains_on_good_data_and_refuses_what_is_damaged(
        self, apart: Apart, tmp_path: Path, empty_home: Path, good: bool
    ) -> None:
        files = few_images()
        known = empty_home / "xdg_cache_home" / "cifar-tui" / "checksums" / "cifar10.json"
        known.parent.mkdir(parents=True)
        known.write_text(json.dumps(sums(files)))
        root = self.written(tmp_path / "data", files if good else files | {"data_batch_3": b"half"})
        (tmp_path / "small.yaml").write_text(self.PRESET)
        apart(["--mount"], self.TRAIN, root, tmp_path / "small.yaml", tmp_path / "runs", 0 if good else 2)
        (run,) = (tmp_path / "runs").glob("2*")
        view = RunFolder(run).view()
        if good:
            assert (view.state, view.step) == ("finished", 6)
        else:
            assert (view.state, view.exit_code) == ("failed", 2)
            assert f"{root / FOLDER / 'data_batch_3'} is damaged" in view.reason
            assert "--data DIR with a good copy" in view.reason

    @staticmethod
    def written(root: Path, files: dict[str, bytes]) -> Path:
        (root / FOLDER).mkdir(parents=True)
        for name, content in files.items():
            (root / FOLDER / name).write_bytes(content)
        return root


def sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}


def few_images() -> dict[str, bytes]:
    """The files of CIFAR-10 with 20 images in each batch."""

    def batch(seed: int) -> dict[bytes, Any]:
        rows = np.random.default_rng(seed).integers(1, 256, (20, 3072), dtype=np.uint8)
        return {b"data": rows, b"labels": [row % 10 for row in range(20)]}

    names = [name for name in RELEASES["cifar10"].files if name != "batches.meta"]
    files = {name: pickle.dumps(batch(seed)) for seed, name in enumerate(names)}
    return {**files, "batches.meta": pickle.dumps({b"label_names": [b"class %d" % n for n in range(10)]})}


# An engine that counts until it is killed.
COUNT = """
import sys, time
from pathlib import Path
from engine.runs import MetricsWriter, RunFolder, SummaryWriter
run = RunFolder(Path(sys.argv[1]))
run.lock.acquire(1)
log, summary = MetricsWriter(run.path / "metrics.jsonl"), SummaryWriter(run.path / "summary.json")
facts, step = {**run.summary(), "state": "running", "steps": 10**6}, 0
while True:
    log.append({"kind": "step", "step": step, "loss": 1.0})
    summary.write_if_due({**facts, "step": step})
    step += 1
    time.sleep(0.01)
"""
COUNTING = (sys.executable, "-P", "-c", COUNT)

REUSED = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from engine import launch, process
from engine.runs import create
from tui import cli

def take_over(pid):
    for _ in range(100):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError as error:
            print(error, file=sys.stderr)
            sys.exit(77)
        stranger = subprocess.Popen(["sleep", "600"])
        if stranger.pid == pid:
            return stranger
        stranger.kill()
        stranger.wait()
    sys.exit(f"pid {pid} did not come back")

run = create(Path(sys.argv[1]), "train: {device: cpu}\\n", {"state": "starting"}, {"name": "one"})
launch.start(run, "a test", engine_command=sys.argv[2:])
while run.view().step == 0:
    time.sleep(0.02)
attempt = run.newest_attempt()
victims = [attempt.supervisor(), attempt.engine()]
for victim in victims:
    process.send(victim, signal.SIGKILL)
while Path(f"/proc/{victims[0].pid}").exists():
    time.sleep(0.02)
os.waitpid(victims[1].pid, 0)  # an orphan by now, whose parent is the first process of its namespace
strangers = [take_over(victim.pid) for victim in victims]
found = {"identities": [process.status(victim) for victim in victims], "state": run.view().state}
found["stop"] = cli.main(["--stop", run.id, "--runs", sys.argv[1]])
found["kill"] = launch.stop(run, signal.SIGKILL)
launch.resume(run, engine_command=[sys.executable, "-c", ""])
found["resumed"] = launch.wait(run).state
time.sleep(0.1)
found["strangers"] = [stranger.poll() for stranger in strangers]
print(json.dumps(found))
"""


def test_strangers_that_get_the_pids_of_a_dead_run_are_neither_it_nor_signalled(apart: Apart, tmp_path: Path) -> None:
    options = ["--pid", "--fork", "--kill-child", "--mount-proc"]
    found = json.loads(apart(options, REUSED, tmp_path / "runs", *COUNTING).splitlines()[-1])
    assert found["identities"] == ["dead", "dead"]
    assert found["state"] == "crashed"
    assert (found["stop"], found["kill"]) == (2, False)
    assert found["resumed"] == "finished"
    assert found["strangers"] == [None, None]


MOUNTED = """
import json, os, shutil, sqlite3, subprocess, sys, time
from pathlib import Path
there, mounted = Path(sys.argv[1]), Path(sys.argv[2])
if shutil.which("bindfs") is None or subprocess.run(["bindfs", "--no-allow-other", there, mounted]).returncode:
    print("needs bindfs, and leave to mount it", file=sys.stderr)
    sys.exit(77)
from engine import launch, run_index
from engine.runs import RunFolder, create, list_runs
root = mounted / "runs"
run = create(root, "train: {device: cpu}\\n", {"state": "starting"}, {"name": "one"})
launch.start(run, "a test", engine_command=[sys.executable, "-c", ""])
found = {"state": launch.wait(run).state, "remote": run_index.on_network(root)}
list_runs(root)
run_index.of.cache_clear()
list_runs(root)
found["read again"] = run_index.of(root).folders_read
(cache,) = Path(os.environ["XDG_CACHE_HOME"], "cifar-tui").glob("runs-*.db")
found["journal"] = sqlite3.connect(cache).execute("PRAGMA journal_mode").fetchone()[0]
RunFolder(there / "runs" / run.id).set_user(name="renamed elsewhere")
while list_runs(root)[0].name == "one":
    time.sleep(0.05)
found["name"] = list_runs(root)[0].name
subprocess.run(["fusermount", "-u", mounted], check=True)
print(json.dumps(found))
"""


def test_on_a_mounted_file_system_runs_live_and_their_index_is_kept_at_home(apart: Apart, tmp_path: Path) -> None:
    there, mounted = tmp_path / "there", tmp_path / "mounted"
    there.mkdir()
    mounted.mkdir()
    found = json.loads(apart(["--mount"], MOUNTED, there, mounted).splitlines()[-1])
    assert (found["state"], found["remote"]) == ("finished", True)
    assert (found["read again"], found["journal"]) == (0, "delete")
    assert found["name"] == "renamed elsewhere"
    assert not list((there / "runs").glob(".index.db*"))


# What each of some command lines gives on a host of another name that booted another time and has other processes.
ELSEWHERE = """
import io, json, socket, subprocess, sys
from contextlib import redirect_stderr, redirect_stdout
socket.sethostname("lab-gpu7")
subprocess.run(["mount", "--bind", sys.argv[1], "/proc/sys/kernel/random/boot_id"], check=True)
from tui import cli
answers = []
for arguments in json.loads(sys.argv[2]):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = cli.main(arguments)
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


class TestAnotherHost:
    """A run in progress here, and what a second host makes of its folder."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Iterator[RunFolder]:
        """A run that goes on until it is stopped."""
        made = create(tmp_path / "runs", "train: {device: cpu}\n", {"state": "starting"}, {"name": "far away"})
        launch.start(made, "a test", engine_command=COUNTING)
        deadline = time.monotonic() + PATIENCE_S
        while made.view().step == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield made
        process.send(engine_of(made), signal.SIGKILL)
        launch.wait(made, PATIENCE_S)

    @pytest.mark.parametrize("copied", [False, True], ids=["shared", "copied"])
    def test_it_is_unknown_and_only_looked_at(self, apart: Apart, run: RunFolder, tmp_path: Path, copied: bool) -> None:
        root = run.path.parent
        if copied:
            root = Path(shutil.copytree(root, tmp_path / "copied"))
        (tmp_path / "boot_id").write_text("00000000-0000-0000-0000-000000000000\n")
        looks = [["--list"], ["--show", "last"], ["--export", "last"], ["--list", "state:unknown", "--json"]]
        acts = [["--resume", "last"], ["--resume", "last", "--queue"], ["--stop", "last"], ["--delete", "last"]]
        acts += [["--pause", "last"], ["--continue", "last"]]
        commands = [[*command, "--runs", str(root)] for command in (*looks, *acts)]
        options = ["--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        answers = json.loads(apart(options, ELSEWHERE, tmp_path / "boot_id", json.dumps(commands)).splitlines()[-1])
        seen, refused = answers[: len(looks)], answers[len(looks) :]
        here = os.uname().nodename
        assert [code for code, _, _ in seen] == [0] * len(looks)
        assert "unknown" in seen[0][1]
        assert f"on {here}, last sign" in seen[1][1]
        assert "step" in seen[2][1]
        assert [entry["host"] for entry in json.loads(seen[3][1])] == [here]
        for (code, _, said), command in zip(refused, acts, strict=True):
            assert (code, here in said) == (2, True), f"{command}: {said}"
        self.goes_on(run)

    @staticmethod
    def goes_on(run: RunFolder) -> None:
        """The run lost nothing, and nobody began another attempt."""
        view = run.view()
        assert (view.state, view.attempt) == ("running", 1)
        steps = [record["step"] for record in MetricsTail(run.path / "metrics.jsonl").poll()]
        assert steps == list(range(len(steps)))
        assert process.status(engine_of(run)) == "alive"


def engine_of(run: RunFolder) -> process.Identity:
    attempt = run.newest_attempt()
    assert attempt is not None
    engine = attempt.engine()
    assert engine is not None
    return engine
