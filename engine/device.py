"""What every `auto` becomes on this machine, recorded so that a resume can use the same."""

import contextlib
import ctypes
import logging
import os
import re
import shutil
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from engine.errors import UserError
from engine.options.training import Train
from engine.precision import BF16_CAPABILITY, cpu_has_bf16

# Of glibc's malloc.h: how many blocks may be mapped on their own; how much free memory is given back (-1: none is).
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
# As torch, cuDNN and Triton begin what a driver told them.
_FAULT = re.compile(r"(?:(?:CUDA|HIP|cuDNN|MIOpen)(?: driver)? error|Triton Error \[\w+\]): (.+)")


@dataclass(frozen=True)
class Runtime:
    """The settled settings of a process: nothing in it is `auto` any more."""

    device: str
    device_name: str
    precision: Literal["fp32", "bf16"]
    channels_last: bool
    compile: bool
    graph: bool
    threads: int
    deterministic: bool
    torch: str

    def to_json(self) -> dict[str, Any]:
        """As plain values for env.json and checkpoints."""
        return asdict(self)

    @property
    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context of the forward pass: bf16 autocast or nothing."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    @property
    def memory_format(self) -> Any:
        """Memory format (a ``torch.memory_format``) of images and filters."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def settle(train: Train, total_steps: int) -> Runtime:
    """Decide every `auto`. Raises UserError when a named device is not there."""
    device = _device(train.device)
    on_gpu = device.type == "cuda"
    gains_bf16 = _gpu_has_bf16(device) if on_gpu else device.type == "cpu" and cpu_has_bf16()
    # Compiling costs about a minute; a GPU run earns it back after some thousand steps, a CPU run never does.
    earns_compiling = on_gpu and total_steps >= 5_000 and can_compile()
    graph = on_gpu and train.graph != "off" and not train.deterministic
    return Runtime(
        device=str(device),
        device_name=_device_name(device),
        precision=train.precision if train.precision != "auto" else ("bf16" if gains_bf16 else "fp32"),
        channels_last=train.channels_last == "on" or (train.channels_last == "auto" and device.type != "mps"),
        compile=train.compile == "on" or (train.compile == "auto" and earns_compiling),
        graph=graph and (train.graph == "on" or total_steps >= 500),
        threads=train.threads or usable_cores(),
        deterministic=train.deterministic or device.type == "cpu",
        torch=str(torch.__version__),
    )


def can_compile() -> bool:
    """Whether there is what inductor needs to build kernels for a GPU: a C compiler and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return bool(compiler) and (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file()


def differences(recorded: Runtime, fresh: Runtime) -> list[str]:
    """Why a resume here cannot repeat the recorded run bit for bit; empty when it can."""
    names = {"device": "device", "device_name": "processor", "torch": "torch"}
    pairs = [(words, getattr(recorded, name), getattr(fresh, name)) for name, words in names.items()]
    return [f"{words} was {before}, is {now}" for words, before, now in pairs if before != now]


def reusable(recorded: Runtime) -> dict[str, Any]:
    """The recorded settings that any machine with the same kind of device can take over."""
    names = ("precision", "channels_last", "compile", "graph", "threads", "deterministic")
    return {name: getattr(recorded, name) for name in names}


def apply(runtime: Runtime) -> None:
    """Set torch's global switches as the runtime says."""
    torch.set_num_threads(runtime.threads)
    device = torch.device(runtime.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams and graphs are of the current device unless they are told otherwise
    elif device.type == "cpu":
        keep_freed_memory()
        # Where a toolkit of CUDA is there and no GPU, torch's compiler would say so in the log of every run.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    torch.backends.cudnn.benchmark = not runtime.deterministic
    torch.backends.cudnn.deterministic = runtime.deterministic
    torch.use_deterministic_algorithms(runtime.deterministic)
    # Filling every new tensor with NaN first finds reads of what was never written, and costs some percent.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Beside bf16 the rest may be TensorFloat-32 too; who asks for fp32 gets all 23 bits of the mantissa.
    torch.backends.cuda.matmul.allow_tf32 = runtime.precision != "fp32"
    torch.backends.cudnn.allow_tf32 = runtime.precision != "fp32"


def fault(error: BaseException) -> str:
    """The driver's own words for what failed on a device, in an error that torch passes on; "" for any other error."""
    first = str(error).partition("\n")[0]
    found = _FAULT.match(first)
    if found:
        return found[1]
    return first if isinstance(error, torch.AcceleratorError) else ""


def keep_freed_memory() -> None:
    """Let malloc keep what a step frees for the next one, and take nothing large from the kernel page by page.

    By default glibc gives an activation's memory back as soon as it is freed, and the kernel finds and clears the same
    hundreds of megabytes anew every step: 48,000 page faults and an eighth of the CPU time of a ResNet-18 step.
    """
    with contextlib.suppress(AttributeError, OSError):  # other C libraries have no such switch
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def vectorises_lookups(device: torch.device) -> bool:
    """Whether a compiled augmentation gains by fusing the lookup of a pixel with what becomes of its three channels.

    On a CPU without the masks of AVX-512 such short loops cost more than the passes they save (benchmarks.augment).
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores this process may use, by its affinity and by the CPU quota of its container.

    A quota of two cores on a machine of sixty-four leaves the affinity at sixty-four; as many threads would spend their
    time waiting for each other.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, *_quotas(cgroup))) if cores > 1 else 1


def _quotas(cgroup: Path) -> list[int]:
    """Whole cores that a cgroup's cpu.max grants ("MICROSECONDS PERIOD", or "max PERIOD" for no limit), if any."""
    try:
        granted, period = (cgroup / "cpu.max").read_text().split()
        return [int(granted) // int(period)]
    except (OSError, ValueError, ZeroDivisionError):
        return [sys.maxsize]


def _gpu_has_bf16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device)[0] >= BF16_CAPABILITY


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"train.device: found {wanted}, but torch sees no CUDA device; {_why_no_cuda()}, or use --device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(
            f"train.device: found {wanted}, but there are {count} CUDA devices; use cuda:0 to cuda:{count - 1}"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("train.device: found mps, but this machine has none; use --device cpu")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return "this torch is built without CUDA: install a CUDA build"
    return "check the driver with nvidia-smi"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name() if device.type == "cpu" else "Apple GPU"


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "CPU"
    return text.partition("model name")[2].partition("\n")[0].strip("\t :") or "CPU"
