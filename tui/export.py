"""A run as a file for other programs and people: metrics as CSV, everything as JSON, a report as Markdown."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Literal

from engine.metrics_log import MetricsTail, Record
from engine.runs import RunFolder, RunView
from engine.text import clean
from engine.untrusted import as_figure
from tui import format
from tui.headless.json_events import view_to_json
from tui.headless.plain import result_lines
from tui.strict_json import finite

Format = Literal["csv", "json", "md"]

# The order in which people read them; other columns follow as they appear in the log.
LEADING = ("kind", "t", "step", "epoch")
REPORT_EPOCHS = 20
FORMULAS = ("=", "+", "-", "@")


def to_text(run: RunFolder, form: Format) -> str:
    """The run in the given form."""
    return {"csv": metrics_csv, "json": everything_json, "md": report}[form](run)


def records(run: RunFolder) -> Iterator[Record]:
    """All records of the run's log, in order."""
    tail = MetricsTail(run.path / "metrics.jsonl")
    while found := tail.poll():
        yield from found


def metrics_csv(run: RunFolder) -> str:
    """The step, epoch and test records as one table; `kind` tells them apart, a figure a record lacks is empty."""
    rows = [record for record in records(run) if record["kind"] in ("step", "epoch", "test")]
    names = dict.fromkeys([*LEADING, *(name for record in rows for name in record)])
    names.pop("schema", None)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(names), extrasaction="ignore", lineterminator="\n")
    writer.writerow({name: _cell(name) for name in names})
    writer.writerows({name: _cell(value) for name, value in record.items()} for record in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is marked as text."""
    if isinstance(value, str):
        cleaned = clean(value)
        return f"'{cleaned}" if cleaned.startswith(FORMULAS) else cleaned
    return value


def everything_json(run: RunFolder) -> str:
    """View, configuration and all records as one JSON object."""
    whole = {**view_to_json(run.view()), "config": run.config_text(), "records": list(records(run))}
    return json.dumps(finite(whole), allow_nan=False, indent=2) + "\n"


def report(run: RunFolder) -> str:
    """A page about the run: result, settings, and some of its epochs."""
    view = run.view()
    epochs = [record for record in records(run) if record["kind"] == "epoch"]
    lines = [
        f"# {_plain(view.name or view.id)}",
        "",
        f"Run `{view.id}`, {view.state}{f' ({_plain(view.reason)})' if view.reason else ''}.",
        "",
        *(f"- {_plain(line)}" for line in [*result_lines(view), *_facts(view)]),
        "",
        "## Epochs",
        "",
        *_epoch_table(_thinned(epochs)),
        "",
        "## Configuration",
        "",
        "```yaml",
        clean(run.config_text(), newlines=True).replace("```", "` ` `").rstrip("\n"),
        "```",
        "",
    ]
    return "\n".join(lines)


def _facts(view: RunView) -> list[str]:
    facts = [
        (view.architecture, "architecture"),
        (format.thousands(view.parameters) if view.parameters is not None else "", "parameters"),
        (f"{format.thousands(view.macs)} (FLOPs are twice that)" if view.macs is not None else "", "MACs"),
        (", ".join(part for part in (view.augmentation, view.optimizer) if part), "trained with"),
        (f"{view.dataset}, batch {view.batch_size}, seed {view.seed}" if view.dataset else "", "data"),
        (", ".join(part for part in (view.device, view.precision) if part), "device"),
        (format.duration(view.active_s) if view.active_s else "", "time"),
        (_plain(view.note.replace("\n", " ")), "note"),
    ]
    return [f"{label}: {value}" for value, label in facts if value]


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to act on."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in text)


def _thinned(epochs: list[Record]) -> list[Record]:
    """At most about twenty epochs, evenly spread, the last always among them."""
    stride = max(1, -(-len(epochs) // REPORT_EPOCHS))
    return epochs[::-1][::stride][::-1]


def _epoch_table(epochs: list[Record]) -> list[str]:
    if not epochs:
        return ["No epoch was finished."]
    watched = "test" if any("test_accuracy" in record for record in epochs) else "val"
    lines = [
        f"| epoch | train loss | train % | {watched} loss | {watched} % | lr |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for record in epochs:
        figures = {name: as_figure(value) for name, value in record.items()}
        cells = [
            format.epochs(figures.get("epoch")),
            format.loss(figures.get("train_loss"), 4),
            format.accuracy(figures.get("train_accuracy")),
            format.loss(figures.get(f"{watched}_loss"), 4),
            format.accuracy(figures.get(f"{watched}_accuracy")),
            format.learning_rate(figures.get("lr")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
