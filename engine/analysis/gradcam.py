"""What a network looked at: heat maps over test images by Grad-CAM and Grad-CAM++.

Grad-CAM: Selvaraju et al., ICCV 2017 (arXiv 1610.02391), eqs. 1 and 2. Grad-CAM++: Chattopadhay et al., WACV 2018
(arXiv 1710.11063), eqs. 10 and 19. With A the maps (channels, h, w) of a layer and g = dS/dA for the score S of a
class, its logit, a heat map is ReLU(sum_k w_k A_k), enlarged bilinearly to the image and scaled to 0…1.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from engine import atomic, checkpoint, figures
from engine.analysis import source
from engine.composition import Tree
from engine.data.dataset import Dataset
from engine.data.releases import needs_download
from engine.errors import UserError
from engine.loading import Trained, load_trained
from engine.options.gradcam import MOST_IMAGES, GradCam, Method
from engine.validation import sentences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# From the least to the greatest heat.
RAMP = ((0x14, 0x10, 0x36), (0x58, 0x18, 0x6E), (0xB4, 0x36, 0x5A), (0xF0, 0x78, 0x28), (0xFC, 0xDC, 0x6E))
OVERLAY = 0.55
TITLES: dict[Method, str] = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "gradcam++-package": "Grad-CAM++ of the package",
}
USUAL_COUNT = 8


@dataclass(frozen=True)
class Explained:
    """One image: ``probabilities`` (classes,), ``heat`` (H, W) in 0…1, ``small`` the map at the layer's size."""

    probabilities: Tensor
    explained: int
    heat: Tensor
    small: Tensor


def channel_weights(maps: Tensor, gradients: Tensor, method: Method) -> Tensor:
    """The weight w_k of every channel, (N, channels), from A and g, both (N, channels, h, w).

    ``gradcam``: the mean of g. ``gradcam++``: the sum of a ReLU(g) with a = g^2 / (2 g^2 + (sum A) g^3), which is
    eq. 19 for Y = exp(S); the factor exp(S) of dY/dA is left out, since it scales a map as a whole.
    ``gradcam++-package`` has sum(A g^3) in place of (sum A) g^3, as the pytorch-gradcam package computes it.
    """
    if method == "gradcam":
        return gradients.mean(dim=(2, 3))
    if method == "gradcam++":
        third = maps.sum(dim=(2, 3), keepdim=True) * gradients**3
    else:
        third = (maps * gradients**3).sum(dim=(2, 3), keepdim=True)
    denominator = 2 * gradients**2 + third
    alpha = gradients**2 / torch.where(denominator != 0, denominator, torch.ones_like(denominator))
    return (alpha * gradients.clamp(min=0)).sum(dim=(2, 3))


def heat_maps(maps: Tensor, weights: Tensor) -> Tensor:
    """ReLU(sum_k w_k A_k): (N, h, w) from (N, channels, h, w) and (N, channels)."""
    return (weights[:, :, None, None] * maps).sum(1).clamp(min=0)


def enlarged(heat: Tensor, size: int) -> Tensor:
    """(N, h, w) bilinearly to (N, size, size), each then scaled to 0…1; a map without contrast is all zero."""
    large = F.interpolate(heat[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    span = high - low
    return torch.where(span > 0, (large - low) / torch.where(span > 0, span, torch.ones_like(span)), 0.0)


def explain(network: nn.Module, layer: str, inputs: Tensor, classes: Tensor | None, method: Method) -> list[Explained]:
    """Heat maps of ``inputs`` (N, C, H, W), already normalised, for ``classes`` (N,) or, with None, the predicted ones.

    The network must be in evaluation mode; its parameters get no gradients.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    handle = network.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits: Tensor = network(inputs)
    finally:
        handle.remove()
    wanted = logits.argmax(1) if classes is None else classes
    # Images do not meet in evaluation mode, so that the sum's gradient is every image's own.
    (gradients,) = torch.autograd.grad(logits.gather(1, wanted[:, None]).sum(), kept[0])
    maps = kept[0].detach()
    small = heat_maps(maps, channel_weights(maps, gradients, method))
    large = enlarged(small, inputs.shape[2])
    rows = zip(logits.detach().softmax(1), wanted.tolist(), large, small, strict=True)
    return [Explained(*row) for row in rows]


def map_layers(network: nn.Module, channels: int, size: int) -> dict[str, tuple[int, int, int]]:
    """Name and output shape (channels, h, w) of every layer that Grad-CAM can look at, in the order they finish."""
    found: dict[str, tuple[int, int, int]] = {}
    handles = []
    for name, module in network.named_modules():
        if name:

            def note(module: nn.Module, given: Any, output: Any, name: str = name) -> None:
                if isinstance(output, Tensor) and output.dim() == 4:
                    found[name] = (output.shape[1], output.shape[2], output.shape[3])

            handles.append(module.register_forward_hook(note))
    with torch.inference_mode():
        network(torch.zeros(1, channels, size, size))
    for handle in handles:
        handle.remove()
    return found


def default_layer(network: nn.Module, layers: dict[str, tuple[int, int, int]]) -> str:
    """The last layer with maps of more than one pixel that is no pooling: a ResNet's last stage."""
    maps = [name for name, shape in layers.items() if shape[1] > 1 and not _pools(network.get_submodule(name))]
    if not maps:
        raise UserError("this network has no layer with maps of more than one pixel")
    return maps[-1]


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """Explain test images of a finished run; the question has the fields of ``engine.options.gradcam.GradCam``.

    The answer has, for every image, the ``probabilities``, the ``map`` at the layer's own size and, in base64,
    ``pixels`` and ``overlay`` (H x W x 3 bytes) and ``heat`` (H x W bytes); ``layers`` names what else could be looked
    at. Nothing is downloaded. Raises UserError for a question that is malformed or does not fit the run.
    """
    try:
        asked = GradCam.model_validate(question)
    except ValidationError as error:
        raise UserError(sentences(error, Tree(dict(question), {(): "question"}), GradCam)[0]) from None
    if asked.keep:
        figures.require()
    trained, data = _opened(Path(asked.run), asked.checkpoint)
    layers = map_layers(trained.network, trained.experiment.data.channels, trained.experiment.data.size)
    layer = _layer(asked.layer, trained, layers)
    indices = _indices(asked.images, asked.count, trained, data)
    inputs = trained.augmenter(data).normalize(data.test_images[indices])
    labels = data.test_labels[indices]
    results = explain(trained.network, layer, inputs, _classes(asked.explain, labels, data), asked.method)
    images = [_image(data, index, result) for index, result in zip(indices, results, strict=True)]
    answer = {
        "schema": 1,
        "method": asked.method,
        "checkpoint": trained.which,
        "layer": layer,
        "layers": {name: list(shape) for name, shape in layers.items()},
        "classes": list(data.classes),
        "size": data.test_images.shape[1],
        "images": images,
        "files": [],
    }
    if asked.keep:
        answer["files"] = _keep(trained, data, indices, results, answer)
    return answer


def overlay(image: Tensor, heat: Tensor) -> Tensor:
    """The heat as colours of the ramp over the grey of ``image`` (H, W, C) uint8: (H, W, 3) uint8."""
    grey = image.float().mean(2, keepdim=True).expand(-1, -1, 3)
    return ((1 - OVERLAY) * grey + OVERLAY * 255 * ramp_colours(heat)).round().to(torch.uint8)


def ramp_colours(heat: Tensor) -> Tensor:
    """Heat (…) in 0…1 as colours (…, 3) in 0…1, linearly between those of the ramp."""
    colours = torch.tensor(RAMP, dtype=torch.float32, device=heat.device) / 255
    position = heat.float().clamp(0, 1) * (len(RAMP) - 1)
    below = position.long().clamp(max=len(RAMP) - 2)
    share = (position - below)[..., None]
    return (1 - share) * colours[below] + share * colours[below + 1]


def draw(data: Dataset, indices: Sequence[int], results: Sequence[Explained], title: str) -> "Figure":
    """Image above overlay, a column for each, with truth, answer and its probability."""
    columns = min(8, len(indices))
    rows = -(-len(indices) // columns)
    figure = figures.new_figure(max(3.6, 1.5 * columns), 3.7 * rows + 0.4)
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (index, result) in enumerate(zip(indices, results, strict=True)):
        row, column = divmod(place, columns)
        image = data.test_images[index]
        above, below = grid[2 * row][column], grid[2 * row + 1][column]
        above.imshow(image.expand(-1, -1, 3).numpy())
        above.set_title(_caption(data, index, result), fontsize=8)
        below.imshow(overlay(image, result.heat).numpy())
        below.set_title(f"map of {data.classes[result.explained]}", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _caption(data: Dataset, index: int, result: Explained) -> str:
    answered = int(result.probabilities.argmax())
    truth = data.classes[int(data.test_labels[index])]
    return f"{index}: {truth}\nanswer {data.classes[answered]}\n{100 * float(result.probabilities[answered]):.1f} %"


def _image(data: Dataset, index: int, result: Explained) -> dict[str, Any]:
    image = data.test_images[index]
    return {
        "index": index,
        "label": int(data.test_labels[index]),
        "prediction": int(result.probabilities.argmax()),
        "explained": result.explained,
        "probabilities": [round(probability, 6) for probability in result.probabilities.tolist()],
        "map": [[round(value, 6) for value in row] for row in result.small.tolist()],
        "pixels": _base64(image.expand(-1, -1, 3)),
        "heat": _base64((255 * result.heat).round()),
        "overlay": _base64(overlay(image, result.heat)),
    }


def _base64(pixels: Tensor) -> str:
    return base64.b64encode(bytes(pixels.flatten().to(torch.uint8).tolist())).decode()


def _keep(
    trained: Trained, data: Dataset, indices: list[int], results: list[Explained], answer: dict[str, Any]
) -> list[str]:
    folder = trained.run.results_folder("gradcam")
    title = f"{trained.run.view().name or trained.run.id}: {TITLES[answer['method']]} at {answer['layer']}"
    atomic.write_json(folder / "result.json", answer)
    files = [*figures.keep(draw(data, indices, results, title), folder, "gradcam"), folder / "result.json"]
    return [str(path) for path in files]


def _opened(path: Path, which: str | None) -> tuple[Trained, Dataset]:
    """The network and the data of a run, kept between questions as long as the run's checkpoints stay the same."""
    entries = checkpoint.read_manifest(path / "ckpt")
    return _open(path, which or "best", tuple(entry.sha256 for entry in entries))


@lru_cache(maxsize=2)
def _open(path: Path, which: str, _checkpoints: tuple[str, ...]) -> tuple[Trained, Dataset]:
    trained = load_trained(path, which)
    if needs_download(trained.experiment.data):
        name = trained.experiment.data.name
        raise UserError(f"{name} is not on this disk; say where it is with --data or CIFAR_TUI_DATA")
    return trained, source.trained_data(trained.experiment.data)


def _layer(wanted: str | None, trained: Trained, layers: dict[str, tuple[int, int, int]]) -> str:
    if not wanted:
        return default_layer(trained.network, layers)
    if wanted not in layers:
        top = ", ".join(name for name in layers if "." not in name)
        raise UserError(f"layer {wanted}: this network has no maps of that name; there are {top}, and their parts")
    return wanted


def _indices(wanted: str | Sequence[int] | None, count: int | None, trained: Trained, data: Dataset) -> list[int]:
    """The test images meant, at most ``MOST_IMAGES``."""
    most = min(count or USUAL_COUNT, MOST_IMAGES)
    if wanted is None:
        return list(range(min(most, len(data.test_labels))))
    if isinstance(wanted, str):
        if wanted == "worst":
            return _worst(trained, most)
        if wanted in data.classes:
            inside = data.test_labels == data.classes.index(wanted)
            return cast(list[int], inside.nonzero().flatten()[:most].tolist())
        wanted = _numbers(wanted, data.classes)
    last = len(data.test_labels) - 1
    if not all(0 <= index <= last for index in wanted):
        raise UserError(f"images: test images are numbered from 0 to {last}")
    return list(wanted)[:MOST_IMAGES]


def _numbers(text: str, classes: Sequence[str]) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise UserError(f"images {text}: expected numbers such as 3,16, worst, or a class: {', '.join(classes)}")
    return [int(part) for part in parts]


def _worst(trained: Trained, most: int) -> list[int]:
    result, which = figures.test_result(trained.run, None)
    account = result["checkpoints"].get(trained.which, result["checkpoints"][which])
    if not account["worst"]:
        raise UserError(f"run {trained.run.id} made no mistake on the test set")
    return [entry["index"] for entry in account["worst"][:most]]


def _classes(wanted: str | None, labels: Tensor, data: Dataset) -> Tensor | None:
    if not wanted:
        return None
    if wanted == "label":
        return labels
    if wanted not in data.classes:
        raise UserError(f"class {wanted}: there is none of that name; there are label, {', '.join(data.classes)}")
    return torch.full_like(labels, data.classes.index(wanted))


def _pools(module: nn.Module) -> bool:
    return "Pool" in type(module).__name__ or isinstance(module, nn.Identity)
