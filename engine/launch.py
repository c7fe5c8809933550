"""Starting, stopping and steering runs: what the command line, the terminal and the queue call.

The unit is always one detached supervisor with its engine, and the truth about it is always the run folder.
Whoever starts a run may vanish at once.
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

from engine import process, slots, strict_yaml, text
from engine.errors import UserError
from engine.runs import LIVE, Request, RunFolder, RunView
from engine.supervisor import ENGINE, ENGINE_BYTE, STARTED, SUPERVISOR_BYTE

READY_S = 60.0  # a cold Python on a busy network disk may take many seconds; a live one is never declared dead before
POLL_S = 0.2
SPIN_COUNT = "1000"


def start(run: RunFolder, by: str, *, slot: slots.Slot | None = None, engine_command: Sequence[str] = ()) -> None:
    """Start a run that waits. Returns once its engine has been started by a supervisor that no longer needs us.

    `engine_command` stands in place of ``python -P -m engine``. Raises UserError when the run has begun before, is in
    progress, belongs to another host, or could not be started.
    """
    check_free(run)
    if run.newest_attempt() is not None:
        raise UserError(f"run {run.id} has been started before; use --resume {run.id} to continue it")
    _launch(run, ["--by", by], slot, engine_command)


def resume(
    run: RunFolder,
    allow_inexact: bool = False,
    by: str = "",
    *,
    slot: slots.Slot | None = None,
    engine_command: Sequence[str] = (),
) -> None:
    """Continue a run that ended early, from its newest good checkpoint. Returns and raises as `start` does."""
    check_free(run)
    arguments = ["--by", by, "--resume", *(["--allow-inexact"] if allow_inexact else [])]
    _launch(run, arguments, slot, engine_command)


def stop(run: RunFolder, sig: int = signal.SIGTERM) -> bool:
    """Ask a run to end: SIGTERM and SIGINT finish the step and save, a second one leaves at once, a third kills.

    Goes to the supervisor, or to the engine where that was killed. False when neither lives here. Raises UserError for
    a run that is not ours alone, whose proc.json may name a process of ours that has nothing to do with it.
    """
    attempt = run.newest_attempt()
    if attempt is None:
        return False
    run.refuse_foreign()
    return any(identity and process.send(identity, sig) for identity in (attempt.supervisor(), attempt.engine()))


def pause(run: RunFolder, by: str) -> str:
    """Ask the engine to hold at the next step, keeping its memory and its slot; returns the request's id."""
    return _request(run, "pause", by)


def proceed(run: RunFolder, by: str) -> str:
    """Ask a paused engine to go on; returns the request's id."""
    return _request(run, "continue", by)


def checkpoint(run: RunFolder, by: str) -> str:
    """Ask for a checkpoint at the next step; returns the request's id, which its answer in metrics.jsonl carries."""
    return _request(run, "checkpoint", by)


def _request(run: RunFolder, kind: Request, by: str) -> str:
    view = run.view()
    refuse_elsewhere(view)
    if view.state not in LIVE - {"queued"}:
        raise UserError(f"run {run.id} is {view.state}; only a run in progress can do that")
    return run.request(kind, by)


def wait(run: RunFolder, timeout_s: float | None = None) -> RunView:
    """Until the run is over and its supervisor has written how, or the time is up; returns the run as it then is."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while (view := run.view()).state in LIVE or is_held(run):
        if deadline is not None and time.monotonic() >= deadline:
            return view
        time.sleep(POLL_S)
    return view


def is_held(run: RunFolder) -> bool:
    """Whether a supervisor or an engine of this run lives on this machine."""
    try:
        return run.lock.held_elsewhere(SUPERVISOR_BYTE) or run.lock.held_elsewhere(ENGINE_BYTE)
    except OSError:  # a lock that may not be read is none of ours
        return False


def check_free(run: RunFolder) -> None:
    """Raises UserError for a run that may not be started or continued from here now."""
    view = run.view()
    refuse_elsewhere(view)  # before the lock, which a network disk shows held to every host
    if is_held(run):
        raise UserError(f"run {run.id} is in progress; follow it with --watch {run.id}, end it with --stop {run.id}")
    if view.read_only:
        raise UserError(f"run {run.id} can only be looked at: {view.problem or 'others can write to its folder'}")
    if view.state == "finished":
        raise UserError(f"run {run.id} is finished; to train it further use --resume {run.id} --set train.epochs=N")


def refuse_elsewhere(view: RunView) -> None:
    """Raises UserError, with the host's name, for a run whose processes are those of another host or container."""
    if view.state == "unknown":
        raise UserError(f"run {view.id} may be in progress {view.reason}; start, stop or pause it there")


def train_settings(run: RunFolder) -> dict[str, Any]:
    """The ``train`` part of a run's configuration; empty where that cannot be read."""
    try:
        experiment = strict_yaml.parse(run.config_text(), "config.yaml").value
    except UserError:
        return {}
    train = experiment.get("train") if isinstance(experiment, dict) else None
    return train if isinstance(train, dict) else {}


def device_setting(run: RunFolder) -> str:
    """``train.device`` of a run: auto, cpu, mps, cuda or cuda:N, or, cleaned, what else somebody wrote there."""
    return text.clean(str(train_settings(run).get("device", "auto")))


def _launch(run: RunFolder, arguments: Sequence[str], slot: slots.Slot | None, engine_command: Sequence[str]) -> None:
    """Start a supervisor that outlives us and wait for its word. Raises UserError with the reason it gave."""
    command = [*ENGINE, "--supervise", str(run.path), *arguments]
    command += ["--slot", slot.name if slot else _likely_slot(run), "--", *engine_command]
    reader, writer = os.pipe()
    try:
        supervisor = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writer,
            start_new_session=True,
            env=_environment(run, slot),
        )
    finally:
        os.close(writer)
    # The supervisors that end while a terminal stays open for days must not remain behind it as zombies.
    threading.Thread(target=supervisor.wait, name="reaper", daemon=True).start()
    try:
        said = _read_until_closed(reader, READY_S).decode(errors="replace").strip()
    finally:
        os.close(reader)
    last = said.splitlines()[-1] if said else f"run {run.id} could not be started: its supervisor said nothing"
    if last != STARTED:
        raise UserError(last)


def _read_until_closed(descriptor: int, seconds: float) -> bytes:
    """What comes until the other end closes or the time is up."""
    deadline, data = time.monotonic() + seconds, b""
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(descriptor, 4096)
        if not piece:
            break
        data += piece
    return data


def _likely_slot(run: RunFolder) -> str:
    """Where a run will go that nobody sent anywhere: to the first GPU, if it may."""
    fitting = slots.suitable(slots.of_machine(), device_setting(run))
    return fitting[0].name if fitting else ""


def _environment(run: RunFolder, slot: slots.Slot | None) -> dict[str, str]:
    """Count GPUs by bus, as NVML does; fix cuBLAS workspaces where results must repeat, at a cost.

    OpenMP's threads shall wait for each other busily for microseconds only: by default they burn milliseconds of the
    core that the one they wait for needs, when other programs are there (`python -m benchmarks.threads`: a small
    network in two threads on two busy cores trains some seven times faster so).
    """
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | os.environ
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if train_settings(run).get("deterministic") is True:
        environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return environment | (slot.environment(device_setting(run)) if slot else {})
