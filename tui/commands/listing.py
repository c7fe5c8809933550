"""``--list`` and ``--show``: what runs there are, and all about one of them."""

import os
import shutil
import sys
import time
from argparse import Namespace

from engine import runs
from engine.errors import UserError
from engine.runs import RunFolder, RunView
from engine.tested import tested
from engine.text import clean
from tui import filter as run_filter
from tui import format, glyphs
from tui.commands.folder import find_run, runs_folder
from tui.headless.json_events import view_to_json
from tui.headless.plain import result_lines
from tui.strict_json import to_line
from tui.table import Column, render

COLUMNS = (
    Column("state"),
    Column("name", limit=44),
    Column("id"),
    Column("architecture", drop=2, limit=20),
    Column("params", right=True, drop=3),
    Column("MACs", right=True, drop=4),
    Column("epoch", right=True),
    Column("val %", right=True),
    Column("@", right=True, drop=1),
    Column("test %", right=True),
    Column("time", right=True, drop=3),
    Column("ended", right=True),
    Column("tags", drop=6, limit=30),
    Column("remark", drop=5, limit=60),
)


def list_runs(args: Namespace) -> int:
    """``--list [FILTER]``"""
    root = runs_folder(args)
    chosen = _parsed(args.list)
    every = runs.list_runs(root, archived=bool(args.archived))
    shown = [view for view in every if chosen.matches(view)]
    if args.json:
        print(to_line([view_to_json(view) for view in shown]))
        return 0
    if not every:
        print(f"No runs yet in {root}", "cifar-tui --run quickstart trains one in about a minute", sep="\n")
    elif not shown:
        print(f'No run matches "{clean(args.list)}". {_count(every)} hidden in {root}')
    else:
        _print_table(str(root), every, shown)
    return 0


def _parsed(text: str) -> run_filter.Filter:
    try:
        return run_filter.parse(text)
    except run_filter.FilterError as error:
        raise UserError(f"--list: {error}") from None


def _count(listed: list[RunView]) -> str:
    return "1 run" if len(listed) == 1 else f"{len(listed)} runs"


def _print_table(root: str, every: list[RunView], shown: list[RunView]) -> None:
    count = _count(every) if len(shown) == len(every) else f"{len(shown)} of {_count(every)}"
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    now = time.time()
    print(f"{root}: {count}")
    print(*render(COLUMNS, [row(view, now) for view in shown], room), sep="\n")


def row(view: RunView, now: float) -> list[str]:
    """The cells of ``COLUMNS`` for one run."""
    return [
        f"{glyphs.active().state(view.state)} {view.state}",
        view.name,
        view.id,
        view.architecture,
        format.parameters(view.parameters),
        format.macs(view.macs),
        format.progress(view.epoch, view.epochs),
        format.loss(view.best) if "loss" in view.best_metric else format.accuracy(view.best),
        format.epochs(view.best_epoch),
        format.accuracy(tested(view)),
        format.duration(view.active_s or None, table=True),
        _when(view, now),
        ",".join(view.tags),
        view.problem or (view.reason if view.state != "finished" else ""),
    ]


def _when(view: RunView, now: float) -> str:
    if view.live:
        return format.remaining(view.eta_s, "in") if view.state == "running" else view.state
    return format.age(view.ended, now, table=True)


def show(args: Namespace) -> int:
    """``--show RUN``"""
    run = find_run(args, args.show)
    view = run.view()
    if args.json:
        print(to_line({**view_to_json(view), "config": run.config_text()}))
        return 0
    print(*description(run, view), sep="\n")
    return 0


def description(run: RunFolder, view: RunView) -> list[str]:
    """All about a run: state, figures, settings, paths."""
    sections = [_facts(view), _section("Results", result_lines(view)), _section("Problem", [view.problem])]
    sections.append(_section("Notice", [view.notice]))
    sections.append(_section("Note", view.note.splitlines()))
    sections.append(_section("Configuration", _clean_config(run)))
    sections.append(_section("Files", [str(path) for path in _files(run)]))
    return [line for section in sections if section for line in (*section, "")][:-1]


def _facts(view: RunView) -> list[str]:
    state = f"{glyphs.active().state(view.state)} {view.state}{', quiet' if view.quiet else ''}"
    silent = view.live and view.heartbeat_age_s is not None and view.quiet
    heard = f", last heard {format.duration(view.heartbeat_age_s)} ago" if silent else ""
    pairs = [
        ("run", view.id),
        ("name", view.name),
        ("tags", ", ".join(view.tags)),
        ("state", state + heard + (f": {view.reason}" if view.reason else "")),
        ("epoch", f"{format.progress(view.epoch, view.epochs, ' of ')}, step {view.step:,}"),
        ("left", format.remaining(view.eta_s, "") if view.live else ""),
        ("took", format.duration(view.active_s) if view.active_s else ""),
        ("speed", format.throughput(view.images_s) if view.images_s else ""),
        ("device", ", ".join(part for part in (view.device, view.precision) if part)),
        ("network", _network(view)),
        ("trained", f"{view.augmentation}, {view.optimizer}, batch {view.batch_size}, seed {view.seed}"),
        ("data", view.dataset),
        ("sweep", view.sweep),
        ("parent", view.parent),
        ("by", view.by),
    ]
    return [f"{label:9}{value}" for label, value in pairs if value]


def _network(view: RunView) -> str:
    parts = [view.architecture]
    if view.parameters is not None:
        parts.append(f"{format.thousands(view.parameters)} parameters")
    if view.macs is not None:
        parts.append(f"{format.thousands(view.macs)} MACs ({format.macs(2 * view.macs, fact=True)} FLOPs)")
    return ", ".join(part for part in parts if part)


def _section(title: str, lines: list[str]) -> list[str]:
    kept = [line for line in lines if line.strip()]
    return [title, *(f"  {line}" for line in kept)] if kept else []


def _clean_config(run: RunFolder) -> list[str]:
    return clean(run.config_text(), newlines=True).splitlines() or ["config.yaml is missing"]


def _files(run: RunFolder) -> list[str]:
    names = ("config.yaml", "metrics.jsonl", "log.txt", "ckpt", "results")
    return [str(path) for path in (run.path, *(run.path / name for name in names)) if os.path.exists(path)]
