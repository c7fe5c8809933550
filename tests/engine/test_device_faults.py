"""A GPU that fails while it trains: the driver's words are told, what was saved is kept, nothing else is touched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import checkpoint, device, worker
from engine.data.dataset import Dataset
from engine.experiment import loads
from engine.profile import Profile
from engine.runs import RunFolder, create
from engine.training import Training

PRESET = """
architecture: {family: vgg, channels: [8], convolutions: [1], batch_norm: true, global_pool: true, head: []}
augmentation: none
optimizer: {algorithm: sgd, lr: 0.05, momentum: 0.9}
data: {name: shapes, train_limit: 400}
train: {steps: 8, batch_size: 20, seed: 1, threads: 1, device: cpu, precision: fp32, log_every: 1,
        checkpoint_every: 0, profile: parts, watch: none}
"""
ADVICE = """
Search for `cudaErrorECCUncorrectable' in https://docs.nvidia.com/cuda/cuda-runtime-api/ for more information.
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1"""
ECC = "uncorrectable ECC error encountered"
ERRORS = [
    (torch.AcceleratorError(f"CUDA error: {ECC}{ADVICE}"), ECC),
    (
        torch.AcceleratorError("something the card has never said before\nand more"),
        "something the card has never said before",
    ),
    (RuntimeError(f"CUDA error: device-side assert triggered{ADVICE}"), "device-side assert triggered"),
    (RuntimeError("CUDA error: unspecified launch failure"), "unspecified launch failure"),
    (
        RuntimeError("CUDA error: an illegal memory access was encountered\n"),
        "an illegal memory access was encountered",
    ),
    (RuntimeError("CUDA driver error: unknown error"), "unknown error"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "CUDNN_STATUS_EXECUTION_FAILED"),
    (RuntimeError("Triton Error [CUDA]: misaligned address"), "misaligned address"),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ""),
    (ValueError("CUDA is a word"), ""),
]


@pytest.mark.parametrize(("error", "words"), ERRORS, ids=str)
def test_the_drivers_words_are_told_from_our_own_mistakes(error: Exception, words: str) -> None:
    assert device.fault(error) == words


class BrokenDevice:
    """From a given step on, whatever is asked of the device fails with the same error, as a CUDA context does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.error: Exception | None = error
        self.asked: list[str] = []
        self._broken = False
        self._patch(monkeypatch, Training, "start_reading")
        self._patch(monkeypatch, Training, "state_dict")
        self._patch(monkeypatch, Profile, "finish")

    def _patch(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        real = getattr(owner, name)

        def asked(this: Any, *arguments: Any) -> Any:
            self._fail_if_broken(name)
            return real(this, *arguments)

        monkeypatch.setattr(owner, name, asked)

    def _fail_if_broken(self, name: str) -> None:
        if self._broken and self.error is not None:
            self.asked.append(name)
            raise self.error

    def breaks(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, times: int) -> None:
        """Break at the so manyth call of a method."""
        real, calls = getattr(owner, name), [0]

        def call(this: Any, *arguments: Any) -> Any:
            calls[0] += 1
            self._broken |= calls[0] >= times
            self._fail_if_broken(name)
            return real(this, *arguments)

        monkeypatch.setattr(owner, name, call)


@pytest.fixture
def make(tmp_path: Path, small_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RunFolder]:
    monkeypatch.setattr(worker, "load_data", lambda *_, **__: small_data)
    monkeypatch.setattr(worker.provenance, "write", lambda _folder: None)

    def make() -> RunFolder:
        settings = loads(PRESET)
        run = create(tmp_path / "runs", settings.to_yaml(), {"state": "starting", **settings.headline()}, {"name": "x"})
        run.new_attempt()
        return run

    return make


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state, _ = checkpoint.weights(run.path / "ckpt", "last")
    return state["model"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("where", "calls", "kept", "error", "words"),
    [
        ("take_step", 5, 4, *ERRORS[0]),
        ("take_step", 5, 4, *ERRORS[2]),
        ("start_reading", 4, 3, *ERRORS[4]),
        ("state_dict", 3, 2, *ERRORS[0]),
    ],
    ids=["step", "assert", "reading", "checkpoint"],
)
def test_a_device_that_fails_ends_the_run_in_a_sentence_and_keeps_the_checkpoint(
    where: str,
    calls: int,
    kept: int,
    error: Exception,
    words: str,
    make: Callable[[], RunFolder],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    unbroken, run = make(), make()
    assert worker.main(unbroken.path) == 0
    broken = BrokenDevice(monkeypatch, error)
    broken.breaks(monkeypatch, Training, where, calls)
    assert worker.main(run.path) == 1
    view = run.view()
    assert view.state == "failed"
    assert view.reason.startswith("cpu ")
    assert view.reason.endswith(f": {words}; --resume {run.id} goes on from the checkpoint of step {kept}")
    assert f"failed near step {kept}" in view.reason or f"failed near step {kept + 1}" in view.reason
    assert broken.asked == [where, "finish"]
    said = capfd.readouterr()
    assert "Traceback" in said.err
    assert f"no profile: {str(error).splitlines()[0]}" in said.out
    assert checkpoint.candidates(run.path / "ckpt")[0].step == kept
    broken.error = None
    run.new_attempt()
    assert worker.main(run.path, resume=True) == 0
    expected = weights(unbroken)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(run).items())


def test_a_device_that_fails_at_once_has_left_nothing_to_go_on_from(
    make: Callable[[], RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    BrokenDevice(monkeypatch, ERRORS[0][0]).breaks(monkeypatch, Training, "take_step", 1)
    assert worker.main(run.path) == 1
    assert run.view().reason.endswith(f"failed near step 0: {ECC}; no checkpoint was written")


def test_memory_that_runs_out_outside_of_torch_is_advised_on_likewise(
    make: Callable[[], RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    broken = BrokenDevice(monkeypatch, torch.AcceleratorError("CUDA error: out of memory\nmore"))
    broken.breaks(monkeypatch, Training, "take_step", 1)
    assert worker.main(run.path) == 1
    assert run.view().reason == "CUDA out of memory at batch 20; try train.batch_size=16"
