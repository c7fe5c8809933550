"""Test results: read from a file that may be damaged, drawn at every size, pictures asked of the engine's process."""

import base64
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot

from engine.runs import RunFolder
from tui.app import CifarApp
from tui.engine_client import Answer
from tui.result_board import PANES, Board, Picture, draw
from tui.result_figures import (
    Results,
    bars_start,
    hit_strength,
    in_order,
    mistakes_of,
    read,
    strongest_miss,
    worst_confusion,
)
from tui.services import Services
from tui.theme import palette
from watching import seen, shaded

AddRun = Callable[..., RunFolder]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
DARK = palette()


def account(hits: int = 920) -> dict[str, Any]:
    """A thousand images a class; cats are dogs 87 times."""
    confusion = [[0] * 10 for _ in range(10)]
    for row in range(10):
        confusion[row][row] = hits - 10 * (row == 3)
        confusion[row][(row + 1) % 10] = 1000 - confusion[row][row]
    confusion[3] = [0, 0, 0, 838, 75, 87, 0, 0, 0, 0]
    per_class = [confusion[row][row] / 10 for row in range(10)]
    worst = [
        {"index": 100 + number, "label": 3, "answer": 5 if number % 2 else 4, "confidence": 0.99 - number / 100,
         "probability_of_label": 0.002}
        for number in range(30)
    ]  # fmt: skip
    bins = [{"count": 10 * number, "confidence": (number + 0.5) / 15, "accuracy": number / 15} for number in range(15)]
    return {"epoch": 181, "accuracy": sum(per_class) / 10, "loss": 0.3, "per_class": per_class, "confusion": confusion,
            "calibration": bins, "ece": 2.34, "worst": worst}  # fmt: skip


def result() -> dict[str, Any]:
    return {
        "schema": 1,
        "classes": CLASSES,
        "chosen_on": "validation",
        "checkpoints": {"best": account(), "last": account(910)},
        "published": {"test_accuracy": 92.49},
    }


def results() -> Results:
    found = read(result())
    assert found is not None
    return found


def board(**changes: Any) -> Board:
    found = results()
    first = found.accounts[0]
    settings = {"cursor": (3, 5), "pane": "matrix", "mistakes": mistakes_of(first, None)}
    return Board(found, first, **{**settings, **changes})


def test_what_is_read() -> None:
    found = results()
    best, last = found.accounts
    assert (best.which, last.which) == ("best", "last")
    assert (best.images, found.published) == (10_000, 92.49)
    assert best.per_thousand(3, 5) == 87.0
    assert worst_confusion(best) == (0, 1) or best.per_thousand(*worst_confusion(best)) == strongest_miss(best)
    assert bars_start(best.per_class) == 80.0
    assert hit_strength(best, 3) < hit_strength(best, 0)
    assert in_order(best, 3)[0] == 3
    assert in_order(best, 10) == list(range(10))
    assert {(m.label, m.answer) for m in mistakes_of(best, (3, 5))} == {(3, 5)}


def test_the_difference_to_the_published_figure_is_of_the_checkpoint_that_it_was_published_for() -> None:
    found = read(result() | {"published": {"test_accuracy": 92.49, "checkpoint": "last"}})
    assert found is not None
    best, last = found.accounts
    assert found.accounts[found.first()] is last
    assert found.beyond_published(best) is None
    assert found.beyond_published(last) == pytest.approx(last.accuracy - 92.49)
    assert results().first() == 0
    assert results().beyond_published(results().accounts[1]) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"classes": None},
        {"classes": []},
        {"checkpoints": []},
        {"checkpoints": {"best": {"epoch": 1}}},
        {"checkpoints": {"best": {**account(), "confusion": [[1, 2]]}}},
        {"checkpoints": {"best": {**account(), "per_class": [1.0]}}},
        {"checkpoints": {"best": {**account(), "worst": [{"index": 1, "label": 99, "answer": 1}]}}},
    ],
)
def test_what_cannot_be_shown_is_none(damage: dict[str, Any]) -> None:
    assert read({**result(), **damage}) is None
    assert read(None) is None


def test_the_matrix_the_bars_and_the_mistakes() -> None:
    shown = draw(board(), 120, 34, DARK).text()
    rows = shown.split("\n")
    assert rows[1].startswith(" Confusion matrix ──")
    assert rows[2].split()[:3] == ["airpl", "autom", "bird"]
    assert "838" in rows[6]
    assert "▌  87" in rows[6]
    assert "cat taken for dog  87 of 1,000" in shown
    assert "Per class" in rows[1]
    assert "83.80" in rows[6]
    assert "↑ mean" in shown
    assert "Worst mistakes" in shown
    assert "is cat" in shown


def test_pictures_with_and_without_what_the_network_looked_at() -> None:
    image = bytes(range(256)) * 12
    pictures = {100 + place: Picture(32, image) for place in range(5)}
    plain = draw(board(pictures=pictures), 120, 34, DARK).text()
    assert plain.count("▀" * 22) == 4 * 11
    heat = {index: Picture(32, image, image, (0.1,) * 10) for index in pictures}
    both = draw(board(pictures=heat, heat="Grad-CAM of stage4"), 120, 34, DARK).text()
    assert "influence on the answer" in both
    assert "Grad-CAM of stage4" in both


def test_calibration_in_place_of_the_bars_or_beside_them() -> None:
    assert "ECE 2.34 %" in draw(board(pane="calibration"), 120, 34, DARK).text()
    assert "Per class" not in draw(board(pane="calibration"), 120, 34, DARK).text()
    wide = draw(board(), 200, 48, DARK).text()
    assert "Calibration" in wide
    assert "Per class" in wide


def test_narrow_drops_pictures_and_bars() -> None:
    shown = draw(board(), 80, 22, DARK).text()
    assert "Per class" not in shown
    assert "is cat   said deer  99.0 %" in shown
    tiny = draw(board(), 60, 13, DARK).text()
    assert "airp" in tiny


@given(st.integers(0, 130), st.integers(0, 60), st.sampled_from(PANES), st.integers(0, 99), st.integers(1, 100))
def test_no_size_and_no_number_of_classes_makes_it_fail(
    width: int, height: int, pane: str, page: int, classes: int
) -> None:
    confusion = [[int(row == column) * 50 + (column == 0) for column in range(classes)] for row in range(classes)]
    one = {**account(), "confusion": confusion, "per_class": [50.0] * classes, "worst": []}
    found = read({**result(), "classes": ["class"] * classes, "checkpoints": {"best": one}})
    assert found is not None
    shown = Board(found, found.accounts[0], (classes - 1, 0), pane, [], page)
    for colours in (DARK, palette("dark", "none")):
        grid = draw(shown, width, height, colours)
        assert all(len(row) == grid.width for row in grid.cells)


class FakeEngine:
    """Answers as `engine --serve` would; knows Grad-CAM only when told so."""

    def __init__(self, *, heat: bool) -> None:
        self.heat = heat
        self.asked: list[Mapping[str, Any]] = []

    def ask(self, question: Mapping[str, Any], answered: Callable[[Answer], object], topic: str = "") -> None:
        self.asked.append(question)
        pixels = base64.b64encode(bytes(32 * 32 * 3)).decode()
        if question["ask"] == "images":
            answered(Answer({"size": 32, "pictures": [pixels for _ in question["indices"]]}))
        elif self.heat:
            images = [{"index": index, "overlay": pixels, "pixels": pixels, "probabilities": [0.1] * 10}
                      for index in question["images"]]  # fmt: skip
            answered(Answer({"size": 32, "layer": "stage4", "images": images}))
        else:
            answered(Answer(error="there is no question 'gradcam'; there are count, preview, images"))

    def forget(self, topic: str) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def run(add_run: AddRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("socket.gethostname", lambda: "lab-gpu2")
    monkeypatch.setattr("tui.services.Machine.poll", lambda self: False)
    made = add_run("best_5m-s2", best=93.04, test=92.49)
    folder = made.path / "results" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result()))
    return made


def app_of(run: RunFolder, engine: FakeEngine, shade: str = "dark") -> CifarApp:
    app = CifarApp(run.path.parent)
    app.services.engine = engine  # type: ignore[assignment]
    return shaded(app, shade)


async def opened(pilot: Pilot[Any], run: RunFolder) -> None:
    pilot.app.open_results(run.id)  # type: ignore[attr-defined]
    await seen(pilot, "Confusion matrix")


async def test_keys(run: RunFolder) -> None:
    async with app_of(run, FakeEngine(heat=False)).run_test(size=(120, 36)) as pilot:
        await opened(pilot, run)
        shown = await seen(pilot, "checkpoint best, epoch 181")
        assert "published 92.49 %" in shown
        await pilot.press("m")
        await seen(pilot, "checkpoint last")
        await pilot.press("m", "up", "up", "up", "up", "up", "up", "up", "up", "up", "left", "left", "left")
        await pilot.press("left", "left", "left", "left", "left", "left", "down", "down", "down", *["right"] * 5)
        await seen(pilot, "cat taken for dog")
        await pilot.press("enter")
        shown = await seen(pilot, "cat taken for dog ─")
        assert "said deer" not in shown
        await pilot.press("j")
        await seen(pilot, "page 2 of 4")
        await pilot.press("k", "escape")
        await seen(pilot, "Worst mistakes")
        await pilot.press("tab", "tab")
        await seen(pilot, "Calibration")
        await pilot.press("[", "[", "G")
        await seen(pilot, "page 8 of 8")
        await pilot.press("escape")
        await seen(pilot, "best_5m-s2", gone="Confusion")


async def test_pictures_are_asked_for_once_a_page(run: RunFolder) -> None:
    engine = FakeEngine(heat=False)
    async with app_of(run, engine).run_test(size=(120, 36)) as pilot:
        await opened(pilot, run)
        await seen(pilot, "▀▀▀▀▀▀▀▀")
        await pilot.press("j", "k", "j")
        await pilot.pause(0.1)
    images = [question["indices"] for question in engine.asked if question["ask"] == "images"]
    assert images == [[100, 101, 102, 103], [104, 105, 106, 107]]


async def test_grad_cam_stands_beside_the_pictures_where_it_is_known(run: RunFolder) -> None:
    async with app_of(run, FakeEngine(heat=True)).run_test(size=(120, 36)) as pilot:
        await opened(pilot, run)
        await seen(pilot, "Grad-CAM of stage4")


async def test_missing_and_damaged_results_are_said(add_run: AddRun) -> None:
    run = add_run("bare")
    async with app_of(run, FakeEngine(heat=False)).run_test(size=(120, 36)) as pilot:
        pilot.app.open_results(run.id)  # type: ignore[attr-defined]
        await seen(pilot, "No test results")
        await pilot.press("j", "m", "left", "enter", "tab", "escape")
        assert pilot.app.is_running


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
def test_snapshots(
    run: RunFolder, shade: str, size: tuple[int, int], snap_compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Services, "colour", lambda self, run, palette: palette.run(0))

    async def run_before(pilot: Pilot[Any]) -> None:
        await opened(pilot, run)
        await seen(pilot, "took" if size[0] > 80 else "Worst")
        await pilot.pause(0.1)

    assert snap_compare(app_of(run, FakeEngine(heat=True), shade), terminal_size=size, run_before=run_before)


def test_a_class_never_seen_has_no_share() -> None:
    one = account()
    one["confusion"][9] = [0] * 10
    found = read({**result(), "checkpoints": {"best": one}})
    assert found is not None
    assert found.accounts[0].per_thousand(9, 9) == 0.0
    assert not math.isnan(strongest_miss(found.accounts[0]))
