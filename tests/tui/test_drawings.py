"""What the analyses found as pictures in the terminal: the right curves, bands and pixels."""

import base64
from typing import Any

import pytest

from tui.headless import drawings
from tui.theme import palette

COLOURS = palette("dark", "truecolor")
NETWORK: dict[str, Any] = {
    "name": "VGG",
    "step": [1, 5, 9],
    "loss": {"low": [2.0, 1.5, None], "high": [2.4, 2.1, 1.9]},
    "gradient": {"low": [0.1, 0.1, 0.1], "high": [0.4, 0.3, 0.2]},
    "beta": [3.0, 2.0, 1.0],
}


def test_a_study_is_two_bands_and_a_curve_for_each_network() -> None:
    loss, gradient, smoothness = drawings.study_plots([NETWORK, {**NETWORK, "name": "VGG + BatchNorm"}], COLOURS)
    assert [curve.legend for curve in loss.curves] == ["VGG", "VGG + BatchNorm"]
    assert loss.curves[0].band is not None
    assert list(loss.curves[0].band.high) == [2.4, 2.1, 1.9]
    assert loss.curves[0].ys[:2] == pytest.approx([2.2, 1.8])
    assert gradient.curves[0].band is not None
    assert smoothness.curves[0].band is None
    assert list(smoothness.curves[1].ys) == [3.0, 2.0, 1.0]


def test_finetuned_accuracy_is_drawn_only_where_there_is_some() -> None:
    rows = [{"ratio": 0.0, "accuracy": 90.0, "finetuned": None}, {"ratio": 40.0, "accuracy": 70.0, "finetuned": None}]
    assert [curve.legend for curve in drawings.pruning_plot(rows, COLOURS).curves] == ["pruned"]
    rows[1]["finetuned"] = 85.0
    plot = drawings.pruning_plot(rows, COLOURS)
    assert [curve.legend for curve in plot.curves] == ["pruned", "finetuned"]
    assert plot.curves[1].value == "85.00"


def test_an_image_and_its_heat_map_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    pixels = base64.b64encode(bytes(range(48)) * 1).decode()
    image = {"index": 7, "label": 0, "prediction": 1, "probabilities": [0.2, 0.8], "pixels": pixels, "overlay": pixels}
    drawings.show_gradcam({"size": 4, "classes": ["cat\x1b[2J", "dog"], "images": [image]})
    shown = capsys.readouterr().out
    assert "image 7  cat  answered dog  80.00 %" in shown
    likeliest = [line.split()[-2:] for line in shown.splitlines() if line.endswith(".00")]
    assert likeliest == [["dog", "80.00"], ["cat", "20.00"]]
    assert "\x1b[2J" not in shown
