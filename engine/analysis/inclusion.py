"""The inclusion path of DessiLBI: in which epoch each filter or linear weight entered Gamma, and the sparse model W*.

Fu et al., ICML 2020 (arXiv 2007.02010), section 3: what enters early matters most. The optimiser keeps after how many
steps each of them entered, so that the path of a run is in its last checkpoint.
"""

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine import atomic, checkpoint, figures
from engine.errors import UserError
from engine.experiment import loads
from engine.loading import load_trained
from engine.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class InclusionPath:
    """What entered Gamma when, by the weight's name, over ``epochs`` of training.

    ``entered``: the epoch (from 1; 0 for never) in which each filter (out,) of a convolution, or each entry of a linear
    weight, entered, int64. ``support``: where Gamma is not 0 now, bool in the weight's shape.
    """

    entered: dict[str, Tensor]
    support: dict[str, Tensor]
    epochs: int


def read(run: RunFolder) -> InclusionPath:
    """The path of a run. Raises UserError when it was not trained by DessiLBI or has no checkpoint."""
    experiment = loads(run.config_text(), str(run.path / "config.yaml"))
    if experiment.optimizer.algorithm != "dessilbi":
        raise UserError(
            f"run {run.id} was trained by {experiment.optimizer.algorithm}, which has no inclusion path; "
            "prune it with --order magnitude"
        )
    state, _ = checkpoint.weights(run.path / "ckpt", "last")
    found = InclusionPath({}, {}, -(-state["step"] // experiment.steps_per_epoch))
    for group in state["optimizer"]["param_groups"]:
        for key, name in zip(group["params"], group["param_names"], strict=True):
            kept = state["optimizer"]["state"].get(key, {})
            if "gamma" in kept:
                found.entered[name] = -(-kept["entered"].long() // experiment.steps_per_epoch)
                found.support[name] = kept["gamma"] != 0
    return found


def sparse_weights(weights: dict[str, Tensor], path: InclusionPath) -> dict[str, Tensor]:
    """W* = W where Gamma is not 0, and 0 elsewhere; weights without a Gamma as they are."""
    return {name: w * path.support[name] if name in path.support else w for name, w in weights.items()}


def load_sparse(run: str | Path) -> nn.Module:
    """See ``engine.load_sparse``."""
    trained = load_trained(run, "last")
    trained.network.load_state_dict(sparse_weights(trained.network.state_dict(), read(trained.run)))
    return trained.network


def counts(entered: Tensor, epochs: int) -> list[int]:
    """How many have entered by the end of each epoch, from the first to the last."""
    new = torch.bincount(entered.flatten(), minlength=epochs + 1).tolist()
    return list(accumulate(new[1 : epochs + 1]))


def to_json(path: InclusionPath) -> dict[str, Any]:
    """The path as plain values: the counts of every weight, of convolutions also each filter's epoch (null: never)."""
    layers = [
        {
            "name": name,
            "kind": "filters" if entered.dim() == 1 else "weights",
            "size": entered.numel(),
            "counts": counts(entered, path.epochs),
            "entered": [epoch or None for epoch in entered.tolist()] if entered.dim() == 1 else None,
        }
        for name, entered in path.entered.items()
    ]
    return {"schema": 1, "epochs": path.epochs, "layers": layers}


def record(run: RunFolder) -> dict[str, Any]:
    """Write the path of a run into results/inclusion/result.json and return it."""
    found = to_json(read(run))
    folder = run.results_folder("inclusion")
    atomic.write_json(folder / "result.json", found)
    return found


def draw(path: dict[str, Any], title: str) -> "Figure":
    """Part of each layer's filters, and of its linear weights, that is in Gamma, against the epoch."""
    figure = figures.new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    epochs = range(1, path["epochs"] + 1)
    for index, layer in enumerate(path["layers"]):
        shares = [100 * count / layer["size"] for count in layer["counts"]]
        axes.plot(epochs, shares, label=f"{layer['name']} ({layer['kind']})", **figures.stroke(index, len(shares)))
    figures.finish(axes, "Epoch", "In Gamma (%)")
    axes.set_title(title)
    return figure
