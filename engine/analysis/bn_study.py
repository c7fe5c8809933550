"""The study of BatchNorm: a VGG with and without it, trained alike, and how smooth their losses are along the way.

A member is one network that is trained: two of them along the gradient, two for each learning rate for the envelope.
Members are saved as they go, so that a study which was interrupted goes on where it stopped.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from engine import atomic, checkpoint, compiling, composition, device, experiment, figures, strict_yaml
from engine.analysis import landscape, source
from engine.analysis.landscape import LayerTrack, Point
from engine.checkpoint import Checkpointer
from engine.composition import Override
from engine.data.dataset import Dataset
from engine.device import Runtime
from engine.errors import UserError
from engine.experiment import Experiment
from engine.optim.sam import frozen_statistics
from engine.options.architecture import Vgg
from engine.options.bn_study import BatchNormStudy, BatchNormStudyOverrides
from engine.ownership import make_folder
from engine.runs import prepare_root
from engine.training import Training
from engine.validation import sentences

NAMES = {False: "VGG", True: "VGG + BatchNorm"}
# What would make the steps of two networks differ by more than BatchNorm, or end one of them early.
WITHOUT = {"ema": None, "early_stopping": None, "selection": None}
SAVE_S, SAY_S = 30.0, 5.0
SERIES_BYTES = 64 << 20
TITLES = {
    "gradient": ("Loss landscape", "Gradient predictiveness", "Effective beta-smoothness"),
    "envelope": ("Loss Landscape", "Grad Dist Landscape", "Beta Landscape"),
}


@dataclass(frozen=True)
class Member:
    """One network to train, and where it is kept."""

    batch_norm: bool
    experiment: Experiment
    folder: Path

    @property
    def label(self) -> str:
        """Such as "VGG + BatchNorm, lr 0.001"."""
        return f"{NAMES[self.batch_norm]}, lr {self.experiment.optimizer.lr:g}"


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Run the study of ``preset`` with the overrides ``set`` and ``study``, or go on with it; in ``runs``/studies.

    Returns, and writes as result.json beside the figures, the curves of both networks and their medians. Raises
    UserError when the preset is no VGG or ``runs`` is not ours alone, KeyboardInterrupt once everything is saved.
    """
    figures.require()
    study = read_study([_override(pair) for pair in question["study"]])
    base = experiment.load(question["preset"], [_override(pair) for pair in question["set"]])
    root = Path(question["runs"])
    folder = root / "studies" / f"bn_study-{_hash(base, study)}"
    members = plan(base, study, folder)
    prepare_root(root)
    make_folder(folder)
    compiling.keep_kernels(folder)
    runtime = replace(device.settle(base.train, base.total_steps), compile=False, graph=False)
    device.apply(runtime)
    data = source.trained_data(base.data).to(runtime.device)
    done = {id(member): train(member, study, data, runtime) for member in members}
    networks = []
    for batch_norm, name in NAMES.items():
        series = [done[id(member)] for member in members if member.batch_norm == batch_norm]
        points = [[Point(*row) for row in one["points"]] for one in series]
        joined = points[0] if len(points) == 1 else landscape.envelope(points)
        networks.append(landscape.network_to_json(name, series[0]["step"], joined))
    result = {
        "schema": 1,
        "written": time.time(),
        "method": study.method,
        "preset": base.name,
        "study": study.model_dump(mode="json"),
        "networks": networks,
        "summary": [_summary(network) for network in networks],
        "points": len(networks[0]["step"]),
    }
    atomic.write_json(folder / "result.json", result)
    files = [*draw(result, folder), folder / "result.json"]
    return {**result, "files": [str(file) for file in files]}


def read_study(overrides: Sequence[Override]) -> BatchNormStudy:
    """The study's options from overrides such as ("study.every", "20"). Raises UserError as a preset does."""
    tree = composition.compose(strict_yaml.parse("{}", "study"), "study", overrides)
    try:
        return BatchNormStudyOverrides.model_validate(tree.value).study
    except ValidationError as error:
        raise UserError("\n".join(sentences(error, tree, BatchNormStudyOverrides))) from None


def plan(base: Experiment, study: BatchNormStudy, folder: Path) -> list[Member]:
    """The members: along the gradient both start from the same seed, for the envelope each has one of its own."""
    if not isinstance(base.architecture, Vgg):
        family = base.architecture.family
        raise UserError(f"the BatchNorm study takes a VGG, with and without; {base.name} is a {family}")
    rates = study.learning_rates if study.method == "envelope" else (base.optimizer.lr,)
    members: list[Member] = []
    for batch_norm in NAMES:
        for rate in rates:
            seed = base.train.seed + (len(members) if study.method == "envelope" else 0)
            changed = {
                "architecture": base.architecture.model_copy(update={"batch_norm": batch_norm}),
                "optimizer": base.optimizer.model_copy(update={"lr": rate}),
                "train": base.train.model_copy(update={"seed": seed, **WITHOUT}),
            }
            name = f"{'vgg_bn' if batch_norm else 'vgg'}-lr{rate:g}"
            members.append(Member(batch_norm, base.model_copy(update=changed), folder / name))
    return members


def train(member: Member, study: BatchNormStudy, data: Dataset, runtime: Runtime) -> dict[str, Any]:
    """The series of a member: ``step`` and ``points``. Trains what is left of it."""
    finished = atomic.read_json(member.folder / "series.json", SERIES_BYTES)
    if finished is not None:
        source.say(f"{member.label}: done before")
        return _with_nan(finished)
    checkpoints = member.folder / "ckpt"
    for folder in (member.folder, checkpoints):
        folder.mkdir(mode=0o700, exist_ok=True)
    training = Training(member.experiment, runtime, data)
    track = LayerTrack(study.aligned)
    series: dict[str, Any] = {"step": [], "points": []}
    entries = checkpoint.candidates(checkpoints)
    if entries:
        state = checkpoint.load(checkpoints, entries[0])
        series, gradient, track.travelled = state.pop("series"), state.pop("gradient"), state.pop("travelled")
        track.gradient = None if gradient is None else gradient.to(training.device)
        training.load_state_dict(state, None)
        source.say(f"{member.label}: goes on at step {training.step}")
    _train(training, member, study, series, track)
    atomic.write_json(member.folder / "series.json", series)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return series


def _train(
    training: Training, member: Member, study: BatchNormStudy, series: dict[str, Any], track: LayerTrack
) -> None:
    checkpointer = Checkpointer(member.folder / "ckpt")
    saved = said = began = time.monotonic()
    first = training.step

    def save() -> None:
        state = {"series": series, "gradient": track.gradient, "travelled": track.travelled}
        checkpointer.save({**training.state_dict(), **state}, None, 0)

    with source.stopping_between_steps() as stop:
        while not training.finished:
            plan = training.draw_epoch()
            for position in training.remaining_positions():
                point = _step(training, study, track, plan, position)
                if point is not None:
                    series["step"].append(training.step)
                    series["points"].append(list(astuple(point)))
                now = time.monotonic()
                if now - said > SAY_S and series["points"]:
                    said = now
                    left = (now - began) / (training.step - first) * (training.experiment.total_steps - training.step)
                    source.say(_progress(training, member, series["points"][-1], left))
                if stop.is_set() or now - saved > SAVE_S:
                    saved = now
                    save()
                if stop.is_set():
                    checkpointer.close()
                    source.say(f"{member.label}: saved at step {training.step}; the same command goes on from there")
                    raise KeyboardInterrupt
            means = training.meters.read().epoch
            training.end_epoch({"train_loss": means.loss, "train_accuracy": means.accuracy}, None)
    checkpointer.close()
    source.say(f"{member.label}: {training.step} steps done")


def _step(training: Training, study: BatchNormStudy, track: LayerTrack, plan: Any, position: int) -> Point | None:
    """Take one training step; the point at it where one is due."""
    due = training.step % study.every == 0
    if study.method == "gradient":
        point = _probe(training, study, plan, position) if due else None
        training.take_step(plan, position)
        return point
    weight = last_linear(training.model).weight
    before = weight.detach().clone()
    training.take_step(plan, position)
    gradient = weight.grad if weight.grad is not None else torch.zeros_like(weight)
    change, beta = track.update(gradient, before, weight.detach())
    loss = training.meters.read().window.loss
    return Point(loss, loss, change, change, beta) if due else None


def _probe(training: Training, study: BatchNormStudy, plan: Any, position: int) -> Point:
    """Probe on the batch that the step is about to be taken with, in training mode, without moving the statistics."""
    size = training.experiment.train.batch_size
    index = plan.order[position * size : (position + 1) * size]
    images, targets = training.augment(training.data.train_images, training.data.train_labels, index, plan)
    images = images.contiguous(memory_format=training.runtime.memory_format)

    def loss_of() -> torch.Tensor:
        return training.loss(training.model(images), targets)

    steps = [study.largest_step * (number + 1) / study.probes for number in range(study.probes)]
    parameters = [parameter for parameter in training.model.parameters() if parameter.requires_grad]
    with frozen_statistics(training.model):
        return landscape.probe(parameters, loss_of, steps)


def last_linear(network: nn.Module) -> nn.Linear:
    """The classifier, the layer whose gradient the envelope is about."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """The three figures, with the source's axes."""
    loss, gradient, beta = TITLES[result["method"]]
    networks = result["networks"]
    return [
        *figures.keep(landscape.draw_band(networks, "loss", loss, "Loss"), folder, "loss"),
        *figures.keep(landscape.draw_band(networks, "gradient", gradient, "GradDist"), folder, "gradient"),
        *figures.keep(landscape.draw_beta(networks, beta), folder, "beta"),
    ]


def _summary(network: dict[str, Any]) -> dict[str, Any]:
    bands = {name: [_median(network[name][end]) for end in ("low", "high")] for name in ("loss", "gradient")}
    return {"name": network["name"], **bands, "beta": _median(network["beta"])}


def _median(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return median(finite) if finite else None


def _with_nan(series: dict[str, Any]) -> dict[str, Any]:
    """What JSON keeps as null is not-a-number again."""
    rows = [[math.nan if value is None else value for value in row] for row in series["points"]]
    return {**series, "points": rows}


def _progress(training: Training, member: Member, row: Sequence[float], left: float) -> str:
    done = f"step {training.step} of {training.experiment.total_steps}"
    return f"{member.label}: {done}, loss {row[0]:.3f} to {row[1]:.3f}, left {left:.0f} s"


def _override(pair: Sequence[str]) -> Override:
    key, value = pair
    return key, value


def _hash(base: Experiment, study: BatchNormStudy) -> str:
    deciding = json.dumps([base.config_hash, study.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(deciding.encode()).hexdigest()[:12]
