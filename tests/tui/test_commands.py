"""The commands on run folders made by hand: what they print, in which form, and with which exit code."""

import csv
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import experiment as experiments
from engine import launch, process, runs, system
from engine.data.releases import RELEASES
from engine.errors import UserError
from engine.runs import RunFolder
from engine.slots import Slot
from tui import cli, export, preflight
from tui.commands import run as run_command
from tui.configuration import differences, flatten
from tui.table import Column, render

MakeRun = Callable[..., RunFolder]

HOSTILE = "\x1b]52;c;aGk=\x07\x1b[31mred\x9b0m‮ [@click=app.quit]x"
EPOCHS = [
    {"kind": "step", "t": 1.0, "step": 90, "epoch": 1.0, "loss": 2.0, "accuracy": 20.0, "lr": 0.1},
    {
        "kind": "epoch",
        "t": 2.0,
        "epoch": 1,
        "step": 90,
        "train_loss": 1.5,
        "train_accuracy": 40.0,
        "val_accuracy": 50.0,
    },
    {"kind": "epoch", "t": 3.0, "epoch": 2, "step": 180, "train_loss": None, "val_loss": 1.1, "val_accuracy": 60.25},
    {"kind": "test", "t": 4.0, "checkpoint": "best", "epoch": 2, "accuracy": 59.0},
]
RESULTS: dict[str, Any] = {
    "best": {"metric": "val_accuracy", "value": 60.25, "epoch": 2, "step": 180},
    "test": {"best": 59.0, "last": 58.5},
    "published": {"test_accuracy": 58.9, "source": "a paper"},
    "parameters": 70618,
    "macs": 7520896,
    "active_s": 72.0,
    "epoch": 3.0,
    "step": 270,
}


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line on ``tmp_path / "runs"``; returns exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main([*arguments, "--runs", str(tmp_path / "runs")])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


Shell = Callable[..., tuple[int, str, str]]


def test_an_empty_folder_is_named_with_what_to_do(shell: Shell, tmp_path: Path) -> None:
    code, out, _ = shell("--list")
    assert code == 0
    assert out.splitlines()[0] == f"No runs yet in {tmp_path / 'runs'}"
    assert shell("--list", "--json")[1] == "[]\n"


def test_the_list_names_the_folder_and_each_run(shell: Shell, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("alpha", **RESULTS)
    make_run("beta", state="failed", exit_code=1, reason="no such device")
    code, out, _ = shell("--list")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == f"{tmp_path / 'runs'}: 2 runs"
    alpha = next(line for line in lines if "alpha" in line)
    assert run.id in alpha
    assert "✓ finished" in alpha
    assert re.search(r"70\.6 k +7\.5 M +3/3 +60\.25 +2 +59\.00 +1 m 12 s", alpha)
    assert "✗ failed" in out
    assert "no such device" in out


def test_the_list_is_filtered(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha", tags=["paper"])
    make_run("beta")
    assert "1 of 2 runs" in shell("--list", "tag:paper")[1]
    assert shell("--list", "lr>0.5")[1].startswith('No run matches "lr>0.5". 2 runs hidden')
    assert shell("--list", "\x1b[31mred")[1].startswith('No run matches "red". 2 runs hidden')
    code, _, err = shell("--list", "lr>>")
    assert (code, err) == (2, "cifar-tui: --list: lr>> at character 4: expected a number after >\n")


def test_the_list_as_json_has_the_view(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha", **RESULTS)
    (entry,) = json.loads(shell("--list", "--json")[1])
    assert entry["id"] == run.id
    assert entry["state"] == "finished"
    assert entry["best"] == 60.25
    assert entry["path"] == str(run.path)


def test_archived_runs_are_listed_only_on_request(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha").set_user(archived=True)
    make_run("beta")
    assert "alpha" not in shell("--list")[1]
    assert "alpha" in shell("--list", "--archived")[1]


@pytest.mark.parametrize("arguments", [("--list",), ("--show", "last"), ("--export", "last", "--format", "md")])
def test_hostile_text_is_shown_harmlessly(shell: Shell, make_run: MakeRun, arguments: tuple[str, ...]) -> None:
    config = f"name: '{HOSTILE}'\n"
    make_run(HOSTILE, state="failed", exit_code=1, reason=HOSTILE, note=HOSTILE, architecture=HOSTILE, config=config)
    _, out, _ = shell(*arguments)
    assert not set(out) & {"\x1b", "\x07", "\x9b", "‮"}
    assert "red" in out


def test_show_puts_the_published_figure_beside_ours(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha", note="a remark", **RESULTS)
    code, out, _ = shell("--show", run.id)
    assert code == 0
    for text in (
        "✓ finished",
        "best val accuracy 60.25 % at epoch 2",
        "test accuracy 59.00 %, last 58.50 %",
        "published 58.90 % (a paper), difference +0.10",
        "70,618 parameters",
        "a remark",
        "optimizer: {algorithm: sgd, lr: 0.1}",
        str(run.path / "metrics.jsonl"),
    ):
        assert text in out
    shown = json.loads(shell("--show", "alpha", "--json")[1])
    assert shown["test"] == 59.0
    assert "stem: 16" in shown["config"]


def test_show_says_what_is_good_to_know_of_a_run(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha", notes={"compile": "not compiled: no room", "": 3, "disk": "", "other": HOSTILE})
    out = shell("--show", "alpha")[1].splitlines()
    said = out[out.index("Notice") + 1]
    assert said.strip().startswith("not compiled: no room; ")
    assert not set(said) & {"\x1b", "\x07", "\x9b", "‮"}


def test_compare_shows_differences_and_only_the_settings_that_differ(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha", config="optimizer: {lr: 0.1, algorithm: sgd}\n", **RESULTS)
    other = {**RESULTS, "test": {"best": 60.5, "last": 58.0}, "parameters": 141236}
    make_run("beta", config="optimizer: {lr: 0.01, algorithm: sgd, nesterov: true}\n", **other)
    code, out, _ = shell("--compare", "alpha", "beta")
    assert code == 0
    assert re.search(r"test %, best checkpoint +59\.00 +60\.50 +\+1\.50", out)
    assert re.search(r"parameters +70,618 +141,236 +× 2\.00", out)
    assert re.search(r"optimizer\.lr +0\.1 +0\.01", out)
    assert re.search(r"optimizer\.nesterov +– +true", out)
    assert "algorithm" not in out
    settings = json.loads(shell("--compare", "alpha", "beta", "--json")[1])["settings"]
    assert settings == {"optimizer.lr": ["0.1", "0.01"], "optimizer.nesterov": [None, "true"]}


def test_flatten_keeps_lists_of_plain_values_together() -> None:
    flat = flatten("a: {b: [1, 2], c: null}\nd:\n- op: crop\n- op: flip\n")
    assert flat == {"a.b": "[1, 2]", "a.c": "null", "d.0.op": "crop", "d.1.op": "flip"}
    assert differences([flat, flat]) == []
    assert len(differences([flat, flat], every=True)) == 4
    assert flatten("]") == {}


def test_export_as_csv_has_a_row_a_record(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha", records=EPOCHS)
    rows = list(csv.DictReader(io.StringIO(shell("--export", "alpha")[1])))
    assert [row["kind"] for row in rows] == ["step", "epoch", "epoch", "test"]
    assert list(rows[0])[:4] == ["kind", "t", "step", "epoch"]
    assert rows[2]["val_accuracy"] == "60.25"
    assert rows[2]["train_loss"] == ""


WRONG: list[Any] = ["x", None, [], {"a": 1}, True, 10**400]


@pytest.mark.parametrize("arguments", ["--watch", "--watch --json", "--export", "--export --format md"])
def test_records_of_wrong_types_cost_their_own_figures(shell: Shell, make_run: MakeRun, arguments: str) -> None:
    sound = {"kind": "epoch", "t": 1.0, "epoch": 1, "train_loss": 1.0, "val_accuracy": 50.0, "lr": 0.1, "epoch_s": 1.0}
    wrong = [{**sound, name: value} for name in sound if name != "kind" for value in WRONG]
    run = make_run("alpha", records=[*wrong, {**sound, "t": 2.0, "epoch": 7, "val_accuracy": 61.25}])
    command, *rest = arguments.split()
    code, out, _ = shell(command, run.id, *rest)
    assert code == 0
    assert "61.25" in out


def test_export_chooses_its_form_by_the_ending(shell: Shell, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("alpha", records=EPOCHS, **RESULTS)
    target = tmp_path / "out.json"
    code, out, _ = shell("--export", "alpha", "--output", str(target))
    assert (code, out) == (0, f"{target}\n")
    assert len(json.loads(target.read_text())["records"]) == 4
    code, _, err = shell("--export", "alpha", "--output", str(tmp_path / "out.png"))
    assert code == 2
    assert "end it in .csv, .json or .md" in err
    code, _, err = shell("--export", "alpha", "--output", str(tmp_path / "nowhere" / "out.csv"))
    assert code == 2
    assert "cannot be written" in err


def test_an_export_is_ours_alone_and_follows_no_link(shell: Shell, make_run: MakeRun, tmp_path: Path) -> None:
    """In a folder for all, as /tmp is, somebody may have put a link or a file under the name that we choose."""
    make_run("alpha", records=EPOCHS)
    precious, link, there = tmp_path / "precious", tmp_path / "out.csv", tmp_path / "out.md"
    precious.write_text("kept")
    link.symlink_to(precious)
    code, _, err = shell("--export", "alpha", "--output", str(link))
    assert (code, precious.read_text()) == (2, "kept")
    assert "is a symbolic link" in err
    there.touch(mode=0o666)
    reader = there.open()
    assert shell("--export", "alpha", "--output", str(there))[0] == 0
    assert (there.stat().st_mode & 0o777, reader.read()) == (0o600, "")
    reader.close()


def test_the_report_has_results_epochs_and_configuration(make_run: MakeRun) -> None:
    text = export.report(make_run("alpha_*", records=EPOCHS, **RESULTS))
    assert text.startswith("# alpha\\_\\*\n")
    assert "- test accuracy 59.00 %, last 58.50 %" in text
    assert "| 2 | – | – | 1.1000 | 60.25 | – |" in text
    assert "```yaml\nname: made by hand" in text


@pytest.mark.parametrize("hidden", ["", "\x1b[31m", "\x00", "\u200b", "\u202e"])
def test_a_text_that_a_spreadsheet_would_run_is_marked_as_text(make_run: MakeRun, hidden: str) -> None:
    run = make_run("alpha", records=[{"kind": "test", "checkpoint": f"{hidden}=cmd()", "epoch": 1}])
    assert ",'=cmd()" in export.metrics_csv(run)


def test_runs_that_are_not_there(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha")
    for option in ("--show", "--watch", "--resume", "--stop", "--export", "--evaluate", "--delete"):
        code, _, err = shell(option, "nobody")
        assert code == 2
        assert "no run in" in err
        assert "--list" in err


def test_checkpoints_are_tested_again_on_the_device_that_is_named(
    shell: Shell, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("alpha")
    asked: list[list[str]] = []

    def engine(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", engine)
    assert shell("--evaluate", "alpha", "--device", "cpu")[0] == 0
    assert shell("--evaluate", "alpha")[0] == 0
    assert [command[-2:] for command in asked] == [[str(run.path), "cpu"], ["--evaluate", str(run.path)]]


def test_delete_and_undelete(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha")
    assert shell("--delete", "alpha")[0] == 0
    assert not run.path.exists()
    assert shell("--undelete", run.id)[:2] == (0, f"{run.id}\n")
    assert run.path.exists()


def test_a_deleted_run_is_named_as_any_other(shell: Shell, make_run: MakeRun) -> None:
    make_run("beta")
    for wanted in ("alpha", "last"):
        run = make_run("alpha")
        assert shell("--delete", run.id)[0] == 0
        assert shell("--undelete", wanted)[:2] == (0, f"{run.id}\n")
        assert run.path.exists()
        assert shell("--delete", run.id)[0] == 0
    code, _, err = shell("--undelete", "alpha")
    assert (code, err[:26]) == (2, "cifar-tui: 2 deleted runs ")
    assert "no deleted run in" in shell("--undelete", "beta")[2]
    assert shell("--undelete", "")[0] == 2


def test_a_live_run_is_not_deleted(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha", state="running")
    code, _, err = shell("--delete", "alpha")
    assert code == 2
    assert f"--stop {run.id}" in err
    assert run.path.exists()


def test_stop_of_a_finished_run_says_so(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha")
    code, _, err = shell("--stop", "alpha")
    assert code == 2
    assert "is finished" in err


@pytest.mark.parametrize("asked", ["--stop", "--pause", "--continue", "--resume", "--delete"])
def test_a_run_of_another_host_is_browsed_and_refused_with_its_name(
    shell: Shell, make_run: MakeRun, asked: str
) -> None:
    run = make_run("alpha", state="running")
    attempt = run.newest_attempt()
    assert attempt is not None
    elsewhere = {**process.Identity.current().to_json(), "host": "gpu\x1b[31m7", "boot_id": "another boot"}
    (attempt.path / "proc.json").write_text(json.dumps({"supervisor": elsewhere, "engine": elsewhere}))
    assert "unknown" in shell("--list")[1]
    assert "on gpu7, last sign" in shell("--show", "alpha")[1]
    code, out, err = shell(asked, "alpha")
    assert (code, out) == (2, "")
    assert "may be in progress on gpu7, last sign" in err


def test_stop_takes_a_waiting_run_out_of_the_queue(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha", state="queued")
    assert shell("--stop", "alpha")[0] == 0
    assert run.view().state == "stopped"


def test_pause_and_continue_leave_a_request(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha", state="running")
    assert shell("--pause", "alpha")[0] == 0
    assert shell("--continue", "alpha")[0] == 0
    assert [request["request"] for request in run.take_requests()] == ["pause", "continue"]


def test_the_queue_is_shown_paused_and_continued(shell: Shell, make_run: MakeRun) -> None:
    assert "Nothing waits" in shell("--queue")[1]
    assert "queue paused" in shell("--queue", "pause")[1]
    make_run("alpha", state="queued")
    code, out, _ = shell("--queue")
    assert code == 0
    assert "the queue is paused" in out
    shown = json.loads(shell("--queue", "--json")[1])
    assert shown["paused"] is True
    assert len(shown["waiting"]) == 1


def test_the_schema_knows_the_top_level_keys(shell: Shell) -> None:
    schema = json.loads(shell("--schema")[1])
    assert {"architecture", "augmentation", "optimizer", "data", "train"} <= set(schema["properties"])


def test_the_presets_are_listed(shell: Shell) -> None:
    out = shell("--list-presets")[1]
    assert re.search(r"experiment +quickstart ", out)
    listed = json.loads(shell("--list-presets", "--json")[1])
    assert {"kind", "name", "path", "about"} == set(listed[0])


class StartedError(Exception):
    """Raised where a run would be started."""


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: RunFolder, by: str) -> None:
        raise StartedError(run.id)

    monkeypatch.setattr(launch, "start", refuse)


@pytest.mark.usefixtures("no_start")
def test_run_makes_a_folder_with_the_resolved_experiment(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(StartedError) as started:
        shell("--run", "quickstart", "--set", "optimizer.lr=0.02", "--seed", "7", "--name", "007")
    run = runs.find(tmp_path / "runs", str(started.value))
    experiment = experiments.loads(run.config_text())
    assert (experiment.optimizer.lr, experiment.train.seed, experiment.name) == (0.02, 7, "007")
    view = run.view()
    assert (view.name, view.seed, view.lr, view.dataset) == ("007", 7, 0.02, "shapes")


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("quickstrat",), 'no experiment preset is called "quickstrat"; did you mean "quickstart"?'),
        (("nowhere.yaml",), "nowhere.yaml"),
        (("",), 'no experiment preset is called ""'),
        (("a" * 300,), "no experiment preset is called"),
        (("quickstart", "--set", "lr"), "--set lr: expected KEY=VALUE, as in --set optimizer.lr=0.01"),
        (("quickstart", "--set", "optimizer.lrr=1"), "optimizer.lrr"),
        (("quickstart", "--set", "train.batch_size=0"), "train.batch_size"),
        (("quickstart", "--device", "gpu"), "train.device"),
        (("quickstart", "--data", "/nowhere"), "--data: there is no folder /nowhere"),
        (("quickstart", "--data", "/" + "a" * 300), "--data: there is no folder"),
    ],
)
def test_a_mistake_makes_no_folder(shell: Shell, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = shell("--run", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("no_start")
def test_run_reads_standard_input_up_to_a_limit(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = b"name: piped\narchitecture: tiny\naugmentation: shapes_flip\noptimizer: quick\ndata: {name: shapes}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(preset)))
    with pytest.raises(StartedError):
        shell("--run", "-")
    assert runs.find(tmp_path / "runs", "last").view().name == "piped"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(preset.partition(b"\n")[2])))
    with pytest.raises(StartedError):
        shell("--run", "-")
    assert runs.find(tmp_path / "runs", "stdin").view().name == "stdin"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"#" * 70_000)))
    code, _, err = shell("--run", "-")
    assert code == 2
    assert "more than 64 KiB" in err


def test_resume_of_a_finished_run_needs_something_new(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha")
    code, _, err = shell("--resume", "alpha")
    assert code == 2
    assert f"--resume {run.id} --set train.epochs=N" in err


def test_settings_of_a_run_that_did_not_finish_stay(shell: Shell, make_run: MakeRun) -> None:
    make_run("alpha", state="stopped", exit_code=143)
    code, _, err = shell("--resume", "alpha", "--set", "train.epochs=9")
    assert code == 2
    assert "leave out --set" in err


@pytest.mark.parametrize(
    ("state", "code", "exit_field", "expected"),
    [
        ("finished", 0, None, 0),
        ("failed", 1, None, 1),
        ("failed", 2, 2, 2),
        ("diverged", 1, None, 1),
        ("stopped", 143, None, 143),
        ("stopped", 130, None, 143),
        ("crashed", None, None, 1),
    ],
)
def test_the_exit_code_of_watch_is_the_runs(
    shell: Shell, make_run: MakeRun, state: str, code: int | None, exit_field: int | None, expected: int
) -> None:
    run = make_run("alpha", state="running" if state == "crashed" else state, exit_code=code, exit=exit_field)
    if state == "crashed":
        attempt = run.newest_attempt()
        assert attempt is not None
        attempt.write_exit(signal=9)
    assert shell("--watch", "alpha")[0] == expected


def test_a_failure_shows_the_end_of_its_log_cleaned(shell: Shell, make_run: MakeRun) -> None:
    run = make_run("alpha", state="failed", exit_code=1, reason="boom")
    (run.path / "log.txt").write_text("".join(f"line {n}\n" for n in range(50)) + "\x1b[2Jlast\n")
    code, out, err = shell("--watch", "alpha")
    assert code == 1
    assert "✗ failed: boom" in out
    assert "line 31\n" in err
    assert "line 30\n" not in err
    assert err.endswith("  last\n")


def test_ctrl_c_here_is_130_and_a_stop_elsewhere_143(make_run: MakeRun) -> None:
    view = make_run("alpha", state="stopped", exit_code=130).view()
    assert run_command.exit_code(view, interrupted=True) == 130
    assert run_command.exit_code(view, interrupted=False) == 143
    finished = make_run("beta").view()
    assert run_command.exit_code(finished, interrupted=True) == 0


def test_ctrl_c_takes_a_waiting_run_out_of_the_queue(make_run: MakeRun) -> None:
    run = make_run("alpha", state="queued")
    told: list[str] = []
    stopping = run_command.Stopping(run, told.append)
    assert stopping.on_signal(signal.SIGINT)
    assert run.view().state == "stopped"
    assert stopping.by_ctrl_c
    assert "Ctrl-C again leaves at once" in told[0]


def test_each_ctrl_c_is_handed_on_and_the_third_ends_only_us(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(launch, "stop", lambda run, number: sent.append(number) or True)
    stopping = run_command.Stopping(make_run("alpha", state="running"), lambda line: None)
    answers = [stopping.on_signal(signal.SIGTERM) for _ in range(3)]
    assert answers == [True, True, False]
    assert sent == [signal.SIGTERM, signal.SIGTERM]
    assert not stopping.by_ctrl_c


# What is checked before a folder is made.


def quickstart(*changes: tuple[str, str]) -> experiments.Experiment:
    return experiments.load("quickstart", changes)


def test_a_runs_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="is not a folder; give another one with --runs"):
        preflight.check(quickstart(), tmp_path / "runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_runs_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(UserError, match="permission denied"):
        preflight.check(quickstart(), tmp_path / "runs")


def test_a_runs_folder_where_no_files_are_kept_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(total=0, free=0))
    with pytest.raises(UserError, match=r"runs cannot be created there: [^\n]* keeps no files; [^\n]*$"):
        preflight.check(quickstart(), tmp_path / "runs")


def test_a_disk_without_room_for_two_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"are free, and a run with 2 checkpoints needs 29104 TiB"):
        preflight.check(quickstart(), tmp_path, parameters=10**15)


def test_a_device_that_cannot_be_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(UserError, match="mps is a Mac's"):
        preflight.check(quickstart(("train.device", "mps")), tmp_path)
    monkeypatch.setattr(preflight, "DRIVER_NODES", ())
    with pytest.raises(UserError, match="no GPU driver is loaded"):
        preflight.check(quickstart(("train.device", "cuda:1")), tmp_path)


GIB = 1 << 30
GPU = system.Gpu("GPU-aa", 0, "H100", memory_used=30 * GIB, memory_total=80 * GIB)
SLOT = Slot("GPU-aa", "H100 0", 0)
ANN, UNKNOWN = system.GpuProcess(4242, 20 * GIB, "ann"), system.GpuProcess(99)
HOSTILE_USER = system.GpuProcess(7, GIB, "\x1b[2Jann")


@pytest.mark.parametrize(
    ("processes", "gpu", "said"),
    [
        ((ANN, UNKNOWN), GPU, "GPU 0 in use: pid 4242 20.0 GiB (ann), pid 99 unknown memory; 50.0 / 80.0 GiB free"),
        ((ANN,), replace(GPU, memory_used=None), "GPU 0 in use: pid 4242 20.0 GiB (ann)"),
        ((ANN,) * 5, GPU, f"GPU 0 in use: {'pid 4242 20.0 GiB (ann), ' * 3}2 more; 50.0 / 80.0 GiB free"),
        ((), GPU, "GPU 0 in use: 30.0 GiB by processes that cannot be seen from here; 50.0 / 80.0 GiB free"),
        ((HOSTILE_USER,), replace(GPU, memory_total=None), "GPU 0 in use: pid 7 1.0 GiB (ann)"),
        ((), replace(GPU, memory_used=500 << 20), ""),
        ((), replace(GPU, memory_used=None), ""),
        ((ANN,), replace(GPU, uuid="GPU-bb"), ""),
    ],
)
def test_others_on_a_gpu_are_named_with_their_memory(
    processes: tuple[system.GpuProcess, ...], gpu: system.Gpu, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "gpus", lambda: (gpu,))
    monkeypatch.setattr(system, "gpu_processes", lambda uuid: processes)
    assert preflight.in_use(SLOT) == said
    assert preflight.in_use(None) == ""


@pytest.mark.parametrize(("device", "named"), [("auto", True), ("cuda:0", True), ("cpu", False)])
def test_a_gpu_in_use_is_said_before_the_start_and_refuses_nothing(
    device: str, named: bool, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said_before: list[str] = []
    monkeypatch.setattr(preflight, "DRIVER_NODES", ("/dev/null",))
    monkeypatch.setattr(system, "gpus", lambda: (GPU,))
    monkeypatch.setattr(system, "gpu_processes", lambda uuid: (ANN,))
    monkeypatch.setattr(launch, "start", lambda run, by: said_before.append(capsys.readouterr().err))
    assert shell("--run", "quickstart", "--device", device, "--detach")[0] == 0
    assert [line.startswith("cifar-tui: GPU 0 in use: pid 4242 20.0 GiB (ann)") for line in said_before] == [named]


def test_where_processes_cannot_be_told_apart_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.process._start_ticks", lambda pid: None)
    with pytest.raises(UserError, match="/proc, which tells its processes from others"):
        preflight.check(quickstart(), tmp_path)


def test_data_that_is_neither_here_nor_reachable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR_TUI_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(preflight, "_unreachable", lambda url: "no network")
    experiment = quickstart(("data.name", "cifar10"))
    with pytest.raises(UserError) as caught:
        preflight.check(experiment, tmp_path)
    (archive,) = RELEASES["cifar10"].archives
    for word in ("CIFAR-10 is not in", "no network", archive, str(tmp_path / "data"), "--data DIR"):
        assert word in str(caught.value)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / archive).touch()
    preflight.check(experiment, tmp_path)


# Tables.


def test_a_table_is_aligned_by_cells_and_drops_whole_columns() -> None:
    columns = (Column("name"), Column("n", right=True), Column("note", drop=1))
    rows = [("日本", "1", "first"), ("ab", "100", "second")]
    assert render(columns, rows) == ["name    n  note", "日本    1  first", "ab    100  second"]
    assert render(columns, rows, room=12) == ["name    n", "日本    1", "ab    100"]
    assert render((Column("x", limit=5),), [("abcdefgh",)]) == ["x", "ab…gh"]
