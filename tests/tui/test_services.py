"""The threads behind the screens: what they see, when they poke, and that they cost nothing while nothing changes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import queue, runs
from engine.metrics_log import MetricsWriter
from engine.runs import RunFolder
from tui import theme
from tui.services import Machine, Poller, RunFeed, RunList, Services

AddRun = Callable[..., RunFolder]


def test_the_list_is_new_only_when_something_changed(sample_runs: Path, add_run: AddRun) -> None:
    pokes: list[int] = []
    watched = RunList(sample_runs, lambda: pokes.append(1))
    assert watched.poll()
    first = watched.listing
    assert first.complete
    assert len(first.runs) == 21
    assert not watched.poll()
    assert watched.listing is first
    add_run("new", ago=1.0)
    assert watched.poll()
    assert len(watched.listing.runs) == 22


def test_the_newest_runs_are_listed_before_the_others(sample_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.services.FIRST_RUNS", 5)
    watched = RunList(sample_runs, lambda: None)
    assert watched.poll()
    newest = watched.listing
    assert len(newest.runs) == 5
    assert not newest.complete
    assert watched.poll()
    assert watched.listing.complete
    assert len(watched.listing.runs) == 21
    assert watched.listing.runs[:5] == newest.runs


def test_only_runs_that_are_not_over_are_read_again(sample_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = RunList(sample_runs, lambda: None)
    watched.poll()
    from engine import run_view

    looked: list[str] = []
    look = run_view.look
    monkeypatch.setattr(run_view, "look", lambda path: looked.append(path.name) or look(path))
    watched.poll()
    unsettled = {run.id for run in watched.listing.runs if not run.settled}
    assert set(looked) == unsettled
    assert len(looked) < 6


def test_a_folder_that_cannot_be_read_is_a_problem_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken, absent = RunList(tmp_path / "file", lambda: None), RunList(tmp_path / "absent", lambda: None)
    broken.poll()
    absent.poll()
    assert "not a directory" in broken.listing.problem
    assert absent.listing.problem == ""
    assert absent.listing.complete


def test_the_next_run_is_the_first_that_is_not_held(tmp_path: Path, add_run: AddRun) -> None:
    first = add_run("first", state="queued", done=0.0, best=None)
    second = add_run("second", state="queued", done=0.0, best=None)
    root = tmp_path / "runs"
    monitored = RunList(root, lambda: None)
    monitored.poll()
    assert monitored.listing.next_run == first.id
    queue._edit(root, lambda plan: queue.Plan(order=(second.id, first.id)))
    monitored.poll()
    assert monitored.listing.next_run == second.id
    queue._edit(root, lambda plan: queue.Plan(order=(second.id, first.id), held=frozenset([second.id])))
    monitored.poll()
    assert monitored.listing.next_run == first.id


def test_a_feed_follows_a_run_as_it_grows(add_run: AddRun) -> None:
    run = add_run("grows", state="running", done=0.1)
    feed = RunFeed(run, lambda: None)
    assert feed.poll()
    assert feed.loaded
    xs, _ = feed.series("val_accuracy")
    assert list(xs) == list(range(1, 21))
    version = feed.version
    assert not feed.poll()
    assert feed.version == version
    log = MetricsWriter(run.path / "metrics.jsonl")
    log.append({"kind": "epoch", "epoch": 21, "step": 21 * 352, "val_accuracy": 88.0, "t": time.time()})
    log.close()
    (run.path / "log.txt").write_text("\x1b[31mepoch 21\x1b[0m\n")
    assert feed.poll()
    assert feed.series("val_accuracy")[1][-1] == 88.0
    assert feed.log == "epoch 21\n"
    assert feed.version > version


def test_a_feed_lives_while_somebody_shows_it(sample_runs: Path) -> None:
    services = Services(sample_runs, lambda: None, print, lambda call: call())
    run_id = runs.run_names(sample_runs)[0]
    first, second = services.feed(run_id), services.feed(run_id)
    assert first is second
    services.release(first)
    assert services.feed(run_id) is first
    services.release(first)
    services.release(first)
    assert services.feed(run_id) is not first
    services.stop()


def test_live_and_marked_runs_have_colours_and_lose_them(sample_runs: Path) -> None:
    services = Services(sample_runs, lambda: None, print, lambda call: call())
    services.runs.poll()
    services.update_colours()
    live = {run.id for run in services.listing.runs if run.live and run.state != "queued"}
    assert set(services.colour_indices) == live
    seeds = [run for run in services.listing.runs if run.group_hash == "resnet32-he"]
    services.mark_all([run.id for run in seeds])
    assert len({services.colour_indices[run.id] for run in seeds}) == 1
    assert len(set(services.colour_indices.values())) == len(live) + 1
    services.unmark(*(run.id for run in seeds))
    assert set(services.colour_indices) == live
    over = next(run for run in services.listing.runs if not run.live)
    assert services.colour(over, theme.palette()).colour in theme.palette().runs


def test_a_poller_survives_its_mistakes() -> None:
    class Failing(Poller):
        turns = 0

        @property
        def interval_s(self) -> float:
            return 0.001

        def poll(self) -> bool:
            self.turns += 1
            if self.turns == 5:
                self.stop()
            raise ValueError("no")

    failing = Failing("failing", lambda: None)
    failing.run()
    assert failing.turns == 5


def test_the_machine_is_looked_at_rarely_while_nothing_runs() -> None:
    machine = Machine(lambda: None)
    assert machine.interval_s == 60
    machine.use(busy=True)
    assert machine.interval_s == 2
