"""``--export RUN``: its metrics, everything, or a report, to a file or to standard output."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import cast

from engine import atomic
from engine.errors import UserError
from tui import export as exports
from tui.commands.folder import find_run
from tui.modifiers import EXPORT_FORMATS


def export(args: Namespace) -> int:
    """``--export RUN [--format csv|json|md] [--output FILE]``"""
    form = _form(args.format, args.output)
    run = find_run(args, args.export)
    text = exports.to_text(run, form)
    if args.output is None:
        sys.stdout.write(text)
        return 0
    _write(args.output, text)
    print(args.output)
    return 0


def _form(form: str | None, output: Path | None) -> exports.Format:
    ending = output.suffix.removeprefix(".").lower() if output else ""
    chosen = form or ending or "csv"
    if chosen not in EXPORT_FORMATS:
        raise UserError(f"--output {output}: cannot write .{ending}; end it in .csv, .json or .md, or give --format")
    return cast(exports.Format, chosen)


def _write(path: Path, text: str) -> None:
    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written: {error.strerror or error}") from error
