"""Everything that trains. Importing this package imports nothing heavy; torch lives in the modules that need it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
