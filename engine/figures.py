"""Figures of runs as PNG and SVG, by matplotlib, which is an optional extra; no display is needed.

Figures are made without pyplot, so that no state is shared between two of them. Only engine processes come here.
"""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine import atomic
from engine.curves import Curves
from engine.errors import UserError
from engine.runs import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Set = Literal["train", "watched"]
Quantity = Literal["loss", "accuracy"]

FORMATS = (".png", ".svg")
DPI = 150
# Okabe and Ito, "Color Universal Design" (2008), without the yellow that white paper swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
LABELS = {"train": "train", "val": "validation", "test": "test"}
UNITS = {"loss": "Loss", "accuracy": "Accuracy (%)"}
RESULT_BYTES = 16 << 20


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Draw ``runs`` (paths) as ``kind`` and write it to ``output``, or into the run folder where that is None.

    Kinds: process, comparison, confusion, reliability, or the name of any recorded series. Returns the ``files``.
    Raises UserError when there is nothing to draw, the file cannot be written, or it would go into a run of others.
    """
    folders = [RunFolder(Path(path)) for path in question["runs"]]
    kind = question["kind"] or ("process" if len(folders) == 1 else "comparison")
    output = Path(question["output"]) if question["output"] else None
    if output is None and len(folders) > 1:
        raise UserError("a figure of several runs belongs to none of them; name its file with --output FILE.png")
    if output is None:
        folders[0].refuse_foreign()
    figure = draw(folders, kind, question["checkpoint"])
    if output is not None:
        export(figure, output)
        return {"files": [str(output)]}
    return {"files": [str(path) for path in keep(figure, folders[0].results_folder("figures"), kind)]}


def draw(folders: Sequence[RunFolder], kind: str, checkpoint: str | None = None) -> "Figure":
    """The figure of one kind; those of the test set are of one run and one of its checkpoints, best unless said."""
    if kind == "process":
        return process(_only(folders, kind))
    if kind == "comparison":
        return comparison(folders)
    if kind in ("confusion", "reliability"):
        run = _only(folders, kind)
        result, which = test_result(run, checkpoint)
        title = f"{_name(run)}, {which} checkpoint"
        account = result["checkpoints"][which]
        return confusion(account, result["classes"], title) if kind == "confusion" else reliability(account, title)
    return series(folders, kind)


def process(run: RunFolder) -> "Figure":
    """Loss over accuracy against the epoch, training and watched set in one run's course (two rows, one column)."""
    curves = _read_curves(run)
    figure = new_figure(6.4, 7.2)
    for row, quantity in enumerate(("loss", "accuracy")):
        axes = figure.add_subplot(2, 1, row + 1)
        drawn = 0
        for index, prefix in enumerate(("train", "val", "test")):
            epochs, values = curves.series(f"{prefix}_{quantity}", "epoch")
            if len(values):
                axes.plot(epochs, values, label=LABELS[prefix], **stroke(index, len(values)))
                drawn += 1
        if not drawn:
            raise UserError(f"run {run.id} has no finished epoch to draw yet")
        finish(axes, "Epoch", UNITS[quantity])
    figure.suptitle(_name(run))
    return figure


def comparison(folders: Sequence[RunFolder]) -> "Figure":
    """Runs against each other: above on the training set, below on the watched one; left loss, right accuracy."""
    everything = [(_name(run), _read_curves(run)) for run in folders]
    figure = new_figure(11.0, 7.6)
    watched = [LABELS[_watched(curves)] for _, curves in everything]
    rows: tuple[tuple[Set, str], ...] = (("train", "training"), ("watched", " or ".join(dict.fromkeys(watched))))
    drawn = 0
    for row, (which, title) in enumerate(rows):
        columns: tuple[Quantity, ...] = ("loss", "accuracy")
        for column, quantity in enumerate(columns):
            axes = figure.add_subplot(2, 2, 2 * row + column + 1)
            for index, (name, curves) in enumerate(everything):
                epochs, values = _of_set(curves, which, quantity)
                drawn += len(values) > 0
                axes.plot(epochs, values, label=name, **stroke(index, len(values)))
            axes.set_title(f"{title} set")
            finish(axes, "Epoch", UNITS[quantity])
    if not drawn:
        raise UserError("none of these runs has a finished epoch to draw yet")
    return figure


def series(folders: Sequence[RunFolder], name: str) -> "Figure":
    """One recorded series of any number of runs against the epoch. Raises UserError that lists the series there are."""
    everything = [(_name(run), _read_curves(run)) for run in folders]
    known = list(dict.fromkeys(series for _, curves in everything for series in curves.names()))
    if name not in known:
        found = ", ".join(["process", "comparison", "confusion", "reliability", *known])
        raise UserError(f'there is no figure "{name}" of these runs; there are {found}')
    figure = new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    for index, (label, curves) in enumerate(everything):
        epochs, values = curves.series(name, "epoch")
        axes.plot(epochs, values, label=label, **stroke(index, len(values)))
    finish(axes, "Epoch", name)
    return figure


def confusion(account: dict[str, Any], classes: Sequence[str], title: str) -> "Figure":
    """Share of every true class (row) that was answered as each class (column), with the counts where they are legible.

    ``account`` is what ``engine.evaluate.account`` returns.
    """
    counts: list[list[int]] = account["confusion"]
    shares = [[cell / max(1, sum(row)) for cell in row] for row in counts]
    side = max(6.4, 0.28 * len(classes))
    figure = new_figure(side + 1.0, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    places = range(len(classes))
    small = 9 if len(classes) <= 20 else 5
    axes.set_xticks(places, classes, rotation=90, fontsize=small)
    axes.set_yticks(places, classes, fontsize=small)
    if len(classes) <= 20:
        for row in places:
            for column in places:
                colour = "white" if shares[row][column] > 0.5 else "black"
                axes.text(column, row, str(counts[row][column]), ha="center", va="center", fontsize=7, color=colour)
    axes.set_xlabel("answered")
    axes.set_ylabel("truth")
    axes.set_title(f"{title}: {account['accuracy']:.2f} %")
    return figure


def reliability(account: dict[str, Any], title: str) -> "Figure":
    """Accuracy of each bin of confidence against the diagonal, and how many images are in it (Guo et al. 2017, fig. 1).

    ``account`` is what ``engine.evaluate.account`` returns.
    """
    bins: list[dict[str, float]] = account["calibration"]
    width = 1 / len(bins)
    middles = [(index + 0.5) * width for index in range(len(bins))]
    figure = new_figure(5.6, 7.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    accuracies = [entry["accuracy"] for entry in bins]
    above.bar(middles, accuracies, width=0.94 * width, color=COLOURS[0], label="accuracy")
    filled = [(middle, entry) for middle, entry in zip(middles, bins, strict=True) if entry["count"]]
    above.bar(
        [middle for middle, _ in filled],
        [entry["confidence"] - entry["accuracy"] for _, entry in filled],
        bottom=[entry["accuracy"] for _, entry in filled],
        width=0.94 * width,
        color="none",
        edgecolor=COLOURS[1],
        hatch="///",
        label="gap to the confidence",
    )
    above.plot((0, 1), (0, 1), color="#808080", linestyle="--", linewidth=1)
    above.set_ylim(0, 1)
    above.set_ylabel("Accuracy")
    above.legend(loc="upper left", frameon=False)
    above.set_title(f"{title}: ECE {account['ece']:.2f} %")
    below.bar(middles, [entry["count"] for entry in bins], width=0.94 * width, color=COLOURS[0])
    below.set_xlim(0, 1)
    below.set_xlabel("Confidence")
    below.set_ylabel("Images")
    return figure


def test_result(run: RunFolder, checkpoint: str | None) -> tuple[dict[str, Any], str]:
    """The account of the test set and which of its checkpoints is meant. Raises UserError where it was not made."""
    result = atomic.read_json(run.path / "results" / "test" / "result.json", RESULT_BYTES)
    if result is None:
        raise UserError(f"run {run.id} was not tested yet; cifar-tui --evaluate {run.id} tests its checkpoints")
    which = checkpoint or ("best" if "best" in result["checkpoints"] else "last")
    if which not in result["checkpoints"]:
        raise UserError(f"run {run.id} has no {which} checkpoint in its test results")
    return result, which


def require() -> None:
    """Raises UserError when matplotlib is not installed: better before an hour of computing than after."""
    if find_spec("matplotlib") is None:
        raise UserError("figures need matplotlib, which is not installed: pip install 'cifar-tui[figures]'")


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches. Raises UserError when matplotlib is not installed."""
    require()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def render(figure: "Figure", suffix: str) -> bytes:
    """The figure as a ``.png`` or ``.svg`` file. The same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "cifar-tui", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=suffix.removeprefix("."), dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def keep(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write the figure into ``folder`` in every format; the paths."""
    paths = [folder / f"{name}{suffix}" for suffix in FORMATS]
    for path in paths:
        atomic.write_bytes(path, render(figure, path.suffix))
    return paths


def export(figure: "Figure", path: Path) -> None:
    """Write the figure where a person asked for it. Raises UserError when that cannot be done."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--output {path}: a figure ends in .png or .svg")
    try:
        atomic.write_bytes(path, render(figure, path.suffix.lower()))
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written: {error.strerror or error}") from error


def stroke(index: int, points: int) -> dict[str, Any]:
    """The look of a curve: colours first, then dashes, so that no two of 28 are alike; dots where points are few."""
    dashes = ("-", "--", ":", "-.")
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": dashes[index // len(COLOURS) % len(dashes)],
        "linewidth": 1.4,
        "marker": "o" if points <= 20 else "",
        "markersize": 3,
    }


def finish(axes: "Axes", x: str, y: str) -> None:
    """Names, grid and legend of a plot whose x axis counts."""
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e4e5e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _only(folders: Sequence[RunFolder], kind: str) -> RunFolder:
    if len(folders) != 1:
        raise UserError(f"the {kind} figure is of one run, found {len(folders)}; several make a comparison")
    return folders[0]


def _read_curves(run: RunFolder) -> Curves:
    curves = Curves(run.path / "metrics.jsonl")
    while curves.poll():
        pass
    return curves


def _of_set(curves: Curves, which: Set, quantity: Quantity) -> tuple[Sequence[float], Sequence[float]]:
    prefix = "train" if which == "train" else _watched(curves)
    return curves.series(f"{prefix}_{quantity}", "epoch")


def _watched(curves: Curves) -> str:
    """The set that was evaluated after each epoch."""
    return "val" if "val_loss" in curves.names() or "test_loss" not in curves.names() else "test"


def _name(run: RunFolder) -> str:
    return run.view().name or run.id
