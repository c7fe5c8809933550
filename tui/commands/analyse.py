"""``--figure``, ``--gradcam``, ``--prune`` and ``--bn-study``: questions to trained networks.

An engine process answers them; its progress goes to standard error, the answer's summary and files to standard output.
"""

import sys
from argparse import Namespace
from importlib import import_module
from typing import Any

from engine import analysis
from engine import experiment as experiments
from engine.errors import UserError
from engine.runs import RunFolder
from engine.text import clean
from tui import format
from tui.commands.folder import find_run, runs_folder
from tui.commands.source import set_overrides, use_data_folder
from tui.strict_json import to_line
from tui.table import Column, render

STUDY_KEY = "study."
DEFAULT_RATIOS = "0,10,20,40,60,80"


def figure(args: Namespace) -> int:
    """``--figure RUN [RUN …] [--kind KIND] [--output FILE]``"""
    runs = [find_run(args, wanted) for wanted in args.figure]
    output = str(args.output.absolute()) if args.output else None
    question = {
        "ask": "figure",
        "runs": [str(run.path.absolute()) for run in runs],
        "kind": args.kind,
        "checkpoint": args.checkpoint,
        "output": output,
    }
    return _show(args, _answer(question), [])


def gradcam(args: Namespace) -> int:
    """``--gradcam RUN [--images WHICH] [--count N] [--layer NAME] [--explain CLASS] [--method METHOD]``"""
    use_data_folder(args)
    question = {
        "ask": "gradcam",
        "run": _settled(args, args.gradcam),
        "images": args.images,
        "count": args.count,
        "layer": args.layer,
        "explain": args.explain,
        "method": args.method or "gradcam",
        "checkpoint": args.checkpoint,
        "keep": True,
    }
    answer = _answer(question)
    columns = (
        Column("image", right=True),
        Column("truth"),
        Column("answer"),
        Column("%", right=True),
        Column("map of"),
    )
    classes = [clean(name) for name in answer["classes"]]
    rows = [
        (
            str(image["index"]),
            classes[image["label"]],
            classes[image["prediction"]],
            format.accuracy(100 * max(image["probabilities"])),
            classes[image["explained"]],
        )
        for image in answer["images"]
    ]
    head = f"{answer['method']} at {clean(answer['layer'])}, {answer['checkpoint']} checkpoint"
    return _show(args, answer, [head, "", *render(columns, rows)], "show_gradcam")


def prune(args: Namespace) -> int:
    """``--prune RUN [--order ORDER] [--ratios LIST] [--layers PATTERN] [--finetune EPOCHS] [--beside RUN]``"""
    use_data_folder(args)
    question = {
        "ask": "prune",
        "run": _settled(args, args.prune),
        "order": args.order,
        "ratios": _ratios(args.ratios or DEFAULT_RATIOS),
        "layers": args.layers,
        "finetune": args.finetune or 0,
        "beside": _settled(args, args.beside) if args.beside else None,
        "device": args.device,
    }
    answer = _answer(question)
    lines = [f"pruned by {answer['order']}", "", *_pruning_table(answer["rows"]), *_sparse_model(answer["sparse"])]
    return _show(args, answer, lines, "show_pruning")


def _pruning_table(rows: list[dict[str, Any]]) -> list[str]:
    finetuned = any(row["finetuned"] is not None for row in rows)
    columns = [Column("out %", right=True), Column("filters", right=True), Column("test %", right=True)]
    columns += [Column("finetuned", right=True)] if finetuned else []
    columns += [Column("parameters", right=True), Column("MACs", right=True)]
    lines = []
    for row in rows:
        line = [f"{row['ratio']:g}", f"{row['kept']}/{row['filters']}", format.accuracy(row["accuracy"])]
        line += [format.accuracy(row["finetuned"])] if finetuned else []
        lines.append((*line, format.thousands(row["parameters"]), format.thousands(row["macs"])))
    return render(tuple(columns), lines)


def _sparse_model(sparse: dict[str, Any] | None) -> list[str]:
    """`W*: test 56.20 %, 12,345 of 61,470 weights are not zero`, where the run has one."""
    if sparse is None:
        return []
    left, of = (format.thousands(sum(sparse[key].values())) for key in ("nonzero", "weights"))
    return ["", f"W*: test {format.accuracy(sparse['accuracy'])} %, {left} of {of} weights are not zero"]


def bn_study(args: Namespace) -> int:
    """``--bn-study PRESET [--set KEY=VALUE]``: keys that begin with ``study.`` are the study's own."""
    use_data_folder(args)
    changes = set_overrides(args)
    if args.device:
        changes.append(("train.device", args.device))
    training = [change for change in changes if not change[0].startswith(STUDY_KEY)]
    experiments.load(args.bn_study, training)  # a mistake is said at once, not when torch is loaded
    question = {
        "ask": "bn_study",
        "preset": args.bn_study,
        "runs": str(runs_folder(args).absolute()),
        "set": training,
        "study": [change for change in changes if change[0].startswith(STUDY_KEY)],
    }
    answer = _answer(question)
    columns = (
        Column("network"),
        Column("loss", right=True),
        Column("gradient change", right=True),
        Column("smoothness", right=True),
    )
    rows = [(row["name"], *(_range(row, name) for name in ("loss", "gradient", "beta"))) for row in answer["summary"]]
    head = f"{answer['method']}: medians over {answer['points']} steps, lower is smoother"
    return _show(args, answer, [head, "", *render(columns, rows)], "show_study")


def _range(row: dict[str, Any], name: str) -> str:
    found = row[name] if isinstance(row[name], list) else [row[name]]
    return " to ".join(format.unknown() if value is None else f"{value:.3g}" for value in found)


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        return analysis.ask(question)
    except RuntimeError as error:  # its traceback is on standard error already
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


def _show(args: Namespace, answer: dict[str, Any], lines: list[str], drawing: str = "") -> int:
    """Print what was found; on a terminal also the picture that ``tui.headless.drawings`` makes of it."""
    if args.json:
        print(to_line(answer))
        return 0
    if drawing and sys.stdout.isatty():
        # rich and plotext take 0.1 s to import and are of no use off a terminal.
        getattr(import_module("tui.headless.drawings"), drawing)(answer)
    print(*lines, *([""] if lines else []), *answer["files"], sep="\n")
    return 0


def _settled(args: Namespace, wanted: str) -> str:
    run: RunFolder = find_run(args, wanted)
    if run.view().live:
        raise UserError(f"run {run.id} is in progress; its network can be looked at when it ends")
    return str(run.path.absolute())


def _ratios(text: str) -> list[float]:
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        ratios = []
    if not ratios or not all(0 <= ratio < 100 for ratio in ratios):
        raise UserError(f"--ratios {text}: expected percentages from 0 and below 100, as in --ratios 0,20,40")
    return sorted(set(ratios))
