"""The result table of a sweep: what was published and what came out here, as cells, Markdown, CSV and JSON."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from engine.runs import RunView
from engine.sweep import Figure, Member, Result, Sweep
from engine.text import clean
from tui import format, glyphs
from tui.strict_json import finite
from tui.table import Column

COLUMNS = (
    Column("row", limit=44),
    Column("state"),
    Column("published %", right=True),
    Column("test %", right=True),
    Column("difference", right=True),
    Column("val published", right=True, drop=3),
    Column("val %", right=True, drop=3),
    Column("train published", right=True, drop=6),
    Column("train %", right=True, drop=5),
    Column("params published", right=True, drop=8),
    Column("params", right=True, drop=2),
    Column("MACs", right=True, drop=4),
    Column("epochs published", right=True, drop=7),
    Column("epochs", right=True, drop=1),
    Column("time", right=True, drop=1),
)

_PUBLISHED = (
    "published %",
    "difference",
    "val published",
    "train published",
    "params published",
    "epochs published",
)

# Heads of the CSV table and keys of the JSON one.
FIELDS = (
    "row",
    "name",
    "seeds",
    "finished",
    "published_test_accuracy",
    "test_accuracy",
    "test_deviation",
    "difference",
    "published_validation_accuracy",
    "validation_accuracy",
    "validation_deviation",
    "published_train_accuracy",
    "train_accuracy",
    "train_deviation",
    "published_parameters",
    "parameters",
    "published_macs",
    "macs",
    "published_epochs",
    "epochs",
    "time_s",
    "source",
    "notes",
    "runs",
)


def table(results: Sequence[Result]) -> tuple[list[Column], list[list[str]]]:
    """The columns with the cells of every row. What nobody published has no column."""
    rows = [cells(result) for result in results]
    kept = [
        index
        for index, column in enumerate(COLUMNS)
        if column.head not in _PUBLISHED or any(row[index] != format.unknown() for row in rows)
    ]
    return [COLUMNS[index] for index in kept], [[row[index] for index in kept] for row in rows]


def cells(result: Result) -> list[str]:
    """The cells of ``COLUMNS`` for one row."""
    published = result.published
    return [
        result.name,
        state(result),
        format.accuracy(published.test_accuracy),
        _spread(result.test),
        format.delta(result.difference),
        format.accuracy(published.validation_accuracy),
        _spread(result.validation),
        format.accuracy(published.train_accuracy),
        _spread(result.train),
        format.parameters(published.parameters),
        format.parameters(result.parameters),
        format.macs(result.macs),
        format.epochs(published.epochs),
        _epochs(result.epochs),
        format.duration(result.time_s.mean if result.time_s else None, table=True),
    ]


def state(result: Result) -> str:
    """`✓ finished`, `⠿ running 12/100`, with several seeds `2/3 finished, 1 running`."""
    if len(result.runs) == 1:
        return _one_state(result.runs[0])
    if result.finished == len(result.runs):
        return f"{glyphs.active().state('finished')} finished"
    counts = Counter(run.state if run else "to do" for run in result.runs if run is None or run.state != "finished")
    rest = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{result.finished}/{len(result.runs)} finished, {rest}"


def _one_state(run: RunView | None) -> str:
    if run is None:
        return "to do"
    going = run.state in ("running", "paused")
    progress = f" {format.progress(run.epoch, run.epochs)}" if going else ""
    return f"{glyphs.active().state(run.state)} {run.state}{progress}"


def heading(sweep: Sweep, members: Sequence[Member], results: Sequence[Result]) -> str:
    """`seed_c_lr_wd: 3 of 5 runs finished, seeds 6953`"""
    seeds = sorted({member.seed for member in members})
    shown = ", ".join(str(seed) for seed in seeds[:5]) + (", …" if len(seeds) > 5 else "")
    finished = sum(result.finished for result in results)
    changed = "".join(f", {key}={value}" for key, value in sweep.changes)
    plural = "s" if len(seeds) > 1 else ""
    return f"{sweep.name}: {finished} of {len(members)} runs finished, seed{plural} {shown}{changed}"


def folder_name(sweep: Sweep) -> str:
    """Where the tables lie in the folder ``sweeps`` beside the runs.

    A sweep that was changed keeps out of the way of the table of the sweep as it is written.
    """
    name = re.sub(r"[^\w.-]", "_", sweep.name).lstrip(".") or "sweep"
    return f"{name}-changed" if sweep.changes else name


def files(sweep: Sweep, members: Sequence[Member], results: Sequence[Result]) -> dict[str, str]:
    """The table in each form, by the name of its file."""
    return {
        "table.md": markdown(sweep, members, results),
        "table.csv": as_csv(results),
        "table.json": as_json(sweep, results),
    }


def markdown(sweep: Sweep, members: Sequence[Member], results: Sequence[Result]) -> str:
    """The table with its notes as a page."""
    columns, rows = table(results)
    aligned = ["--:" if column.right else "---" for column in columns]
    lines = [
        f"# {_plain(sweep.name)}",
        "",
        *([_plain(sweep.about), ""] if sweep.about else []),
        *([_plain(sweep.notes), ""] if sweep.notes else []),
        f"{_plain(heading(sweep, members, results))}.",
        "",
        _line([column.head for column in columns]),
        _line(aligned),
        *(_line([_plain(cell) for cell in row]) for row in rows),
        "",
        *(f"- {_plain(result.name)}: {_plain(result.notes)}" for result in results if result.notes),
    ]
    explained = _explained(results)
    return "\n".join([*lines, *([""] if lines[-1] else []), *explained, ""])


def as_csv(results: Sequence[Result]) -> str:
    """One line a row under ``FIELDS``: percent, seconds, whole counts; empty where a figure is not known."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for result in results:
        values = as_values(result)
        writer.writerow({**values, "runs": " ".join(values["runs"]), **_texts(values)})
    return out.getvalue()


def as_json(sweep: Sweep, results: Sequence[Result]) -> str:
    """The table with the sweep's texts, as one JSON object."""
    whole = {
        "sweep": sweep.name,
        "about": sweep.about,
        "notes": sweep.notes,
        "changes": dict(sweep.changes),
        "rows": [as_values(result) for result in results],
    }
    return json.dumps(finite(whole), allow_nan=False, indent=2) + "\n"


def as_values(result: Result) -> dict[str, Any]:
    """One row as plain values by ``FIELDS``; rows count from 1."""
    published = result.published
    return {
        "row": result.row + 1,
        "name": result.name,
        "seeds": len(result.runs),
        "finished": result.finished,
        "published_test_accuracy": published.test_accuracy,
        **_of("test_accuracy", "test_deviation", result.test),
        "difference": _rounded(result.difference),
        "published_validation_accuracy": published.validation_accuracy,
        **_of("validation_accuracy", "validation_deviation", result.validation),
        "published_train_accuracy": published.train_accuracy,
        **_of("train_accuracy", "train_deviation", result.train),
        "published_parameters": published.parameters,
        "parameters": result.parameters,
        "published_macs": published.macs,
        "macs": result.macs,
        "published_epochs": published.epochs,
        "epochs": _rounded(result.epochs.mean if result.epochs else None),
        "time_s": _rounded(result.time_s.mean if result.time_s else None),
        "source": published.source,
        "notes": result.notes,
        "runs": [run.id for run in result.runs if run is not None],
    }


def _of(mean: str, deviation: str, figure: Figure | None) -> dict[str, float | None]:
    return {mean: _rounded(figure.mean if figure else None), deviation: _rounded(figure.deviation if figure else None)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Texts that a spreadsheet would take for a formula are marked as text."""
    found = {key: clean(value) for key, value in values.items() if isinstance(value, str)}
    return {key: f"'{value}" if value[:1] in "=+-@" else value for key, value in found.items() if value}


def _spread(figure: Figure | None) -> str:
    return format.spread(figure.mean, figure.deviation) if figure else format.unknown()


def _epochs(figure: Figure | None) -> str:
    return format.epochs(round(figure.mean, 1)) if figure else format.unknown()


def _explained(results: Sequence[Result]) -> list[str]:
    words = [
        "Accuracies in percent; difference is our mean test accuracy minus the published one, in points.",
        "Test is that of the best checkpoint unless a row compares the last one; train is the last epoch's.",
    ]
    if any(len(result.runs) > 1 for result in results):
        words.append("± is the sample standard deviation over seeds; epochs and time are means.")
    return [" ".join(words)]


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to act on."""
    cleaned = clean(text.replace("\n", " ")).strip()
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in cleaned)
