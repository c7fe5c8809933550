"""What ``engine --serve`` can be asked: one table of functions from checked values to plain JSON values.

Nothing here believes what it is asked: values are validated as options are, sizes are bounded, nothing is downloaded.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from engine import experiment as experiments
from engine.analysis import gradcam
from engine.augment import Augmenter, build
from engine.augment.plan import draw_epoch
from engine.composition import Tree
from engine.counting import counted
from engine.counts_cache import Precision
from engine.data import dataset
from engine.data.dataset import Dataset
from engine.data.releases import needs_download
from engine.errors import UserError
from engine.options.architecture import ArchitectureChoice
from engine.options.augmentation import Augmentation, Normalize
from engine.options.base import Ints, Options, option
from engine.options.data import Data
from engine.runs import RUN_ID, RunFolder
from engine.validation import sentences

Answer = dict[str, Any]
Asked = TypeVar("Asked", bound=Options)

MAX_SIDE = 64  # of a picture sent to a terminal, in pixels
MAX_IMAGES = 256


class Count(Options):
    """What a network costs."""

    architecture: ArchitectureChoice = option(..., "Resolved options of the network.")
    channels: Literal[1, 3] = option(3, "Image channels.")
    size: int = option(32, "Image side.", "pixels", ge=8, le=512)
    classes: int = option(10, "Number of classes.", ge=1, le=1000)
    batch: int = option(1, "Images a step.", "images", ge=1, le=60_000)
    precision: Precision = option("auto", "Arithmetic of the forward pass.")


class Preview(Options):
    """What an augmentation does to one training image."""

    augmentation: Augmentation = option(..., "Resolved options.")
    data: Data = option(Data(), "The data set.")
    image: int = option(0, "Which training image; counted round and round.", ge=0)
    draws: int = option(2, "How many draws.", ge=0, le=16)
    seed: int = option(0, "Another one gives other draws.", ge=0, lt=2**63)


class Images(Options):
    """Test images of a run's data set."""

    run: str = option(..., "The run folder.", max_length=4096)
    indices: Ints = option(..., "Which test images.", max_length=MAX_IMAGES)


def count(asked: Count) -> Answer:
    """Counts as ``Counts.to_json`` has them, from the cache where the same was asked before."""
    misfit = asked.architecture.misfit(asked.channels, asked.size)
    if misfit:
        raise UserError(misfit)
    options, image = asked.architecture, (asked.channels, asked.size, asked.classes)
    return counted(options, *image, asked.batch, asked.precision).to_json()


def preview(asked: Preview) -> Answer:
    """One training image as it is and ``draws`` draws of its augmentation, all before normalisation.

    ``pictures``: base64 of size x size x 3 bytes each, the unchanged one first. ``source`` is the data set they come
    from: shapes where the asked one is not on this disk.
    """
    data = _at_hand(asked.data)
    images = _dataset(data)
    index = asked.image % len(images.train_images)
    pictures = [_resized(images.train_images[index : index + 1], asked.data.size)]
    if asked.draws:
        pictures.append(_draw(asked, data, index))
    shown = torch.cat(pictures)
    return {
        "source": data.name,
        "index": index,
        "label": images.classes[int(images.train_labels[index])],
        **_pictures(shown),
    }


def test_images(asked: Images) -> Answer:
    """Test images with their labels, ``classes`` being the names; shown as ``preview`` does."""
    folder = Path(asked.run)
    if not RUN_ID.fullmatch(folder.name):
        raise UserError(f"{folder} is no run folder")
    data = experiments.loads(RunFolder(folder).config_text(), "config.yaml").data
    if needs_download(data):
        raise UserError(f"{data.name} is not on this disk, so its test images cannot be shown")
    images = _dataset(_at_hand(data))
    beyond = [index for index in asked.indices if not 0 <= index < len(images.test_images)]
    if beyond:
        raise UserError(f"{data.name} has {len(images.test_images)} test images, and none has number {beyond[0]}")
    index = torch.tensor(asked.indices, dtype=torch.int64)
    return {
        "labels": images.test_labels[index].tolist(),
        "classes": list(images.classes),
        **_pictures(images.test_images[index]),
    }


def _at_hand(data: Data) -> Data:
    """The data set in its own size where it lies on this disk, else shapes; split and limits change no image."""
    name = "shapes" if needs_download(data) else data.name
    return Data(name=name, grey=data.channels == 1)


@lru_cache(maxsize=1)
def _dataset(data: Data) -> Dataset:
    return dataset.load(data, None, report=_say_nothing)


def _say_nothing(text: str) -> None:
    """Progress has no reader here."""


@lru_cache(maxsize=8)
def _augmenter(options: Augmentation, data: Data, size: int) -> Augmenter:
    """Of a mean image its colour alone is taken: the image itself could not be put back after the pixels have moved."""
    augmenter = build(options, size, data.channels, data.classes, _dataset(data).train_images)
    shift = augmenter.shift
    return replace(augmenter, shift=shift.flatten(0, -2).mean(0) if shift.ndim > 1 else shift)


def _draw(asked: Preview, data: Data, index: int) -> Tensor:
    """Draws of one image (draws, H, W, C) uint8. Mixing takes the image before in the batch: others stand between."""
    images = _dataset(data)
    augmenter = _augmenter(asked.augmentation.model_copy(update={"name": ""}), data, asked.data.size)
    total = len(images.train_images)
    others = [(index + 1 + asked.seed * asked.draws + draw) % total for draw in range(asked.draws)]
    rows = torch.tensor([row for other in others for row in (other, index)])
    plan = draw_epoch(augmenter.operations, augmenter.size, asked.seed, 0, len(rows))
    batch = _resized(images.train_images[rows], asked.data.size)
    inputs, _ = augmenter(batch, images.train_labels[rows], torch.arange(len(rows)), plan)
    return _as_pixels(augmenter, inputs, batch)[1::2]


def _as_pixels(augmenter: Augmenter, inputs: Tensor, images: Tensor) -> Tensor:
    """Undo the normalisation of (n, C, H, W) float32: (n, H, W, C) uint8."""
    values = inputs.permute(0, 2, 3, 1)
    normalize = next((operation for operation in augmenter.operations if isinstance(operation, Normalize)), None)
    if normalize is not None and normalize.subtract == "per_image":
        values = values / augmenter.scale + images.float().mean(dim=(1, 2), keepdim=True) / 255
    elif normalize is not None:
        values = (values + augmenter.shift) / augmenter.scale
    return (values * 255).round().clamp(0, 255).to(torch.uint8)


def _resized(images: Tensor, size: int) -> Tensor:
    """(n, H, W, C) uint8 to (n, size, size, C) uint8."""
    if images.shape[1] == size:
        return images
    values = F.interpolate(images.permute(0, 3, 1, 2).float(), size=(size, size), mode="bilinear", antialias=True)
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _pictures(images: Tensor) -> Answer:
    """(n, H, W, C) uint8 as base64 of RGB bytes, at most ``MAX_SIDE`` pixels a side."""
    coloured = images.expand(-1, -1, -1, 3)
    coloured = _resized(coloured, min(coloured.shape[1], MAX_SIDE))
    encoded = [base64.b64encode(image.contiguous().numpy().tobytes()).decode("ascii") for image in coloured]
    return {"size": coloured.shape[1], "pictures": encoded}


def _checked(model: type[Asked], function: Callable[[Asked], Answer]) -> Callable[[Mapping[str, Any]], Answer]:
    """The function, called with validated values. Raises UserError naming the first that is wrong."""

    def ask(values: Mapping[str, Any]) -> Answer:
        try:
            return function(model.model_validate(values))
        except ValidationError as error:
            raise UserError(sentences(error, Tree(dict(values), {(): "question"}), model)[0]) from None

    return ask


QUESTIONS: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
    "count": _checked(Count, count),
    "preview": _checked(Preview, preview),
    "images": _checked(Images, test_images),
    "gradcam": gradcam.answer,
}
