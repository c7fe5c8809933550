"""Everything that trains. Importing this package imports nothing heavy; torch lives in the modules that need it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def load(run: str | Path, checkpoint: str = "best") -> nn.Module:
    """The trained network of a run, in evaluation mode on the CPU, with its ``best`` or ``last`` weights.

    ``run`` is a run folder, or an id, a name or "last" in the usual runs folder. The network takes normalised images
    (N, C, H, W) float32. Raises UserError when there is no such run or no checkpoint of it that can be trusted.
    """
    from engine.loading import load_network

    return load_network(run, checkpoint)


def load_sparse(run: str | Path) -> nn.Module:
    """The last network of a run by DessiLBI with W* for its weights: zero where nothing has entered Gamma.

    As ``load`` in all else. Raises UserError also for a run that another optimiser trained.
    """
    from engine.analysis.inclusion import load_sparse

    return load_sparse(run)


def load_pruned(run: str | Path, ratio: float, order: Literal["path", "magnitude"] | None = None) -> nn.Module:
    """The smaller network that ``cifar-tui --prune`` left of a run with ``ratio`` percent of its filters out.

    As ``load`` in all else; ``order`` None is the one that ``--prune`` takes. Raises UserError also where the run was
    not pruned like that.
    """
    from engine.analysis.pruning import load_pruned

    return load_pruned(run, ratio, order)
