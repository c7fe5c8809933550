"""``--compare A B``: results with their differences, and only the settings that differ."""

from argparse import Namespace
from dataclasses import dataclass

from engine import runs
from engine.runs import RunFolder, RunView
from engine.text import clean
from tui import configuration, format, glyphs
from tui.commands.folder import runs_folder
from tui.headless.json_events import view_to_json
from tui.strict_json import to_line
from tui.table import Column, render


@dataclass(frozen=True)
class Metric:
    """One row: the figure of each run, and how the second stands to the first."""

    name: str
    values: tuple[str, str]
    difference: str


def compare(args: Namespace) -> int:
    """``--compare A B``"""
    root = runs_folder(args)
    pair = [runs.find(root, wanted) for wanted in args.compare]
    views = (pair[0].view(), pair[1].view())
    differing = configuration.differences([configuration.flatten(run.config_text()) for run in pair])
    if args.json:
        settings = {row.key: row.values for row in differing}
        print(to_line({"runs": [view_to_json(view) for view in views], "settings": settings}))
        return 0
    print(*_lines(pair, views, differing), sep="\n")
    return 0


def _lines(
    pair: list[RunFolder], views: tuple[RunView, RunView], differing: list[configuration.Difference]
) -> list[str]:
    heads = [view.name or view.id for view in views]
    if heads[0] == heads[1]:
        heads = [run.id for run in pair]
    columns = (Column("", limit=40), Column(heads[0], limit=40), Column(heads[1], limit=40), Column("difference"))
    rows = [(metric.name, *metric.values, metric.difference) for metric in metrics(*views)]
    settings = [(clean(row.key), *(_setting(value) for value in row.values), "") for row in differing]
    if not settings:
        return [*render(columns, rows), "", "no setting differs"]
    return [*render(columns, rows), "", *render((*columns[:3], Column("")), settings)]


def _setting(value: str | None) -> str:
    return format.unknown() if value is None else clean(value)


def metrics(a: RunView, b: RunView) -> list[Metric]:
    """What can be compared of two runs; accuracies in percent with differences in points, sizes as factors."""
    return [
        Metric("state", (_state(a), _state(b)), ""),
        _points("best val %" if "loss" not in a.best_metric else "best", a.best, b.best),
        Metric("  at epoch", (format.epochs(a.best_epoch), format.epochs(b.best_epoch)), ""),
        _points("test %, best checkpoint", a.test, b.test),
        _points("test %, last", a.test_last, b.test_last),
        Metric(
            "parameters",
            (format.thousands(a.parameters), format.thousands(b.parameters)),
            _factor(a.parameters, b.parameters),
        ),
        Metric("MACs", (format.thousands(a.macs), format.thousands(b.macs)), _factor(a.macs, b.macs)),
        Metric("epochs", (format.epochs(a.epoch), format.epochs(b.epoch)), ""),
        Metric(
            "time",
            (format.duration(a.active_s or None), format.duration(b.active_s or None)),
            _factor(a.active_s, b.active_s),
        ),
        Metric(
            "speed", (format.throughput(a.images_s), format.throughput(b.images_s)), _factor(a.images_s, b.images_s)
        ),
        Metric("device", (a.device or format.unknown(), b.device or format.unknown()), ""),
    ]


def _state(view: RunView) -> str:
    return f"{glyphs.active().state(view.state)} {view.state}"


def _points(name: str, a: float | None, b: float | None) -> Metric:
    difference = "" if a is None or b is None else format.delta(b - a)
    return Metric(name, (format.accuracy(a), format.accuracy(b)), difference)


def _factor(a: float | None, b: float | None) -> str:
    return format.factor(b / a) if a and b else ""
