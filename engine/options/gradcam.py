"""What Grad-CAM can be asked about a run, free of torch."""

from typing import Annotated, Literal

from pydantic import Field

from engine.options.base import Ints, Options, option

Method = Literal["gradcam", "gradcam++", "gradcam++-package"]

MOST_IMAGES = 64


class GradCam(Options):
    """Which images of which run, and how."""

    run: str = option(..., "The run folder.", max_length=4096)
    images: Annotated[str, Field(max_length=1000)] | Ints | None = option(
        None, "Numbers of test images, as a list or as text such as 3,16; a class; worst; or null for the first ones."
    )
    count: int | None = option(None, "How many images of a class, or of the worst.", ge=1, le=MOST_IMAGES)
    layer: str | None = option(None, "The layer whose maps are weighed; null for the last before pooling.")
    explain: str | None = option(None, "The class that is explained, or label; null for the predicted one.")
    method: Method = option("gradcam", "How the maps are weighed.")
    checkpoint: Literal["best", "last"] | None = option(None, "Whose weights; null for the best where there are.")
    keep: bool = option(False, "Write result.json and the figure into the run's results.")
