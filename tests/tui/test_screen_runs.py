"""The table of runs in a pilot: what is shown, moved, filtered, marked, done to runs and taken back."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste
from textual.pilot import Pilot

from engine import analysis, launch, queue, runs, system
from engine.errors import UserError
from engine.runs import RunFolder
from tui.app import CifarApp
from tui.chrome import MessageLine
from tui.dialogs import Form, Question, Reader
from tui.palette import PaletteOverlay
from tui.screens.help import HelpOverlay
from tui.screens.runs import RunsScreen
from tui.settings import Settings
from watching import on_screen, until

NOW = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, 0))
AddRun = Callable[..., RunFolder]


class StillApp(CifarApp):
    """An app whose clock stands, so that pictures of it can be compared."""

    def now(self) -> float:
        return NOW


@pytest.fixture(autouse=True)
def _still_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu = system.Gpu("GPU-1", 0, "NVIDIA H100", 97.0, int(4.1 * 2**30), 80 * 2**30, 61.0, 402.0)
    sample = system.Sample(0.0, 11.0, int(2.3 * 2**30), 256 * 2**30, (gpu,))
    monkeypatch.setattr(system, "sample", lambda: sample)
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-gpu2")
    monkeypatch.setattr(queue, "ensure_runner", lambda root: False)
    monkeypatch.setenv("HOME", str(tmp_path))


async def answer(pilot: Pilot[Any], path: Path | str) -> None:
    """Paste a path over what a field holds, and confirm: a long one takes seconds to type."""
    await pilot.press("ctrl+u")
    pilot.app.post_message(Paste(str(path)))
    await pilot.pause()
    await pilot.press("enter")


def screen_of(pilot: Pilot[Any]) -> RunsScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RunsScreen)
    return screen


def said(pilot: Pilot[Any]) -> str:
    return "".join(text for text, _ in screen_of(pilot).query_one(MessageLine)._message)


async def listed(pilot: Pilot[Any]) -> RunsScreen:
    await until(pilot, lambda: pilot.app.services.listing.complete, "the runs are listed")  # type: ignore[attr-defined]
    screen = screen_of(pilot)
    await until(pilot, lambda: screen.rows.runs, "the rows are there")
    return screen


async def test_live_runs_come_first_then_a_rule_then_the_newest(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        names = [run.name for run in screen.rows.runs]
        assert names[:4] == ["best_5m-s3", "wrn28_10_cutout-s1", "densenet121-b256", "resnet110-he-s2"]
        assert screen.rows.rule == 4
        ended = [run.ended or 0 for run in screen.rows.runs[4:]]
        assert ended == sorted(ended, reverse=True)
        lines = on_screen(pilot).splitlines()
        assert "best_5m-s3" in lines[3]
        assert "in 33 s" in lines[3]
        assert set(lines[7].strip()) == {"─"}


async def test_every_state_is_told_by_its_glyph_and_its_reason(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 50)) as pilot:
        await listed(pilot)
        await pilot.press("v")
        text = on_screen(pilot)
        for line in ("● ", "‖ ", "○ ", "✗ ", "∞ ", "■ ", "† "):
            assert line in text
        assert "out of mem" in text
        assert "loss NaN" in text
        assert "paused" in text


async def test_the_cursor_moves_and_stays_on_its_run_when_a_new_one_comes(sample_runs: Path, add_run: AddRun) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("j", "j", "j", "j", "j", "k")
        under = screen.here()
        assert under is not None
        assert screen.cursor == 4
        add_run("the newest", ago=1.0)
        await until(pilot, lambda: len(screen.rows.runs) == 22, "the new run is seen")
        assert screen.here() is not None
        assert screen.here().id == under.id  # type: ignore[union-attr]
        await pilot.press("G")
        assert screen.cursor == 21
        await pilot.press("g", "ctrl+d", "ctrl+u")
        assert screen.cursor == 0


async def test_the_filter_narrows_as_one_types_and_the_last_good_one_stays(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("/", *"tag:paper")
        await until(pilot, lambda: {run.tags for run in screen.rows.runs} == {("paper",)}, "the tag is filtered")
        count = len(screen.rows.runs)
        assert f"{count} of 21 runs" in on_screen(pilot)
        await pilot.press(*' "')
        await until(pilot, lambda: 'expected another "' in said(pilot), "what is wrong is said")
        assert len(screen.rows.runs) == count
        await pilot.press("enter", "j")
        assert screen.cursor == 1
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.rows.runs) == 21, "esc takes the filter away")


async def test_a_filter_that_finds_nothing_says_so(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        await listed(pilot)
        await pilot.press("/", *"lr>0.5")
        await until(pilot, lambda: 'No run matches "lr>0.5". 21 runs hidden.' in on_screen(pilot), "it is said")


async def test_a_paste_into_the_filter_is_cut(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("/")
        pilot.app.post_message(Paste("x\x1b[31m" * 200_000))
        await pilot.pause()
        await pilot.pause()
        assert 0 < len(screen.box.text) <= 500
        assert "\x1b" not in screen.box.text


async def test_sorting_by_a_column_again_reverses_and_is_remembered(sample_runs: Path, tmp_path: Path) -> None:
    remembered = Settings(tmp_path / "settings.json")
    async with StillApp(sample_runs, remembered=remembered).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("s", *["down"] * 6, "enter")
        await until(pilot, lambda: screen.order.column != "ended", "another column")
        column = screen.order.column
        await pilot.press("s", "s")
        await until(pilot, lambda: not screen.order.descending, "reversed")
        assert screen.order.column == column
        assert screen.rows.runs[0].live
    remembered.wait()
    stored = json.loads((tmp_path / "settings.json").read_text())
    assert stored["sort"] == column
    assert stored["sort_descending"] is False


async def test_columns_are_hidden_moved_and_remembered(sample_runs: Path, tmp_path: Path) -> None:
    remembered = Settings(tmp_path / "settings.json")
    async with StillApp(sample_runs, remembered=remembered).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("C", "j", "space", "j", "J", "enter")
        await pilot.pause()
        assert "architecture" not in screen.columns
        assert screen.columns.index("macs") < screen.columns.index("params")
    remembered.wait()
    again = Settings(tmp_path / "settings.json")
    async with StillApp(sample_runs, remembered=again).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        assert "architecture" not in screen.columns


async def test_marks_give_colours_and_count_in_the_footer(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("G", "space", "k", "space")
        services = screen.app.services
        assert len(services.marked) == 2
        assert all(services.colour_indices.get(run_id) is not None for run_id in services.marked)
        await until(pilot, lambda: "compare 2" in on_screen(pilot), "the footer counts")
        await pilot.press("*")
        assert len(services.marked) == 21
        await pilot.press("*")
        assert services.marked == []
        await pilot.press("c")
        await pilot.pause()
        assert "two at least" in said(pilot)


async def test_deleting_asks_goes_to_the_trash_and_is_undone(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("G")
        doomed = screen.here()
        assert doomed is not None
        await pilot.press("D", "escape")
        assert doomed.path.exists()
        await pilot.press("D")
        assert isinstance(pilot.app.screen, Question)
        await pilot.press("enter")
        await until(pilot, lambda: len(screen.rows.runs) == 20, "it is gone")
        assert not doomed.path.exists()
        await pilot.press("u")
        await until(pilot, lambda: len(screen.rows.runs) == 21, "it is back")
        assert doomed.path.exists()


async def test_a_live_run_is_never_deleted(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("D")
        await pilot.pause()
        assert pilot.app.screen is screen
        assert "best_5m-s3 is running: S stops it first" in said(pilot)


async def test_stop_asks_first(sample_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(launch, "stop", lambda run: stopped.append(run.id) or True)
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        under = screen.here()
        await pilot.press("S", "escape")
        assert stopped == []
        await pilot.press("S", "enter")
        await until(pilot, lambda: stopped, "it was asked to stop")
        assert under is not None
        assert stopped == [under.id]


async def test_tab_leads_to_the_filter_and_back(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("tab", *"wrn", "tab", "j")
        await pilot.pause()
        assert screen.box.text == "wrn"
        assert screen.cursor == 1


async def test_archived_runs_are_shown_and_brought_back(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("/", *"best_5m-s2", "enter", "A")
        await until(pilot, lambda: not screen.rows.runs, "it is put away")
        await pilot.press("a")
        await until(pilot, lambda: [run.archived for run in screen.rows.runs] == [True], "it is shown")
        assert "archived runs are shown too; A brings one back" in said(pilot)
        assert "1 of 21 runs with archived" in on_screen(pilot)
        await pilot.press("A")
        await until(pilot, lambda: [run.archived for run in screen.rows.runs] == [False], "it is back")
        await pilot.press("a")
        await until(pilot, lambda: not pilot.app.services.runs.archived, "they are hidden again")  # type: ignore[attr-defined]
        assert [run.name for run in screen.rows.runs] == ["best_5m-s2"]


async def test_pause_resume_and_checkpoint_reach_the_run(sample_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("pause", "proceed", "checkpoint"):
        monkeypatch.setattr(launch, name, lambda run, by, name=name: asked.append(name))
    monkeypatch.setattr(launch, "resume", lambda run, by: asked.append("resume"))
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        await listed(pilot)
        await pilot.press("P", "W", "j", "j", "P", "G", "R")
        await until(pilot, lambda: len(asked) == 4, "all were asked")
        assert sorted(asked) == ["checkpoint", "pause", "proceed", "resume"]


async def test_a_run_is_named_tagged_and_noted_in_a_form(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("G")
        under = screen.here()
        assert under is not None
        await pilot.press("e")
        assert isinstance(pilot.app.screen, Form)
        await pilot.press("ctrl+u", *"anew", "tab", *"one two", "enter")
        await until(pilot, lambda: RunFolder(under.path).view().name == "anew", "it is renamed")
        assert RunFolder(under.path).view().tags == ("one", "two")
        await pilot.press("u")
        await until(pilot, lambda: RunFolder(under.path).view().name == under.name, "and back")


async def test_an_archived_run_leaves_the_table_and_comes_back(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("G", "A")
        await until(pilot, lambda: len(screen.rows.runs) == 20, "it is put away")
        await pilot.press("u")
        await until(pilot, lambda: len(screen.rows.runs) == 21, "it is back")


async def test_a_run_is_written_as_csv_and_never_over_a_file(sample_runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        await listed(pilot)
        await pilot.press("G", "w", "enter")
        await answer(pilot, target)
        await until(pilot, target.exists, "it is written")
        assert target.read_text().startswith("kind,t,step,epoch")
        target.write_text("mine")
        await pilot.press("w", "enter")
        await answer(pilot, target)
        await until(pilot, lambda: "is there already" in said(pilot), "it is refused")
        assert target.read_text() == "mine"


@pytest.mark.parametrize(("key", "start"), [pytest.param("P", b"\x89PNG", marks=pytest.mark.slow), ("S", b"<?xml")])
async def test_the_curves_are_drawn_by_another_process(
    sample_runs: Path, tmp_path: Path, key: str, start: bytes
) -> None:
    target = tmp_path / ("out.png" if key == "P" else "out.svg")
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        await listed(pilot)
        await pilot.press("G", "w", key)
        await answer(pilot, target)
        await until(pilot, lambda: "wrote" in said(pilot), "it is drawn")
        assert target.read_bytes().startswith(start)
        await pilot.press("w", key)
        await answer(pilot, target)
        await until(pilot, lambda: "is there already" in said(pilot), "it is refused")


async def test_without_matplotlib_one_sentence_says_what_figures_need(
    sample_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(question: dict[str, Any], *, quietly: bool) -> dict[str, Any]:
        assert (question["ask"], question["kind"], quietly) == ("figure", None, True)
        raise UserError("figures need matplotlib, which is not installed: pip install 'cifar-tui[figures]'")

    monkeypatch.setattr(analysis, "ask", refuse)
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        await listed(pilot)
        await pilot.press("G", "w", "P", "enter")
        await until(pilot, lambda: "figures need matplotlib" in said(pilot), "it is said")


async def test_the_command_is_copied_and_shown(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("Y")
        await pilot.pause()
        under = screen.here()
        assert under is not None
        assert f"cifar-tui --run ~/runs/{under.id}/config.yaml" in said(pilot)
        assert pilot.app.clipboard.startswith("cifar-tui --run ")


async def test_yaml_is_read_in_an_overlay(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        await listed(pilot)
        await pilot.press("y")
        assert isinstance(pilot.app.screen, Reader)
        await pilot.pause()
        assert "weight_decay: 0.0005" in on_screen(pilot)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_the_preview_follows_the_cursor_at_rest(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await until(pilot, lambda: screen.feed is not None and screen.feed.loaded, "the first is read")
        await pilot.press("j")
        await until(
            pilot, lambda: screen.feed is not None and screen.feed.view.name == "wrn28_10_cutout-s1", "the second"
        )
        await until(pilot, lambda: "● wrn28_10_cutout-s1 ─" in on_screen(pilot), "and drawn")
        await pilot.press("v")
        await until(pilot, lambda: screen.feed is None, "no preview, no reading")


async def test_another_folder_is_opened(sample_runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        await listed(pilot)
        await pilot.press("o")
        for wrong in ("~/nowhere", "~nobody-here", "a" * 300):
            await answer(pilot, wrong)
            await pilot.pause()
            assert "there is no folder" in on_screen(pilot)
        await answer(pilot, other)
        await until(pilot, lambda: "No runs yet" in on_screen(pilot), "the empty folder is shown")
        assert pilot.app.root == other  # type: ignore[attr-defined]


async def test_help_and_palette_do_what_they_list(sample_runs: Path) -> None:
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.press("?")
        assert isinstance(pilot.app.screen, HelpOverlay)
        await pilot.press("escape", "ctrl+p")
        assert isinstance(pilot.app.screen, PaletteOverlay)
        await pilot.press(*"mark all", "enter")
        await until(pilot, lambda: len(screen.app.services.marked) == 21, "all are marked")


async def test_a_click_moves_a_second_one_opens(sample_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(CifarApp, "open_run", lambda self, run_id: opened.append(run_id))
    async with StillApp(sample_runs).run_test(size=(120, 36)) as pilot:
        screen = await listed(pilot)
        await pilot.click("#table", offset=(10, 3))
        await until(pilot, lambda: screen.cursor == 2, "the cursor is there")
        assert opened == []
        await pilot.click("#table", offset=(10, 3))
        await until(pilot, lambda: opened, "it is opened")


async def test_hostile_names_are_text(sample_runs: Path, add_run: AddRun) -> None:
    add_run("\x1b]0;owned\x07[bold red]x[/]\u202e\x9b31m" + "界" * 40, ago=1.0, tags=("[@click=app.exit]t[/]",))
    async with StillApp(sample_runs).run_test(size=(140, 36)) as pilot:
        await listed(pilot)
        text = on_screen(pilot)
        assert "[bold red]x" in text
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)


async def test_a_damaged_run_is_a_dim_row_and_a_vanished_one_leaves(sample_runs: Path) -> None:
    import shutil

    broken, gone = sorted(path for path in sample_runs.iterdir() if runs.RUN_ID.fullmatch(path.name))[:2]
    (broken / "summary.json").write_text("[]")
    async with StillApp(sample_runs).run_test(size=(120, 50)) as pilot:
        screen = await listed(pilot)
        assert any(run.problem for run in screen.rows.runs)
        assert "incomplet" in on_screen(pilot)
        shutil.rmtree(gone)
        await until(pilot, lambda: len(screen.rows.runs) == 20, "it is gone from the table")


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
@pytest.mark.parametrize("shade", ["dark", "light"])
def test_picture(snap_compare: Callable[..., bool], still_runs: Path, size: tuple[int, int], shade: str) -> None:
    remembered = Settings(None)
    remembered.put(theme=shade)

    async def settle(pilot: Pilot[Any]) -> None:
        screen = await listed(pilot)
        if screen.size_class != "narrow":
            await until(pilot, lambda: screen.feed is not None and screen.feed.loaded, "the preview is read")
        await pilot.press("G", "k", "space", "g")
        if screen.size_class != "narrow":
            await until(pilot, lambda: "92.67 @ 110" in on_screen(pilot), "the preview is drawn")
        await until(pilot, lambda: screen.app.services.machine.device, "the machine is looked at")
        await until(pilot, lambda: not screen._redraw_asked, "the last key is drawn")
        screen._tick_now()
        await pilot.pause()

    app = StillApp(still_runs, remembered=remembered)
    assert snap_compare(app, terminal_size=size, run_before=settle)
