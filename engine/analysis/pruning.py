"""Pruning a trained network: accuracy against sparsity, and networks that really are smaller.

Each pruned layer loses the same part of its filters, or of the entries of a linear weight. ``path``: what entered Gamma
late goes first (Fu et al., ICML 2020); ``magnitude``: what is small. A filter goes with its bias and with the scale and
shift of the BatchNorm behind it, or else its channel would go on as a constant.
"""

import copy
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from engine import atomic, checkpoint, compiling, device, figures
from engine.analysis import compact, inclusion, source
from engine.analysis.inclusion import InclusionPath
from engine.counting import cost
from engine.data.dataset import Dataset
from engine.device import Runtime
from engine.errors import UserError
from engine.evaluate import Score, logits_of, score
from engine.experiment import Experiment
from engine.loading import Trained, load_trained
from engine.losses import make_loss
from engine.options.loss import CrossEntropy
from engine.options.optimizer import Sgd
from engine.runs import RunFolder
from engine.training import Training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Order = Literal["path", "magnitude"]
Masks = dict[str, Tensor]

# The epoch that stands for "never entered", as in the authors' code: later than any real one.
NEVER = 2000
FINETUNE_RATE, FINETUNE_MOMENTUM = 0.01, 0.9
TILES = 10


def path_scores(weight: Tensor, entered: Tensor) -> Tensor:
    """The norm of each filter (or the size of each entry) minus the epoch in which it entered: least goes first."""
    return magnitudes(weight).double() - torch.where(entered == 0, NEVER, entered)


def magnitudes(weight: Tensor) -> Tensor:
    """The 2-norm of each filter (out,) of (out, in, h, w), or the absolute value of each entry of a linear weight."""
    return weight.flatten(1).norm(dim=1) if weight.dim() == 4 else weight.abs()


def kept(scores: Tensor, ratio: float) -> Tensor:
    """What stays when ``ratio`` percent go, bool in the shape of ``scores``.

    The threshold is the percentile, interpolated linearly; a filter stays from it on, an entry above it.
    """
    if ratio == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = float(np.percentile(scores.double().cpu().numpy(), ratio))
    return scores.double() >= threshold if scores.dim() == 1 else scores.double() > threshold


@torch.no_grad()
def silence(network: nn.Module, masks: Masks, norm_after: dict[str, str]) -> None:
    """Set to zero what the masks leave out: filters with bias and BatchNorm, entries of linear weights."""
    for name, mask in masks.items():
        layer = network.get_submodule(name.removesuffix(".weight"))
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        if mask.dim() == 2:
            layer.weight.mul_(mask)
            continue
        layer.weight.mul_(mask.view(-1, 1, 1, 1))
        if layer.bias is not None:
            layer.bias.mul_(mask)
        if (after := norm_after.get(name.removesuffix(".weight"))) is not None:
            norm = network.get_submodule(after)
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight.mul_(mask)
            norm.bias.mul_(mask)


@dataclass(frozen=True)
class Job:
    """All that stays the same while the ratios are gone through."""

    trained: Trained
    data: Dataset
    runtime: Runtime
    scores: dict[str, Tensor]
    norm_after: dict[str, str]
    finetune: int
    folder: Path

    @property
    def experiment(self) -> Experiment:
        """What the run was."""
        return self.trained.experiment


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Prune a finished run at each of ``ratios`` (percent): table, networks and figures into results/pruning-ORDER.

    Also in the question: ``order`` (None: path where there is one), ``layers`` (a pattern; None: all convolutions),
    ``finetune`` (epochs), ``beside`` (a run whose filters are drawn beside), ``device``. Raises UserError for what does
    not fit the run.
    """
    figures.require()
    run = RunFolder(Path(question["run"]))
    job, order, path = _prepared(run, question)
    result: dict[str, Any] = {
        "schema": 1,
        "written": time.time(),
        "order": order,
        "checkpoint": job.trained.which,
        "layers": {name: scores.numel() for name, scores in job.scores.items()},
        "finetune": job.finetune,
        "sparse": _sparse_model(job, path) if path else None,
        "rows": [],
    }
    for ratio in question["ratios"]:
        result["rows"].append(_prune(job, ratio))
        atomic.write_json(job.folder / "result.json", result)
        source.say(_line(result["rows"][-1]))
    beside = load_trained(Path(question["beside"]), job.trained.which) if question["beside"] else None
    files = _figures(job, result, path, beside)
    return {**result, "files": [str(file) for file in files]}


def load_pruned(run: str | Path, ratio: float, order: Order | None = None) -> nn.Module:
    """See ``engine.load_pruned``."""
    trained = load_trained(run, "last")
    order = order or usual_order(trained.experiment)
    weights = checkpoint.load_weights(_folder(trained.run, order) / _file_name(ratio))
    if weights is None:
        command = f"cifar-tui --prune {trained.run.id} --order {order} --ratios {ratio:g}"
        raise UserError(f"run {trained.run.id} was not pruned by {order} at {ratio:g} %; {command} does it")
    return compact.fitted(trained.network, weights)


def usual_order(experiment: Experiment) -> Order:
    """By the path where training left one."""
    return "path" if experiment.optimizer.algorithm == "dessilbi" else "magnitude"


def _prepared(run: RunFolder, question: dict[str, Any]) -> tuple[Job, Order, InclusionPath | None]:
    trained = load_trained(run.path, "last")
    experiment = trained.experiment
    order: Order = question["order"] or usual_order(experiment)
    path = inclusion.read(run) if "path" in (order, usual_order(experiment)) else None
    train = experiment.train.model_copy(update={"device": question["device"] or experiment.train.device})
    compiling.keep_kernels(run.path)
    runtime = replace(device.settle(train, experiment.total_steps), compile=False, graph=False)
    device.apply(runtime)
    trained.network.to(runtime.device)
    folder = run.results_folder(_folder(run, order).name)
    if path is not None:
        inclusion.record(run)
    data = source.trained_data(experiment.data).to(runtime.device)
    norm_after = compact.trace(trained.network).norm_after
    scores = _scores(trained.network, question["layers"], path if order == "path" else None)
    return Job(trained, data, runtime, scores, norm_after, question["finetune"], folder), order, path


def _scores(network: nn.Module, pattern: str | None, path: InclusionPath | None) -> dict[str, Tensor]:
    """Scores of the weights to prune, by name: convolutions, or all whose name fits the pattern."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise UserError(f"--layers {pattern}: is not a regular expression: {error}") from None
    scores = {}
    for name, module in network.named_modules():
        key = f"{name}.weight"
        wanted = re.search(pattern, key) if pattern else isinstance(module, nn.Conv2d)
        if not (wanted and isinstance(module, nn.Conv2d | nn.Linear)):
            continue
        weight = module.weight.detach()
        if path is not None and key in path.entered:
            scores[key] = path_scores(weight, path.entered[key].to(weight.device))
        elif path is None:
            scores[key] = magnitudes(weight)
    if not scores:
        names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        raise UserError(f"--layers {pattern}: fits no weight that can be pruned; there are {', '.join(names)}")
    return scores


def _sparse_model(job: Job, path: InclusionPath) -> dict[str, Any]:
    """Accuracy of W*, and how much of it is not zero."""
    network = copy.deepcopy(job.trained.network)
    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    sparse = inclusion.sparse_weights(weights, path)
    network.load_state_dict(sparse)
    nonzero = {name: int((sparse[name] != 0).sum()) for name in path.support}
    return {
        "accuracy": _test(job, network).accuracy,
        "nonzero": nonzero,
        "weights": {name: sparse[name].numel() for name in path.support},
    }


def _prune(job: Job, ratio: float) -> dict[str, Any]:
    network = copy.deepcopy(job.trained.network)
    masks = {name: kept(scores, ratio) for name, scores in job.scores.items()}
    silence(network, masks, job.norm_after)
    pruned = _test(job, network)
    finetuned = None
    if job.finetune:
        network = _finetuned(job, network, masks)
        finetuned = _test(job, network)
    small = compact.shrink(network)
    parameters, macs = cost(small.cpu(), job.experiment.data.channels, job.experiment.data.size)
    weights = {name: tensor.detach().cpu() for name, tensor in small.state_dict().items()}
    checkpoint.save_weights(job.folder / _file_name(ratio), weights)
    return {
        "ratio": ratio,
        "filters": sum(mask.numel() for mask in masks.values()),
        "kept": sum(int(mask.sum()) for mask in masks.values()),
        "accuracy": pruned.accuracy,
        "loss": pruned.loss,
        "finetuned": finetuned.accuracy if finetuned else None,
        "parameters": parameters,
        "macs": macs,
    }


def _test(job: Job, network: nn.Module) -> Score:
    data = job.data
    normalise = job.trained.augmenter(data).to(job.runtime.device).normalize
    batch = job.experiment.train.eval_batch_size
    logits = logits_of(network, data.test_images, normalise, job.runtime, batch)
    return score(logits, data.test_labels, make_loss(CrossEntropy(), len(data.classes)))


def _finetuned(job: Job, network: nn.Module, masks: Masks) -> nn.Module:
    """Some epochs of SGD at a constant rate, in which what is out stays out after every step."""
    experiment = job.experiment
    lasting = {"epochs": float(job.finetune), "steps": None, "ema": None, "early_stopping": None, "selection": None}
    optimizer = Sgd(lr=FINETUNE_RATE, momentum=FINETUNE_MOMENTUM, weight_decay=experiment.optimizer.weight_decay)
    changed = {"optimizer": optimizer, "train": experiment.train.model_copy(update=lasting)}
    training = Training(experiment.model_copy(update=changed), job.runtime, job.data)
    training.model.load_state_dict(network.state_dict())
    training.model.train()
    while not training.finished:
        plan = training.draw_epoch()
        for position in training.remaining_positions():
            training.take_step(plan, position)
            silence(training.model, masks, job.norm_after)
        training.end_epoch({}, None)
    return training.model.eval()


def _line(row: dict[str, Any]) -> str:
    after = f", finetuned {row['finetuned']:.2f} %" if row["finetuned"] is not None else ""
    return (
        f"{row['ratio']:g} % out: test {row['accuracy']:.2f} %{after}, "
        f"{row['parameters']:,} parameters, {row['macs']:,} MACs"
    )


def _folder(run: RunFolder, order: Order) -> Path:
    return run.path / "results" / f"pruning-{order}"


def _file_name(ratio: float) -> str:
    return f"pruned_{ratio:g}.pt"


def _figures(job: Job, result: dict[str, Any], path: InclusionPath | None, beside: Trained | None) -> list[Path]:
    name = job.trained.run.view().name or job.trained.run.id
    files = figures.keep(draw_accuracy(_comparable(job, result), name), job.folder, "accuracy")
    if path is not None:
        files += figures.keep(inclusion.draw(inclusion.to_json(path), name), job.folder, "inclusion")
    key = [key for key, scores in job.scores.items() if scores.dim() == 1][-1:]
    if key:
        files += figures.keep(_draw_filters(job, key[0], path, beside), job.folder, "filters")
    networks = [job.folder / _file_name(row["ratio"]) for row in result["rows"]]
    return [*files, *networks, job.folder / "result.json"]


def _comparable(job: Job, result: dict[str, Any]) -> list[dict[str, Any]]:
    """The result, and that of the other order where the same layers were pruned by it before."""
    other: Order = "magnitude" if result["order"] == "path" else "path"
    known = atomic.read_json(_folder(job.trained.run, other) / "result.json")
    return [result, known] if known and known["layers"] == result["layers"] and known["rows"] else [result]


def draw_accuracy(results: Sequence[dict[str, Any]], title: str) -> "Figure":
    """Test accuracy against the part that is taken out, before and after finetuning, a colour for each order."""
    figure = figures.new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    for index, result in enumerate(results):
        rows = result["rows"]
        ratios = [row["ratio"] for row in rows]
        look = figures.stroke(index, len(rows))
        axes.plot(ratios, [row["accuracy"] for row in rows], label=f"pruned by {result['order']}", **look)
        if result["finetune"]:
            label = f"by {result['order']}, then finetuned ({result['finetune']} ep)"
            axes.plot(ratios, [row["finetuned"] for row in rows], label=label, **{**look, "linestyle": "--"})
    if results[0]["sparse"]:
        axes.axhline(results[0]["sparse"]["accuracy"], color="#808080", linestyle=":", label="W*")
    figures.finish(axes, "Taken out of each layer (%)", "Test accuracy (%)")
    axes.set_title(title)
    return figure


def filter_tiles(weight: Tensor, count: int = TILES) -> Tensor:
    """|w| of the first ``count`` filters (down) and input channels (across), a tile of h x w each, in one matrix."""
    tiles = weight.detach().abs()[:count, :count]
    rows, columns, height, width = tiles.shape
    return tiles.permute(0, 2, 1, 3).reshape(rows * height, columns * width)


def _draw_filters(job: Job, key: str, path: InclusionPath | None, beside: Trained | None) -> "Figure":
    weights = {name: tensor.cpu() for name, tensor in job.trained.network.state_dict().items()}
    panels = [(f"{_title(job.trained)}: W", weights[key])]
    if path is not None:
        panels.append((f"{_title(job.trained)}: W*", inclusion.sparse_weights(weights, path)[key]))
    if beside is not None:
        other = beside.network.state_dict().get(key)
        if other is None or other.dim() != 4:
            raise UserError(f"--beside: run {beside.run.id} has no filters {key}; take one of the same network")
        panels.append((_title(beside), other))
    return draw_filters(panels, key)


def draw_filters(panels: Sequence[tuple[str, Tensor]], key: str) -> "Figure":
    """The tiles of each panel side by side in grey, black for zero."""
    figure = figures.new_figure(3.6 * len(panels), 4.1)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, weight) in zip(grid, panels, strict=True):
        axes.imshow(filter_tiles(weight).numpy(), cmap="gray", vmin=0)
        axes.set_axis_off()
        axes.set_title(title, fontsize=9)
    figure.suptitle(f"|{key}|: filters down, input channels across", fontsize=10)
    return figure


def _title(trained: Trained) -> str:
    return trained.run.view().name or trained.run.id
