import base64
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import runs, serve
from engine.serve import answer

TINY = {"family": "vgg", "channels": [4], "convolutions": [1], "conv_bias": False, "global_pool": True, "head": []}
FLIP = {"ops": [{"op": "flip", "p": 1.0}, {"op": "normalize", "statistics": "train"}]}


def ask(**question: Any) -> dict[str, Any]:
    return answer(json.dumps({"id": 1, **question}).encode())


def pixels(picture: str, size: int = 32) -> list[bytes]:
    """Rows of a picture."""
    data = base64.b64decode(picture)
    assert len(data) == size * size * 3
    return [data[row * size * 3 : (row + 1) * size * 3] for row in range(size)]


def mirrored(row: bytes) -> bytes:
    return b"".join(row[start : start + 3] for start in range(len(row) - 3, -1, -3))


def test_a_network_is_counted() -> None:
    counts = ask(ask="count", architecture=TINY, batch=2, precision="fp32")["ok"]
    assert counts["parameters"] == 3 * 4 * 9 + 4 * 10 + 10
    assert counts["macs"] == 32 * 32 * 4 * 27 + 40
    assert counts["batch"] == 2


def test_the_first_picture_is_unchanged_and_normalisation_is_undone() -> None:
    shown = ask(ask="preview", augmentation=FLIP, data={"name": "shapes"}, image=4, draws=2)["ok"]
    original, *draws = (pixels(picture) for picture in shown["pictures"])
    assert shown["label"] == "triangle"
    assert all(draw == [mirrored(row) for row in original] for draw in draws)


def test_other_seeds_give_other_draws() -> None:
    question = {"augmentation": {"ops": [{"op": "rotate", "degrees": 90.0}]}, "data": {"name": "shapes"}, "draws": 2}
    first = ask(ask="preview", seed=1, **question)["ok"]["pictures"]
    assert first == ask(ask="preview", seed=1, **question)["ok"]["pictures"]
    second = ask(ask="preview", seed=2, **question)["ok"]["pictures"]
    assert first[0] == second[0]
    assert first[1:] != second[1:]
    assert first[1] != first[2]


def test_a_mean_image_and_means_of_images_are_put_back_too() -> None:
    for subtract in ("per_pixel", "per_image"):
        operations = [{"op": "normalize", "statistics": "train", "subtract": subtract, "divide": False}]
        shown = ask(ask="preview", augmentation={"ops": operations}, data={"name": "shapes"}, draws=1)["ok"]
        original, draw = (base64.b64decode(picture) for picture in shown["pictures"])
        assert max(abs(a - b) for a, b in zip(original, draw, strict=True)) <= 1


def test_mixing_shows_another_image_too() -> None:
    operations = [{"op": "mixup", "alpha": 1.0}]
    shown = ask(ask="preview", augmentation={"ops": operations}, data={"name": "shapes"}, draws=1)["ok"]
    assert shown["pictures"][0] != shown["pictures"][1]


def test_data_that_is_not_here_is_shown_on_shapes_of_its_size() -> None:
    shown = ask(ask="preview", augmentation=FLIP, data={"name": "mnist"}, draws=1)["ok"]
    assert shown["source"] == "shapes"
    assert shown["size"] == 28
    row = pixels(shown["pictures"][0], 28)[0]
    assert row[0::3] == row[1::3] == row[2::3]


def test_large_images_are_sent_small() -> None:
    shown = ask(ask="preview", augmentation=FLIP, data={"name": "shapes", "image_size": 200}, draws=1)["ok"]
    assert shown["size"] == 64
    assert len(base64.b64decode(shown["pictures"][1])) == 64 * 64 * 3


def test_test_images_of_a_run(tmp_path: Path) -> None:
    config = (
        "architecture: {family: resnet}\noptimizer: {algorithm: sgd}\naugmentation: {ops: []}\ndata: {name: shapes}\n"
    )
    run = runs.create(tmp_path, config, {}, {})
    shown = ask(ask="images", run=str(run.path), indices=[0, 11])["ok"]
    assert shown["labels"] == [0, 1]
    assert shown["classes"][1] == "ring"
    assert len(shown["pictures"]) == 2
    assert "2000 test images" in ask(ask="images", run=str(run.path), indices=[2000])["error"]


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ({"ask": "weather"}, "there are count, preview, images"),
        ({"ask": ["count"]}, "there is no question"),
        ({}, "there is no question"),
        ({"ask": "count"}, "architecture"),
        ({"ask": "count", "architecture": {"family": "resnet", "stem": "wide"}}, "architecture.stem"),
        ({"ask": "count", "architecture": TINY, "batch": 10**9}, "at most 60000"),
        ({"ask": "count", "architecture": TINY, "size": 10**6}, "at most 512"),
        ({"ask": "preview", "augmentation": FLIP, "draws": 10**6}, "at most 16"),
        ({"ask": "images", "run": "/etc", "indices": [0]}, "/etc is no run folder"),
        ({"ask": "images", "run": "/nowhere/20260101-000000-abcdef", "indices": [0]}, "config.yaml"),
    ],
)
def test_wrong_questions_are_answered_by_a_sentence(question: dict[str, Any], part: str) -> None:
    answered = answer(json.dumps({"id": 9, **question}).encode())
    assert answered["id"] == 9
    assert part in answered["error"]
    assert "\n" not in answered["error"]


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"id": {}, "ask": 1}', None])
def test_nonsense_is_answered_without_a_number(line: bytes | None) -> None:
    answered = answer(line)
    assert answered["id"] is None
    assert answered["error"]


@contextmanager
def serving(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-m", "engine", "--serve"]
    everything = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    engine = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=everything
    )
    try:
        yield engine
    finally:
        engine.kill()
        engine.wait()
        for pipe in (engine.stdin, engine.stdout):
            if pipe is not None:
                pipe.close()


def test_the_process_answers_in_order_and_ends_with_its_input() -> None:
    with serving() as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        assert json.loads(engine.stdout.readline()) == {"ready": True}
        count = json.dumps({"id": 1, "ask": "count", "architecture": TINY}).encode()
        long = b"x" * (serve.MAX_LINE + 5)
        engine.stdin.write(count + b"\n" + long + b"\n" + count.replace(b"1", b"2", 1) + b"\n")
        engine.stdin.flush()
        answers = [json.loads(engine.stdout.readline()) for _ in range(3)]
        assert [answered["id"] for answered in answers] == [1, None, 2]
        assert "longer" in answers[1]["error"]
        assert answers[0]["ok"] == answers[2]["ok"]
        engine.stdin.close()
        assert engine.wait(60) == 0


@pytest.mark.slow
def test_it_ends_quietly_when_nobody_reads_its_answers() -> None:
    with serving() as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdout.readline()
        engine.stdout.close()
        engine.stdin.write(b'{"id": 1, "ask": "count"}\n')
        engine.stdin.flush()
        assert engine.wait(60) == 0


def test_it_ends_when_it_is_idle(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as source, (tmp_path / "out").open("w") as out:
        done = threading.Event()
        threading.Thread(target=lambda: (serve.main(source, out, idle_s=0.05), done.set()), daemon=True).start()
        assert done.wait(60)
    os.close(writer)
    assert (tmp_path / "out").read_text() == '{"ready": true}\n'


@pytest.mark.slow
def test_a_killed_parent_takes_it_along() -> None:
    script = (
        "import subprocess, sys, time\n"
        "engine = subprocess.Popen([sys.executable, '-P', '-m', 'engine', '--serve'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "engine.stdout.readline()\n"
        "print(engine.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    descriptor = os.pidfd_open(child)
    try:
        assert select.select([descriptor], [], [], 60)[0]
    finally:
        os.close(descriptor)
    parent.stdout.close()
