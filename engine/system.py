"""What the machine is doing: CPU and RAM by psutil, GPUs by NVML, out-of-memory kills by the kernel's own counts.

Nothing here raises: a figure that cannot be had is None, a machine without NVML has no GPUs.
"""

import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from engine.metrics_log import MetricsWriter

INTERVAL_S = 5.0
TEMPERATURE_OF_GPU = 0  # NVML_TEMPERATURE_GPU, its only sensor
LARGEST_MEMORY = 1 << 62  # beyond it stand NVML's words for "not available"
FIRST_PID_NAMESPACE = 0xEFFFFFFC  # its inode: PROC_PID_INIT_INO of Linux


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of a GPU. Utilisation in percent, memory in bytes, temperature in °C, power in W."""

    uuid: str
    index: int
    name: str
    utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: float | None = None
    power: float | None = None


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU: bytes it holds there, None where the driver does not tell, and its user, ""
    where that is not known."""

    pid: int
    memory: int | None = None
    user: str = ""


@dataclass(frozen=True)
class Sample:
    """One look at the machine: unix seconds, percent of all cores since this thread's last look, bytes."""

    t: float
    cpu: float
    ram_used: int
    ram_total: int
    gpus: tuple[Gpu, ...]


def sample() -> Sample:
    """Look at the machine now. Call it in a thread: NVML takes some ms a GPU, and hangs when its driver does."""
    memory = psutil.virtual_memory()
    return Sample(time.time(), psutil.cpu_percent(), memory.total - memory.available, memory.total, gpus())


def gpus() -> tuple[Gpu, ...]:
    """All GPUs that NVML sees, ordered by PCI bus; a GPU in MIG mode is its instances. Empty without a driver."""
    nvml = _nvml()
    if nvml is None:
        return ()
    count = _ask(nvml, "nvmlDeviceGetCount") or 0
    found: list[Gpu] = []
    for index in range(count):
        handle = _ask(nvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is not None:
            found.extend(_read_gpu(nvml, part, index) for part in _mig_instances(nvml, handle) or [handle])
    return tuple(found)


def gpu_processes(uuid: str) -> tuple[GpuProcess, ...]:
    """Who computes on a GPU or MIG instance, whoever's it is, most memory first; empty where the driver does not tell.

    In a container it may not. As slow as `gpus`.
    """
    nvml = _nvml()
    handle = _ask(nvml, "nvmlDeviceGetHandleByUUID", uuid) if nvml else None
    listed = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) if nvml and handle is not None else None
    found = {int(one.pid): GpuProcess(int(one.pid), _memory(one), _user(int(one.pid))) for one in listed or ()}
    return tuple(sorted(found.values(), key=lambda process: (-(process.memory or 0), process.pid)))


def _memory(process: Any) -> int | None:
    held = process.usedGpuMemory
    return int(held) if held is not None and 0 <= int(held) < LARGEST_MEMORY else None


def _user(pid: int) -> str:
    """Whose process that is; "" in a container, where the driver's pids are those of the host."""
    with suppress(OSError, psutil.Error):
        if os.stat("/proc/self/ns/pid").st_ino == FIRST_PID_NAMESPACE:
            return psutil.Process(pid).username()
    return ""


def compute_capability(index: int = 0) -> int | None:
    """The major compute capability of a GPU by its index; None where there is none. As slow as `gpus`."""
    nvml = _nvml()
    handle = _ask(nvml, "nvmlDeviceGetHandleByIndex", index) if nvml else None
    found = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle) if nvml and handle is not None else None
    return None if found is None else int(found[0])


@cache
def _nvml() -> ModuleType | None:
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except (
        Exception
    ):  # a missing module or library, a driver of another version: whatever it is, there is nothing to read
        return None
    return nvml


def _ask(nvml: ModuleType, question: str, *arguments: Any) -> Any:
    """One NVML question; None where this device, driver or version does not answer it."""
    try:
        return getattr(nvml, question)(*arguments)
    except Exception:
        return None


def _mig_instances(nvml: ModuleType, handle: Any) -> list[Any]:
    mode = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    if not mode or not mode[0]:
        return []
    slots = _ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0
    instances = (_ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, slot) for slot in range(slots))
    return [instance for instance in instances if instance is not None]


def _read_gpu(nvml: ModuleType, handle: Any, index: int) -> Gpu:
    utilization = _ask(nvml, "nvmlDeviceGetUtilizationRates", handle)
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    temperature = _ask(nvml, "nvmlDeviceGetTemperature", handle, TEMPERATURE_OF_GPU)
    milliwatts = _ask(nvml, "nvmlDeviceGetPowerUsage", handle)
    return Gpu(
        uuid=str(_ask(nvml, "nvmlDeviceGetUUID", handle) or f"GPU {index}"),
        index=index,
        name=str(_ask(nvml, "nvmlDeviceGetName", handle) or "GPU"),
        utilization=None if utilization is None else float(utilization.gpu),
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
        temperature=None if temperature is None else float(temperature),
        power=None if milliwatts is None else milliwatts / 1000,
    )


def to_record(looked: Sample, process: psutil.Process | None = None) -> dict[str, Any]:
    """A line of ``system.jsonl``; `process` adds ``engine_rss`` (bytes) of the engine while it lives."""
    record: dict[str, Any] = {"kind": "system", **asdict(looked)}
    if process is not None:
        with suppress(psutil.Error):
            record["engine_rss"] = process.memory_info().rss
    return record


class SystemLog(threading.Thread):
    """Appends a record of the machine to ``system.jsonl`` every 5 seconds until stopped.

    A daemon thread, so that a driver that hangs NVML delays neither a signal nor the end of the process.
    """

    def __init__(self, path: Path, pid: int, interval_s: float = INTERVAL_S) -> None:
        super().__init__(name="system", daemon=True)
        self._path, self._pid, self._interval_s = path, pid, interval_s
        self._stopped = threading.Event()

    def run(self) -> None:
        psutil.cpu_percent()  # a thread's first call has no earlier one to compare with
        with suppress(OSError, psutil.Error):  # the machine's figures are never worth a run
            engine = psutil.Process(self._pid)
            log = MetricsWriter(self._path)
            while not self._stopped.wait(self._interval_s):
                log.append(to_record(sample(), engine))

    def stop(self) -> None:
        self._stopped.set()


def oom_kills() -> int | None:
    """How many processes of this control group the kernel has killed so far for want of memory; None if nothing tells.

    A line ``oom_kill N`` of memory.events (cgroup v2), memory.oom_control (v1) or, for the whole machine, /proc/vmstat.
    """
    for path in [*_cgroup_counters(), Path("/proc/vmstat")]:
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None


def _cgroup_counters(memberships: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> list[Path]:
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return []
    counters = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            counters.append(mount / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            counters.append(mount / "memory" / group.lstrip("/") / "memory.oom_control")
    return counters
