"""Figures: what is drawn of which run, in both formats, the same bytes every time, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import analysis, atomic, figures
from engine.errors import UserError
from engine.runs import RunFolder

MakeRun = Callable[..., RunFolder]
PNG = b"\x89PNG\r\n\x1a\n"

pytest.importorskip("matplotlib")


def epochs(count: int, watched: str = "val") -> list[dict[str, Any]]:
    return [
        {
            "kind": "epoch",
            "schema": 1,
            "t": 1.0 * epoch,
            "epoch": epoch,
            "step": 90 * epoch,
            "train_loss": 2.0 / epoch,
            "train_accuracy": 20.0 * epoch,
            f"{watched}_loss": 2.5 / epoch,
            f"{watched}_accuracy": 18.0 * epoch,
        }
        for epoch in range(1, count + 1)
    ]


def account() -> dict[str, Any]:
    bins = [{"count": 5, "confidence": 0.1, "accuracy": 0.2}, {"count": 0, "confidence": 0.0, "accuracy": 0.0}]
    return {"accuracy": 75.0, "confusion": [[3, 1], [1, 3]], "calibration": bins, "ece": 10.0}


def curves_of(figure: Any) -> list[list[tuple[str, list[float]]]]:
    """Label and values of every curve, axes by axes."""
    return [[(line.get_label(), list(line.get_ydata())) for line in axes.lines] for axes in figure.axes]


def test_the_process_of_a_run_is_loss_over_accuracy(make_run: MakeRun) -> None:
    figure = figures.process(make_run(records=epochs(3)))
    assert curves_of(figure) == [
        [("train", [2.0, 1.0, 2.0 / 3]), ("validation", [2.5, 1.25, 2.5 / 3])],
        [("train", [20.0, 40.0, 60.0]), ("validation", [18.0, 36.0, 54.0])],
    ]
    assert [axes.get_ylabel() for axes in figure.axes] == ["Loss", "Accuracy (%)"]


def test_a_comparison_has_sets_in_rows_and_quantities_in_columns(make_run: MakeRun) -> None:
    runs = [make_run("a", records=epochs(2)), make_run("b", records=epochs(3, watched="test"))]
    figure = figures.comparison(runs)
    assert [axes.get_title() for axes in figure.axes] == ["training set"] * 2 + ["validation or test set"] * 2
    lower_right = curves_of(figure)[3]
    assert lower_right == [("a", [18.0, 36.0]), ("b", [18.0, 36.0, 54.0])]


def test_no_two_of_many_curves_look_alike(make_run: MakeRun) -> None:
    figure = figures.series([make_run(f"run {number}", records=epochs(2)) for number in range(20)], "train_loss")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 20


def test_confusion_and_reliability_are_drawn_from_the_test_results(make_run: MakeRun) -> None:
    run = make_run()
    (run.path / "results" / "test").mkdir()
    result = {"classes": ["cat", "dog"], "checkpoints": {"best": account(), "last": account()}}
    atomic.write_json(run.path / "results" / "test" / "result.json", result)
    confusion = figures.draw([run], "confusion")
    assert [text.get_text() for text in confusion.axes[0].texts] == ["3", "1", "1", "3"]
    assert "best checkpoint: 75.00 %" in confusion.axes[0].get_title()
    reliability = figures.draw([run], "reliability", "last")
    assert "last checkpoint: ECE 10.00 %" in reliability.axes[0].get_title()


@pytest.mark.parametrize("suffix", figures.FORMATS)
def test_a_figure_is_written_the_same_twice(make_run: MakeRun, tmp_path: Path, suffix: str) -> None:
    run = make_run(records=epochs(3))
    pair = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in pair:
        answer = figures.answer({"runs": [str(run.path)], "kind": None, "checkpoint": None, "output": str(path)})
        assert answer == {"files": [str(path)]}
    first, second = (path.read_bytes() for path in pair)
    assert first == second
    assert first.startswith(PNG if suffix == ".png" else b"<?xml")


def test_without_an_output_a_figure_goes_into_the_run(make_run: MakeRun) -> None:
    run = make_run(records=epochs(1))
    answer = figures.answer({"runs": [str(run.path)], "kind": "val_accuracy", "checkpoint": None, "output": None})
    folder = run.path / "results" / "figures"
    assert answer["files"] == [str(folder / "val_accuracy.png"), str(folder / "val_accuracy.svg")]
    assert all(Path(path).stat().st_size > 1000 for path in answer["files"])


@pytest.mark.parametrize(
    ("kind", "output", "sentence"),
    [
        ("colour", None, 'there is no figure "colour" of these runs; there are process, comparison,'),
        ("process", "out.pdf", "a figure ends in .png or .svg"),
        ("process", "/nowhere/out.png", "cannot be written"),
        ("confusion", None, "was not tested yet"),
    ],
)
def test_what_cannot_be_drawn_is_said(make_run: MakeRun, kind: str, output: str | None, sentence: str) -> None:
    run = make_run(records=epochs(1))
    with pytest.raises(UserError, match=sentence):
        figures.answer({"runs": [str(run.path)], "kind": kind, "checkpoint": None, "output": output})


def test_a_run_without_an_epoch_has_no_course(make_run: MakeRun) -> None:
    with pytest.raises(UserError, match="no finished epoch"):
        figures.process(make_run())


def test_without_matplotlib_a_sentence_says_what_to_install(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'cifar-tui\[figures\]'"):
        figures.process(make_run(records=epochs(1)))


def test_nothing_is_drawn_into_a_run_of_others(make_run: MakeRun, tmp_path: Path) -> None:
    """Its results may be a link into a folder of ours."""
    run = make_run("theirs", records=epochs(2))
    run.path.chmod(0o777)
    ours = tmp_path / "ours"
    ours.mkdir()
    (run.path / "results").rmdir()
    (run.path / "results").symlink_to(ours)
    question = {"runs": [str(run.path)], "kind": "process", "checkpoint": None}
    with pytest.raises(UserError, match="read-only"):
        figures.answer({**question, "output": None})
    assert list(ours.iterdir()) == []
    assert figures.answer({**question, "output": str(tmp_path / "x.png")})["files"] == [str(tmp_path / "x.png")]


def test_a_file_that_is_named_is_ours_alone_and_no_link_is_followed(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(records=epochs(2))
    precious, link, named = (tmp_path / name for name in ("precious", "link.png", "named.png"))
    precious.write_text("kept")
    link.symlink_to(precious)
    named.write_text("readable by all, and held open by somebody")
    reader = named.open()
    question = {"runs": [str(run.path)], "kind": "process", "checkpoint": None}
    with pytest.raises(UserError, match="symbolic link"):
        figures.answer({**question, "output": str(link)})
    assert precious.read_text() == "kept"
    figures.answer({**question, "output": str(named)})
    assert named.stat().st_mode & 0o777 == 0o600
    assert reader.read().startswith("readable")
    reader.close()


def test_a_disk_that_refuses_is_a_sentence(make_run: MakeRun) -> None:
    run = make_run(records=epochs(2))
    (run.path / "results").rmdir()
    (run.path / "results").write_text("no folder")
    with pytest.raises(UserError, match=r"results: File exists"):
        analysis.ask({"ask": "figure", "runs": [str(run.path)], "kind": None, "checkpoint": None, "output": None})


def test_several_runs_need_a_file(make_run: MakeRun) -> None:
    paths = [str(make_run(name, records=epochs(1)).path) for name in "ab"]
    with pytest.raises(UserError, match="--output"):
        figures.answer({"runs": paths, "kind": None, "checkpoint": None, "output": None})
    with pytest.raises(UserError, match="is of one run"):
        figures.answer({"runs": paths, "kind": "process", "checkpoint": None, "output": "x.png"})
