"""Showing a run without the terminal app: plain lines, JSON, the live picture, and following until the end."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.curves import Curves
from engine.run_view import RunView
from engine.runs import MetricsWriter, RunFolder
from tui import glyphs
from tui.headless.follow import Interrupts, follow
from tui.headless.json_events import JsonDisplay
from tui.headless.live import LiveDisplay, picture
from tui.headless.plain import PlainDisplay, epoch_line
from tui.headless.show import Lines
from tui.strict_json import to_line
from tui.theme import palette

MakeRun = Callable[..., RunFolder]

ESCAPES = {"\x1b", "\x07", "\x9b"}


def epoch(number: int, accuracy: float | None, **more: Any) -> dict[str, Any]:
    return {
        "kind": "epoch",
        "t": 100.0 + number,
        "epoch": number,
        "step": 90 * number,
        "train_loss": 2.0 / number,
        "train_accuracy": 30.0 * number,
        "val_loss": 2.1 / number,
        "val_accuracy": accuracy,
        "lr": 0.1,
        "images_s": 9241.0,
        "epoch_s": 4.2,
        **more,
    }


def view(**fields: Any) -> RunView:
    facts: dict[str, Any] = {
        "id": "20260131-142233-9f3a1c",
        "path": Path("/runs/20260131-142233-9f3a1c"),
        "state": "running",
        "name": "first",
        "architecture": "tiny",
        "dataset": "shapes",
        "seed": 1,
        "epoch": 2.0,
        "epochs": 3.0,
        "step": 180,
        "steps": 270,
        "phase": "training",
        "best_metric": "val_accuracy",
        "eta_s": 33.0,
    }
    return RunView(**(facts | fields))


def plain(*steps: tuple[RunView, list[dict[str, Any]], bool]) -> list[str]:
    lines: list[str] = []
    display = PlainDisplay(lines.append)
    for now, records, restarted in steps:
        display.show(now, records, restarted)
    display.close(steps[-1][0])
    return lines


def test_plain_writes_a_head_a_line_an_epoch_and_the_outcome() -> None:
    finished = view(state="finished", phase="", test=59.0, active_s=12.0, published={"test_accuracy": 58.9})
    lines = plain(
        (view(phase="reading data"), [], False),
        (view(), [epoch(1, 50.0), {"kind": "step", "t": 101.5, "loss": 1.0}, epoch(2, 60.0)], False),
        (finished, [epoch(3, 55.0)], False),
    )
    assert lines[0] == "run 20260131-142233-9f3a1c first: tiny on shapes, seed 1, in /runs/20260131-142233-9f3a1c"
    assert lines[1] == "  reading data"
    assert lines[2] == (
        "epoch 1/3  train loss 2.0000 acc 30.00 %  val loss 2.1000 acc 50.00 %  best  lr 1.00e-1  9.2 k img/s  4.2 s"
        "  left 33 s"
    )
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/3", "2/3", "3/3"]
    assert "best" in lines[3]
    assert "best" not in lines[4]
    assert lines[5] == "✓ finished after 12 s"
    assert lines[6] == "  test accuracy 59.00 %"
    assert lines[7] == "  published 58.90 %, difference +0.10"


def test_plain_repeats_no_epoch_when_a_resume_cut_the_log() -> None:
    again = [epoch(1, 50.0), epoch(2, 60.0), epoch(2, 61.0, t=110.0)]
    lines = plain((view(), [epoch(1, 50.0), epoch(2, 60.0)], False), (view(), again, True))
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/3", "2/3", "2/3"]


def test_plain_takes_records_with_little_in_them() -> None:
    assert "–" in epoch_line({"kind": "epoch"}, view(epochs=None, eta_s=None))
    assert "NaN" in epoch_line(epoch(1, None, train_loss=float("nan")), view())


def test_plain_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "_active", glyphs.ASCII)
    lines = plain((view(state="diverged", reason="loss NaN at step 702"), [epoch(1, 50.0)], False))
    assert "\n".join(lines).isascii()
    assert lines[-1] == "% diverged: loss NaN at step 702"


def test_json_is_one_strict_object_a_line() -> None:
    lines: list[str] = []
    display = JsonDisplay(lines.append)
    display.show(view(name="\x1b[31m"), [epoch(1, float("nan"))], False)
    display.show(view(phase="evaluating"), [], False)
    display.show(view(phase="evaluating"), [epoch(1, 50.0), epoch(2, 60.0)], True)
    display.close(view(state="finished"))
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [event["kind"] for event in events] == ["run", "state", "epoch", "state", "epoch", "result"]
    assert events[2]["val_accuracy"] is None
    assert (events[4]["epoch"], events[5]["state"]) == (2, "finished")
    assert not set("".join(lines)) & ESCAPES


NOTICE = "not compiled: InvalidCxxCompiler: No working C++ compiler found"


def test_a_notice_is_shown_by_each_display_when_it_comes() -> None:
    noted = view(notice=NOTICE)
    lines = plain((view(), [], False), (noted, [], False), (noted, [epoch(1, 50.0)], False), (view(), [], False))
    assert lines.count(f"  {NOTICE}") == 1
    written: list[str] = []
    display = JsonDisplay(written.append)
    for now in (view(), noted, noted):
        display.show(now, [], False)
    events = [json.loads(line) for line in written]
    assert [event["notice"] for event in events if event["kind"] == "state"] == ["", NOTICE]
    assert NOTICE in drawn(noted, None, 120, 36)


def test_json_values_that_are_no_json() -> None:
    assert to_line({"a": [float("inf"), (1, 2)], "b": "\x9b"}) == '{"a":[null,[1,2]],"b":"\\u009b"}'


class Silent:
    """A display that shows nothing and remembers what it was given."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.closed: RunView | None = None

    def show(self, view: RunView, records: list[dict[str, Any]], restarted: bool) -> None:
        self.records += records

    def close(self, view: RunView) -> None:
        self.closed = view


def test_follow_sees_every_record_and_ends_with_the_run(make_run: MakeRun) -> None:
    run = make_run(state="running")

    def work() -> None:
        log = MetricsWriter(run.path / "metrics.jsonl")
        for number in range(1, 51):
            log.append(epoch(number, 50.0))
            time.sleep(0.005)
        attempt = run.newest_attempt()
        assert attempt is not None
        attempt.write_exit(code=0)

    worker = threading.Thread(target=work)
    worker.start()
    display = Silent()
    last = follow(run, display, lambda number: True, Interrupts())
    worker.join()
    assert [record["epoch"] for record in display.records] == list(range(1, 51))
    assert last.state == "finished"
    assert display.closed == last


def test_a_signal_is_handed_on_and_may_end_the_following(make_run: MakeRun) -> None:
    run = make_run(state="running")
    interrupts, seen = Interrupts(), []
    before = signal.getsignal(signal.SIGINT)

    def on_signal(number: int) -> bool:
        seen.append(number)
        if len(seen) < 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return len(seen) < 2

    with interrupts.caught():
        os.kill(os.getpid(), signal.SIGINT)
        last = follow(run, Silent(), on_signal, interrupts)
    assert seen == [signal.SIGINT, signal.SIGTERM]
    assert last.live
    assert signal.getsignal(signal.SIGINT) is before


def test_lines_go_nowhere_once_the_reader_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    silenced: list[bool] = []
    monkeypatch.setattr("tui.headless.show._silence_stdout", lambda: silenced.append(True))
    lines = Lines(Gone())
    lines.write("one")
    lines.write("two")
    assert silenced == [True]


def curves_of(records: list[dict[str, Any]]) -> Curves:
    curves = Curves(Path("/nowhere/metrics.jsonl"))
    curves.feed(records)
    return curves


def drawn(now: RunView, curves: Curves | None, width: int, height: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, height=height, highlight=False).print(
        picture(now, curves, width, height, palette("dark", "16"), "Ctrl-C stops after this step")
    )
    return out.getvalue()


def steps(count: int) -> list[dict[str, Any]]:
    return [
        {"kind": "step", "t": float(n), "step": n, "epoch": n / 90, "loss": 2.0 / n, "accuracy": 20.0 + n / 10}
        for n in range(1, count)
    ]


def test_the_picture_shows_progress_curves_and_the_best() -> None:
    records = sorted([*steps(180), epoch(1, 50.0), epoch(2, 60.25)], key=lambda record: record["step"])
    now = view(best=60.25, best_epoch=2.0, images_s=9241.0, last={"train_loss": 1.0, "lr": 0.1})
    text = drawn(now, curves_of(records), 120, 36)
    for words in (
        "● running",
        "epoch 2/3",
        "left 33 s",
        "step 90/90",
        "9.2 k img/s",
        "Accuracy",
        "Loss",
        "best 60.25 @ 2",
        "best val accuracy 60.25",
        "Ctrl-C stops after this step",
    ):
        assert words in text
    assert re.search("[\u2801-\u28ff]", text)


@pytest.mark.parametrize(("width", "height"), [(60, 15), (80, 24), (100, 20), (200, 50), (61, 7), (20, 5), (1, 1)])
def test_the_picture_fits_every_size(width: int, height: int) -> None:
    now = view(best=60.25, best_epoch=2.0, name="n" * 150, architecture="a" * 100)
    lines = drawn(now, curves_of([*steps(50), epoch(1, 60.25)]), width, height).rstrip("\n").split("\n")
    assert all(len(line) <= width for line in lines)
    if width >= 60 and height >= 15:
        assert len(lines) < height


@pytest.mark.parametrize("state", ["queued", "starting", "paused", "failed", "unknown"])
def test_the_picture_of_a_run_with_nothing_yet(state: str) -> None:
    bare = RunView(id="20260131-142233-9f3a1c", path=Path("/x"), state=state)  # type: ignore[arg-type]
    assert state in drawn(bare, None, 80, 24)


def test_the_picture_draws_odd_values() -> None:
    odd = [
        {"kind": "step", "t": 1.0, "step": 1, "epoch": 0.1, "loss": 1e38, "accuracy": 0.0},
        {"kind": "step", "t": 2.0, "step": 2, "epoch": 0.2, "loss": None, "accuracy": None},
        epoch(1, None),
    ]
    assert "Loss" in drawn(view(best=float("nan"), best_epoch=1.0), curves_of(odd), 120, 36)


def test_live_draws_only_when_something_changed_and_leaves_the_outcome(make_run: MakeRun) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=30, force_terminal=True, legacy_windows=False)
    display = LiveDisplay("Ctrl-C leaves it running", fps=30, console=console)
    now = view()
    display.show(now, [epoch(1, 50.0)], False)
    size = out.tell()
    for _ in range(5):
        display.show(replace(now, heartbeat_age_s=1.0), [], False)
    assert out.tell() == size
    display.close(view(state="finished", active_s=12.0))
    assert out.getvalue().rstrip().endswith("✓ finished after 12 s")


FAKE_ENGINE = """
import sys
from pathlib import Path
from engine.runs import MetricsWriter, RunFolder, SummaryWriter
run = RunFolder(Path(sys.argv[1]))
assert run.lock.acquire(1)
summary, log = run.summary(), MetricsWriter(run.path / "metrics.jsonl")
for epoch in (1, 2):
    log.append({"kind": "epoch", "epoch": epoch, "step": epoch, "train_loss": 1.0, "val_accuracy": 10.0 * epoch})
log.close()
SummaryWriter(run.path / "summary.json").write({**summary, "state": "finished", "test": {"best": 20.0}})
"""
WITH_FAKE_ENGINE = """
import functools, sys
from engine import launch
from tui.cli import main
launch.start = functools.partial(launch.start, engine_command=[sys.executable, "-P", sys.argv[1]])
code = main(sys.argv[2:])
print("imported:", sorted({"torch", "numpy", "textual", "rich", "plotext"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def fake_run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``cifar-tui --run quickstart`` in a process of its own, with an engine that takes no time."""
    engine = tmp_path / "fake_engine.py"
    engine.write_text(FAKE_ENGINE)

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        line = [
            sys.executable,
            "-c",
            WITH_FAKE_ENGINE,
            str(engine),
            "--run",
            "quickstart",
            *arguments,
            "--set",
            "train.epochs=3",
        ]
        line += ["--runs", str(tmp_path / "runs")]
        return subprocess.run(line, text=True, timeout=60, check=False, **({"capture_output": True} | options))

    return run


def test_off_a_terminal_run_imports_neither_textual_nor_rich_nor_plotext(
    fake_run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = fake_run()
    assert result.returncode == 0
    assert result.stderr == "imported: []\n"
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/3", "2/3"]
    assert "✓ finished" in result.stdout
    assert not set(result.stdout) & ESCAPES


def test_run_as_json(fake_run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    events = [json.loads(line) for line in fake_run("--json").stdout.splitlines()]
    assert events[0]["kind"] == "run"
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == [1, 2]
    assert (events[-1]["kind"], events[-1]["state"], events[-1]["test"]) == ("result", "finished", 20.0)


def test_detach_prints_the_id_alone(fake_run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    printed = fake_run("--detach").stdout.strip()
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [printed]


def test_a_reader_that_leaves_harms_nothing(
    fake_run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = fake_run(stdout=writer, stderr=subprocess.PIPE, capture_output=False)
    os.close(writer)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    assert "goes on" in result.stderr
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert RunFolder(run).view().state == "finished"
