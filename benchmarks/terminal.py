"""The terminal over a real pty: first frame, bytes, latency, long runs, memory and idle.

    python -m benchmarks.terminal [--size 160x48] [--rounds 5] [--million] [--many] [--leet DIR]

Everything is measured from outside: what the program writes to its terminal, and what /proc says of it. With
`--leet DIR`, a folder of W&B's own with as many runs, `wandb leet` is started in turns with ours. Of both the first
start, which compiles and reads from the disk, is not counted.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import report
from benchmarks.pty_terminal import CIFAR_TUI, COLOURFUL, PATIENCE_S, Terminal
from engine import runs
from engine.metrics_log import MetricsWriter
from engine.runs import RunFolder, SummaryWriter

EPOCHS = 200


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="160x48")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", action="store_true", help="also open a run of a million steps")
    parser.add_argument("--many", action="store_true", help="also list 10,000 runs")
    parser.add_argument("--leet", type=Path, metavar="DIR", help="start `wandb leet` on this folder in turns with ours")
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="cifar-tui-bench-") as folder:
        bench = Bench(Path(folder), columns, rows, options.rounds, options.leet)
        figures = bench.measure(million=options.million, many=options.many)
    print(
        report.table(
            ["160x48 over a pty" if options.size == "160x48" else options.size, "measured", "target"],
            [[name, *cells] for name, cells in figures["rows"].items()],
        )
    )
    report.save("terminal", {"size": options.size, **figures["raw"]})


class Bench:
    """All measurements on run folders made for them."""

    def __init__(self, folder: Path, columns: int, rows: int, rounds: int, leet_runs: Path | None = None) -> None:
        self._folder, self._size, self._rounds = folder, (columns, rows), rounds
        self._leet_runs = leet_runs
        self._home = folder / "home"
        self._home.mkdir()

    def measure(self, *, million: bool, many: bool) -> dict[str, dict[str, Any]]:
        """Every figure, raw and as a row of the table."""
        usual = self._runs(500)
        starts = [(self._first_frame(usual, []), self._leet()) for _ in range(1 + self._rounds)][1:]
        first, leet = [ours for ours, _ in starts], [theirs for _, theirs in starts if theirs is not None]
        lite = [self._first_frame(usual, ["--lite"]) for _ in range(self._rounds)]
        idle = self._idle(usual)
        live = self._live()
        latency = self._latency()
        long = [self._long(100_000) for _ in range(max(1, self._rounds // 2))]
        rows = {
            "first usable frame, 500 runs": [_seconds(first, "rows_s"), "no slower than leet"],
            "CPU time until then": [_seconds(first, "cpu_s"), "–"],
            "the preview's curves too": [_seconds(first, "curves_s"), "–"],
            "first screen": [f"{max(one['bytes'] for one in first) / 1e3:.1f} kB", "40 kB"],
            "first screen, --lite": [f"{max(one['bytes'] for one in lite) / 1e3:.1f} kB", "20 kB"],
            "five charts fed at 10 Hz": [f"{live['bytes_s'] / 1e3:.1f} kB/s, {live['cpu']:.1f} %", "7 kB/s, 10 %"],
            "event on disk to pixel, median": [f"{1e3 * latency['median']:.0f} ms", "150 ms"],
            "event on disk to pixel, worst": [f"{1e3 * latency['worst']:.0f} ms", "400 ms"],
            "run of 100,000 steps drawn": [report.Spread.of([r["drawn_s"] for r in long]).text(".2f") + " s", "0.5 s"],
            "idle": [f"{idle['bytes_s']:.0f} B/s, {idle['cpu']:.2f} %", "0 B/s, 0.5 %"],
        }
        raw: dict[str, Any] = {
            "first": first,
            "lite": lite,
            "idle": idle,
            "live": live,
            "latency": latency,
            "long": long,
        }
        if million:
            raw["million"] = self._long(1_000_000)
            rows["memory, a million steps open"] = [f"{raw['million']['memory_mb']:.0f} MB", "70 MB"]
        if many:
            raw["many"] = self._listed(10_000)
            rows["10,000 runs listed"] = [f"{raw['many']['listed_s']:.2f} s", "–"]
            rows["memory, 10,000 runs listed"] = [f"{raw['many']['memory_mb']:.0f} MB", "70 MB"]
        if leet:
            raw["leet"] = leet
            rows["wandb leet in turns with it: runs and charts"] = [_seconds(leet, "seconds"), "–"]
        return {"rows": rows, "raw": raw}

    def _open(self, root: Path, arguments: Sequence[str] = ()) -> Terminal:
        home = {name: str(self._home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        # Compiled once, as whatever pip installs is.
        bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self._home / "bytecode")}
        return Terminal([*CIFAR_TUI, "--runs", str(root), *arguments], *self._size, {**COLOURFUL, **home, **bytecode})

    def _first_frame(self, root: Path, arguments: Sequence[str]) -> dict[str, float]:
        """Seconds from the start to the names of runs on the screen and to curves, and bytes until it is quiet."""
        terminal = self._open(root, arguments)
        rows = terminal.until("bench-0")
        cpu = terminal.cpu_seconds()
        rest = terminal.until("loss")
        terminal.settle()
        size = terminal.bytes
        terminal.close()
        if rows is None or rest is None:
            raise SystemExit("no run ever appeared")
        return {"rows_s": rows, "cpu_s": cpu, "curves_s": rows + rest, "bytes": size}

    def _idle(self, root: Path, seconds: float = 10.0) -> dict[str, float]:
        terminal = self._open(root)
        terminal.until("bench-0")
        terminal.settle()
        cpu = terminal.cpu_seconds()
        size = terminal.read(seconds)
        used = terminal.cpu_seconds() - cpu
        terminal.close()
        return {"bytes_s": size / seconds, "cpu": 100 * used / seconds}

    def _live(self, seconds: float = 12.0) -> dict[str, float]:
        """Bytes and CPU of a live run's screen while records come ten times a second."""
        live = LiveRun(self._folder / "live")
        terminal = self._open(live.root)
        terminal.until("live-run")
        terminal.press("\r")
        terminal.settle()
        feed(live, terminal, 2.0)
        cpu, size = terminal.cpu_seconds(), terminal.bytes
        feed(live, terminal, seconds)
        figures = {
            "bytes_s": (terminal.bytes - size) / seconds,
            "cpu": 100 * (terminal.cpu_seconds() - cpu) / seconds,
            "memory_mb": terminal.memory(),
        }
        terminal.close()
        return figures

    def _latency(self, times: int = 15) -> dict[str, float]:
        """Seconds from a record on disk to its figure on the screen, after a quiet moment."""
        live = LiveRun(self._folder / "latency")
        terminal = self._open(live.root)
        terminal.until("live-run")
        terminal.press("\r")
        terminal.settle()
        values = []
        for turn in range(times):
            terminal.read(0.7)
            accuracy = 41.13 + 2.37 * turn
            live.epoch(accuracy)
            shown = f"{accuracy:.2f}"
            seconds = terminal.until(shown)
            values.append(PATIENCE_S if seconds is None else seconds)
        terminal.close()
        spread = report.Spread.of(values)
        return {"median": spread.median, "worst": spread.greatest}

    def _long(self, steps: int) -> dict[str, float]:
        """Seconds from the key that opens a long run to its last figure, and memory with it open."""
        root = self._folder / f"long-{steps}"
        if not root.exists():
            long_run(root, steps)
        terminal = self._open(root)
        terminal.until("long-run")
        terminal.settle()
        began = time.monotonic()
        terminal.press("\r")
        terminal.until("› long-run", "93.21", "At the end")
        drawn = time.monotonic() - began
        terminal.settle()
        figures = {"drawn_s": drawn, "memory_mb": terminal.memory()}
        terminal.close()
        return figures

    def _listed(self, count: int) -> dict[str, float]:
        """Seconds until so many runs are counted on the screen, once a start has read them all, and memory then."""
        root, shown = self._runs(count), f"{count} runs"
        for _ in range(2):
            terminal = self._open(root)
            seconds = terminal.until(shown, patience=10 * PATIENCE_S)
            terminal.settle()
            memory = terminal.memory()
            terminal.close()
        return {"listed_s": PATIENCE_S if seconds is None else seconds, "memory_mb": memory}

    def _runs(self, count: int) -> Path:
        root = self._folder / f"runs-{count}"
        for index in range(count):
            make_run(root, f"bench-{index:04}", "finished", epochs=3)
        return root

    def _leet(self) -> dict[str, float] | None:
        """Seconds to the list of runs and the charts of `wandb leet` on its own folder of runs."""
        if self._leet_runs is None:
            return None
        terminal = Terminal(["wandb", "leet", str(self._leet_runs)], *self._size, {"TERM": "xterm-256color"})
        seconds = terminal.until("Runs [1-", "loss")
        terminal.close()
        return {"seconds": PATIENCE_S if seconds is None else seconds}


def _seconds(measured: Sequence[Mapping[str, float]], name: str) -> str:
    return report.Spread.of([one[name] for one in measured]).text(".2f") + " s"


class LiveRun:
    """A run that this process pretends to train: the lock, the identity, the heartbeat and the records."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = make_run(root, "live-run", "running", epochs=20)
        self.run.lock.acquire(0)
        attempt = self.run.newest_attempt()
        if attempt is None:
            raise SystemExit("the live run has no attempt")
        self._metrics = MetricsWriter(self.run.path / "metrics.jsonl")
        self._summary = SummaryWriter(self.run.path / "summary.json")
        self._epoch, self._step = 20, 20 * 352

    def step(self) -> None:
        """One more record of the training metrics."""
        self._step += 10
        share = self._step / (EPOCHS * 352)
        self._metrics.append(
            {
                "kind": "step",
                "step": self._step,
                "epoch": self._step / 352,
                "loss": 2 - share,
                "accuracy": 40 + 50 * share,
                "lr": 0.001,
                "grad_norm": 0.8,
                "images_s": 9000.0,
            }
        )
        self._beat()

    def epoch(self, accuracy: float) -> None:
        """One more epoch."""
        self._epoch += 1
        self._step = max(self._step, self._epoch * 352)
        self._metrics.append(epoch_record(self._epoch, accuracy))
        self._beat()

    def _beat(self) -> None:
        facts = {**self.run.summary(), "state": "running", "step": self._step, "epoch": self._step / 352}
        self._summary.write_if_due(facts)


def feed(live: LiveRun, terminal: Terminal, seconds: float) -> None:
    """Ten step records a second, and an epoch every two."""
    end = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < end:
        live.step()
        turn += 1
        if turn % 20 == 0:
            live.epoch(60 + turn % 17)
        terminal.read(0.1)


def epoch_record(epoch: int, accuracy: float) -> dict[str, Any]:
    """What the engine writes at the end of an epoch."""
    return {
        "kind": "epoch",
        "epoch": epoch,
        "step": 352 * epoch,
        "train_loss": 2 / (1 + epoch),
        "lr": 0.001,
        "train_accuracy": min(99.0, accuracy + 3),
        "val_loss": 2.2 / (1 + epoch),
        "val_accuracy": accuracy,
        "images_s": 9000.0,
        "epoch_s": 5.0,
        "eval_s": 0.3,
    }


def make_run(root: Path, name: str, state: str, epochs: int) -> RunFolder:
    """A run folder as the engine leaves it, with its first epochs."""
    config = "name: bench\narchitecture: {family: resnet}\ntrain: {epochs: 200}\n"
    facts = {
        "architecture": "resnet_5m",
        "augmentation": "crop_flip",
        "optimizer": "sgd_cosine",
        "dataset": "cifar10",
        "batch_size": 128,
        "lr": 0.1,
        "seed": 1,
        "epochs": float(EPOCHS),
        "steps": EPOCHS * 352,
        "parameters": 4_779_530,
        "macs": 264_996_096,
        "epoch": float(epochs),
        "step": 352 * epochs,
        "started": time.time(),
        "active_s": 60.0,
        "images_s": 9000.0,
        "device": "cpu bench",
        "precision": "bf16",
        "spark": [40.0 + index for index in range(32)],
        "best": {"metric": "val_accuracy", "value": 71.5, "epoch": epochs, "step": 1},
    }
    run = runs.create(root, config, {**facts, "state": "queued"}, {"name": name, "tags": [], "note": ""})
    attempt = run.new_attempt()
    log = MetricsWriter(run.path / "metrics.jsonl")
    for epoch in range(1, epochs + 1):
        log.append(epoch_record(epoch, 30.0 + epoch / 2))
    log.close()
    ended = {"ended": time.time(), "test": {"best": 71.0, "last": 70.9}} if state == "finished" else {}
    SummaryWriter(run.path / "summary.json").write({**facts, "state": state, **ended})
    if state == "finished":
        attempt.write_exit(code=0)
    return run


def long_run(root: Path, steps: int) -> None:
    """A finished run with ``steps`` step records and an epoch every hundredth of it."""
    run = make_run(root, "long-run", "finished", epochs=0)
    with (run.path / "metrics.jsonl").open("wb") as file:
        for step in range(1, steps + 1):
            moment, epoch = 1.7e9 + step / 100, step * EPOCHS / steps
            record = {"kind": "step", "schema": 1, "t": moment, "step": step, "epoch": epoch, "lr": 0.001}
            curve = {"loss": 2 / (1 + step / 5000), "accuracy": 90 - 60 / (1 + step / 9000), "images_s": 9000.0}
            file.write(msgspec.json.encode({**record, **curve}) + b"\n")
            if step % (steps // EPOCHS) == 0:
                last = {"schema": 1, "t": moment, "step": step}
                file.write(msgspec.json.encode({**epoch_record(round(epoch), 93.21), **last}) + b"\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
