"""The app under storms of sizes, keys and pastes, hung up on, killed, frozen, unread; what the run beside it lost."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.torture.outcome import Budget, Outcome
from benchmarks.torture.terminal import Terminal
from engine.process import Identity
from engine.runs import MetricsTail, MetricsWriter, RunFolder, SummaryWriter, create

# A run that counts 200 steps a second for ever and tells when it is late.
ENGINE = """
import sys, time
from pathlib import Path
from engine.runs import MetricsWriter, RunFolder, SummaryWriter
run = RunFolder(Path(sys.argv[1])); run.lock.acquire(1)
log, summary = MetricsWriter(run.path / "metrics.jsonl"), SummaryWriter(run.path / "summary.json")
facts = {**run.summary(), "state": "running", "steps": 10**6, "epochs": 1e4}
step, worst, last = 0, 0.0, time.monotonic()
while True:
    step += 1
    log.append({"kind": "step", "step": step, "epoch": step / 100, "loss": 1 / step, "accuracy": 50.0, "lr": 0.1})
    summary.write_if_due({**facts, "step": step, "epoch": step / 100})
    time.sleep(0.005)
"""
SIZES = ((20, 5), (10, 3), (3, 2), (1, 1), (500, 200), (80, 24), (59, 14), (60, 15), (61, 16), (119, 35), (120, 36))
CALM = "jkgG vs/\x1b?\x1b[]\t+-0xlzhf.<>ymdtpeib123\x04\x15"  # no key that changes a run, launches one or quits


def storms(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """Sizes, keys and pastes faster than anybody makes them; afterwards the app still answers a key."""
    for number in range(30):
        _finished(folder, f"run {number}")
    sizes = Outcome("130 sizes in 5 s, from 1x1 to 500x200: the app lives and answers")
    keys = Outcome("12,600 keys in some seconds: the app lives and answers")
    pastes = Outcome("pastes of 10 kB and 1 MB with escape sequences and foreign bytes: the app lives and answers")
    slowest = dict.fromkeys(("sizes", "keys", "pastes"), 0.0)
    for _ in range(budget.storms):
        for name, outcome, storm in (("sizes", sizes, _resize), ("keys", keys, _type), ("pastes", pastes, _paste)):
            with Terminal(folder) as terminal:
                terminal.settle()
                storm(terminal, rng)
                answered = _comes_back(terminal)
                slowest[name] = max(slowest[name], answered)
                outcome.note("" if terminal.alive() and answered < 20 else _last_words(terminal))
    for name, outcome in (("sizes", sizes), ("keys", keys), ("pastes", pastes)):
        outcome.detail = f"a key is answered within {slowest[name]:.2f} s afterwards"
    return [sizes, keys, pastes]


def _resize(terminal: Terminal, rng: random.Random) -> None:
    for number in range(130):
        columns, rows = SIZES[number % len(SIZES)] if number % 3 else (rng.randrange(1, 300), rng.randrange(1, 100))
        terminal.resize(columns, rows)
        if number % 40 == 0:
            terminal.send(rng.choice("12?\x1b3"))
        terminal.read(0.038)
    terminal.resize(120, 36)


def _type(terminal: Terminal, rng: random.Random) -> None:
    terminal.send("".join(rng.choices(CALM, k=12_600)))


def _paste(terminal: Terminal, rng: random.Random) -> None:
    text = b"pasted text, \t\r\nq\x1bq\x1b[2J\x1b]52;c;eA==\x07\x03\xff\x1b\x1b"
    for keys in ("/", "2/", "1e"):
        for size in (10_000, 1_000_000):
            terminal.send(keys)
            terminal.read(0.5)
            terminal.send(b"\x1b[200~" + text * (size // len(text)) + b"\x1b[201~")
            terminal.read(0.5)
            terminal.send("\x1b")
            terminal.read(0.5)
            terminal.send("\x1b")


def _comes_back(terminal: Terminal) -> float:
    terminal.settle(patience_s=60)
    for _ in range(4):  # out of whatever was opened
        terminal.send("\x1b")
        terminal.read(0.3)
    terminal.send("1")
    return terminal.answers("?")


def _last_words(terminal: Terminal) -> str:
    return f"alive: {terminal.alive()}; " + bytes(terminal.output[-300:]).decode(errors="replace")


def lost_terminals(budget: Budget, rng: random.Random, folder: Path) -> list[Outcome]:
    """Terminals that hang up, are killed, freeze or are not read, beside a run that writes 200 records a second."""
    run, engine = _live_run(folder)
    hung = Outcome("terminal hung up on: the app is gone within 3 s")
    killed = Outcome("app killed with kill -9: the next one opens; the run loses nothing")
    frozen = Outcome("app stopped (SIGSTOP) or its terminal not read for some seconds: the run's speed is unchanged")
    for _ in range(max(2, budget.storms)):
        hung.note(_hang_up(folder, rng))
    for _ in range(max(3, budget.kills // 5)):
        with Terminal(folder) as terminal:
            terminal.read(rng.uniform(0.05, 3.0))
            alive = terminal.alive()
            os.kill(terminal.pid, signal.SIGKILL)
            killed.note("" if alive else "the app had ended by itself: " + _last_words(terminal))
    for stop in (True, False):
        frozen.note(_freeze(folder, run, stop))
    engine.kill()
    engine.wait()
    whole = _gapless(run)
    for outcome in (hung, killed, frozen):
        outcome.failures += [] if not whole else [whole]
    killed.detail = "all records in order from the first"
    return [hung, killed, frozen]


def _hang_up(folder: Path, rng: random.Random) -> str:
    with Terminal(folder) as terminal:
        terminal.settle(patience_s=10)
        terminal.send("\r")
        terminal.read(rng.uniform(0.1, 2.0))
        terminal.hang_up()
        deadline = time.monotonic() + 20
        began = time.monotonic()
        while terminal.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        took = time.monotonic() - began
        return "" if took < 3 else f"still there after {took:.1f} s"


def _freeze(folder: Path, run: RunFolder, stop: bool) -> str:
    log = run.path / "metrics.jsonl"

    def speed(terminal: Terminal | None) -> float:
        """Bytes a second that the run writes, its terminal read meanwhile when one is given."""
        began, before = time.monotonic(), log.stat().st_size
        if terminal:
            terminal.read(2.0)
        else:
            time.sleep(2.0)
        return (log.stat().st_size - before) / (time.monotonic() - began)

    with Terminal(folder) as terminal:
        terminal.settle(patience_s=10)
        terminal.send("\r")
        terminal.read(1.0)
        free = speed(terminal)
        if stop:
            os.kill(terminal.pid, signal.SIGSTOP)
        held = speed(None)
        if stop:
            os.kill(terminal.pid, signal.SIGCONT)
        terminal.settle(patience_s=10)
        if not terminal.alive():
            return "the app ended"
        return f"{held:.0f} B/s instead of {free:.0f}" if held < 0.5 * free else ""


def _gapless(run: RunFolder) -> str:
    tail = MetricsTail(run.path / "metrics.jsonl")
    steps: list[int] = []
    while batch := tail.poll():
        steps += [record["step"] for record in batch]
    return "" if steps == list(range(1, len(steps) + 1)) and not tail.unreadable else "records of the run are missing"


def _live_run(root: Path) -> tuple[RunFolder, "subprocess.Popen[bytes]"]:
    run = create(root, "name: live\n", {"state": "starting", "epochs": 3.0}, {"name": "live"})
    attempt = run.new_attempt()
    with (run.path / "log.txt").open("ab") as log:
        command = [sys.executable, "-P", "-c", ENGINE, str(run.path)]
        engine = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    identity = Identity.of(engine.pid)
    if identity:
        attempt.set_engine(identity)
    log_path = run.path / "metrics.jsonl"
    while not (log_path.exists() and log_path.stat().st_size) and psutil.pid_exists(engine.pid):
        time.sleep(0.05)
    return run, engine


def _finished(root: Path, name: str) -> RunFolder:
    run = create(root, "name: x\n", {"state": "starting"}, {"name": name})
    attempt = run.new_attempt()
    log = MetricsWriter(run.path / "metrics.jsonl")
    for step in range(300):
        log.append({"kind": "step", "step": step, "epoch": step / 100, "loss": 1 / (step + 1), "accuracy": 10.0 + step})
    log.close()
    SummaryWriter(run.path / "summary.json").write({"state": "finished", "epoch": 3.0, "epochs": 3.0, "step": 300})
    attempt.write_exit(code=0)
    return run
