"""The queue in figures and words: when runs start, what stands in the way, how today's runs ended."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.queue import Place, QueueView, Waiting
from engine.run_view import RunView
from engine.slots import Slot
from engine.system import Gpu, Sample
from tui import queue_figures, queue_table
from tui.queue_figures import Keys, QueueFigures, Takes, figures, takes, wait_words
from tui.queue_table import Board
from tui.theme import palette

CPU = Slot("cpu", "CPU")
GPU0, GPU1 = (Slot(f"GPU-{n}", f"NVIDIA H100 80GB HBM3 {n}", n) for n in (0, 1))
ON_GPU = "cuda:0 NVIDIA H100 80GB HBM3"


def run(name: str, **fields: Any) -> RunView:
    facts: dict[str, Any] = {
        "id": name, "path": Path("/runs") / name, "state": "queued", "name": name, "epochs": 100.0,
        "architecture": "resnet32", "batch_size": 128, "dataset": "cifar10", "macs": 69_000_000,
    }  # fmt: skip
    return RunView(**{**facts, **fields})


def finished(name: str, seconds: float, **fields: Any) -> RunView:
    return run(name, **{"state": "finished", "epoch": 100.0, "active_s": seconds, "device": "cpu", **fields})


def running(name: str, left: float | None, **fields: Any) -> RunView:
    return run(name, state="running", epoch=50.0, eta_s=left, **fields)


def waits(name: str, device: str = "auto", *, held: bool = False, why: str = "waits", **fields: Any) -> Waiting:
    return Waiting(run(name, **fields), device, held, "held" if held else why)


def queued(*waiting: Waiting, places: tuple[Place, ...] = (Place(CPU),), **fields: Any) -> QueueView:
    facts: dict[str, Any] = {"paused": False, "advancing": True, "done": ()}
    return QueueView(places=places, waiting=waiting, **{**facts, **fields})


def seen(view: QueueView, *past: RunView, sample: Sample | None = None) -> QueueFigures:
    return figures(view, past, sample, "lab-gpu2")


def starts(found: QueueFigures) -> list[str]:
    return [wait_words(row) for row in found.waiting]


def test_runs_start_one_after_another_as_a_slot_comes_free() -> None:
    view = queued(waits("a"), waits("b"), waits("c"), places=(Place(CPU, (running("r", 33.0),)),))
    found = seen(view, finished("past", 50.0))
    assert starts(found) == ["in 33 s", "in 83 s", "in 2 m"]
    assert [row.takes for row in found.waiting] == [Takes(50.0, False)] * 3
    assert found.all_done_s == 183.0
    assert (found.running, found.places) == (1, 1)


def test_a_free_slot_takes_the_first_at_once() -> None:
    assert starts(seen(queued(waits("a"), waits("b")), finished("past", 600.0))) == ["next", "in 10 m"]


def test_what_asks_for_one_gpu_waits_for_that_one() -> None:
    places = (Place(GPU0, (running("r", 10.0),)), Place(GPU1, (running("s", 100.0),)))
    view = queued(waits("a", "cuda:1"), waits("b"), waits("c", "cuda"), places=places)
    found = seen(view, finished("past", 20.0, device=ON_GPU))
    assert starts(found) == ["in 2 m", "in 10 s", "in 30 s"]
    assert [row.device for row in found.waiting] == ["H100 1", "any", "cuda"]


def test_several_runs_at_a_time_share_a_slot() -> None:
    slot = replace(CPU, capacity=2)
    found = seen(queued(waits("a"), places=(Place(slot, (running("r", 90.0),)),)), finished("past", 20.0))
    assert starts(found) == ["next"]
    assert [(row.label, row.run.name if row.run else None) for row in found.slots] == [("CPU", "r"), ("", None)]
    assert found.places == 2


def test_held_runs_are_passed_over_and_paused_ones_have_no_time() -> None:
    view = queued(waits("a", held=True), waits("b"))
    assert starts(seen(view, finished("past", 50.0))) == ["held", "next"]
    assert starts(seen(replace(view, paused=True), finished("past", 50.0))) == ["held", "paused"]
    assert seen(replace(view, paused=True), finished("past", 50.0)).all_done_s is None


def test_a_device_that_is_not_here_is_named() -> None:
    found = seen(queued(waits("a", "cuda", why="there is no cuda here"), advancing=False))
    assert starts(found) == ["no cuda here"]
    assert found.status.text == "what waits asks for a device that is not here"


def test_behind_an_unknown_end_nothing_can_be_said() -> None:
    view = queued(waits("a"), places=(Place(CPU, (running("r", None),)),))
    assert starts(seen(view)) == ["–"]
    assert seen(view).all_done_s is None
    unknown = seen(queued(waits("a"), waits("b")))
    assert starts(unknown) == ["next", "–"]


def test_estimates_come_from_the_nearest_past_runs() -> None:
    wanted = run("new", group_hash="g")
    same = finished("same", 30.0, group_hash="g")
    alike = finished("alike", 60.0)
    other = finished("other", 200.0, architecture="resnet18", macs=138_000_000)
    assert takes(wanted, [other, alike, same], CPU) == Takes(30.0, rough=False)
    assert takes(wanted, [other, alike], CPU) == Takes(60.0, rough=False)
    assert takes(wanted, [other], CPU) == Takes(100.0, rough=True)
    assert takes(wanted, [], CPU) is None
    assert takes(wanted, [alike], GPU0) is None
    assert takes(wanted, [replace(alike, device=ON_GPU)], GPU0) == Takes(60.0, rough=False)
    assert takes(replace(wanted, epoch=75.0), [alike], CPU) == Takes(15.0, rough=False)
    assert takes(replace(wanted, epochs=None), [alike], CPU) is None
    half, full = replace(wanted, steps=17_600), replace(alike, steps=35_200)
    assert takes(half, [full], CPU) == Takes(30.0, rough=False), "half as many images an epoch"


def test_a_rough_estimate_says_so() -> None:
    past = finished("other", 3_000.0, architecture="resnet18", macs=138_000_000)
    found = seen(queued(waits("a"), waits("b")), past)
    assert starts(found) == ["next", "in ≈ 25 m"]
    assert found.all_done_rough


@pytest.mark.parametrize(
    ("view", "word", "said"),
    [
        (queued(waits("a")), "advancing", "runner on lab-gpu2; one run at a time; goes on after a failure"),
        (queued(waits("a"), places=(Place(GPU0), Place(GPU1))), "advancing", "one run per GPU"),
        (queued(waits("a"), paused=True), "paused", "P lets it advance"),
        (queued(waits("a"), advancing=False), "starting", "no runner lives; one is being started on lab-gpu2"),
        (queued(advancing=False), "at rest", "one run at a time; starts what is added"),
        (queued(waits("a", held=True), advancing=False), "at rest", "all that waits is held; H releases"),
    ],
)
def test_the_first_line_says_how_the_queue_does(view: QueueView, word: str, said: str) -> None:
    status = queue_figures.status(view, "lab-gpu2", Keys())
    assert status.word == word
    assert said in status.text


def test_slots_show_their_device() -> None:
    gpu = Gpu("GPU-0", 0, "NVIDIA H100 80GB HBM3", 97.0, 4 << 30, 80 << 30, 61.0)
    sample = Sample(0.0, 12.0, 2 << 30, 8 << 30, (gpu,))
    found = seen(queued(places=(Place(GPU0, (running("r", 1.0),)), Place(GPU1), Place(CPU))), sample=sample)
    assert [(row.label, row.utilisation, row.celsius) for row in found.slots] == [
        ("H100 0", 97.0, 61.0),
        ("H100 1", None, None),
        ("CPU", 12.0, None),
    ]
    closed = seen(queued(places=(Place(replace(CPU, capacity=0)),)))
    assert closed.slots[0].closed


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "finished"}, ""),
        ({"state": "stopped", "by": "you", "epoch": 58.4}, "by you at epoch 58"),
        ({"state": "stopped", "reason": "taken out of the queue"}, "taken out of the queue"),
        ({"state": "failed", "reason": "CUDA out of memory at batch 4096"}, "CUDA out of memory at batch 4096"),
        (
            {"state": "crashed", "reason": "killed by SIGKILL", "epoch": 143.0},
            "killed by SIGKILL; checkpoint of epoch 143 kept",
        ),
        ({"state": "failed", "problem": "config.yaml is missing"}, "config.yaml is missing"),
    ],
)
def test_what_did_not_finish_says_why(fields: dict[str, Any], words: str) -> None:
    assert queue_figures.ending_words(run("a", **fields)) == words


def test_endings_are_counted() -> None:
    done = [run("a", state="finished"), run("b", state="finished"), run("c", state="crashed")]
    assert queue_figures.count_endings(done) == "2 finished, 1 crashed"


def many(waiting: int, done: int) -> QueueFigures:
    view = queued(*(waits(f"waits-{n}") for n in range(waiting)), places=(Place(CPU, (running("r", 10.0),)),))
    ended = tuple(finished(f"done-{n}", 50.0, ended=1000.0) for n in range(done))
    return seen(replace(view, done=ended), *ended)


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (100, 30), (120, 36), (200, 50)])
@pytest.mark.parametrize("pane", ["slots", "waiting", "done"])
@pytest.mark.parametrize(("waiting", "done"), [(0, 0), (1, 3), (30, 0), (0, 30), (40, 40)])
def test_every_pane_can_be_seen_at_every_size(size: tuple[int, int], pane: str, waiting: int, done: int) -> None:
    board = Board(many(waiting, done), {}, 2000.0, pane)
    shown = queue_table.draw(board, size[0], size[1] - 4, palette()).text()
    assert "Slots" in shown
    assert "Waiting" in shown
    assert "CPU" in shown
    assert ("waits-0" in shown) == bool(waiting)
    if pane == "done" and done:
        assert "done-0" in shown


@pytest.mark.parametrize("height", [11, 20, 32])
@pytest.mark.parametrize("pane", ["slots", "waiting", "done"])
def test_a_click_hits_the_row_that_is_drawn_there(height: int, pane: str) -> None:
    board = Board(many(12, 12), {}, 2000.0, pane, tops=(0, 3, 2))
    rows = queue_table.draw(board, 120, height, palette()).text().split("\n")
    names = {"waiting": "waits", "done": "done"}
    for place, text in enumerate(rows):
        where, index = queue_table.hit(board, height, place)
        if index is not None and where in names:
            assert f"{names[where]}-{index} " in text
        elif index is None:
            assert "-0 " not in text


def test_columns_go_where_there_is_no_room() -> None:
    board = Board(many(3, 3), {}, 2000.0)
    wide, narrow = (queue_table.draw(board, width, 30, palette()).text() for width in (120, 80))
    for word in ("added", "architecture"):
        assert word in wide
        assert word not in narrow
    assert all(len(line) <= 80 for line in narrow.split("\n"))


def test_a_quiet_run_says_for_how_long() -> None:
    quiet = running("r", 10.0, quiet=True, heartbeat_age_s=48.0)
    board = Board(seen(queued(places=(Place(CPU, (quiet,)),))), {}, 2000.0)
    assert "last heard 48 s ago" in queue_table.draw(board, 120, 30, palette()).text()


def test_hostile_names_stay_in_their_cells() -> None:
    board = Board(seen(queued(waits("表" * 60), waits("e\u0301" * 90))), {}, 2000.0)
    shown = queue_table.draw(board, 80, 20, palette())
    assert all(len(row) == 80 for row in shown.cells)
