"""What the Run screen says of a run beside its plots: lines and groups of facts, computed without a terminal."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.curves import Points
from engine.runs import RunView
from engine.tested import beyond_published, published_accuracy, tested
from tui import format, glyphs, parameter_budget
from tui.configuration import Settings
from tui.run_plots import Series, best, watched_set

LOSSES = {"cross_entropy": "cross-entropy", "mse": "squared error", "bce": "binary cross-entropy", "huber": "Huber"}
SCHEDULES = {"multistep": "milestones", "one_cycle": "one cycle"}
PHASES_UNSAID = frozenset({"", "training", "evaluating"})  # a phase of a second in each epoch would only flicker
SPARK_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Fact:
    """A label, its value, and a remark or a spark's samples beside it. Strong is the one figure that one looks for."""

    label: str
    value: str
    remark: str = ""
    spark: tuple[float, ...] = ()
    strong: bool = False
    role: str = "text"


@dataclass(frozen=True, slots=True)
class Group:
    """Facts under one head; `columns` are the heads over value and remark, where the group is a table."""

    title: str
    facts: tuple[Fact, ...]
    columns: tuple[str, str] = ("", "")
    note: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while a run trains: its settings by dotted key, its model, the slot it has."""

    settings: Settings = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    slot: str = ""

    @property
    def loss(self) -> str:
        """The name of the loss, as the unit of its plot."""
        kind = self.settings.get("train.loss.kind", "")
        smoothing = self.settings.get("train.loss.label_smoothing", "0")
        name = LOSSES.get(kind, kind)
        return name if smoothing in ("0", "0.0", "null") else f"{name}, smoothed {smoothing}"

    @property
    def judges(self) -> bool:
        """Whether a set is evaluated while the run trains."""
        watched = self.settings.get("train.watch", "validation")
        return watched == "test" or (watched == "validation" and self.settings.get("data.validation", "") != "0")

    @property
    def schedule(self) -> str:
        kind = self.settings.get("optimizer.schedule.kind", "")
        return SCHEDULES.get(kind, kind)

    @property
    def early_stopping(self) -> str:
        patience = self.settings.get("train.early_stopping.patience", "")
        return f"stops at {patience}" if patience else "no early stop"


def last_values(points: Points, count: int = SPARK_SAMPLES) -> tuple[float, ...]:
    """The newest values of a series, for a spark."""
    return tuple(points[1][-count:])


def last_finite(series: Series, name: str) -> float | None:
    """The newest finite value of a series."""
    return next((y for y in reversed(series(name, "step")[1]) if math.isfinite(y)), None)


def best_group(view: RunView, series: Series, about: About) -> Group:
    """Best so far: accuracy and loss with their epochs, how long ago, and what was published.

    Of a run that looks at no other set while it trains, there is only what the test set says at its end.
    """
    judged = watched_set(series)
    facts = []
    if about.judges:
        facts = [
            _best_fact(f"{judged}_accuracy", view, series, strong=True),
            _best_fact(f"{judged}_loss", view, series),
            _since_best(view, series, judged, about),
        ]
    if (accuracy := tested(view)) is not None:
        facts.append(Fact("test accuracy", f"{format.accuracy(accuracy)} %", _of_checkpoint(view), strong=True))
    elif not about.judges:
        facts.append(Fact("test accuracy", _not_yet(view), "at the end" if view.live else ""))
    facts.append(_published(view))
    best_title = "Best so far" if view.live else "Best"
    return Group(best_title if about.judges else "Test", tuple(facts))


def _best_fact(name: str, view: RunView, series: Series, strong: bool = False) -> Fact:
    """By the curves, or as the run's own summary has it where they cannot be read."""
    label, top = name.replace("_", " "), best(series, name)
    value, epoch = (top.value, top.epoch) if top else (None, None)
    if value is None and view.best_metric == name:
        value, epoch = view.best, view.best_epoch
    if value is None:
        return Fact(label, _not_yet(view))
    shown = format.loss(value) if name.endswith("loss") else f"{format.accuracy(value)} %"
    return Fact(label, shown, "" if epoch is None else f"epoch {format.epochs(epoch)}", strong=strong)


def _not_yet(view: RunView) -> str:
    """What stands where a figure will be; a run that is over never gets it."""
    return glyphs.active().ellipsis if view.live else format.unknown()


def _of_checkpoint(view: RunView) -> str:
    """Beside the test accuracy of the best checkpoint that of the last, where both were tested."""
    if view.test is None:
        return "last epoch"
    return "best epoch" if view.test_last is None else f"last {format.accuracy(view.test_last)}"


def _since_best(view: RunView, series: Series, judged: str, about: About) -> Fact:
    top = best(series, f"{judged}_accuracy")
    epochs = series(f"{judged}_accuracy", "epoch")[0]
    value = _not_yet(view) if top is None else f"{format.epochs(epochs[-1] - top.epoch)} ep"
    return Fact("since best", value, about.early_stopping)


def _published(view: RunView) -> Fact:
    figure, beyond = published_accuracy(view), beyond_published(view)
    if figure is None:
        return Fact("published", format.unknown())
    of = "of the last" if view.published.get("checkpoint") == "last" and view.test is not None else "on test"
    return Fact("published", f"{format.accuracy(figure)} %", of if beyond is None else f"{format.delta(beyond)} {of}")


def now_group(view: RunView, series: Series, about: About) -> Group:
    """The newest figures of training; of a run that is over, those at its end."""
    rate = last_finite(series, "images_s")
    judged = watched_set(series)
    evaluation = last_finite(series, "eval_s") if about.judges else None
    norm = last_finite(series, "grad_norm")
    facts = [
        Fact("learning rate", format.learning_rate(last_finite(series, "lr")), about.schedule),
        Fact(
            "throughput", format.throughput(rate or view.images_s, "/s"), spark=last_values(series("images_s", "step"))
        ),
        Fact(
            "epoch time",
            format.duration(last_finite(series, "epoch_s")),
            "" if evaluation is None else f"{judged} {format.duration(evaluation)}",
        ),
        Fact("grad norm", _norm(norm), spark=last_values(series("grad_norm", "step"))),
    ]
    if about.judges:
        gap = _gap(series, judged) or _not_yet(view)
        facts.append(Fact(f"train {glyphs.active().minus} {judged}", gap, "points"))
    return Group("Now" if view.live else "At the end", tuple(facts))


def _norm(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return format.unknown()
    return f"{value:.2f}" if value < 100 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


def _gap(series: Series, judged: str) -> str:
    train, other = last_finite(series, "train_accuracy"), last_finite(series, f"{judged}_accuracy")
    if train is None or other is None:
        return ""
    gap = train - other
    return f"{gap:.2f}" if gap >= 0 else f"{glyphs.active().minus}{-gap:.2f}"


def device_name(view: RunView) -> str:
    """`cuda:0 NVIDIA H200` as `H200 0`, `cpu AMD EPYC` as `AMD EPYC`."""
    place, _, name = view.device.partition(" ")
    kind, _, index = place.partition(":")
    name = name.removeprefix("NVIDIA ").strip()
    if kind == "cuda":
        return f"{name or 'GPU'} {index or 0}"
    return name or place


def device_group(view: RunView, samples: Sequence[Mapping[str, Any]], about: About, live_cores: int | None) -> Group:
    """What the device of the run does, by the newest samples of its machine. `live_cores` are those of this machine."""
    title = f"Device  {device_name(view)}".rstrip()
    if not samples:
        waiting = "first figures in 5 s" if view.live else "no figures were kept"
        return Group(title, (), note=waiting)
    facts = _gpu_facts(view, samples, about) if view.device.startswith("cuda") else ()
    note = "no GPU figures: driver library not found" if view.device.startswith("cuda") and not facts else ""
    newest = samples[-1]
    cpu = _figure(newest, "cpu")
    cores = f"of {live_cores} cores" if live_cores else ""
    trend = () if facts else _trend(samples, "cpu")
    ram, total = _figure(newest, "ram_used"), _figure(newest, "ram_total")
    machine = [
        Fact("CPU", format.percent(cpu), cores, spark=trend),
        Fact("RAM", format.memory(ram), _of(ram, total)),
    ]
    engine = _figure(newest, "engine_rss")
    if engine is not None and not facts:
        machine.append(Fact("engine", format.memory(engine), "resident"))
    return Group(title, (*facts, *machine), note=note)


def _gpu_facts(view: RunView, samples: Sequence[Mapping[str, Any]], about: About) -> tuple[Fact, ...]:
    seen = [gpu for sample in samples if (gpu := _gpu_of(view, sample, about.slot))]
    if not seen:
        return ()
    gpu = seen[-1]
    used, total = _figure(gpu, "memory_used"), _figure(gpu, "memory_total")
    return (
        Fact("utilisation", format.percent(_figure(gpu, "utilization")), spark=_trend(seen, "utilization")),
        Fact("memory", format.memory(used), _of(used, total)),
        Fact("temperature", format.temperature(_figure(gpu, "temperature")), _range_of(seen, "temperature")),
        Fact("power", format.power(_figure(gpu, "power")), spark=_trend(seen, "power")),
    )


def _gpu_of(view: RunView, sample: Mapping[str, Any], slot: str) -> Mapping[str, Any] | None:
    """The GPU of the run among those of its machine: by its slot's UUID, else by number."""
    gpus = sample.get("gpus")
    found = [gpu for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list | tuple) else []
    by_slot = [gpu for gpu in found if slot and gpu.get("uuid") == slot]
    number = view.device.partition(" ")[0].partition(":")[2]
    by_number = [gpu for gpu in found if number.isdigit() and gpu.get("index") == int(number)]
    return next(iter([*by_slot, *by_number, *found]), None)


def _trend(samples: Sequence[Mapping[str, Any]], name: str) -> tuple[float, ...]:
    values = (_figure(sample, name) for sample in samples[-SPARK_SAMPLES:])
    return tuple(math.nan if value is None else value for value in values)


def _range_of(samples: Sequence[Mapping[str, Any]], name: str) -> str:
    """`58 to 63`: the least and the greatest of the samples."""
    values = [value for sample in samples if (value := _figure(sample, name)) is not None]
    return f"{min(values):.0f} to {max(values):.0f}" if values else ""


def _figure(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _of(used: float | None, total: float | None) -> str:
    """`of 80.0`, with its unit where that is not the one of `used`."""
    if total is None:
        return ""
    amount, _, unit = format.memory(total).partition(" ")
    return f"of {amount}" if format.memory(used).endswith(unit) else f"of {amount} {unit}"


def waiting_for(view: RunView, waited_s: float | None, unreadable: int = 0) -> str:
    """What stands where curves will be while there are none: what the engine last said, and for how long.

    `unreadable` is the number of lines of its log that gave no record.
    """
    if unreadable:
        return unreadable_words(unreadable)
    if view.state == "queued":
        return "waits in the queue"
    if not view.live:
        return "no step was recorded"
    doing = f"{view.state}: {view.phase}" if view.phase not in PHASES_UNSAID else view.state
    waited = f", {format.duration(float(int(waited_s)))}" if waited_s is not None and waited_s >= 2 else ""
    return doing + waited


def unreadable_words(lines: int) -> str:
    """Why curves are missing or have gaps."""
    return f"{lines:,} line{'' if lines == 1 else 's'} of metrics.jsonl cannot be read"


def cores() -> int | None:
    """Cores of this machine."""
    return os.cpu_count()


def model_group(view: RunView, about: About, budget: int = parameter_budget.USUAL) -> Group:
    """Size and cost of the network, beside the number of parameters that it should not exceed."""
    parameters = view.parameters if view.parameters is not None else _figure(about.model, "parameters")
    macs = view.macs if view.macs is not None else _figure(about.model, "macs")
    activations, batch = _figure(about.model, "activation_bytes"), view.batch_size
    if parameters is None:
        return Group("Model", (), note="not built yet" if view.live else "")
    share = f"{100 * parameters / budget:.1f} % of {parameter_budget.shown(budget)}"
    facts = [
        Fact("parameters", format.thousands(parameters), share),
        Fact("MACs", format.macs(macs, fact=True), "per image"),
        Fact("FLOPs", format.macs(None if macs is None else 2 * macs, fact=True), f"2 {glyphs.active().times} MACs"),
    ]
    if activations is not None:
        facts.append(Fact("activations", format.memory(activations), f"batch {batch}" if batch else ""))
    return Group("Model", tuple(facts))


def groups(
    view: RunView, series: Series, samples: Sequence[Mapping[str, Any]], about: About, budget: int
) -> list[Group]:
    """All that stands at the right of the plots, top to bottom."""
    return [
        best_group(view, series, about),
        now_group(view, series, about),
        device_group(view, samples, about, cores() if view.live else None),
        model_group(view, about, budget),
    ]
