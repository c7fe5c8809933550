"""What precision `auto` becomes, told without torch, so that the terminal knows beforehand what the engine will do."""

from functools import cache
from pathlib import Path
from typing import Literal

from engine import system

Precision = Literal["fp32", "bf16"]

BF16_CAPABILITY = 8  # NVIDIA Ampere, the first whose tensor cores take bf16


@cache
def expected(wanted: Literal["auto", "fp32", "bf16"], device: str) -> Precision:
    """The precision of a run here on ``device`` (auto, cpu, mps, cuda, cuda:N). NVML is asked where `auto` may be a
    GPU: call it in a thread first."""
    if wanted != "auto":
        return wanted
    on_gpu = device.startswith("cuda") or device == "auto"
    capability = system.compute_capability(int(device.partition(":")[2] or 0)) if on_gpu else None
    if capability is not None:
        return "bf16" if capability >= BF16_CAPABILITY else "fp32"
    return "bf16" if device in ("auto", "cpu") and cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively (AVX512-BF16 or AMX); without it bf16 is slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]
    except OSError:
        return False
    return any(word in flags.split() for word in ("avx512_bf16", "amx_bf16"))
