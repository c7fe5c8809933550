"""What New run says of an experiment before it runs: its cost, how long it will take, its schedule, its settings.

Plain values from an experiment, the counts of its network and the runs that were; nothing here needs a terminal.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from engine.counts_cache import Counts, LayerCount
from engine.experiment import Experiment
from engine.options.schedule import Plateau
from engine.precision import expected
from engine.runs import RunView
from engine.schedules import make_schedule
from tui import format, glyphs
from tui.past_runs import Wanted, images_an_epoch, nearest
from tui.plot.model import Curve, Plot
from tui.theme import Palette

STEP = 8
_SAMPLES = 400
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds an epoch will take, and what that rests on. `exact` where runs of this very network say so."""

    epoch_s: float
    runs: int
    device: str
    exact: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """One row: label, value, remark. `role` colours the value's remark; `strong` is the figure one looks for."""

    label: str
    value: str
    remark: str = ""
    strong: bool = False


def device_of(experiment: Experiment, gpu: str) -> str:
    """The name of the device it will run on, `gpu` being that of this machine ("" without one)."""
    device = experiment.train.device
    return (
        gpu if gpu and (device == "auto" or device.startswith("cuda")) else device.upper() if device == "mps" else "CPU"
    )


def batch_advice(experiment: Experiment | None, device: str) -> str:
    """That a GPU takes batches in multiples of eight faster, where the batch size is none; "" elsewhere.

    NVIDIA, "Matrix Multiplication Background" (2023): sizes that tensor cores take whole.
    """
    if experiment is None or device in ("CPU", "MPS", "") or experiment.train.batch_size % STEP == 0:
        return ""
    size = experiment.train.batch_size
    faster = max(int(size / STEP + 0.5), 1) * STEP
    return f"batch_size: {size} is fine, {faster} is faster here"


def estimate(experiment: Experiment, counts: Counts | None, past: Sequence[RunView], device: str) -> Estimate | None:
    """How long an epoch will take on `device`, by the past runs there: of this experiment, else of its network at
    this batch size, else of any network by its MACs. None where nothing is known."""
    network = experiment.architecture.name or experiment.architecture.family
    batch_size, dataset = experiment.train.batch_size, experiment.data.name
    wanted = Wanted(experiment.group_hash, network, batch_size, dataset, counts.macs if counts else None)
    found = nearest(wanted, [run for run in past if _fits(run, experiment, device)])
    if found is None:
        return None
    macs = 1 if found.exact or counts is None else counts.macs
    image_s = statistics.median(_image_s(run) / (1 if found.exact else run.macs or 1) for run in found.runs) * macs
    return Estimate(image_s * experiment.data.train_images, len(found.runs), device, exact=found.exact)


def _fits(run: RunView, experiment: Experiment, device: str) -> bool:
    named = run.device.partition(" ")[2] or run.device
    here = run.device.startswith("cpu") if device == "CPU" else device.lower() in named.lower()
    precision = experiment.train.precision
    same = precision == "auto" or not run.precision or run.precision == precision
    return bool(here and same and (run.images_s or 0) > 0)


def _image_s(run: RunView) -> float:
    """Seconds an image, evaluation and all: from the whole run where its length is known, else from its speed."""
    images = images_an_epoch(run)
    if images:
        return run.active_s / (run.epoch * images)
    return 1 / (run.images_s or 1)


def facts(
    experiment: Experiment | None,
    counts: Counts | None,
    activation_bytes: int | None,
    guess: Estimate | None,
    seeds: int,
    *,
    refused: str = "",
    narrow: bool = False,
) -> list[Fact]:
    """The rows of the pane but for the budget. What is not known yet is `…`, what cannot be known `–`.

    `refused` is why the network cannot be counted, "" where it can.
    """
    if experiment is None or refused:
        rows = [Fact(label, format.unknown()) for label in _labels(narrow)]
        return [Fact(rows[0].label, rows[0].value, refused), *rows[1:]]
    batch, shown = experiment.train.batch_size, expected(experiment.train.precision, experiment.train.device)
    times, pending = glyphs.active().times, glyphs.active().ellipsis
    memory = pending if activation_bytes is None else format.memory(activation_bytes * batch)
    time_rows = _time_facts(experiment, guess, seeds, narrow, pending if counts is None else format.unknown())
    if narrow:
        return [
            Fact("parameters", format.thousands(counts.parameters) if counts else pending, strong=True),
            Fact("MACs", format.macs(counts.macs, fact=True) if counts else pending),
            Fact("activations", memory),
            *time_rows,
        ]
    return [
        Fact(
            "parameters",
            format.thousands(counts.parameters) if counts else pending,
            format.parameters(counts.parameters) if counts else "",
            strong=True,
        ),
        Fact(
            "MACs",
            format.thousands(counts.macs) if counts else pending,
            f"{format.macs(counts.macs, fact=True)} per image" if counts else "",
        ),
        Fact("FLOPs", format.thousands(counts.flops) if counts else pending, f"2 {times} MACs, conv + linear"),
        Fact("activations", memory, f"batch {batch:,}, {shown}"),
        *time_rows,
    ]


def _labels(narrow: bool) -> tuple[str, ...]:
    return ("parameters", "MACs", *(() if narrow else ("FLOPs",)), "activations", "epoch", "in all")


def _time_facts(experiment: Experiment, guess: Estimate | None, seeds: int, narrow: bool, unknown: str) -> list[Fact]:
    signs = glyphs.active()
    epochs = experiment.total_epochs
    length = f"{epochs:.3g}" if epochs < 1000 else f"{epochs:,.0f}"
    runs = f"{seeds} run{'s' if seeds > 1 else ''} {signs.times} {length}"
    label = f"{seeds} seed{'s' if seeds > 1 else ''}" if narrow else runs
    order = "one after another" if seeds > 1 else "all epochs"
    if guess is None:
        return [Fact("epoch", unknown, "no run to tell from yet"), Fact(label, unknown, order)]
    plural = "s" if guess.runs > 1 else ""
    whose = f"median of {guess.runs} run{plural}" if guess.exact else f"by MACs of {guess.runs} run{plural}"
    epoch_s = format.duration(guess.epoch_s)
    total = format.remaining(guess.epoch_s * epochs * seeds, "", estimate=True)
    return [
        Fact(f"epoch, {guess.device}" if narrow else "epoch", epoch_s if guess.exact else f"{signs.about} {epoch_s}",
             f"{whose} on {guess.device}"),
        Fact(label, total, order),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of a budget of parameters a network takes."""

    limit: int
    share: float | None
    percent: str
    remark: str
    over: bool


def budget(parameters: int | None, limit: int) -> Budget:
    """`95.6 %`, `220,470 left`, or `+1,176,768 over`; `…` until the parameters are known."""
    if parameters is None:
        return Budget(limit, None, glyphs.active().ellipsis, "", over=False)
    left = limit - parameters
    remark = f"{left:,} left" if left >= 0 else f"+{-left:,} over"
    return Budget(limit, parameters / limit, format.percent(100 * parameters / limit, 1), remark, left < 0)


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Layers of one part of a network."""

    name: str
    detail: str
    parameters: int
    macs: int


def layer_groups(counts: Counts, most: int) -> list[LayerGroup]:
    """The parts of a network by the first word of their layers' names, at most `most` of them: the last sums up what
    is left out."""
    parts: dict[str, list[LayerCount]] = {}
    for layer in counts.layers:
        parts.setdefault(layer.name.partition(".")[0], []).append(layer)
    groups = [_group(name, layers) for name, layers in parts.items() if any(one.parameters for one in layers)]
    if len(groups) <= most:
        return groups
    rest = groups[most - 1 :]
    parameters, macs = sum(one.parameters for one in rest), sum(one.macs for one in rest)
    return [*groups[: most - 1], LayerGroup(f"{len(rest)} more", "", parameters, macs)]


def _group(name: str, layers: Sequence[LayerCount]) -> LayerGroup:
    shaped = [layer for layer in layers if layer.kind in ("Conv2d", "Linear")]
    width = f"{shaped[-1].shape[0]}" if shaped else ""
    blocks = len({layer.name.split(".")[1] for layer in layers if layer.name.count(".") > 1})
    times = glyphs.active().times
    detail = f"{times}{blocks}  {width}" if blocks > 1 else width
    return LayerGroup(name, detail, sum(one.parameters for one in layers), sum(one.macs for one in layers))


def schedule_plot(experiment: Experiment | None, palette: Palette) -> Plot:
    """The learning rate over the run."""
    xs, ys, _ = _learning_rates(experiment)
    curve = Curve(xs, ys, palette.style("accent"))
    end = experiment.total_epochs if experiment else 1.0
    return Plot(
        "learning rate", (curve,) if xs else (), x_label="", x_range=(0.0, end), floor=0.0, y_range=_from_nought(ys),
        head=False, left=6, right=1,
    )  # fmt: skip


def _from_nought(ys: Sequence[float]) -> tuple[float, float] | None:
    return (0.0, max(ys)) if ys and max(ys) > 0 else None


def schedule_remark(experiment: Experiment | None) -> str:
    """`peak 0.10 after epoch 5, 0 at 200`."""
    xs, ys, waits = _learning_rates(experiment)
    if experiment is None or not xs:
        return ""
    peak = max(ys)
    top = xs[ys.index(peak)]
    said = f"{_rate(peak)} throughout" if min(ys) == peak else f"peak {_rate(peak)}"
    if min(ys) < peak and top > 0:
        said += f" after epoch {_epoch(top)}"
    if waits:
        return f"{_rate(peak)} until a metric rests" if isinstance(experiment.optimizer.schedule, Plateau) else said
    if ys[-1] < peak:
        last = ys[-1] if ys[-1] > peak * _NOTHING else 0.0  # a cosine ends a hair above it
        said += f", {_rate(last)} at {_epoch(xs[-1])}"
    return said


def _rate(value: float) -> str:
    if 0.001 <= value < 100:
        digits = f"{value:.2f}" if value >= 0.01 and round(value, 2) == round(value, 4) else f"{value:.3g}"
        return digits
    return format.decay(value)


def _epoch(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 1000 else f"{value:,.0f}"


def _learning_rates(experiment: Experiment | None) -> tuple[list[float], list[float], bool]:
    """Epochs, learning rates, and whether they also depend on what the run measures."""
    if experiment is None:
        return [], [], False
    total, a_pass = experiment.total_steps, experiment.steps_per_epoch
    schedule = make_schedule(experiment.optimizer, total, a_pass)
    steps = sorted({round(index * (total - 1) / (_SAMPLES - 1)) for index in range(_SAMPLES)} | {schedule.warmup_steps})
    steps = [step for step in steps if step < total]
    rates = [schedule.learning_rate(step) for step in steps]
    return [min((step + (step == total - 1)) / a_pass, total / a_pass) for step in steps], rates, not schedule.is_pure


def summary(experiment: Experiment | None) -> list[tuple[int, str, str]]:
    """The settings in short as (depth, key, value): what a person would look for first."""
    if experiment is None:
        return []
    optimizer, train, data = experiment.optimizer, experiment.train, experiment.data
    schedule = optimizer.schedule.kind
    warmup = optimizer.warmup
    length = f"{warmup.epochs:g}" if warmup.epochs else f"{warmup.steps} steps" if warmup.steps else ""
    rows = [
        (0, "architecture", experiment.architecture.name or experiment.architecture.family),
        (0, "augmentation", experiment.augmentation.name or "custom"),
        (0, "optimizer", optimizer.name or optimizer.algorithm),
        (1, "lr", f"{optimizer.lr:g}"),
    ]
    momentum = getattr(optimizer, "momentum", None)
    rows += [(1, "momentum", f"{momentum:g}")] if momentum is not None else []
    rows += [
        (1, "weight_decay", format.decay(optimizer.weight_decay)),
        (1, "schedule", f"{schedule}, warmup {length}" if length else schedule),
        (0, "data", data.name),
        (0, "epochs", f"{experiment.total_epochs:g}"),
        (0, "batch_size", str(train.batch_size)),
        (0, "early_stopping", "none" if train.early_stopping is None else "on"),
        (0, "validation", str(data.validation)),
        (0, "loss", train.loss.kind),
        (0, "ema", "none" if train.ema is None else "on"),
        (0, "precision", train.precision),
        (0, "channels_last", train.channels_last),
        (0, "compile", train.compile),
        (0, "watch", train.watch),
        (0, "log_every", str(train.log_every)),
    ]
    return rows


def remarks(experiment: Experiment | None) -> dict[str, str]:
    """What stands beside fields in place of their help, by their names."""
    if experiment is None:
        return {}
    return {"batch_size": f"images a step; {experiment.steps_per_epoch:,} steps an epoch"}
