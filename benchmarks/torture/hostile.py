"""Text that a terminal would act on or that markup would run, in every field that a file can bring to the screen."""

import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.torture.outcome import Budget, Outcome
from benchmarks.torture.terminal import CIFAR_TUI, Terminal
from engine import atomic
from engine.runs import MetricsWriter, RunFolder, SummaryWriter, create

# Each with a mark of its own, so that what leaks is told from what the app itself sends.
PAYLOADS = {
    "OSC 52, clipboard": "\x1b]52;c;TEVBSw==\x07",
    "OSC 0, title": "\x1b]0;LEAK0\x07",
    "OSC 8, link": "\x1b]8;;http://leak.example\x1b\\LEAK8\x1b]8;;\x1b\\",
    "OSC without an end": "\x1b]2;LEAK2",
    "CSI, clear": "\x1b[2JLEAKC",
    "CSI, report the cursor": "\x1b[6nLEAKR",
    "DCS": "\x1bP+q4c45414b\x1b\\LEAKD",
    "APC": "\x1b_LEAKA\x1b\\",
    "C1 CSI": "\x9b31mLEAK1",
    "C1 OSC": "\x9d0;LEAK9\x9c",
    "reset": "\x1bcLEAKX",
    "bell": "\x07LEAKB",
    "backspace": "LEAK\x08\x08S",
    "carriage return": "LEAK\rZ",
    "NUL": "LEAK\x00N",
    "DEL": "LEAK\x7fE",
    "bidirectional override": "LEAK\u202eT",
    "zero width": "LEAK\u200bW",
    "line separator": "LEAK\u2028L",
    "surrogate": "LEAK\udc80Q",
}  # fmt: skip
MARKUP = (
    "[@click=app.quit]click[/]", "[@click=app.bell()]b", "[/foo]", "[/]", "[/", "[red", "[bold]x[/bold][/bold]",
    "[link=file:///x]y[/]", "\\[x]", "[on red]z[/]", "[$accent]w[/]", "[[v]]",
)  # fmt: skip
EVERYTHING = " ".join([*PAYLOADS.values(), *MARKUP])
FIELDS = ("architecture", "augmentation", "optimizer", "dataset", "device", "precision", "phase", "by", "group_hash")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]")
TOUR = (
    "jjj", "v", "v", "s", "/", "LEAK", "\x1b", "\x1b", "g", "  ", "c", "d", "m", "\x1b", "g", "\r", "i", "/", "LEAK",
    "\x1b", "\x1b", "y", "\x1b", "r", "\x1b", "b", "\x1b", "e", "\x1b", "h", "x", "\x1b", "3", "1", "2", "/", "LEAK",
    "\x1b", "1", "?", "\x1b", "\x10", "LEAK", "\x1b", "G", "\r", "\x1b",
)  # fmt: skip


def on_screens(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """Every screen with runs full of payloads: none of their bytes reaches the terminal, and the app lives."""
    escapes = Outcome("escape sequences in names, tags, notes, figures, logs on all screens: none gets through")
    markup = Outcome("markup in the same places: shown as text, no action runs, no crash")
    for number, payload in enumerate((*PAYLOADS.values(), *MARKUP)):
        _run_of(folder, payload, str(number))
    for _ in range(5):  # the newest, so that the keys meet one of them on every screen
        _run_of(folder, EVERYTHING, "")
    sent, alive = _tour(folder)
    ended = "" if alive else "the app ended: " + sent[-400:].decode(errors="replace")
    shown = sum(mark in sent for mark in (b"LEAKB", b"LEAKC", b"LEAKX"))
    for name, payload in PAYLOADS.items():
        escapes.note(f"{name} reached the terminal" if _leaks(payload, sent) else ended)
    for payload in MARKUP:
        markup.note(ended or ("" if payload.encode() in sent else f"{payload} was not shown as it is written"))
    if not shown:
        escapes.failures.append("the texts were not on the screens at all, so nothing was shown")
    escapes.detail = f"{len(sent):,} bytes looked through, {len(TOUR)} keys over all screens"
    return [escapes, markup]


def _tour(root: Path) -> tuple[bytes, bool]:
    with Terminal(root, 200, 50) as terminal:
        terminal.settle()
        for keys in TOUR:
            terminal.send(keys)
            terminal.read(0.25)
        terminal.settle()
        return bytes(terminal.output), terminal.alive()


def _leaks(payload: str, sent: bytes) -> bool:
    return payload.encode("utf-8", "surrogatepass") in sent or payload.encode("latin-1", "replace") in sent


def in_plain_output(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """The same runs through the commands that print: nothing but text and newlines comes out."""
    outcome = Outcome(
        "escape sequences through --list, --show, --watch, --compare, --export, --json: only text comes out"
    )
    runs = [_run_of(folder / "runs", payload, str(n)) for n, payload in enumerate([EVERYTHING, *PAYLOADS.values()])]
    commands = [["--list"], ["--list", "--json"], ["--queue"]]
    for run in runs if budget.fuzz > 2000 else runs[:1]:
        commands += [["--show", run.id], ["--watch", run.id], ["--compare", run.id, runs[0].id]]
    for payload in PAYLOADS.values():
        text = payload.replace("\0", "").encode("utf-8", "surrogateescape")
        commands += [["--show", os.fsdecode(text)]] if budget.fuzz > 2000 else []
    for command in commands:
        ended = subprocess.run(
            [*CIFAR_TUI, "--runs", str(folder / "runs"), *command],
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        said = (ended.stdout + ended.stderr).decode("utf-8", "replace")
        found = CONTROL.search(said)
        trouble = "Traceback (most recent" in said or not said
        outcome.note(f"{command}: {found[0]!r} in the output" if found else f"{command}: {said}" if trouble else "")
    return [outcome]


def _run_of(root: Path, text: str, number: str) -> RunFolder:
    """A finished run with this text wherever a text can be."""
    facts: dict[str, Any] = {**dict.fromkeys(FIELDS, text), "published": {text: text}}
    config = f"name: x\nnotes: {text.encode('unicode_escape').decode()!r}\n"
    run = create(root, config, {"state": "starting", **facts}, {})
    user = {"name": f"{text}{number}", "tags": [text], "note": f"{text}\n{text}"}
    atomic.write_json(run.path / "user.json", user)  # past what is checked of a name that a person types
    attempt = run.new_attempt()
    log = MetricsWriter(run.path / "metrics.jsonl")
    for step in range(40):
        log.append({"kind": "step", "step": step, "epoch": step / 10, "loss": 1 / (step + 1), text: 1.0, "x": text})
    log.append({"kind": "epoch", "epoch": 4, "step": 40, "train_loss": 0.1, "val_accuracy": 50.0, "val_loss": 0.2})
    log.close()
    lines = f"{text}\nTraceback: {text}\n" * 30
    (run.path / "log.txt").write_bytes(lines.encode("utf-8", "surrogateescape") + b"\xff\xfe\x1b]0;LEAK0\x07")
    summary = {"state": "failed", "reason": text, "problem": text, "epoch": 4.0, "epochs": 5.0, "steps": 50, "step": 40}
    SummaryWriter(run.path / "summary.json").write({**facts, **summary, "last": {text: 1.0}, "lr": 0.1})
    attempt.write_exit(code=1)
    return run
