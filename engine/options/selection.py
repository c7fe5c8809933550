"""Options of choosing the images a step learns from; free of torch."""

from engine.options.architecture import ArchitectureChoice
from engine.options.base import Options, option


class Selection(Options):
    """Learn from the hardest images of each batch, as a small proxy network sees them (Jordan 2024, airbench96)."""

    proxy: ArchitectureChoice = option(..., "The small network that judges how hard an image is; options in full.")
    keep: float = option(0.5, "Part of each batch that is learnt from: the images of largest loss.", gt=0, le=1)
    every: int = option(4, "The proxy itself learns, from the images it keeps, at every so many steps.", "steps", ge=1)
