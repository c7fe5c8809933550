"""Options of the study of BatchNorm, free of torch."""

from typing import Annotated, Literal

from pydantic import Field

from engine.options.base import Options, option

Rate = Annotated[float, Field(gt=0)]
Rates = Annotated[tuple[Rate, ...], Field(strict=False, min_length=2)]


class BatchNormStudy(Options):
    """How a network with BatchNorm and its twin without are compared along their training."""

    method: Literal["gradient", "envelope"] = option(
        "gradient",
        "Probe along the gradient, as the paper does, or take the envelope of several learning rates (seed-a).",
    )
    every: int = option(40, "Steps between two points of the curves.", "steps", ge=1)
    largest_step: float = option(0.4, "gradient: the longest step that is probed, as a multiple of the gradient.", gt=0)
    probes: int = option(8, "gradient: how many evenly spaced steps are probed.", ge=1, le=100)
    learning_rates: Rates = option((2e-3, 1e-3, 5e-4, 1e-4), "envelope: one network is trained with each.")
    aligned: bool = option(
        False, "envelope: divide a gradient's change by the way between its two gradients, not by the next one."
    )


class BatchNormStudyOverrides(Options):
    """The study as the command line names it: ``study.every=20``."""

    study: BatchNormStudy = option(BatchNormStudy(), "The study.")
