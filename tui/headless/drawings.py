"""What the analyses found, drawn in the terminal: the BatchNorm study's bands, accuracy against sparsity, heat maps."""

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.text import Text

from engine.text import clean
from tui import format, pixels
from tui.plot import canvas
from tui.plot.model import Band, Curve, Mark, Plot
from tui.theme import Palette, palette, terminal_depth

PLOT_ROWS = 13
LEAST_COLUMNS, MOST_COLUMNS = 50, 110
PICTURE = 32
LIKELIEST = 5
GAP = 2

Series = Mapping[str, Any]


def show_study(answer: Series) -> None:
    """Loss landscape, gradient predictiveness and effective smoothness along the steps, a colour a network."""
    _print(lambda columns, colours: _plots(study_plots(answer["networks"], colours), columns, colours))


def show_pruning(answer: Series) -> None:
    """Test accuracy against the share of filters taken out, without and with finetuning."""
    _print(lambda columns, colours: _plots([pruning_plot(answer["rows"], colours)], columns, colours))


def show_gradcam(answer: Series) -> None:
    """Each image beside its heat map, with label, prediction and the likeliest classes."""
    _print(lambda columns, colours: list(_heat_maps(answer, columns, colours)))


def study_plots(networks: Sequence[Series], colours: Palette) -> list[Plot]:
    """The study's three figures with the source's axes."""
    loss, gradient = (_bands(networks, name, colours) for name in ("loss", "gradient"))
    smoothness = [
        Curve(
            one["step"],
            _gaps(one["beta"]),
            colours.run(index).solid,
            clean(one["name"]),
            letter=colours.run(index).letter,
        )
        for index, one in enumerate(networks)
    ]
    return [
        Plot("loss landscape", loss, x_label="step", form=format.loss),
        Plot("gradient predictiveness", gradient, x_label="step", form=format.loss),
        Plot("effective beta-smoothness", tuple(smoothness), x_label="step", floor=0.0, form=format.loss),
    ]


def _bands(networks: Sequence[Series], name: str, colours: Palette) -> tuple[Curve, ...]:
    curves = []
    for index, one in enumerate(networks):
        low, high, run = _gaps(one[name]["low"]), _gaps(one[name]["high"]), colours.run(index)
        middle = [(least + most) / 2 for least, most in zip(low, high, strict=True)]
        band = Band(one["step"], low, high, run.band)
        curves.append(
            Curve(one["step"], middle, run.solid, clean(one["name"]), band=band, letter=run.letter, dash=run.dash)
        )
    return tuple(curves)


def pruning_plot(rows: Sequence[Series], colours: Palette) -> Plot:
    """Accuracy against sparsity, in percent."""
    out = [float(row["ratio"]) for row in rows]
    curves = [_accuracies(out, [row["accuracy"] for row in rows], "pruned", 0, colours)]
    if any(row["finetuned"] is not None for row in rows):
        curves.append(_accuracies(out, [row["finetuned"] for row in rows], "finetuned", 1, colours))
    marks = tuple(Mark(x, row["accuracy"], style=colours.run(0).solid) for x, row in zip(out, rows, strict=True))
    return Plot("test accuracy", tuple(curves), unit="%", marks=marks, x_label="% out", form=format.accuracy)


def _accuracies(xs: Sequence[float], ys: Sequence[float | None], name: str, index: int, colours: Palette) -> Curve:
    run = colours.run(index)
    values = _gaps(ys)
    return Curve(xs, values, run.solid, name, value=format.accuracy(values[-1]), letter=run.letter, dash=run.dash)


def _gaps(values: Iterable[float | None]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def _plots(plots: Sequence[Plot], columns: int, colours: Palette) -> list[Text]:
    width = max(LEAST_COLUMNS, min(MOST_COLUMNS, columns))
    drawn = []
    for plot in plots:
        drawn += [*canvas.texts(canvas.render(plot, width, PLOT_ROWS, colours)), Text("")]
    return drawn


def _heat_maps(answer: Series, columns: int, colours: Palette) -> Iterable[Text]:
    size, classes = answer["size"], [clean(name) for name in answer["classes"]]
    for image in answer["images"]:
        label, predicted = image["label"], image["prediction"]
        line = Text(f"image {image['index']}  ", colours.style("dim"))
        line.append(classes[label], colours.style("text", bold=True))
        verdict = "good" if label == predicted else "bad"
        line.append(f"  answered {classes[predicted]}", colours.style(verdict))
        line.append(f"  {format.accuracy(100 * image['probabilities'][predicted])} %", colours.style("text"))
        yield line
        pictures = [image["pixels"], image["overlay"]]
        yield from _side_by_side(pictures, size, _likeliest(image["probabilities"], classes, colours), columns, colours)
        yield Text("")


def _likeliest(probabilities: Sequence[float], classes: Sequence[str], colours: Palette) -> list[Text]:
    """The likeliest classes with their probabilities in percent, a line each."""
    found = sorted(zip(probabilities, classes, strict=True), reverse=True)[:LIKELIEST]
    width = max(len(name) for _, name in found)
    lines = []
    for probability, name in found:
        line = Text(f"{name:<{width}}  ", colours.style("dim"))
        lines.append(line.append(f"{format.accuracy(100 * probability):>6}", colours.style("text")))
    return lines


def _side_by_side(
    pictures: Sequence[str], size: int, beside: Sequence[Text], columns: int, colours: Palette
) -> Iterable[Text]:
    """The pictures with a text beside them, which is cut off where there is no room."""
    shown = min(PICTURE, (columns - GAP) // len(pictures))
    drawn = [pixels.picture(base64.b64decode(data), size, size, colours, shown) for data in pictures]
    for rows, words in zip_longest(zip(*drawn, strict=True), beside, fillvalue=None):
        line = Text()
        for row in rows or ():
            for segment in row:
                line.append(segment.text, segment.style)
            line.append(" " * GAP)
        yield line.append_text(words) if words else line


def _print(draw: Any) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    depth = terminal_depth(os.environ)
    colours = palette("dark", depth)
    for text in draw(console.width, colours):
        console.print(text, no_wrap=True, crop=True)
