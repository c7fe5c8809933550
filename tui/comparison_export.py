"""A comparison as a file for other programs and people: CSV, JSON, Markdown."""

import csv
import io
import json
from collections.abc import Sequence

from engine.text import clean
from tui import comparison, format
from tui.comparison import Cell, Line, Row
from tui.comparison_settings import setting_rows
from tui.export import Format
from tui.strict_json import finite


def to_text(form: Format, found: Sequence[Line], baseline: int, *, every: bool = False) -> str:
    """The figures of all lines and the settings in which they differ (with `every`: all)."""
    metrics, settings = comparison.metric_rows(found, baseline), setting_rows(found, baseline, every=every).rows
    return {"csv": _csv, "json": _json, "md": _markdown}[form](found, baseline, metrics, settings)


def _csv(found: Sequence[Line], baseline: int, metrics: Sequence[Row], settings: Sequence[Row]) -> str:
    """A row a figure or setting, a column a line; figures in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", *(_literal(line.title) for line in found)])
    writer.writerow(["runs", *(" ".join(_ids(line)) for line in found)])
    for row in metrics:
        writer.writerow([row.label, *("" if cell.number is None else cell.number for cell in row.cells)])
    for row in settings:
        writer.writerow([_literal(row.label), *(_literal(_known(cell)) for cell in row.cells)])
    return out.getvalue()


def _literal(text: str) -> str:
    """A text that a spreadsheet would take for a formula is marked as text; numbers stay numbers."""
    text = clean(text)
    return f"'{text}" if text[:1] in ("=", "+", "@") or (text[:1] == "-" and not _is_number(text)) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _known(cell: Cell) -> str:
    return "" if cell.value == format.unknown() else cell.value


def _ids(line: Line) -> list[str]:
    return [member.view.id for member in line.members]


def _json(found: Sequence[Line], baseline: int, metrics: Sequence[Row], settings: Sequence[Row]) -> str:
    whole = {
        "baseline": found[baseline].title,
        "lines": [{"name": line.title, "runs": _ids(line)} for line in found],
        "metrics": {row.label: [cell.number for cell in row.cells] for row in metrics},
        "settings": {row.label: [_known(cell) or None for cell in row.cells] for row in settings},
    }
    return json.dumps(finite(whole), allow_nan=False, indent=2) + "\n"


def _markdown(found: Sequence[Line], baseline: int, metrics: Sequence[Row], settings: Sequence[Row]) -> str:
    """Two tables as the screen shows them, differences beside the figures."""
    heads = [_plain(line.title) + (" (baseline)" if place == baseline else "") for place, line in enumerate(found)]
    lines = ["# Comparison", ""]
    lines += [f"- {_plain(line.title)}: {', '.join(f'`{run_id}`' for run_id in _ids(line))}" for line in found]
    lines += ["", *_table(["", *heads], [[row.label, *map(_figure, row.cells)] for row in metrics], "--:"), ""]
    if settings:
        rows = [[_plain(row.label), *(_plain(cell.value) for cell in row.cells)] for row in settings]
        lines += [*_table(["setting", *heads], rows, "---"), ""]
    else:
        lines += ["No setting differs.", ""]
    return "\n".join(lines)


def _figure(cell: Cell) -> str:
    return " ".join(
        part for part in (cell.value, f"({cell.difference})" if cell.difference else "", cell.remark) if part
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    rule = ["---", *([alignment] * (len(heads) - 1))]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to act on."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in clean(text))
