"""Grad-CAM and Grad-CAM++ against the formulas written out by hand in float64, and the questions that are answered."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.analysis import gradcam
from engine.data.dataset import Dataset
from engine.errors import UserError
from engine.loading import load_trained
from engine.runs import RunFolder

TrainedRun = Callable[..., RunFolder]
METHODS: tuple[gradcam.Method, ...] = ("gradcam", "gradcam++", "gradcam++-package")


def tiny_network() -> nn.Sequential:
    """Maps A of 3 channels; behind them a score that bends, so that its gradient differs from place to place."""
    torch.manual_seed(3)
    network = nn.Sequential()
    network.add_module("features", nn.Conv2d(2, 3, 3, padding=1))
    network.add_module("mixed", nn.Conv2d(3, 4, 1))
    network.add_module("bent", nn.Sigmoid())
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    head = nn.Linear(4, 5)
    head.weight.data *= 200  # so that the third derivatives weigh as much as the second
    network.add_module("head", head)
    return network.double().eval()


def by_hand(network: Any, image: np.ndarray, wanted: int | None, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Map and gradient-free arithmetic with loops: the convolutions, the chain rule and the papers' sums."""
    kernel, bias = network.features.weight.detach().numpy(), network.features.bias.detach().numpy()
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2, width + 2))
    padded[:, 1:-1, 1:-1] = image
    A = np.zeros((3, height, width))
    for k in range(3):
        for i in range(height):
            for j in range(width):
                A[k, i, j] = bias[k] + np.sum(kernel[k] * padded[:, i : i + 3, j : j + 3])
    mix = network.mixed.weight.detach().numpy()[:, :, 0, 0]
    z = np.einsum("mk,kij->mij", mix, A) + network.mixed.bias.detach().numpy()[:, None, None]
    s = 1 / (1 + np.exp(-z))
    head = network.head.weight.detach().numpy()
    scores = head @ s.mean(axis=(1, 2)) + network.head.bias.detach().numpy()
    c = int(np.argmax(scores)) if wanted is None else wanted
    g = np.einsum("m,mij,mk->kij", head[c], s * (1 - s), mix) / (height * width)
    weights = np.zeros(3)
    for k in range(3):
        if method == "gradcam":
            weights[k] = g[k].mean()
            continue
        for i in range(height):
            for j in range(width):
                first, cube = g[k, i, j], np.sum(A[k] * g[k] ** 3)
                third = np.sum(A[k]) * first**3 if method == "gradcam++" else cube
                weights[k] += first**2 / (2 * first**2 + third) * max(first, 0.0)
    return np.maximum(np.einsum("k,kij->ij", weights, A), 0), np.exp(scores) / np.exp(scores).sum()


def bilinear_by_hand(small: np.ndarray, size: int) -> np.ndarray:
    """Half-pixel centres, edges repeated; then least to 0 and greatest to 1."""
    height, width = small.shape
    large = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            y = min(max((i + 0.5) * height / size - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = small[top, left] * (1 - (x - left)) + small[top, right] * (x - left)
            lower = small[bottom, left] * (1 - (x - left)) + small[bottom, right] * (x - left)
            large[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return (large - large.min()) / (large.max() - large.min())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wanted", [None, 0, 3])
def test_maps_are_the_papers_formulas(method: gradcam.Method, wanted: int | None) -> None:
    network = tiny_network()
    images = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    classes = None if wanted is None else torch.full((3,), wanted)
    for image, result in zip(images, gradcam.explain(network, "features", images, classes, method), strict=True):
        small, probabilities = by_hand(network, image.numpy(), wanted, method)
        np.testing.assert_allclose(result.small.numpy(), small, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(result.probabilities.numpy(), probabilities, rtol=1e-12)
        assert result.explained == (int(probabilities.argmax()) if wanted is None else wanted)


def test_maps_are_enlarged_bilinearly_to_0_and_1() -> None:
    small = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for ours, given in zip(gradcam.enlarged(small, 32), small, strict=True):
        np.testing.assert_allclose(ours.numpy(), bilinear_by_hand(given.numpy(), 32), rtol=1e-12, atol=1e-14)


def test_a_map_without_contrast_is_dark_and_a_silent_channel_weighs_nothing() -> None:
    assert gradcam.enlarged(torch.zeros(1, 2, 2), 8).max() == 0
    maps, gradients = torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3)
    gradients[:, 1] = 0
    for method in METHODS:
        weights = gradcam.channel_weights(maps, gradients, method)
        assert weights[0, 1] == 0
        assert torch.isfinite(weights).all()


def test_the_three_methods_differ() -> None:
    images = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    maps = [gradcam.explain(tiny_network(), "features", images, None, method)[0].small for method in METHODS]
    assert not torch.allclose(maps[0] / maps[0].max(), maps[1] / maps[1].max())
    assert not torch.allclose(maps[1] / maps[1].max(), maps[2] / maps[2].max())


def test_the_ramp_runs_through_its_colours() -> None:
    heat = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 0.125])
    colours = (255 * gradcam.ramp_colours(heat)).round().int().tolist()
    assert [tuple(colour) for colour in colours[:5]] == list(gradcam.RAMP)
    assert colours[5] == [54, 20, 82]  # halfway between the first two


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [
        ("resnet20", "stage3"),
        ("vgg_a", "stage5.3"),  # behind it the maps have one pixel
        ("densenet_bc_100_12", "act"),
        ("lenet", "act2"),
        ("resnet_c3_pool4_243", "stage3"),
    ],
)
def test_the_default_layer_is_the_last_before_pooling(architecture: str, layer: str) -> None:
    from engine.experiment import loads

    text = f"architecture: {architecture}\naugmentation: none\noptimizer: adam\ndata: {{name: cifar10}}"
    options = loads(text).architecture
    network = options.resolve_builder()(options, 3, 32, 10).eval()
    assert gradcam.default_layer(network, gradcam.map_layers(network, 3, 32)) == layer


def question(run: RunFolder, **fields: Any) -> dict[str, Any]:
    return {"run": str(run.path), **fields}


def test_an_answer_holds_what_a_screen_draws(trained_run: TrainedRun) -> None:
    run = trained_run()
    answer = gradcam.answer(question(run, images="3,16", method="gradcam++"))
    assert [image["index"] for image in answer["images"]] == [3, 16]
    size = answer["size"]
    for image in answer["images"]:
        assert len(image["probabilities"]) == len(answer["classes"])
        assert image["explained"] == image["prediction"] == int(np.argmax(image["probabilities"]))
        heat = base64.b64decode(image["heat"])
        assert len(heat) == size * size
        assert (min(heat), max(heat)) in ((0, 255), (0, 0))
        assert len(base64.b64decode(image["overlay"])) == len(base64.b64decode(image["pixels"])) == 3 * size * size
    assert not (run.path / "results" / "gradcam").exists()


def test_predictions_are_those_of_the_loaded_network(trained_run: TrainedRun, small_data: Dataset) -> None:
    run = trained_run()
    trained = load_trained(run.path, "last")
    inputs = trained.augmenter(small_data).normalize(small_data.test_images[:5])
    expected = trained.network(inputs).softmax(1)
    answer = gradcam.answer(question(run, images=[0, 1, 2, 3, 4], checkpoint="last"))
    found = torch.tensor([image["probabilities"] for image in answer["images"]])
    torch.testing.assert_close(found, expected.detach(), atol=2e-6, rtol=0)


def test_images_by_class_and_a_class_to_explain(trained_run: TrainedRun, small_data: Dataset) -> None:
    run = trained_run()
    name = small_data.classes[2]
    answer = gradcam.answer(question(run, images=name, count=3, explain="label", keep=True))
    assert [image["label"] for image in answer["images"]] == [2, 2, 2]
    assert [image["explained"] for image in answer["images"]] == [2, 2, 2]
    folder = run.path / "results" / "gradcam"
    assert answer["files"] == [str(folder / file) for file in ("gradcam.png", "gradcam.svg", "result.json")]
    assert sorted(path.name for path in folder.iterdir()) == ["gradcam.png", "gradcam.svg", "result.json"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"layer": "stage9"}, "layer stage9: this network has no maps of that name; there are stage1"),
        ({"images": "catt"}, "expected numbers such as 3,16, worst, or a class"),
        ({"images": "99999"}, "test images are numbered from 0 to"),
        ({"images": "worst"}, "was not tested yet"),
        ({"explain": "unicorn"}, "there is none of that name"),
        ({"method": "saliency"}, "gradcam"),
        ({"checkpoint": "middle"}, "best"),
        ({"colour": 1}, "colour"),
        ({"count": 1000}, "at most 64"),
        ({"images": [1.5]}, "images"),
    ],
)
def test_what_does_not_fit_is_said(trained_run: TrainedRun, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        gradcam.answer(question(trained_run(), **fields))
