"""Switches of torch and of the C library, as a run sets them."""

import platform
import resource
from dataclasses import replace

import pytest
import torch

from engine import device
from engine.options.training import Train

MIB_64 = 1 << 24  # of float32


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has the switch")
def test_memory_that_a_step_frees_serves_the_next_one() -> None:
    runtime = replace(device.settle(Train(device="cpu"), 1), deterministic=False, threads=torch.get_num_threads())
    device.apply(runtime)
    faults = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(MIB_64)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert faults.count(0) > 4, faults  # given back, it would be 16,384 pages every time


def test_without_a_compiler_auto_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert not device.can_compile()
