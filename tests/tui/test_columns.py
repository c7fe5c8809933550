"""Names of every kind in every table: whatever stands in one column, the others stay where they are."""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style
from wcwidth import wcwidth

from benchmarks.pty_terminal import CIFAR_TUI, COLOURFUL, Terminal
from engine import atomic
from engine.options.training import Published
from engine.queue import Place, QueueView, Waiting
from engine.run_view import RunView
from engine.runs import RunFolder
from engine.slots import Slot
from engine.sweep import Figure, Result
from engine.text import clean
from tui import cli, compare_table, comparison, queue_table, sweep_table, sweep_view, table, theme
from tui.commands import control, listing
from tui.comparison import Member
from tui.comparison_settings import Difference
from tui.grid import Grid
from tui.queue_figures import figures
from tui.queue_table import Board
from tui.run_preview import Setting, draw_alone, draw_beside
from tui.run_table import COLUMNS, USUAL, Look, draw_run, place

MakeRun = Callable[..., RunFolder]

NAMES = {
    "empty": "",
    "blank": "   ",
    "64": "n" * 64,
    "65": "n" * 65,
    "10,000": "n" * 10_000,
    "words": "a long name " * 40,
    "emoji": "🚀🔥" * 30,
    "a family of emoji": "👨\u200d👩\u200d👧\u200d👦" * 9,
    "skin and variation": "👍\U0001f3fd❤\ufe0f" * 20,
    "flags": "🇩🇪🇯🇵" * 20,
    "CJK": "学習率を試す" * 20,
    "half and full width": "ｱｲｳＡＢＣ" * 20,
    "RTL": "שלום עולם مرحبا بالعالم " * 8,
    "piles": "Z" + "\u0301\u0323\u0488" * 40 + "a\u0310" * 60,
    "marks alone": "\u0301" * 80,
    "vowel signs": "हिन्दी தமிழ் ภาษาไทย " * 8,
    "jamo": "\u1112\u1161\u11ab" * 40,
    "one wide letter": "界",
}
PALETTE = theme.palette()
NOW = 1_795_000_000.0


def view(number: int = 0, **changes: Any) -> RunView:
    """A run with a figure in every column."""
    facts: dict[str, Any] = {
        "state": "finished", "name": "plain", "architecture": "resnet32", "augmentation": "crop_flip",
        "optimizer": "sgd", "dataset": "cifar10", "parameters": 464_154, "macs": 69_000_000, "epoch": 3.0,
        "epochs": 3.0, "step": 90, "lr": 0.1, "batch_size": 128, "seed": 7, "best": 91.25, "best_epoch": 2.0,
        "best_metric": "val_accuracy", "test": 90.75, "active_s": 61.0, "ended": NOW - 5,
        "images_s": 1234.0, "device": "cpu", "tags": ("paper",), "spark": (1.0, 2.0), "created": NOW,
    }  # fmt: skip
    return RunView(f"20261121-0900{number:02d}-{number:06x}", Path("/runs"), **{**facts, **changes})


Draw = Callable[[str], Grid]


def runs(width: int, every: bool) -> Iterator[tuple[str, Draw]]:
    """The table of runs, a text in each of its columns of words in turn."""
    columns = place(tuple(COLUMNS) if every else USUAL, width)

    def draw(text: str, field: str, state: str) -> Grid:
        grid = Grid(width, 1)
        worded = (text,) if field == "tags" else text
        draw_run(grid, 0, columns, view(**{"state": state, field: worded}), Look(PALETTE, NOW), cursor=False)
        return grid

    for field in ("name", "architecture", "augmentation", "optimizer", "dataset", "tags"):
        yield f"runs {width}: {field}", lambda text, field=field: draw(text, field, "finished")  # type: ignore[misc]
    yield f"runs {width}: reason", lambda text: draw(text, "reason", "failed")


def queues(width: int) -> Iterator[tuple[str, Draw]]:
    """The queue, a text in a slot's run, a waiting and an ended one."""

    def draw(text: str, pane: str, field: str) -> Grid:
        def one(name: str, number: int, **facts: Any) -> RunView:
            return view(number, **{**facts, **({field: text} if pane == name and field != "asked" else {})})

        going = one("slot", 1, state="running", epoch=1.0, eta_s=33.0)
        waits = one("waiting", 2, state="queued")
        ended = one("done", 3, state="failed" if field == "reason" else "finished")
        asked = clean(text) if field == "asked" else "cpu"
        why = f"there is no {asked} here" if field == "asked" else "next"
        slot = Place(Slot("cpu", "CPU"), (going,))
        queue = QueueView(False, True, (slot,), (Waiting(waits, asked, False, why),), (ended,))
        board = Board(figures(queue, [], None, "lab"), {}, NOW)
        return queue_table.draw(board, width, 20, PALETTE)

    panes = (("slot", "name"), ("waiting", "name"), ("waiting", "architecture"), ("waiting", "asked"))
    panes += (("done", "name"), ("done", "architecture"), ("done", "reason"))
    for pane, field in panes:
        yield f"queue {width}: {pane}, {field}", lambda text, p=pane, f=field: draw(text, p, f)  # type: ignore[misc]


def comparisons(width: int) -> Iterator[tuple[str, Draw]]:
    """Compare, a text as a run's name, as a setting and as its value."""

    def draw(text: str, field: str) -> Grid:
        named = [Member(view(0, **({"name": text} if field == "name" else {})), {}), Member(view(1, name="other"), {})]
        lines = comparison.lines(named, together=False)
        key, value = (text if field == what else "plain" for what in ("key", "value"))
        rows = (comparison.Row(clean(key), (comparison.Cell(clean(value)), comparison.Cell("0.1"))),)
        colours = [PALETTE.run(index) for index in range(len(lines))]
        shown = compare_table.Table(lines, colours, comparison.metric_rows(lines, 0), Difference(rows, 1, 9))
        return compare_table.draw(shown, width, 24, PALETTE, narrow=width < 100)

    for field in ("name", "key", "value"):
        yield f"compare {width}: {field}", lambda text, field=field: draw(text, field)  # type: ignore[misc]


def result(name: str) -> Result:
    figure = Figure(90.5, None, 1)
    published = Published(test_accuracy=91.0)
    return Result(0, name, published, "", (view(),), figure, figure, figure, figure, figure, 464_154, 69_000_000)


def sweeps(width: int) -> Iterator[tuple[str, Draw]]:
    """A sweep's table, a text as a row's name beside one that is long enough for any column."""

    def draw(text: str) -> Grid:
        grid = Grid(width, 4)
        sweep_view.draw_table(grid, [result(clean(text)), result("c" * 500)], 1, 0, PALETTE)
        return grid

    yield f"sweep {width}", draw


TABLES: dict[str, Draw] = dict(
    chain.from_iterable(
        chain(runs(width, every=width > 150), queues(width), comparisons(width), sweeps(width))
        for width in (60, 80, 120, 200)
    )
)


OWN = {"x", "there", "is", "no", "here"}  # words that belong to the text itself


def spelt(grid: Grid) -> Iterator[tuple[int, int, str]]:
    """Row, column and letters of every word that is not the text's own."""
    for row, cells in enumerate(grid.cells):
        for word in re.finditer(r"[\w.%@×+]+", "".join(character for character, _ in cells)):
            if word[0] not in OWN:
                yield row, word.start(), word[0]


@pytest.mark.parametrize("shown", TABLES)
def test_a_text_moves_and_hides_nothing_in_other_columns(shown: str) -> None:
    draw = TABLES[shown]
    words = list(spelt(draw("x")))
    assert words
    for kind, name in NAMES.items():
        drawn = draw(clean(name[:500]))
        for row, column, word in words:
            found = "".join(character for character, _ in drawn.cells[row][column : column + len(word)])
            assert found == word, f"{kind}: {word} became {found}\n{drawn.text()}"
        for cells in drawn.cells:
            assert sum(wcwidth(letter) for character, _ in cells for letter in character) == drawn.width, kind


places = st.tuples(st.integers(0, 1), st.integers(-3, 12))
texts = st.text("ab界🚀e\u0301", max_size=8)


@given(st.lists(st.tuples(places, texts)), st.lists(st.tuples(places, texts, texts)))
def test_half_of_a_wide_character_never_stays(
    written: list[tuple[tuple[int, int], str]], pasted: list[tuple[tuple[int, int], str, str]]
) -> None:
    grid = Grid(10, 2)
    for (row, column), text in written:
        grid.write(row, column, text, Style.null())
    for (row, column), *lines in pasted:
        part = Grid(5, 2)
        for offset, text in enumerate(lines):
            part.write(offset, 0, text, Style.null())
        grid.paste(row, max(column, 0), part)
    for line in grid.cells:
        assert cells("".join(character for character, _ in line)) == 10


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_long_reason_or_phase_leaves_the_name_in_the_previews_head(width: int, state: str) -> None:
    setting = Setting(PALETTE, PALETTE.run(0), NOW)
    for kind, name in NAMES.items():
        told = clean(name[:500])
        run = view(state=state, reason=told, phase=told, name="plain")
        assert "plain" in draw_alone(Given(run), width, 30, setting).text().splitlines()[0], kind
        assert "plain" in draw_beside(Given(run), max(width // 2, 40), 30, setting).text().splitlines()[1], kind


class Given:
    """A run without curves, as the preview reads one."""

    loaded = True
    config = ""

    def __init__(self, run: RunView) -> None:
        self.view = run

    def series(self, name: str) -> tuple[list[float], list[float]]:
        return [], []


# The tables that are printed.


def printed_tables(texts: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The lines of each table, a row a text."""
    listed = [view(number, name=text, tags=(text,), reason=text, state="failed") for number, text in enumerate(texts)]
    yield "list", table.render(listing.COLUMNS, [listing.row(run, NOW) for run in listed])
    waiting = tuple(
        Waiting(run, text, False, f"there is no {text} here") for run, text in zip(listed, texts, strict=True)
    )
    yield "waiting", control._waiting(waiting)
    places = tuple(Place(Slot("cpu", "CPU"), (run,)) for run in listed)
    yield "slots", control._slots(places)
    yield "sweep", table.render(*sweep_table.table([result(text) for text in texts]))


def test_printed_tables_stay_aligned() -> None:
    texts = [clean(name[:500]) for name in NAMES.values()]
    for name, lines in printed_tables(texts):
        assert len(lines) == len(texts) + 1
        figure = {"list": "0.46 M", "waiting": "20261121", "slots": "20261121", "sweep": "✓ finished"}[name]
        places = {cells_before(row, figure) for row in lines[1:]}
        assert len(places) == 1, (name, places)


def cells(text: str) -> int:
    return sum(map(wcwidth, text))


def cells_before(text: str, found: str) -> int:
    return cells(text[: text.index(found)])


def test_compared_runs_are_printed_in_columns(make_run: MakeRun, tmp_path: Path, capsys: Any) -> None:
    for name in NAMES.values():
        runs = [make_run("plain", test={"best": 90.75}), make_run("other", test={"best": 80.5})]
        atomic.write_json(runs[0].path / "user.json", {"name": name})
        assert cli.main(["--compare", runs[0].id, runs[1].id, "--runs", str(tmp_path / "runs")]) == 0
        lines = capsys.readouterr().out.splitlines()
        figures_at = [cells_before(row, "80.5") + 5 for row in lines if "80.5" in row]
        heads = lines[0]
        assert cells(heads) < 130
        assert figures_at[0] <= cells(heads)


@pytest.mark.slow
def test_a_terminal_shows_every_name_in_its_column(make_run: MakeRun, tmp_path: Path) -> None:
    """The width that a terminal gives to each character, seen from outside. Ours loses what follows some marks."""
    names = [name for kind, name in NAMES.items() if kind not in ("piles", "vowel signs", "jamo")]
    for name in names:
        run = make_run("plain", best={"metric": "val_accuracy", "value": 91.25, "epoch": 2})
        atomic.write_json(run.path / "user.json", {"name": name, "tags": [name]})
    with Terminal([*CIFAR_TUI, "--runs", str(tmp_path / "runs")], 160, 50, COLOURFUL) as terminal:
        assert terminal.until(f"{len(names)} runs", "91.25", patience=120) is not None, terminal.text
        terminal.settle()
        places = [cells_before(row, "91.25") for row in terminal.text.splitlines() if "✓" in row and "91.25" in row]
        assert places[: len(names)] == [places[0]] * len(names), terminal.text
