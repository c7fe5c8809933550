import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import counts_cache
from engine.counts_cache import Counts
from engine.options.architecture import ResNet
from tui.engine_client import Answer, EngineClient

# Answers with the question, or does as it says.
FAKE = """
import json, os, sys, time
from pathlib import Path
started = Path(sys.argv[1])
started.write_text(started.read_text() + "x" if started.exists() else "x")
if sys.argv[2:] == ["mute"]:
    sys.exit("no torch here")
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    match question["ask"]:
        case "die" if len(started.read_text()) <= question.get("times", 99):
            os.kill(os.getpid(), 9)
        case "leave":
            print(json.dumps({"id": question["id"], "ok": "bye"}), flush=True)
            sys.exit(0)
        case "hang":
            time.sleep(600)
        case "wait":
            while not Path(question["for"]).exists():
                time.sleep(0.01)
        case "environment":
            question = {"id": question["id"], "cuda": os.environ["CUDA_VISIBLE_DEVICES"]}
        case "fail":
            print(json.dumps({"id": question["id"], "error": "no such thing"}), flush=True)
            continue
    print(json.dumps({"id": question["id"], "ok": question}), flush=True)
"""


class Desk:
    """Asks a fake engine; answers arrive in a queue, as they would in the app's."""

    def __init__(self, folder: Path, *how: str, answer_s: float = 60.0) -> None:
        script = folder / "fake.py"
        script.write_text(FAKE)
        self.started = folder / "started"
        self.arrived: queue.Queue[tuple[str, Answer]] = queue.Queue()
        command = [sys.executable, str(script), str(self.started), *how]
        self.client = EngineClient(self._deliver, command, answer_s)

    def _deliver(self, function: Callable[[], object]) -> None:
        function()

    def ask(self, name: str, topic: str = "", **question: Any) -> None:
        self.client.ask(question, lambda answer: self.arrived.put((name, answer)), topic)

    def next(self) -> tuple[str, Answer]:
        return self.arrived.get(timeout=60)

    @property
    def starts(self) -> int:
        return len(self.started.read_text()) if self.started.exists() else 0


MakeDesk = Callable[..., Desk]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[MakeDesk]:
    made = []

    def make(*how: str, **options: Any) -> Desk:
        made.append(Desk(tmp_path, *how, **options))
        return made[-1]

    yield make
    for one in made:
        one.client.close()


def test_answers_come_back_and_the_process_stays_warm(desk: MakeDesk) -> None:
    one = desk()
    one.ask("a", ask="this", value=3)
    name, answer = one.next()
    assert (name, answer.value["value"], answer.error) == ("a", 3, "")
    one.ask("b", ask="that")
    assert one.next()[0] == "b"
    assert one.starts == 1


def test_nothing_is_started_before_the_first_question(desk: MakeDesk) -> None:
    one = desk()
    one.client.close()
    assert one.starts == 0


def test_gpus_are_hidden_from_it(desk: MakeDesk) -> None:
    one = desk()
    one.ask("a", ask="environment")
    assert one.next()[1].value["cuda"] == ""


def test_a_newer_question_replaces_one_that_waits_on_its_topic(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk()
    one.ask("first", ask="wait", **{"for": str(tmp_path / "go")})
    while one.starts == 0:
        time.sleep(0.01)
    one.ask("old", ask="facts", topic="facts")
    one.ask("other", ask="facts", topic="other")
    one.ask("new", ask="facts", topic="facts")
    one.ask("dropped", ask="facts", topic="dropped")
    one.client.forget("dropped")
    (tmp_path / "go").touch()
    assert [one.next()[0] for _ in range(3)] == ["first", "new", "other"]
    one.ask("last", ask="facts")
    assert one.next()[0] == "last"


def test_an_error_is_a_sentence(desk: MakeDesk) -> None:
    one = desk()
    one.ask("a", ask="fail")
    assert one.next()[1] == Answer(None, "no such thing")


def test_after_a_crash_it_is_started_once_more_and_asked_again(desk: MakeDesk) -> None:
    one = desk()
    one.ask("a", ask="die", times=1)
    assert one.next()[1].value["ask"] == "die"
    assert one.starts == 2


def test_a_question_that_kills_twice_is_given_up_in_words(desk: MakeDesk) -> None:
    one = desk()
    one.ask("a", ask="die")
    assert "killed by signal 9" in one.next()[1].error
    one.ask("b", ask="this")
    assert "killed by signal 9" in one.next()[1].error
    assert one.starts == 2


def test_one_that_cannot_start_says_why(desk: MakeDesk) -> None:
    one = desk("mute")
    one.ask("a", ask="this")
    assert "exit code 1: no torch here" in one.next()[1].error


def test_one_that_left_while_idle_is_started_again(desk: MakeDesk) -> None:
    one = desk()
    one.ask("a", ask="leave")
    assert one.next()[1].value == "bye"
    one.ask("b", ask="this")
    assert one.next()[1].value["ask"] == "this"
    assert one.starts == 2


def test_one_that_takes_too_long_is_ended(desk: MakeDesk) -> None:
    one = desk(answer_s=0.2)
    one.ask("a", ask="hang")
    assert "too long" in one.next()[1].error


def test_closing_ends_the_process_and_answers_nothing(desk: MakeDesk) -> None:
    one = desk()
    one.ask("a", ask="this")
    one.next()
    process = one.client._process
    assert process is not None
    one.ask("b", ask="hang")
    one.client.close()
    process._popen.wait(60)
    one.ask("c", ask="this")
    assert one.arrived.empty()


def test_counts_that_are_known_need_no_process(desk: MakeDesk) -> None:
    one = desk()
    network = ResNet(stem=16)
    counts = Counts(12, 12, 34, 56, (), 3, 32, 10, 1, "auto")
    counts_cache.store(network, counts)
    one.ask("a", ask="count", architecture=network.model_dump(mode="json"))
    assert one.next()[1].value["parameters"] == 12
    assert one.starts == 0


def test_asking_never_waits(desk: MakeDesk) -> None:
    one = desk("mute")
    threads = threading.active_count()
    for number in range(1000):
        one.ask(str(number), ask="this")
    assert threading.active_count() <= threads + 1
    assert "no torch here" in one.next()[1].error
