"""The Run screen over a real folder: what stands where, every key, and runs that are not as they should be."""

import asyncio
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import launch, system
from engine.metrics_log import MetricsWriter
from engine.runs import RunFolder, SummaryWriter
from tui.app import CifarApp
from tui.dialogs import Question, Reader
from tui.screens.layers import LayersOverlay
from tui.screens.log import LogScreen
from tui.screens.run import RunScreen
from tui.services import Services
from watching import on_screen, seen, shaded, until

AddRun = Callable[..., RunFolder]
MODEL = {
    "activation_bytes": 338 * 2**20,
    "layers": [
        {"name": "stem.0", "kind": "Conv2d", "detail": "3x3", "shape": [64, 32, 32], "parameters": 1728,
         "macs": 1769472},
        {"name": "stage1.0.conv1", "kind": "Conv2d", "detail": "3x3", "shape": [32, 32, 32], "parameters": 67008,
         "macs": 68200000},
        {"name": "head.0", "kind": "Linear", "detail": "256 to 10", "shape": [10], "parameters": 2570, "macs": 2560},
    ],
}  # fmt: skip
GPU = {"uuid": "GPU-1", "index": 0, "name": "NVIDIA H100", "utilization": 97.0, "memory_used": 4.1 * 2**30,
       "memory_total": 80 * 2**30, "temperature": 61.0, "power": 402.0}  # fmt: skip


@pytest.fixture(autouse=True)
def _still_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One host, one device, one number of cores, and a home that the runs lie in."""
    gpu = system.Gpu("GPU-1", 0, "NVIDIA H100", 97.0, int(4.1 * 2**30), 80 * 2**30, 61.0, 402.0)
    sample = system.Sample(0.0, 11.0, int(2.3 * 2**30), 256 * 2**30, (gpu,))
    monkeypatch.setattr(system, "sample", lambda: sample)
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.setattr("tui.run_figures.cores", lambda: 32)
    monkeypatch.setattr(Services, "colour", lambda self, run, palette: palette.run(0))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def live(add_run: AddRun) -> RunFolder:
    """A run of 200 epochs at its 137th, with a model, a log and figures of its machine."""
    run = add_run("best_5m-s3", state="running", done=0.685, best=92.67, took=72.0, seed=3, tags=("paper",))
    return furnished(run)


@pytest.fixture
def over(add_run: AddRun) -> RunFolder:
    """The same, finished."""
    return furnished(add_run("best_5m-s2", best=93.04, test=92.49, seed=2))


def furnished(run: RunFolder) -> RunFolder:
    (run.path / "model.json").write_text(json.dumps(MODEL))
    lines = [f"12:04:{i % 60:02d}  epoch {i}   train 99.29 %  0.0446   val 92.53 %  0.3416   lr 1.00e-3   0.52 s\n"
             for i in range(1, 138)]  # fmt: skip
    (run.path / "log.txt").write_text("".join(lines))
    machine = MetricsWriter(run.path / "system.jsonl")
    for _ in range(10):
        record = {"kind": "system", "cpu": 11.0, "ram_used": 2.3 * 2**30, "ram_total": 256 * 2**30, "gpus": [GPU]}
        machine.append(record)
    machine.close()
    return run


def app_of(run: RunFolder, shade: str = "dark") -> CifarApp:
    return shaded(CifarApp(run.path.parent), shade)


async def opened(pilot: Pilot[Any], run: RunFolder, text: str = "Model") -> RunScreen:
    """The Run screen, once all of the run is read and `text` stands on it: a key pressed sooner would find no log."""
    pilot.app.open_run(run.id)  # type: ignore[attr-defined]
    await seen(pilot, text)
    screen = pilot.app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.feed.loaded, "the run is read")
    screen._tick_now()
    await pilot.pause()
    return screen


async def test_a_live_run_at_120x36(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        shown = (await seen(pilot, "activations")).split("\n")
    assert shown[1].startswith(" ● running   resnet_5m + crop_flip_rotate + adamw_1e-3")
    assert shown[2].rstrip().endswith("left 33 s")
    assert shown[3].startswith(" x epoch    y linear    smooth 0.00    follow on")
    assert shown[4].startswith(" accuracy %")
    assert "│ Best so far ──" in shown[4]
    assert "best 92.67 @" in "\n".join(shown)
    assert shown[19].startswith(" loss")
    assert shown[31].startswith(" Log ──")
    assert shown[31].rstrip().endswith("137 lines   following")
    assert "epoch 137" in shown[34]
    words = " ".join(" ".join(shown).split())
    for row in ("utilisation 97 %", "memory 4.1 GiB of 80.0", "RAM 2.3 GiB of 256", "CPU 11 % of 32 cores"):
        assert row in words


async def test_narrow_keeps_what_matters(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(80, 24)) as pilot:
        await opened(pilot, live, "MACs")
        shown = on_screen(pilot).split("\n")
    assert shown[20].startswith(" best 92.67 %")
    assert shown[20].rstrip().endswith("MACs 265 M")
    assert "epoch 137" in shown[22]
    assert shown[22].rstrip().endswith("lr 1.00e-3")
    assert "Best so far" not in "\n".join(shown)


async def test_wide_has_four_plots_and_the_layers(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(200, 50)) as pilot:
        await opened(pilot, live, "Layers")
        shown = on_screen(pilot)
    for text in ("learning rate × 1e-3", "throughput k img/s", "stage 1  32", "head  256→10"):
        assert text in shown


async def test_a_run_that_is_over_says_how_it_went(over: RunFolder) -> None:
    async with app_of(over).run_test(size=(120, 36)) as pilot:
        await opened(pilot, over)
        shown = on_screen(pilot)
    assert "✓ finished" in shown
    assert "At the end" in shown
    assert "took 1 m 38 s" in shown
    assert "test accuracy  92.49 %" in shown
    assert "S stop" not in shown


async def test_what_ends_badly_says_why(add_run: AddRun) -> None:
    run = add_run("too-large", state="failed", done=0, best=None, reason="CUDA out of memory at batch 4096")
    async with app_of(run).run_test(size=(120, 36)) as pilot:
        await opened(pilot, run)
        shown = on_screen(pilot)
    assert "✗ failed  CUDA out of memory at batch 4096" in shown
    assert "no step was recorded" in shown


async def test_a_new_record_moves_the_curve(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        log = MetricsWriter(live.path / "metrics.jsonl")
        log.append({"kind": "epoch", "epoch": 138, "step": 48576, "train_loss": 0.1, "train_accuracy": 99.0,
                    "val_loss": 0.2, "val_accuracy": 94.44})  # fmt: skip
        await seen(pilot, "best 94.44 @ 138")
        log.close()


async def test_the_cross_hair_reads_every_curve_exactly(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, live)
        await pilot.press("h")
        await seen(pilot, "cross-hair 137")
        await pilot.press("left", "left", "shift+left")
        shown = await seen(pilot, "cross-hair 125")
        assert shown.count("at epoch 125") == 2
        record = [json.loads(text) for text in (live.path / "metrics.jsonl").read_text().splitlines()][124]
        await seen(pilot, f"val {record['val_accuracy']:.2f}   ━ train {record['train_accuracy']:.2f}")
        await pilot.press("right", "h")
        await seen(pilot, "follow on", gone="cross-hair 12")
        assert screen.state.cross_hair is None


async def test_the_keys_of_the_view(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        await pilot.press("+", "+", "+", "-")
        await seen(pilot, "smooth 0.20")
        await pilot.press("0", "l", "L")
        await seen(pilot, "x epoch log    y log    smooth 0.00")
        await pilot.press("l", "L", "z")
        await seen(pilot, "view 69 – 168.50")
        await pilot.press("<")
        await seen(pilot, "follow off    view 44.12 – 143.62")
        await pilot.press(">", "Z", "f")
        await seen(pilot, "follow on", gone="view")
        await pilot.press("x")
        await seen(pilot, "x time")
        await pilot.press("x")
        assert "70,400" in await seen(pilot, "x step")
        await pilot.press("z", ".")
        await seen(pilot, "x step", gone="view")


async def test_panes_and_the_whole_screen(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        await pilot.press("tab", "enter")
        shown = await seen(pilot, "loss", gone="accuracy %")
        assert "Model" not in shown
        await pilot.press("tab")
        await seen(pilot, "learning rate")
        await pilot.press("escape")
        await seen(pilot, "throughput k img/s")
        await pilot.press("tab", "tab", "enter")
        await seen(pilot, "137 lines")
        assert isinstance(pilot.app.screen, LogScreen)


async def test_the_log_is_scrolled_on_the_screen_itself(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        await pilot.press("k", "k")
        await seen(pilot, "2 back", gone="12:04:17  epoch 137")
        with (live.path / "log.txt").open("a") as log:
            log.write("one more line\n")
        await seen(pilot, "3 back")
        await pilot.press("g")
        await seen(pilot, "137 back")
        await pilot.press("G")
        await seen(pilot, "one more line")


async def test_a_click_sets_focus_and_cross_hair(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, live)
        await pilot.click("#plots", offset=(30, 20))
        await seen(pilot, "cross-hair")
        assert screen._pane == "loss"
        assert screen.state.cross_hair is not None


async def test_layers_results_yaml(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live, "activations")
        await pilot.press("b")
        await seen(pilot, "3 layers")
        assert isinstance(pilot.app.screen, LayersOverlay)
        await pilot.press("escape", "r")
        await seen(pilot, "No test results yet")
        await pilot.press("y")
        await seen(pilot, "algorithm: adamw")
        assert isinstance(pilot.app.screen, Reader)


async def test_pause_and_checkpoint_leave_a_request(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        await pilot.press("P")
        await seen(pilot, "holds at its next step")
        await pilot.press("W")
        await seen(pilot, "writes a checkpoint")
        assert [order["request"] for order in live.take_requests()] == ["pause", "checkpoint"]


async def test_stop_asks_first(live: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(launch, "stop", lambda run: bool(stopped.append(run.id)) or True)
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        await pilot.press("S")
        await seen(pilot, "Stop best_5m-s3 after this step")
        assert isinstance(pilot.app.screen, Question)
        await pilot.press("escape")
        assert stopped == []
        await pilot.press("S", "enter")
        await seen(pilot, "stops after this step")
        assert stopped == [live.id]


async def test_delete_goes_back_and_undo_brings_it_back(over: RunFolder) -> None:
    async with app_of(over).run_test(size=(120, 36)) as pilot:
        await opened(pilot, over)
        await pilot.press("D", "enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunScreen) and not over.path.exists())


async def test_the_end_is_said_before_ones_eyes(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        facts = {**live.summary(), "state": "finished", "test": {"best": 92.49, "last": 92.4}}
        SummaryWriter(live.path / "summary.json").write(facts)
        await seen(pilot, "✓ best_5m-s3 finished: 92.49 % on test. r results")


async def test_hostile_text_is_shown_and_nothing_more(add_run: AddRun) -> None:
    run = add_run("\x1b[31mred[bold]", state="failed", reason="\x1b]0;title\x07[link=x]", done=0.1, best=20.0)
    (run.path / "log.txt").write_bytes(b"\x1b[2J[red]wiped\x00\xff\r\n\x9b31m" + "‮drow".encode() + b"\nlast\n")
    async with app_of(run).run_test(size=(120, 36)) as pilot:
        await opened(pilot, run)
        shown = await seen(pilot, "[red]wiped")
    assert "red[bold]" in shown
    assert "[link=x]" in shown
    assert not set(shown) & {"\x1b", "\x9b", "\x07", "\x00", "‮"}


async def test_a_folder_deleted_or_damaged_under_it_is_survived(live: RunFolder) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        (live.path / "summary.json").write_text("{")
        (live.path / "metrics.jsonl").write_bytes(b"\x00\x00{]\n")
        await seen(pilot, "1 line of metrics.jsonl cannot be read; the curves leave out what stood there")
        shutil.rmtree(live.path)
        await seen(pilot, "is gone; what was read of it stays here. esc goes back")
        await pilot.press("h", "x", "z", "b", "escape")
        assert pilot.app.is_running


@pytest.mark.parametrize("size", [(60, 15), (79, 15), (100, 30), (101, 29), (160, 40), (300, 90)])
async def test_every_size_and_a_resize(live: RunFolder, size: tuple[int, int]) -> None:
    async with app_of(live).run_test(size=(120, 36)) as pilot:
        await opened(pilot, live)
        await pilot.resize_terminal(*size)
        await seen(pilot, "? help")
        await pilot.press("tab", "enter", "h", "escape")
        await pilot.resize_terminal(50, 10)
        await seen(pilot, "cifar-tui needs 60 columns")
        await pilot.resize_terminal(120, 36)
        await seen(pilot, "running")


async def until_loaded(pilot: Pilot[Any], run: RunFolder) -> None:
    await opened(pilot, run, "137")
    await pilot.press("h", "shift+left", "shift+left", "shift+left")
    await seen(pilot, "at epoch 107")
    await asyncio.sleep(0.5)
    await pilot.pause()


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
def test_snapshots(live: RunFolder, shade: str, size: tuple[int, int], snap_compare: Any) -> None:
    async def run_before(pilot: Pilot[Any]) -> None:
        await until_loaded(pilot, live)

    assert snap_compare(app_of(live, shade), terminal_size=size, run_before=run_before)
