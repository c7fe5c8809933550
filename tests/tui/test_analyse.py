"""The commands that ask a trained network: which question they put, what they print, and what they refuse."""

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from engine import analysis
from engine.errors import UserError
from engine.runs import RunFolder
from tui import cli

MakeRun = Callable[..., RunFolder]

ANSWERS: dict[str, dict[str, Any]] = {
    "figure": {"files": ["/r/process.png"]},
    "gradcam": {
        "method": "gradcam",
        "layer": "stage3",
        "checkpoint": "best",
        "classes": ["cat", "dog"],
        "images": [{"index": 7, "label": 0, "prediction": 1, "explained": 1, "probabilities": [0.125, 0.875]}],
        "files": ["/r/gradcam.png"],
    },
    "prune": {
        "order": "path",
        "sparse": {"accuracy": 55.5, "nonzero": {"a": 900, "b": 100}, "weights": {"a": 1000, "b": 200}},
        "rows": [
            {
                "ratio": 40.0,
                "filters": 120,
                "kept": 72,
                "accuracy": 56.85,
                "finetuned": None,
                "parameters": 38426,
                "macs": 393288,
            }
        ],
        "files": ["/r/accuracy.png"],
    },
    "bn_study": {
        "method": "gradient",
        "points": 32,
        "summary": [{"name": "VGG", "loss": [2.03, 3.2], "gradient": [1.44, 13.3], "beta": None}],
        "files": ["/r/loss.png"],
    },
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The questions that are put; each is answered from the table above."""
    questions: list[dict[str, Any]] = []

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        questions.append(question)
        return ANSWERS[question["ask"]]

    monkeypatch.setattr(analysis, "ask", ask)
    return questions


def run_line(line: str, run: RunFolder) -> int:
    return cli.main([*shlex.split(line), "--runs", str(run.path.parent)])


def test_a_figure_is_asked_for_by_path(
    asked: list[dict[str, Any]], make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("first")
    other = make_run("second")
    assert run_line("--figure first second --output out.png", run) == 0
    assert asked[0]["runs"] == [str(run.path), str(other.path)]
    assert asked[0]["output"].endswith("/out.png")
    assert capsys.readouterr().out == "/r/process.png\n"


def test_gradcam_prints_truth_answer_and_probability(
    asked: list[dict[str, Any]], make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line("--gradcam first --images worst --count 3 --explain label --method gradcam++", make_run()) == 0
    question = asked[0]
    assert (question["images"], question["count"], question["explain"]) == ("worst", 3, "label")
    assert (question["method"], question["keep"]) == ("gradcam++", True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "gradcam at stage3, best checkpoint"
    assert lines[3].split() == ["7", "cat", "dog", "87.50", "dog"]


def test_the_question_about_maps_is_one_that_is_understood(asked: list[dict[str, Any]], make_run: MakeRun) -> None:
    from engine.options.gradcam import GradCam

    run_line("--gradcam first --images 3,16 --layer stage1 --checkpoint last", make_run())
    question = {key: value for key, value in asked[0].items() if key != "ask"}
    assert GradCam.model_validate(question).layer == "stage1"


def test_pruning_prints_a_table(
    asked: list[dict[str, Any]], make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("first")
    other = make_run("dense")
    assert run_line("--prune first --ratios 80,0,40 --layers conv3 --finetune 2 --beside dense", run) == 0
    assert asked[0]["ratios"] == [0.0, 40.0, 80.0]
    assert (asked[0]["layers"], asked[0]["finetune"], asked[0]["beside"]) == ("conv3", 2, str(other.path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["out", "%", "filters", "test", "%", "parameters", "MACs"]
    assert lines[3].split() == ["40", "72/120", "56.85", "38,426", "393,288"]
    assert lines[5] == "W*: test 55.50 %, 1,000 of 1,200 weights are not zero"


def test_a_study_keeps_its_own_settings_apart(
    asked: list[dict[str, Any]], make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line("--bn-study vgg_a_adam --set train.epochs=2 --set study.every=20 --device cpu", make_run()) == 0
    assert asked[0]["set"] == [("train.epochs", "2"), ("train.device", "cpu")]
    assert asked[0]["study"] == [("study.every", "20")]
    assert "2.03 to 3.2" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["--bn-study vgg_b_adam", "--bn-study vgg_a_adam --set optimizer.lrr=1"])
def test_a_study_of_what_is_not_there_is_refused_at_once(asked: list[dict[str, Any]], line: str) -> None:
    assert cli.main(shlex.split(line)) == 2
    assert asked == []


@pytest.mark.parametrize("line", ["--gradcam first", "--prune first", "--figure first", "--bn-study vgg_a_adam"])
def test_json_is_the_whole_answer(
    line: str, asked: list[dict[str, Any]], make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line(f"{line} --json", make_run()) == 0
    assert json.loads(capsys.readouterr().out) == ANSWERS[asked[0]["ask"]]


@pytest.mark.parametrize("ratios", ["", "a", "100", "-1", "0,,5", "nan"])
def test_ratios_are_percentages_below_100(
    ratios: str, asked: list[dict[str, Any]], make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line(f"--prune first --ratios={ratios or 'x'}", make_run()) == 2
    assert "expected percentages from 0 and below 100" in capsys.readouterr().err
    assert asked == []


def test_a_live_run_is_not_asked(
    asked: list[dict[str, Any]], make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line("--gradcam first", make_run(state="running")) == 2
    assert "is in progress; its network can be looked at when it ends" in capsys.readouterr().err
    assert asked == []


@pytest.mark.slow
def test_a_mistake_in_the_engine_process_is_a_sentence_here(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(UserError, match="no run folder"):
        analysis.ask({"ask": "gradcam", "run": str(run.path / "none")})


def test_a_process_that_fails_ends_in_exit_code_1(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    with pytest.raises(RuntimeError, match="exit code 1"):
        analysis.ask({"ask": "unknown", "run": str(run.path)})
