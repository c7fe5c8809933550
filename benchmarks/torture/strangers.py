"""Two users of one machine, really two: what each can do to the other's runs, and what those can do to one."""

import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.torture.outcome import Budget, Outcome
from engine import checkpoint, continuation, figures, launch, queue, runs, trash
from engine.errors import UserError
from engine.process import Identity
from engine.runs import MetricsWriter, RunFolder, SummaryWriter

OWNER, STRANGER = 60_001, 60_002  # any two that are not root's
SECRET = "the owner's secret"
NO_ROOT = "needs root, to be two other users"


def strangers(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """A run of ours among strangers, and a stranger's run among ours."""
    ours = Outcome("every file and folder of a run tried by another user: none read, listed, changed or removed")
    theirs = Outcome("a run of another user's, with links and our pids in it: looked at, nothing else")
    if os.geteuid() != 0:
        ours.skipped = theirs.skipped = NO_ROOT
        return [ours, theirs]
    for place in (folder.parent, folder):
        place.chmod(0o711)
    # Rehearsed, to load what other users may not be able to read where Python lies in root's home.
    (folder / "rehearsal").mkdir()
    _make_ours(folder / "rehearsal" / "runs")
    for uid in (OWNER, STRANGER):
        (folder / str(uid)).mkdir(mode=0o755)
        os.chown(folder / str(uid), uid, uid)
    mine, other = folder / str(OWNER) / "runs", folder / str(STRANGER) / "runs"
    made = _as_user(OWNER, lambda: _make_ours(mine))
    for failure in _as_user(STRANGER, lambda: list(_attack(made))):
        ours.note(failure)
    witness = _sleeper(OWNER)
    try:
        _as_user(STRANGER, lambda: _make_theirs(other, mine.parent / "secret", witness))
        for failure in _as_user(OWNER, lambda: list(_visit(other))):
            theirs.note(failure)
        theirs.note("" if os.waitpid(witness, os.WNOHANG)[0] == 0 else "a process of ours was signalled")
        theirs.note(
            "" if (mine.parent / "secret").read_text() == SECRET else "a file of ours was written through a link"
        )
    finally:
        with suppress(ProcessLookupError):
            os.kill(witness, signal.SIGKILL)
            os.waitpid(witness, 0)
    return [ours, theirs]


def _as_user(uid: int, job: Callable[[], Any]) -> Any:
    """What a job gives in a child that is another user, with nothing that is private to this one."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(uid)
            os.write(writer, json.dumps(job()).encode())
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as said:
        answer = said.read()
    os.waitpid(pid, 0)
    return json.loads(answer or b'["the child ended without an answer"]')


def _become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.umask(0)


def _sleeper(uid: int) -> int:
    """A process of a user's that ends when it is signalled."""
    pid = os.fork()
    if pid == 0:
        _become(uid)
        time.sleep(600)
        os._exit(0)
    return pid


def _make_ours(root: Path) -> list[str]:
    """A run with all that a run has; returns every path."""
    (root.parent / "secret").write_text(SECRET)
    (root.parent / "secret").chmod(0o600)
    run = runs.create(root, "name: x\n", {"state": "queued"}, {"name": "x"})
    queue.pause(root)
    run.new_attempt().write_environment({"environment": {}})
    for name in ("metrics.jsonl", "log.txt"):
        MetricsWriter(run.path / name).close()
    SummaryWriter(run.path / "summary.json").write({"state": "finished"})
    run.set_user(note="y")
    run.request("stop", "me")
    runs.list_runs(root)
    runs.delete(runs.create(root, "", {"state": "stopped"}, {"name": "z"}))
    return [str(root), *map(str, root.rglob("*"))]


def _attack(paths: list[str]) -> Iterator[str]:
    """One failure, or "", for each way into each path."""
    ways: dict[str, Callable[[str], object]] = {
        "read": lambda path: os.open(path, os.O_RDONLY),
        "changed": lambda path: os.open(path, os.O_WRONLY | os.O_APPEND),
        "listed": os.listdir,
        "given another mode": lambda path: os.chmod(path, 0o777),
        "renamed": lambda path: os.rename(path, f"{path}.x"),
        "filled": lambda path: os.mkdir(f"{path}/x"),
        "replaced": lambda path: os.symlink("/etc/passwd", f"{path}.new"),
    }
    for path in paths:
        for name, way in ways.items():
            try:
                way(path)
            except OSError:
                yield ""
            else:
                yield f"{path} was {name} by another user"


def _make_theirs(root: Path, secret: Path, witness: int) -> list[str]:
    """A run that everybody may read, which names a process of another user's and links to that user's file."""
    run = runs.create(root, "name: theirs\n", {"state": "running"}, {"name": "theirs"})
    attempt = run.new_attempt()
    identity = Identity.of(witness)
    if identity:
        proc = {"schema": 1, "supervisor": identity.to_json(), "engine": identity.to_json()}
        (attempt.path / "proc.json").write_text(json.dumps(proc))
    for name in ("metrics.jsonl", "log.txt", "config.yaml", "user.json", "ckpt/manifest.json", "ckpt/ck_00000001.pt"):
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).symlink_to(secret)
    (run.path / "results").rmdir()
    (run.path / "results").symlink_to(secret.parent)
    (root / f".trash-{run.id[:-6]}000000").mkdir()
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)
    return []


def _visit(root: Path) -> Iterator[str]:
    """One failure, or "", for each thing that is refused, and for each that is only looked at."""
    (view,) = runs.list_runs(root)
    run = RunFolder(view.path)
    yield "" if view.read_only else "the run of another user is not read-only"
    seen = f"{view} {run.config_text()} {run.log_tail()} {run.user()}"
    yield f"{SECRET!r} is shown" if SECRET in seen else ""
    drawing = {"runs": [str(run.path)], "kind": "process", "checkpoint": None, "output": None}
    refused: dict[str, Callable[[], object]] = {
        "stopped": lambda: launch.stop(run),
        "killed": lambda: launch.stop(run, signal.SIGKILL),
        "paused": lambda: launch.pause(run, "me"),
        "resumed": lambda: launch.resume(run),
        "renamed": lambda: run.set_user(name="x"),
        "deleted": lambda: runs.delete(run),
        "loaded": lambda: checkpoint.weights(run.path / "ckpt", "last"),
        "continued": lambda: continuation.continue_from(root, run, []),
        "joined by a run of ours": lambda: runs.create(root, "", {}, {}),
        "queued in": lambda: queue.pause(root),
        "drawn into": lambda: figures.answer(drawing),
        "studied in": lambda: runs.prepare_root(root),
        "brought back from the trash": lambda: runs.undelete(root, trash.find(root, "last")),
    }
    for name, act in refused.items():
        try:
            act()
        except UserError:
            yield ""
        else:
            yield f"the run of another user could be {name}"
