"""Damaged and invented contents of every file that is read: refused in words, or read as far as they are sound."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.torture.outcome import Budget, Outcome
from engine import checkpoint, strict_yaml
from engine.checkpoint import Checkpointer
from engine.curves import Curves
from engine.errors import UserError
from engine.experiment import loads
from engine.runs import MetricsTail, MetricsWriter, create, list_runs

PRESETS = Path(__file__).resolve().parents[2] / "presets"
YAML_BITS = (
    b"&a ", b"*a", b"!!python/object:os.system ", b"<<: *a\n", b"\t", b"\0", b"- ", b": ", b"{", b"[" * 200, b"---\n",
    b"1e400", b"9" * 300, b"\xff\xfe", b"\xed\xa0\x80", b"\x1b]0;x\x07", b"? ", b"|\n", b"'", b'"', b"# ",
    b"%TAG ! x\n",
)  # fmt: skip
SLOW_S = 5.0


def checkpoints(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """A saved network truncated, with bits flipped, pages zeroed: never loaded, and the one before it is."""
    checkpointer = Checkpointer(folder)
    for step in (10, 20):
        weights = {f"w{index}": torch.full((1000,), float(step)) for index in range(8)}
        checkpointer.save({"step": step, "epoch": 1.0, "model": weights}, None, 0)
        checkpointer.wait()
    checkpointer.close()
    newest, older = checkpoint.candidates(folder)
    path = folder / newest.file
    whole = path.read_bytes()
    page = len(whole) // 2 & ~4095
    damages: dict[str, list[bytes]] = {
        "checkpoint truncated": [whole[: rng.randrange(len(whole))] for _ in range(budget.fuzz // 10)],
        "checkpoint with one bit flipped": [_flipped(whole, rng) for _ in range(budget.fuzz // 6)],
        "checkpoint zeroed, emptied, text": [
            whole[:page] + bytes(4096) + whole[page + 4096 :], b"", b"weights", bytes(len(whole)),
        ],
    }  # fmt: skip
    outcomes = []
    for fault, contents in damages.items():
        outcome = Outcome(f"{fault}: refused by its sha256, the one before is used")
        for content in contents:
            path.write_bytes(content)
            outcome.note(_loads_only(folder, newest, older))
        outcomes.append(outcome)
    path.write_bytes(whole)
    return [*outcomes, _manifests(budget, rng, folder)]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _loads_only(folder: Path, damaged: checkpoint.Entry, sound: checkpoint.Entry) -> str:
    try:
        checkpoint.load(folder, damaged)
    except UserError:
        return "" if checkpoint.load(folder, sound)["step"] == sound.step else "the older one is not itself"
    return f"{damaged.file} was loaded"


def _manifests(budget: Budget, rng: random.Random, folder: Path) -> Outcome:
    outcome = Outcome("manifest damaged: nothing but whole checkpoints is ever offered")
    path = folder / checkpoint.MANIFEST
    whole = path.read_bytes()
    for _ in range(budget.fuzz // 10):
        path.write_bytes(_mangled(whole, rng))
        failure = ""
        for entry in checkpoint.candidates(folder):
            try:
                state = checkpoint.load(folder, entry)
            except UserError:
                continue
            if state["model"]["w0"][0] != state["step"]:
                failure = f"{entry} loads other weights"
        outcome.note(failure)
    path.write_bytes(whole)
    return outcome


def _mangled(data: bytes, rng: random.Random, bits: tuple[bytes, ...] = (b"\0", b"[]", b'"', b"-1", b"1e999")) -> bytes:
    """A few random changes: bytes replaced, taken out, doubled, foreign pieces put in."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[place : place + rng.randrange(1, 40)]
            case 2:
                changed[place:place] = changed[place : place + rng.randrange(1, 40)]
            case 3:
                changed[place:place] = rng.choice(bits)
            case _:
                del changed[place:]
    return bytes(changed)


def presets(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """Presets with random damage: an experiment comes out, or one sentence."""
    outcome = Outcome("presets mangled: an experiment or a sentence, within 5 s")
    texts = [path.read_bytes() for path in sorted(PRESETS.glob("*.yaml"))]
    for _ in range(budget.fuzz):
        text = _mangled(rng.choice(texts), rng, YAML_BITS)
        outcome.note(_refused_or_read(lambda text=text: loads(text), repr(text[-60:])))  # type: ignore[misc]
    bombs = Outcome("YAML bombs (brackets, merges, aliases, megabytes): refused")
    for text in _bombs():
        bombs.note(_refused_or_read(lambda text=text: strict_yaml.parse(text, "bomb"), repr(text[:40])))  # type: ignore[misc]
    return [outcome, bombs]


def _bombs() -> list[bytes]:
    merges = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 25))
    return [b"[" * 5_000, b"{a: " * 5_000, b"[" * 60_000, merges.encode(), b"a: " + b"x" * (1 << 20), b"- " * 30_000]


def _refused_or_read(read: Callable[[], object], what: str) -> str:
    began = time.monotonic()
    try:
        read()
    except UserError as error:
        if "\x1b" in str(error):
            return f"{what}: an escape character in the message"
    except Exception as error:
        return f"{what}: {type(error).__name__}: {error}"
    took = time.monotonic() - began
    return f"{what}: took {took:.1f} s" if took > SLOW_S else ""


def metrics(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """Logs with random damage: what lies before it is read, nothing raises, curves are drawn from the rest."""
    outcome = Outcome("metrics.jsonl mangled: all records before the damage read, nothing raised")
    path = folder / "metrics.jsonl"
    writer = MetricsWriter(path)
    for step in range(200):
        writer.append({"kind": "step", "step": step, "loss": 1 / (step + 1), "accuracy": float(step)})
    writer.close()
    whole = path.read_bytes()
    for _ in range(budget.fuzz // 4):
        content = _mangled(whole, rng, (b"\0" * 50, b"\r\n", b"\xef\xbb\xbf", b"NaN", b"{" * 300, b"\xff" * 9))
        path.write_bytes(content)
        changed = (i for i, pair in enumerate(zip(whole, content, strict=False)) if pair[0] != pair[1])
        intact = next(changed, min(len(whole), len(content)))
        outcome.note(_reads_to(path, whole[:intact].count(b"\n")))
    return [outcome]


def _reads_to(path: Path, lines: int) -> str:
    try:
        tail, curves = MetricsTail(path), Curves(path)
        found = tail.poll()
        while curves.poll():
            pass
        curves.series("loss")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    steps = [record.get("step") for record in found[:lines]]
    return "" if steps == list(range(lines)) else f"{len(steps)} of {lines} records before the damage"


def folders(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """Run folders whose JSON files hold anything: each is a row, the others are untouched, nobody is signalled."""
    outcome = Outcome("summary, user, proc, exit with invented values: one row marked at most, nobody signalled")
    os.kill, signalled = _watched_kill()
    good = create(folder, "", {"state": "finished"}, {"name": "good"})
    bad = create(folder, "", {"state": "queued"}, {"name": "bad"})
    attempt = bad.new_attempt()
    targets = [
        bad.path / "summary.json",
        bad.path / "user.json",
        attempt.path / "proc.json",
        attempt.path / "exit.json",
    ]
    for _ in range(budget.fuzz // 4):
        path = rng.choice(targets)
        document = json.loads(path.read_text()) if path.exists() else {}
        known = [*document, "state", "spark", "best", "engine", "pid", "x"]
        invented = {rng.choice(known): _invented(rng, 0) for _ in range(rng.randrange(1, 6))}
        path.write_text(json.dumps({**document, **invented}))
        outcome.note(_still_listed(folder, good.id, bad.id))
        path.write_text(json.dumps(document))
    os.kill = signalled.pop(0)
    if signalled:
        outcome.failures.append(f"signals sent: {signalled[:5]}")
    return [outcome]


def _watched_kill() -> tuple[Callable[[int, int], None], list[Any]]:
    sent: list[Any] = [os.kill]

    def note(pid: int, number: int) -> None:
        if number:
            sent.append((pid, number))

    return note, sent


def _invented(rng: random.Random, depth: int) -> Any:
    """A JSON value of any type and size."""
    plain: list[Any] = [None, True, 0, -1, 2**70, 1e308, "", "running", "x" * 5000, "\x1b]0;x\x07", "\ud800", -(2**40)]
    if depth > 2 or rng.random() < 0.6:
        return rng.choice(plain)
    items = [_invented(rng, depth + 1) for _ in range(rng.randrange(4))]
    return items if rng.random() < 0.5 else {str(rng.choice(plain)): item for item in items}


def _still_listed(root: Path, *ids: str) -> str:
    try:
        listed = {view.id: view for view in list_runs(root)}
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if set(listed) == set(ids) and listed[ids[0]].name == "good" else f"{sorted(listed)} are listed"
