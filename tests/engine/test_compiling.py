"""A step that cannot be compiled is trained as if nobody had asked for it, and says so."""

import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import checkpoint, compiling, device, launch, worker
from engine.data.dataset import Dataset
from engine.errors import UserError
from engine.experiment import loads
from engine.runs import MetricsTail, RunFolder, create
from engine.training import Training

PRESET = """
architecture: {family: resnet, stem: 8, channels: [8], blocks: [1], pool: 0, head: [12], dropout: [0.3, 0.0]}
augmentation: {ops: [{op: flip}, {op: normalize, statistics: half}]}
optimizer: {algorithm: sgd, lr: 0.05, momentum: 0.9}
data: {name: shapes}
train: {steps: 4, batch_size: 20, seed: 3, device: cpu, precision: fp32, threads: 1, log_every: 1, compile: "on"}
"""
WAYS = [
    ("optimizer.sam", "{rho: 0.05}"),
    ("optimizer.lookahead", "{every: 2}"),
    ("optimizer", "{algorithm: adamw, amsgrad: true}"),
    ("optimizer", "{algorithm: muon, lr: 0.02}"),
    ("train.ema", "{decay: 0.9}"),
    ("train.selection", "{keep: 0.5, every: 1, proxy: {family: vgg, channels: [4], convolutions: [1], head: []}}"),
]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = create(tmp_path / "runs", "name: x\n", {"state": "starting"}, {"name": "x"})
    run.new_attempt()
    return run


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(compiling.CACHE, "")
    threads = torch.get_num_threads()
    yield
    if torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


class TestPreparation:
    def test_kernels_are_kept_in_a_folder_of_this_user_alone(self, run: RunFolder) -> None:
        assert compiling.prepare(run) == ""
        folder = Path(os.environ[compiling.CACHE])
        assert Path(os.environ["XDG_CACHE_HOME"]) in folder.parents
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_a_folder_that_somebody_names_is_taken(
        self, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(compiling.CACHE, str(tmp_path / "named"))
        assert compiling.prepare(run) == ""
        assert os.environ[compiling.CACHE] == str(tmp_path / "named")

    def test_a_folder_that_cannot_be_is_named_and_torch_gets_one_that_is_there(
        self, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv(compiling.CACHE, str(tmp_path / "file"))
        assert compiling.prepare(run) == f"{tmp_path / 'file'} cannot be written: file exists"
        assert os.environ[compiling.CACHE] == str(run.path)

    def test_programs_are_loaded_from_no_folder_that_others_can_write(
        self, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        monkeypatch.setenv(compiling.CACHE, str(tmp_path / "open"))
        assert "belongs to another user or can be written by one" in compiling.prepare(run)

    @pytest.mark.parametrize(
        ("number", "busy", "blamed"),
        [(signal.SIGBUS, True, True), (signal.SIGBUS, False, False), (signal.SIGKILL, True, False)],
    )
    def test_what_crashed_the_attempt_before_is_not_tried_again(
        self, number: int, busy: bool, blamed: bool, run: RunFolder
    ) -> None:
        crashed = run.newest_attempt()
        assert crashed is not None
        crashed.write_runtime({"compiling": busy})
        crashed.write_exit(signal=number)
        run.new_attempt()
        assert ("SIGBUS killed the attempt before" in compiling.prepare(run)) is blamed


def training(data: Dataset, *changes: tuple[str, str]) -> Training:
    settings = loads(PRESET, overrides=changes)
    runtime = device.settle(settings.train, settings.total_steps)
    device.apply(runtime)
    return Training(settings, runtime, data)


def trained(one: Training) -> dict[str, Any]:
    plan = one.draw_epoch()
    for position in one.remaining_positions():
        one.take_step(plan, position)
    return one.state_dict()


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same bit for bit; what compiling changes by its nature does not count."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        unequal = {"active_s", "epoch_s", "runtime", "config_hash"}
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one.keys() - unequal)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


class FailsAtTheEnd(torch.autograd.Function):
    """Passes a tensor on, and fails when its gradient comes back."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        raise RuntimeError("no compiler for\nthis backward pass")


@pytest.mark.parametrize(("capability", "compiled"), [("AVX512", 2), ("AVX2", 1), ("DEFAULT", 1)])
def test_on_a_cpu_the_augmentation_is_compiled_where_that_is_faster(
    capability: str, compiled: int, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    taken: list[object] = []

    def compiler(function: Callable[..., Any]) -> Callable[..., Any]:
        taken.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    one = training(small_data)
    assert one.compile() == ""
    assert one.model in taken
    assert len(taken) == compiled


def fails_at_once(function: Callable[..., Any]) -> Callable[..., Any]:
    def compiled(*arguments: Any) -> Any:
        raise OSError("the cache is damaged")

    return compiled


def fails_in_the_backward_pass(function: Callable[..., Any]) -> Callable[..., Any]:
    """What fails as late as can be: statistics are moved on and numbers are drawn by then."""

    def compiled(*arguments: Any) -> Any:
        result = function(*arguments)
        return FailsAtTheEnd.apply(result) if isinstance(result, Tensor) else result

    return compiled


@pytest.mark.parametrize("change", WAYS, ids=str)
@pytest.mark.parametrize("compiler", [lambda function: function, fails_at_once, fails_in_the_backward_pass])
def test_trying_leaves_no_trace_whether_it_fails_or_not(
    compiler: Callable[..., Any], change: tuple[str, str], small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(training(small_data, change, ("train.compile", '"off"')))
    monkeypatch.setattr(torch, "compile", compiler)
    tried = training(small_data, change)
    problem = tried.compile()
    assert bool(problem) is (compiler in (fails_at_once, fails_in_the_backward_pass))
    assert tried.runtime.compile is not bool(problem)
    assert "\n" not in problem
    assert equal(trained(tried), plain)


def test_an_obstacle_is_reason_enough_not_to_try(small_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(torch, "compile", tried.append)
    stopped = training(small_data)
    assert stopped.compile("the disk is read-only") == "the disk is read-only"
    assert (tried, stopped.runtime.compile) == ([], False)
    assert training(small_data, ("train.compile", '"off"')).compile("the disk is read-only") == ""


class Clerk:
    """What is said beside the run."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {"compile": "not compiled: of the attempt before"}

    def note(self, about: str, text: str) -> None:
        self.notes[about] = text


def test_it_is_said_beside_the_run_and_taken_back_when_it_is_no_longer_so(
    small_data: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clerk = Clerk()
    worker._compile(training(small_data), clerk, "no room", exactly=False)  # type: ignore[arg-type]
    assert clerk.notes == {"compile": "not compiled: no room"}
    assert capsys.readouterr().out == "the step is not compiled: no room; training goes on uncompiled\n"
    monkeypatch.setattr(torch, "compile", lambda function: function)
    worker._compile(training(small_data), clerk, "", exactly=True)  # type: ignore[arg-type]
    assert clerk.notes == {"compile": ""}


def test_a_resume_that_shall_be_exact_does_not_change_from_compiled_to_plain(small_data: Dataset) -> None:
    with pytest.raises(UserError, match=r"was compiled and cannot be now: no room; add --allow-inexact"):
        worker._compile(training(small_data), Clerk(), "no room", exactly=True)  # type: ignore[arg-type]


# With torch's own compiler, in engines of their own.

SMALL = """
architecture: {family: vgg, channels: [8], convolutions: [1], batch_norm: true, global_pool: true, head: []}
augmentation: none
optimizer: {algorithm: sgd, lr: 0.05, momentum: 0.9}
data: {name: shapes, validation: 1000, train_limit: 1000}
train: {steps: 30, batch_size: 50, seed: 3, device: cpu, precision: fp32, threads: 1, log_every: 5, checkpoint_every: 0}
"""
CLOCK = ("t", "images_s", "epoch_s", "eval_s")


def made(root: Path, compile: str = '"on"') -> RunFolder:
    settings = loads(SMALL, overrides=[("train.compile", compile)])
    return create(root, settings.to_yaml(), {"state": "starting", **settings.headline()}, {"name": "small"})


def ended(run: RunFolder, *, resume: bool = False) -> str:
    """Trains a run to its end, whatever that is; returns its state."""
    if resume:
        launch.resume(run, by="test")
    else:
        launch.start(run, by="test")
    return launch.wait(run, 600).state


def records(run: RunFolder) -> list[dict[str, Any]]:
    found = MetricsTail(run.path / "metrics.jsonl").poll()
    return [{key: value for key, value in record.items() if key not in CLOCK} for record in found]


def weights(run: RunFolder) -> dict[str, Tensor]:
    state, _ = checkpoint.weights(run.path / "ckpt", "last")
    return state["model"]  # type: ignore[no-any-return]


def assert_plain(run: RunFolder, plain: RunFolder, why: str) -> None:
    """It finished uncompiled, said so once, and computed what the plain run did, bit for bit."""
    view = run.view()
    assert view.state == "finished", run.log_tail()
    assert "not compiled: " in view.notice
    assert why in view.notice
    assert run.log_tail().count("training goes on uncompiled") == 1
    attempt = run.newest_attempt()
    assert attempt is not None
    assert attempt.runtime()["compile"] is False
    assert records(run) == records(plain)
    assert equal(weights(run), weights(plain))


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_and_a_compiler_that_is_missing_leave_the_plain_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = made(tmp_path, '"off"')
    assert ended(plain) == "finished"
    assert plain.view().notice == ""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "file"))
    unwritable = made(tmp_path)
    ended(unwritable)
    assert_plain(unwritable, plain, "file exists")
    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "/bin/false")
    uncompilable = made(tmp_path)
    launch.start(uncompilable, by="test")
    while not checkpoint.read_manifest(uncompilable.path / "ckpt") and uncompilable.view().live:
        time.sleep(0.02)
    launch.stop(uncompilable)
    if launch.wait(uncompilable, 600).state == "stopped":
        monkeypatch.delenv("CXX")
        ended(uncompilable, resume=True)
    assert_plain(uncompilable, plain, "/bin/false")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_damaged_cache_leaves_the_plain_step_and_one_that_kills_is_not_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = made(tmp_path, '"off"')
    assert ended(plain) == "finished"
    cache = tmp_path / "cache"
    monkeypatch.setenv(compiling.CACHE, str(cache))
    compiled = made(tmp_path)
    assert ended(compiled) == "finished", compiled.log_tail()
    assert compiled.view().notice == ""
    libraries = list(cache.rglob("*.so"))
    assert libraries
    for path in libraries:
        os.truncate(path, 4096)
    killed = made(tmp_path)
    assert ended(killed) == "crashed"
    ended(killed, resume=True)
    assert_plain(killed, plain, "killed the attempt before while it compiled")
    for path in cache.rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    garbled = made(tmp_path)
    ended(garbled)
    assert_plain(garbled, plain, "")
