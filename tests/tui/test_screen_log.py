"""The log in full: followed, wrapped, searched, cleaned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.runs import RunFolder
from tui import line, log_lines
from tui.app import CifarApp
from tui.log_reader import KEPT_LINES, LogReader
from tui.theme import palette
from watching import seen, shaded

AddRun = Callable[..., RunFolder]
DARK = palette()
EPOCH = "02:07:23  epoch 14   train 95.40 %  0.1657   val 94.90 %  0.1792   lr 4.00e-05   3.14 s"


def text(parts: Any) -> str:
    return "".join(piece for piece, _ in parts)


def test_an_epochs_line_has_its_number_bright_and_loses_whole_columns() -> None:
    parts = log_lines.log_parts(EPOCH, DARK)
    assert text(parts) == EPOCH
    assert [piece for piece, style in parts if style == DARK.style("text")] == ["epoch 14"]
    assert text(log_lines.log_parts(EPOCH, DARK, 78)).endswith("lr 4.00e-05")
    assert text(log_lines.log_parts("ValueError: no", DARK)) == "ValueError: no"


def test_matches_are_marked_in_either_case() -> None:
    parts = log_lines.marked(log_lines.log_parts(EPOCH, DARK), "VAL 94", DARK)
    assert text(parts) == EPOCH
    assert [piece for piece, style in parts if style.reverse] == ["val 94"]
    assert log_lines.matching(["abc", "xBz", "q"], "b") == [0, 1]
    assert log_lines.matching(["a.c", "abc"], "a.c") == [0]
    assert log_lines.matching(["a"], "") == []


def test_long_and_wide_lines_wrap() -> None:
    rows = log_lines.wrapped([("abc", DARK.style()), ("日本語", DARK.style("dim"))], 5)
    assert [text(row) for row in rows] == ["abc日", "本語"]
    assert log_lines.rows_of("日本語abc", 5) == 2
    assert log_lines.wrapped([], 5) == [[]]
    assert log_lines.first_shown(["a", "b" * 12, "c"], 5, 4) == 1
    assert log_lines.first_shown([], 5, 4) == 0
    assert log_lines.first_shown(["a" * 100], 5, 4) == 0


def test_the_reader_follows_and_starts_anew_when_the_file_is_another(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    reader = LogReader(log)
    assert not reader.poll()
    log.write_bytes(b"one\x1b[31m\ntwo")
    assert reader.poll()
    assert reader.all_lines() == ["one", "two"]
    with log.open("ab") as file:
        file.write(b" ends\r\n 10%\r 90%\rdone\n")
    assert reader.poll()
    assert reader.all_lines() == ["one", "two ends", "done"]
    assert not reader.poll()
    log.write_text("new\n")
    assert reader.poll()
    assert reader.all_lines() == ["new"]
    assert line.width_of([(reader.lines[0], DARK.style())]) == 3


def test_the_reader_keeps_the_end_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("".join(f"{number}\n" for number in range(KEPT_LINES + 10)))
    reader = LogReader(log)
    while reader.poll():
        pass
    assert len(reader.lines) == KEPT_LINES
    assert reader.dropped == 10
    assert reader.lines[-1] == str(KEPT_LINES + 9)


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"x" * 300_000)
    reader = LogReader(log)
    assert reader.poll()
    assert max(map(len, reader.all_lines())) <= 1 << 16


@pytest.fixture
def run(add_run: AddRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("socket.gethostname", lambda: "lab-gpu2")
    monkeypatch.setattr("tui.services.Machine.poll", lambda self: False)
    made = add_run("best_5m-s2", best=93.04, test=92.49)
    lines = [f"02:07:{number % 60:02d}  epoch {number}   train 95.40 %  0.1657   val 94.90 %  0.1792   lr 4.00e-05"
             for number in range(1, 101)]  # fmt: skip
    (made.path / "log.txt").write_text("\n".join(["reading data", *lines, "Traceback [red]", ""]))
    return made


def app_of(run: RunFolder, shade: str = "dark") -> CifarApp:
    return shaded(CifarApp(run.path.parent), shade)


async def test_it_follows_the_log_until_one_goes_back(run: RunFolder) -> None:
    async with app_of(run).run_test(size=(120, 36)) as pilot:
        pilot.app.open_log(run.id)  # type: ignore[attr-defined]
        shown = await seen(pilot, "102 lines   following")
        assert "Traceback [red]" in shown
        with (run.path / "log.txt").open("a") as log:
            log.write("and on it goes\n")
        await seen(pilot, "and on it goes")
        await pilot.press("k")
        await seen(pilot, "from line", gone="and on it goes")
        await pilot.press("g")
        await seen(pilot, "reading data")
        await pilot.press("ctrl+d", "j", "ctrl+u", "G")
        await seen(pilot, "following")


async def test_it_is_searched(run: RunFolder) -> None:
    async with app_of(run).run_test(size=(120, 36)) as pilot:
        pilot.app.open_log(run.id)  # type: ignore[attr-defined]
        await seen(pilot, "102 lines")
        await pilot.press("slash", *"EPOCH", "space", "5")
        await seen(pilot, '"EPOCH 5" 11 of 11')
        await pilot.press("enter", "n")
        await seen(pilot, '"EPOCH 5" 1 of 11')
        await pilot.press("N", "N")
        await seen(pilot, '"EPOCH 5" 10 of 11')
        await pilot.press("slash", "q")
        await seen(pilot, '"EPOCH 5q" is nowhere')
        await pilot.press("escape")
        await seen(pilot, "102 lines", gone="EPOCH")
        await pilot.press("n")
        await seen(pilot, "/ searches the log")


async def test_a_run_without_a_log(add_run: AddRun) -> None:
    run = add_run("bare")
    async with app_of(run).run_test(size=(80, 24)) as pilot:
        pilot.app.open_log(run.id)  # type: ignore[attr-defined]
        await seen(pilot, "0 lines")
        await pilot.press("j", "k", "G", "n")
        assert pilot.app.is_running


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
def test_snapshots(run: RunFolder, shade: str, size: tuple[int, int], snap_compare: Any) -> None:
    async def run_before(pilot: Pilot[Any]) -> None:
        pilot.app.open_log(run.id)  # type: ignore[attr-defined]
        await seen(pilot, "102 lines   following")
        await pilot.press("slash", *"94.9", "enter")
        await seen(pilot, "100 of 100")

    assert snap_compare(app_of(run, shade), terminal_size=size, run_before=run_before)
