"""The benchmarks' shared parts, and that each says what it needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import champion, engine, gpu, gpu_peers, replay, report
from engine.experiment import load

ROOT = Path(__file__).parents[1]
EVERY = ("augment", "champion", "engine", "gpu", "logging_cost", "replay", "scale", "startup", "threads")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_a_spread_is_median_least_and_greatest() -> None:
    assert report.Spread.of([3.0, 1.0, 2.0]).text(".1f") == "2.0 (1.0–3.0)"


def test_a_table_aligns_its_first_column_left_and_the_others_right() -> None:
    lines = report.table(["way", "speed"], [["ours", "12"], ["usual", "3"]]).splitlines()
    assert lines[2:] == ["ours      12", "usual      3"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_each_explains_itself(name: str) -> None:
    done = run(f"benchmarks.{name}", "--help")
    assert done.returncode == 0
    assert f"python -m benchmarks.{name}" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_gpu_benchmark_says_so_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "needs a CUDA GPU" in said


def test_an_unknown_argument_lists_the_benchmarks() -> None:
    done = run("benchmarks", "nonsense")
    assert done.returncode == 2
    assert "augment" in done.stderr


def test_the_convolutions_alone_are_those_of_the_network() -> None:
    layers = engine.convolutions("resnet_5m")
    macs = sum(
        layer.count
        * layer.weights[0]
        * layer.weights[1]
        * layer.weights[2]
        * layer.weights[3]
        * (layer.inputs[1] // layer.stride[0])
        * (layer.inputs[2] // layer.stride[1])
        for layer in layers
    )
    head = 256 * 128 + 128 * 10
    assert 6 * (macs + head) == engine.training_flops("resnet_5m")


def test_a_seed_that_is_written_down_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = {"none": 97.0, "flip": 97.2, "flip_translate": 97.4}
    recipe = load("champion_5m").group_hash
    seeds = [{"recipe": recipe, "seed": seed, "accuracy": accuracy, "active_s": 400.0} for seed in (0, 1)]
    other = {"recipe": "another", "seed": 2, "accuracy": accuracy, "active_s": 1.0}
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    report.save("champion_5m", {"seeds": [*seeds, other]}, on_gpu=True)
    monkeypatch.setattr(champion, "trained", lambda preset, seed, *_: asked.append(seed))
    monkeypatch.setattr(sys, "argv", ["champion", "--seeds", "0", "1"])
    asked: list[int] = []
    assert champion.main() == 0
    assert "97.40 ± 0.00" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["champion", "--seeds", "1", "2"])
    assert champion.main() == 1
    assert asked == [2]


def test_figures_of_one_machine_never_replace_those_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on(**machine: str | None) -> Path:
        monkeypatch.setattr(report, "environment", lambda: {"gpu": None, **machine})
        return report.save("engine", dict(machine))

    monkeypatch.setattr(report, "RESULTS", tmp_path)
    old = on(cpu="AMD EPYC", instructions="avx2")
    new = on(cpu="AMD EPYC", instructions="avx512-bf16")
    assert [old.parent.name, new.parent.name] == ["amd-epyc-avx2", "amd-epyc-avx512-bf16"]
    assert json.loads(old.read_text())["instructions"] == "avx2"
    monkeypatch.setattr(report, "environment", lambda: {"cpu": "AMD EPYC", "instructions": "", "gpu": "NVIDIA H200"})
    assert report.path("gpu", on_gpu=True).parent.name == "nvidia-h200"
    assert report.path("engine").parent.name == "amd-epyc"


def test_a_script_for_a_gpu_is_read_for_float64_on_a_cpu(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\nimport torch\n"
        "@torch.compile(fullgraph=True)\ndef doubled(x):\n    return 2 * x\n"
        "weights = doubled(torch.ones(2, device='cuda').half()).cuda()\n"
        "clock = torch.cuda.Event(enable_timing=True)\nclock.record()\nseconds = clock.elapsed_time(clock)\n"
        "name = sys.argv[0]\n"
        "if __name__ == '__main__':\n    raise SystemExit('it was run')\n"
    )
    script = replay.read(path)
    assert (script.weights.dtype, script.weights.device.type) == (torch.float64, "cpu")
    assert (script.weights.tolist(), script.seconds, script.name) == ([2.0, 2.0], 0.0, str(path))


def test_only_a_tensor_that_stays_at_zero_may_be_missing_from_ours() -> None:
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Linear(5, 2, bias=False))
    ours = [torch.zeros(4, 3, 2, 2), torch.zeros(2, 5)]
    torch.nn.init.zeros_(theirs[0].get_parameter("bias"))
    assert [tensor.shape for tensor, _ in replay.paired(theirs, ours)] == [(4, 3, 2, 2), (2, 5)]
    torch.nn.init.ones_(theirs[0].get_parameter("bias"))
    with pytest.raises(SystemExit, match=r"tensor \(4,\) that ours lacks"):
        replay.paired(theirs, ours)


def test_how_far_training_has_led_two_networks_apart() -> None:
    start, theirs = torch.zeros(4), torch.full((4,), 2.0)
    assert replay.apart(theirs, theirs, theirs) == 0.0
    assert replay.apart(theirs, theirs + 0.5, start) == pytest.approx(0.25)
    draws = torch.randn(2, 4000, 8, generator=torch.Generator().manual_seed(0))
    assert replay.moments_apart(draws[0], draws[1]) < 5
    assert replay.moments_apart(draws[0], draws[1] + 0.2) > 5
    assert replay.moments_apart(draws[0], draws[1] * 1.2) > 5


@pytest.mark.slow
def test_a_peers_script_is_ended_when_its_time_is_up_and_its_lines_are_kept(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text("import time\nprint('run 0: 94.01')\ntime.sleep(60)\n")
    peer = gpu_peers.peer_run(script, 5.0)
    assert peer["exit"] is None
    assert peer["last_lines"] == ["run 0: 94.01"]


@pytest.mark.slow
def test_seeds_of_a_preset_in_one_process_are_the_runs_that_they_would_be_alone() -> None:
    brief = (("train.epochs", "1"), ("train.threads", "1"), ("data.train_limit", "500"))
    both = gpu_peers.our_runs("quickstart", 2, *brief)
    alone = gpu_peers.our_runs("quickstart", 1, *brief)
    assert [run["seed"] for run in both] == [0, 1]
    assert both[0]["accuracy"] == alone[0]["accuracy"] != both[1]["accuracy"]
    assert min(run["train_s"] for run in both) > 0
