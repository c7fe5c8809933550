"""A trained network back from its run folder."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from engine import checkpoint, runs
from engine.augment import Augmenter
from engine.data.dataset import Dataset
from engine.errors import UserError
from engine.experiment import Experiment, loads
from engine.runs import RunFolder
from engine.text import clean, shorten

WHICH = ("best", "last")


@dataclass(frozen=True)
class Trained:
    """A network with its best or last weights, in evaluation mode, and the experiment it came from."""

    run: RunFolder
    experiment: Experiment
    network: nn.Module
    epoch: float
    which: str

    def augmenter(self, data: Dataset) -> Augmenter:
        """What turns the run's raw images into what its network sees."""
        options = self.experiment.data
        augmenter: Augmenter = self.experiment.augmentation.resolve_builder()(
            self.experiment.augmentation, options.size, options.channels, options.classes, data.train_images
        )
        return augmenter


def load_network(run: str | Path, which: str = "best") -> nn.Module:
    """The network alone; see ``engine.load``."""
    return load_trained(run, which).network


def load_trained(run: str | Path, which: str = "best") -> Trained:
    """The network of a run with the experiment it came from. Raises UserError as ``engine.load`` does."""
    if which not in WHICH:
        raise UserError(f'checkpoint: found "{which}"; allowed are best and last')
    folder = _folder(run)
    experiment = loads(folder.config_text(), str(folder.path / "config.yaml"))
    state, entry = checkpoint.weights(folder.path / "ckpt", which)
    data = experiment.data
    network: nn.Module = experiment.architecture.resolve_builder()(
        experiment.architecture, data.channels, data.size, data.classes
    )
    try:
        network.load_state_dict(judged_weights(state))
    except RuntimeError as error:
        why = shorten(clean(str(error)), 200)
        raise UserError(f"the {which} checkpoint of run {folder.id} does not fit its config.yaml: {why}") from error
    return Trained(folder, experiment, network.eval(), entry.epoch, which)


def judged_weights(state: checkpoint.State) -> dict[str, torch.Tensor]:
    """The weights that were evaluated: of a best file its own, of a training state the average where one was kept."""
    if "weights" in state:
        weights: dict[str, torch.Tensor] = state["weights"]
        return weights
    averaged: dict[str, torch.Tensor] = state["ema"]["average"] if state["ema"] else state["model"]
    return averaged


def _folder(run: str | Path) -> RunFolder:
    path = Path(run)
    if (path / "config.yaml").is_file():
        return RunFolder(path.resolve())
    if isinstance(run, Path):
        raise UserError(f"{path}: no run folder, it has no config.yaml")
    return runs.find(runs.runs_root(), run)
