"""The Compare screen over real folders: what stands where, every key, and runs that are not as they should be."""

import csv
import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import analysis, system
from engine.metrics_log import MetricsWriter
from engine.runs import RunFolder
from tui import theme
from tui.app import CifarApp
from tui.dialogs import Reader
from tui.plot.widget import PlotView
from tui.screens.compare import MOST_RUNS, CompareScreen
from tui.screens.compare_panes import TableView
from watching import on_screen, seen, shaded

AddRun = Callable[..., RunFolder]
SIZES = [(80, 24), (120, 36), (200, 50)]


@pytest.fixture(autouse=True)
def _still_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One host, one device, and a home that the runs lie in."""
    monkeypatch.setattr(system, "sample", lambda: system.Sample(0.0, 11.0, 2 << 30, 8 << 30, ()))
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def compared(add_run: AddRun) -> list[str]:
    """A live run, a better one, and three seeds of a small network; others lie beside them. Ids in this order."""
    small = {"architecture": "resnet32", "parameters": 464_154, "macs": 68_900_000, "group": "resnet32-he"}
    found = [add_run("best_5m-s3", state="running", done=0.685, best=92.67, seed=3)]
    found += [add_run("resnet18-plateau", architecture="resnet18", parameters=11_173_962, macs=555_400_000,
                      best=95.20, test=95.03, lr=0.1)]  # fmt: skip
    found += [
        add_run(f"resnet32-he-s{seed}", **small, epochs=164, best=92.5 + seed / 10, test=92.3 + seed / 10, seed=seed)
        for seed in (1, 2, 3)
    ]
    add_run("wrn28_10", architecture="wrn28_10", parameters=36_490_000, macs=5_240_000_000, best=95.8, test=95.53)
    add_run("lenet", architecture="lenet", parameters=62_000, macs=650_000, best=65.0, test=62.0)
    return [run.id for run in found]


def app_of(root: Path, shade: str = "dark") -> CifarApp:
    return shaded(CifarApp(root / "runs"), shade)


async def opened(pilot: Pilot[Any], run_ids: list[str], text: str = "Config") -> CompareScreen:
    pilot.app.open_compare(run_ids)  # type: ignore[attr-defined]
    await seen(pilot, text)
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen)
    return screen


def row(shown: str, label: str) -> str:
    """The row of the table with this label; plots stand above it."""
    return next(line for line in reversed(shown.split("\n")) if line.startswith(f" {label}"))


async def test_lines_figures_and_settings_stand_on_one_set_of_columns(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        shown = await seen(pilot, "optimizer.lr")
        lines = shown.split("\n")
        assert "Runs › Compare" in lines[0]
        assert "5 runs, 3 lines" in lines[1]
        assert "metric val accuracy %" in lines[1]
        assert lines[1].rstrip().endswith("against best_5m-s3")
        assert "━ resnet32-he ×3" in shown
        assert "test accuracy % against parameters, M" in lines[3]
        assert "95.20   +2.53 @" in row(shown, "val accuracy %")
        assert "running" in row(shown, "test accuracy %")
        assert "best ckpt" in row(shown, "test accuracy %")
        assert "92.50  ± 0.10" in row(shown, "test accuracy %")
        sizes = row(shown, "parameters").split()
        assert sizes == ["parameters", "4,779,530", "11,173,962", "×", "2.34", "464,154", "×", "0.10"]
        assert row(shown, "train.seed").split() == ["train.seed", "3", "1", "1", "2", "3"]
        head = next(line for line in lines if line.startswith(" Configuration"))
        assert [head.index(name) for name in ("best_5m-s3", "resnet18-plateau", "resnet32-he")] == [35, 64, 93]


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (99, 40), (120, 36), (160, 40), (300, 90)])
async def test_every_size_shows_curves_and_figures(tmp_path: Path, compared: list[str], size: tuple[int, int]) -> None:
    async with app_of(tmp_path).run_test(size=size) as pilot:
        await opened(pilot, compared, "val accuracy %")
        shown = await seen(pilot, "best_5m-s3")
        assert "92.67" in row(shown, "val accuracy %")
        assert ("test accuracy % against" in shown) == (size[0] > 96)
        for _ in range(5):
            await pilot.press("tab")


async def test_narrow_shows_two_lines_and_pans_to_the_third(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(80, 24)) as pilot:
        await opened(pilot, compared, "1 more →")
        await pilot.press(">")
        shown = await seen(pilot, "← 1 more")
        assert "resnet32-he ×3" in row(shown, "Metrics")
        assert "best_5m-s3" in row(shown, "Metrics")
        await pilot.press("<")
        await seen(pilot, "1 more →")


async def test_seeds_together_and_apart(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(200, 50)) as pilot:
        await opened(pilot, compared)
        await pilot.press("t")
        shown = await seen(pilot, "seeds apart")
        assert "5 runs" in shown
        assert "lines" not in shown.split("\n")[1]
        assert "resnet32-he-s2" in row(shown, "Metrics")
        assert "t seeds together" in shown
        await pilot.press("t")
        await seen(pilot, "seeds median, band")


async def test_another_baseline_turns_the_differences(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        await pilot.press("=")
        shown = await seen(pilot, "against resnet18-plateau")
        assert "−2.53" in row(shown, "val accuracy %")
        await pilot.press("=", "=")
        await seen(pilot, "against best_5m-s3")


async def test_a_line_is_selected_in_the_table(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, compared)
        await pilot.press("tab", "tab", "right", "right")
        await seen(pilot, "resnet32-he ×3", gone="1 more →")
        run = screen.here()
        assert run is not None
        assert run.name == "resnet32-he-s1"
        await pilot.press("y")
        assert isinstance(pilot.app.screen, Reader)
        await pilot.press("escape", "=")
        await seen(pilot, "against resnet32-he ×3")
        await pilot.press("enter")
        assert pilot.app.screen.scope == "run"  # type: ignore[attr-defined]


async def test_metrics_change_what_is_drawn(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        for metric in ("train accuracy %", "val loss", "train loss", "learning rate", "throughput img/s"):
            await pilot.press("m")
            await seen(pilot, f"metric {metric}")
        await pilot.press("m")
        await seen(pilot, "metric val accuracy %")


async def test_all_keys_scroll(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(80, 24)) as pilot:
        await opened(pilot, compared)
        assert "data.name" not in on_screen(pilot)
        await pilot.press("d", "G")
        await seen(pilot, "more ↑")
        await pilot.press("k", "ctrl+u", "ctrl+d", "j", "g")
        await seen(pilot, "more ↓", gone="more ↑")
        await pilot.press("d")
        await seen(pilot, "d all keys")


async def test_the_order_of_the_lines(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, compared)

        def names() -> list[str]:
            return [line.name for line in screen._lines]

        await pilot.press("s")
        assert names() == ["resnet18-plateau", "resnet32-he", "best_5m-s3"]
        await pilot.press("s")
        assert names() == ["best_5m-s3", "resnet32-he", "resnet18-plateau"]
        await pilot.press("s")
        assert names() == ["best_5m-s3", "resnet18-plateau", "resnet32-he"]


async def test_the_cross_hair_reads_all_lines_and_the_table_repeats_it(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        await pilot.press("h", "shift+left", "shift+left")
        shown = await seen(pilot, "at epoch 180")
        assert len(row(shown, "at epoch 180").split()) == 6
        assert "–" in row(shown, "at epoch 180")
        await pilot.press("h")
        await seen(pilot, "Metrics", gone="at epoch")


async def test_the_keys_of_plots(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, compared)
        await pilot.press("+", "+", "-")
        await seen(pilot, "smooth 0.10")
        await pilot.press("l")
        await seen(pilot, "Accuracy stays linear; m chooses another metric")
        await pilot.press("m", "m", "0", "x")
        shown = await seen(pilot, "y log")
        assert "x time" in shown
        await pilot.press("x", "x", "z", "<")
        panned = screen.state
        assert panned.window is not None
        assert not panned.follow
        await pilot.press(".", "f", "L", "Z", ">")
        assert (screen.state.window, screen.state.log_x, screen.state.follow) == (None, True, True)


async def test_the_scatter_follows_parameters_or_macs(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, compared)
        shown = await seen(pilot, "best_5m")
        assert "5 M" in shown
        marks = [mark.label for mark in screen.query_one("#scatter", PlotView).plot.marks if mark.label]
        assert marks == ["resnet_5m (val)", "resnet18", "resnet32"]
        await pilot.press("p")
        shown = await seen(pilot, "against MACs, M")
        assert "5 M" not in shown.split("\n")[4]


async def test_a_plot_fills_the_screen_and_gives_it_back(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, compared)
        await pilot.press("enter")
        await seen(pilot, "val accuracy", gone="Configuration")
        assert screen.query_one("#overlay", PlotView).size.width == 120
        await pilot.press("tab")
        await seen(pilot, "against parameters", gone="resnet32-he ×3")
        await pilot.press("escape")
        await seen(pilot, "Configuration")
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, CompareScreen)


async def test_a_live_run_moves_on(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        log = MetricsWriter(tmp_path / "runs" / compared[0] / "metrics.jsonl")
        log.append({"kind": "epoch", "t": time.time(), "epoch": 138, "step": 138 * 352, "val_accuracy": 94.44})
        log.close()
        shown = await seen(pilot, "@ 138")
        assert "94.44" in row(shown, "val accuracy %")


async def test_a_run_that_vanishes_does_no_harm(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        shutil.rmtree(tmp_path / "runs" / compared[1])
        await pilot.pause(0.3)
        await pilot.press("m", "t", "d", "=")
        assert "Configuration" in on_screen(pilot)
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, [compared[1], compared[0]], "Metrics")
        assert "92.67" in await seen(pilot, "92.67")


async def test_too_many_runs_are_said(tmp_path: Path, add_run: AddRun) -> None:
    ids = [add_run(f"run{number}", epochs=3, done=1.0, best=50.0).id for number in range(MOST_RUNS + 2)]
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, ids, f"The first {MOST_RUNS} of {MOST_RUNS + 2} runs are compared")
        await seen(pilot, "more →")
        assert len(screen.query_one("#overlay", PlotView).plot.curves) == MOST_RUNS
        named = [curve for curve in screen.query_one("#overlay", PlotView).plot.curves if curve.legend]
        assert len(named) == theme.RUN_COLOURS


async def test_a_comparison_is_drawn(tmp_path: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def draw(question: dict[str, Any], *, quietly: bool) -> dict[str, Any]:
        asked.append(question)
        return {"files": [question["output"]]}

    monkeypatch.setattr(analysis, "ask", draw)
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        await seen(pilot, "optimizer.lr")
        await pilot.press("w", "S", "enter")
        await seen(pilot, "wrote")
    (question,) = asked
    assert question["kind"] == "comparison"
    assert [Path(run).name for run in question["runs"]] == compared
    assert question["output"].endswith("comparison.svg")


@pytest.mark.parametrize("form", ["csv", "json", "md"])
async def test_a_comparison_is_written(tmp_path: Path, compared: list[str], form: str) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        await opened(pilot, compared)
        await seen(pilot, "optimizer.lr")
        await pilot.press("w")
        await pilot.press({"csv": "C", "json": "J", "md": "M"}[form], "enter")
        await seen(pilot, "wrote")
    text = (tmp_path / f"comparison.{form}").read_text()
    if form == "csv":
        rows = {cells[0]: cells[1:] for cells in csv.reader(text.splitlines())}
        assert rows["parameters"] == ["4779530.0", "11173962.0", "464154.0"]
        assert rows["optimizer.lr"] == ["0.001", "0.1", "0.001"]
        assert rows["runs"][2].split() == compared[2:]
    elif form == "json":
        whole = json.loads(text)
        assert whole["baseline"] == "best_5m-s3"
        assert whole["metrics"]["test accuracy %"][:2] == [None, 95.03]
    else:
        assert "| val accuracy % | 92.67" in text
        assert "(+2.53)" in text


async def test_a_click_points_and_chooses_a_pane(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, compared)
        await pilot.click("#overlay", offset=(40, 6))
        assert screen.state.cross_hair is not None
        await pilot.click(TableView, offset=(40, 12))
        assert screen._pane == "settings"
        await pilot.click(TableView, offset=(40, 2))
        assert screen._pane == "metrics"


async def test_the_theme_can_change_while_it_is_open(tmp_path: Path, compared: list[str]) -> None:
    async with app_of(tmp_path).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot, compared)
        before = screen.query_one(TableView)._grid.cells[1][1]
        await pilot.press("ctrl+t")
        await pilot.pause(0.1)
        assert screen.query_one(TableView)._grid.cells[1][1] != before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shade", ["dark", "light"])
def test_snapshot(
    snap_compare: Any,
    tmp_path: Path,
    compared: list[str],
    size: tuple[int, int],
    shade: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(theme, "crc32", lambda name: int(name[-6:], 16))
    app = app_of(tmp_path, shade)

    async def show(pilot: Pilot[Any]) -> None:
        await opened(pilot, compared)
        await seen(pilot, "optimizer.lr")
        await pilot.pause(0.3)

    assert snap_compare(app, terminal_size=size, run_before=show)
