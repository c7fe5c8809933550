"""The engine process of one run: holds its lock, trains, tests, and says in the run folder how it ended."""

import sys
import time
import traceback
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from engine import atomic, checkpoint, compiling, device, provenance
from engine.analysis import inclusion
from engine.checkpoint import Checkpointer, State
from engine.counting import count
from engine.counts_cache import Counts
from engine.data.dataset import Dataset
from engine.data.dataset import load as load_data
from engine.device import Runtime
from engine.errors import UserError
from engine.evaluate import LeftError
from engine.experiment import Experiment, loads
from engine.profile import Profile
from engine.recorder import Recorder, StopRequested
from engine.runs import RunFolder
from engine.test_set import evaluate_test_set
from engine.train import DivergedError, train
from engine.training import Training

FINISHED, FAILED, USER_ERROR = 0, 1, 2


def main(path: Path, *, resume: bool = False, allow_inexact: bool = False) -> int:
    """Train the run in ``path``, whose lock the caller holds, from its beginning or its newest good checkpoint.

    Returns the exit code.
    """
    run = RunFolder(path)
    resume = resume or _continues_another(run)
    try:
        start, problem = (_starting_point(run) if resume else None), None
    except UserError as error:
        start, problem = None, error
    facts: dict[str, Any] = {"state": "starting", "reason": "", "by": "", "ended": None, "exit": None, "problem": ""}
    with Recorder(run, facts) as recorder:
        try:
            if problem is not None:
                raise problem
            _run(run, recorder, start, allow_inexact)
        except StopRequested as stop:
            recorder.end("stopped", f"by {stop.by}" if stop.by else "", by=stop.by)
            return stop.code
        except DivergedError as error:
            return _ended(recorder, "diverged", str(error), FAILED)
        except UserError as error:
            return _ended(recorder, "failed", str(error), USER_ERROR)
        except torch.OutOfMemoryError as error:
            return _ended(recorder, "failed", _out_of_memory(run, error), FAILED)
        except Exception as error:
            traceback.print_exc()
            return _ended(recorder, "failed", _why(run, recorder, error), FAILED)
    return FINISHED


def _continues_another(run: RunFolder) -> bool:
    """Whether this is the first attempt of a run that begins at its parent's checkpoint."""
    return bool(run.summary().get("continues"))


def evaluate_again(path: Path, where: str = "") -> int:
    """Test the weights of a run that has ended once more, on the device `where` if one is named, and write its results
    anew. Returns the exit code."""
    run = RunFolder(path)
    changes = [("train.device", where)] if where else []
    try:
        experiment = loads(run.config_text(), str(run.path / "config.yaml"), changes)
        compiling.prepare(run)
        runtime = device.settle(experiment.train, experiment.total_steps)
        device.apply(runtime)
        state, entry = checkpoint.weights(run.path / "ckpt", "last")
        training = Training(experiment, runtime, load_data(experiment.data, report=_say))
        training.load_state_dict(state, checkpoint.load_best(run.path / "ckpt", entry))
        accuracies = evaluate_test_set(training, run)["test"]
    except UserError as error:
        print(f"cifar-tui: {error}", file=sys.stderr)
        return USER_ERROR
    for which, accuracy in accuracies.items():
        _say(f"{which} checkpoint: {accuracy:.2f} % on the test set")
    return FINISHED


@dataclass(frozen=True)
class StartingPoint:
    """A checkpoint that was found good: the state to continue from and the best weights it goes with."""

    state: State
    best: State | None


def _run(run: RunFolder, recorder: Recorder, start: StartingPoint | None, allow_inexact: bool) -> None:
    experiment = loads(run.config_text(), str(run.path / "config.yaml"))
    obstacle = compiling.prepare(run)
    runtime = _settle(experiment, start, allow_inexact)
    device.apply(runtime)
    recorder.write_summary(started=run.summary().get("started") or time.time(), phase="reading data")
    _write_runtime(run, runtime, compiling=runtime.compile)
    _write_code(run)
    counts = _write_model(run, experiment, runtime)
    recorder.update(parameters=counts.parameters, macs=counts.macs)
    refuse_lone_image(experiment, counts)
    data = _read_data(experiment, recorder)
    recorder.write_summary(phase="building")
    training = Training(experiment, runtime, data)
    if start is not None:
        training.load_state_dict(start.state, start.best)
        _say(f"resumed at step {training.step}, epoch {training.epoch:.2f}")
    recorder.write_summary(phase="compiling" if runtime.compile or runtime.graph else "building")
    was_compiled = start is not None and start.state["runtime"]["compile"]
    _compile(training, recorder, obstacle, exactly=was_compiled and not allow_inexact)
    _write_runtime(run, training.runtime)
    problem = training.capture()
    if problem:
        _say(f"the step is not captured in a graph: {problem}; training goes on step by step")
    if experiment.train.profile != "off":
        folder = run.results_folder("profile")
        training.profile = Profile(training.device, folder, trace=experiment.train.profile == "trace")
    checkpointer = Checkpointer(run.path / "ckpt", recorder.flush)
    try:
        train(training, recorder, checkpointer)
        recorder.write_summary(phase="testing", **training.progress())
        with training.timed("testing"):
            results = _test(training, run, recorder)
        if experiment.optimizer.algorithm == "dessilbi" and not checkpointer.problem:
            inclusion.record(run)
    finally:
        checkpointer.close()
        if training.profile:
            _say(_told(training.profile))
    reasons = ["early stopping" if training.stopped_early else "", checkpointer.problem]
    recorder.end("finished", "; ".join(filter(None, reasons)), phase="", **results, **training.progress())


def _compile(training: Training, recorder: Recorder, obstacle: str, *, exactly: bool) -> None:
    """Compile the step if that is wanted, else say wherever the run is looked at why it is not.

    Raises UserError where a resume shall go on ``exactly`` as the compiled step did.
    """
    why = training.compile(obstacle)
    if why and exactly:
        raise UserError(
            f"a resume would not be bit for bit the same: the step was compiled and cannot be now: {why}; "
            "add --allow-inexact to go on all the same"
        )
    if why:
        _say(f"the step is not compiled: {why}; training goes on uncompiled")
        recorder.note("compile", f"not compiled: {why}")
    elif training.runtime.compile:  # as the attempt before perhaps was not
        recorder.note("compile", "")


def _told(profile: Profile) -> str:
    try:
        return profile.finish()
    except RuntimeError as error:  # of a device that has failed no event can be read, and that failure is to be told
        return f"no profile: {error}".partition("\n")[0]


def _test(training: Training, run: RunFolder, recorder: Recorder) -> dict[str, Any]:
    try:
        return evaluate_test_set(training, run, recorder)
    except LeftError:  # all is trained and saved: a resume tests it
        recorder.leave_if_asked()
        raise


def _read_data(experiment: Experiment, recorder: Recorder) -> Dataset:
    """The data of the run. A download says how far it is wherever the run is watched, and ends where that is asked."""

    def report(line: str) -> None:
        _say(line)
        recorder.update(phase=line)
        recorder.leave_if_asked()

    return load_data(experiment.data, report=report)


def _settle(experiment: Experiment, start: StartingPoint | None, allow_inexact: bool) -> Runtime:
    """What every `auto` becomes; on a resume what it was, or a refusal that says what cannot be the same."""
    if start is None:
        return device.settle(experiment.train, experiment.total_steps)
    recorded = Runtime(**start.state["runtime"])
    fresh = device.settle(experiment.train, experiment.total_steps)
    differences = device.differences(recorded, fresh)
    if not differences:
        return replace(fresh, **device.reusable(recorded))
    sentence = f"a resume would not be bit for bit the same: {'; '.join(differences)}"
    if not allow_inexact:
        raise UserError(f"{sentence}; add --allow-inexact to go on all the same")
    _say(sentence)
    same_kind = recorded.device.split(":")[0] == fresh.device.split(":")[0]
    return replace(fresh, **device.reusable(recorded)) if same_kind else fresh


def _starting_point(run: RunFolder) -> StartingPoint | None:
    """The newest checkpoint to be trusted, the log cut where it was taken; None starts from the beginning."""
    folder = run.path / "ckpt"
    atomic.sweep(folder)
    entries = checkpoint.candidates(folder)
    if entries and not checkpoint.is_verified(folder):
        _say("ckpt/manifest.json is missing or damaged: checkpoints are tried unverified, newest first")
    for entry in entries:
        try:
            state = checkpoint.load(folder, entry)
            best = checkpoint.load_best(folder, entry)
            _check_belongs(run, state)
            run.truncate_metrics(entry.metrics_offset)
        except (UserError, ValueError) as problem:
            _say(f"checkpoint {entry.file} is not used: {problem}")
            continue
        return StartingPoint(state, best)
    if entries:
        raise UserError(f"none of the {len(entries)} checkpoints in {folder} can be used; log.txt says why for each")
    _say("no checkpoint yet: starting again from the beginning")
    if (run.path / "metrics.jsonl").exists():
        run.truncate_metrics(0)
    return None


def _check_belongs(run: RunFolder, state: State) -> None:
    experiment = loads(run.config_text(), str(run.path / "config.yaml"))
    accepted = {experiment.config_hash, run.summary().get("continues")}
    if state.get("config_hash") not in accepted:
        raise UserError(f"it is of experiment {state.get('config_hash')}, this run is {experiment.config_hash}")


def _write_runtime(run: RunFolder, runtime: Runtime, *, compiling: bool = False) -> None:
    attempt = run.newest_attempt()
    if attempt is not None:
        attempt.write_runtime({**runtime.to_json(), "compiling": compiling})


def _write_code(run: RunFolder) -> None:
    attempt = run.newest_attempt()
    if attempt is not None:
        provenance.write(attempt.path)


def _write_model(run: RunFolder, experiment: Experiment, runtime: Runtime) -> Counts:
    data = experiment.data
    counts = count(
        experiment.architecture, data.channels, data.size, data.classes, experiment.train.batch_size, runtime.precision
    )
    atomic.write_json(run.path / "model.json", {"schema": 1, **counts.to_json()})
    return counts


def refuse_lone_image(experiment: Experiment, counts: Counts) -> None:
    """Raises UserError where BatchNorm would meet one image with a map of 1x1: a single value has no variance."""
    norm = next((layer for layer in counts.layers if "BatchNorm" in layer.kind and prod(layer.shape[1:]) == 1), None)
    if norm is None or experiment.smallest_batch > 1:
        return
    batch = experiment.train.batch_size
    if batch == 1:
        raise UserError(f"BatchNorm {norm.name} cannot train on one image at a time; use a larger train.batch_size")
    raise UserError(
        f"the last batch of an epoch is one image ({experiment.data.train_images} in batches of {batch}), too few for "
        f"BatchNorm {norm.name}; use train.drop_last=true or another train.batch_size"
    )


def _ended(recorder: Recorder, state: str, reason: str, code: int) -> int:
    print(reason, file=sys.stderr, flush=True)
    recorder.end(state, reason, **({"exit": code} if code == USER_ERROR else {}))
    return code


def _why(run: RunFolder, recorder: Recorder, error: Exception) -> str:
    """One line for an error nobody foresaw; where a device failed, its driver's words and what is left to go on from.

    Kernels run behind the host's back: the step is the one at which their failure was noticed.
    """
    words = device.fault(error)
    if not words:
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    if "out of memory" in words:  # where it was not torch that allocated
        return _out_of_memory(run, error)
    where = run.summary().get("device") or "the device"
    kept = next((entry.step for entry in checkpoint.candidates(run.path / "ckpt")), None)
    left = (
        "no checkpoint was written" if kept is None else f"--resume {run.id} goes on from the checkpoint of step {kept}"
    )
    return f"{where} failed near step {recorder.step}: {words}; {left}"


def _out_of_memory(run: RunFolder, error: Exception) -> str:
    batch = loads(run.config_text()).train.batch_size
    detail = str(error).partition("Tried to allocate ")[2].partition(".  ")[0].partition(". GPU")[0]
    free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (0, 0)
    need = f" (needed {detail}; {free >> 20} of {total >> 20} MiB free)" if detail else ""
    return f"CUDA out of memory at batch {batch}{need}; try train.batch_size={_smaller(batch)}"


def _smaller(batch: int) -> int:
    return max(1, 1 << max(0, (batch - 1).bit_length() - 1))


def _say(line: str) -> None:
    print(line, flush=True)
