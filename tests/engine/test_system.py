"""What is read of the machine, with and without a driver that answers."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from engine import slots, system
from engine.metrics_log import MetricsTail

Until = Callable[[Callable[[], object], str], None]

GIB = 1 << 30


def refuse(*arguments: object) -> None:
    raise RuntimeError("not supported")


def nvml_of_two() -> SimpleNamespace:
    """NVML of a machine with an H200 and, in MIG mode, an A100 of two instances, which do not tell load and power."""
    return SimpleNamespace(
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=["h200", "a100"].__getitem__,
        nvmlDeviceGetMigMode=lambda gpu: (1, 1) if gpu == "a100" else refuse(),
        nvmlDeviceGetMaxMigDeviceCount=lambda gpu: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=lambda gpu, index: ["mig0", "mig1"][index],
        nvmlDeviceGetUUID=lambda gpu: f"MIG-{gpu}" if gpu.startswith("mig") else f"GPU-{gpu}",
        nvmlDeviceGetName=str.upper,
        nvmlDeviceGetUtilizationRates=lambda gpu: refuse() if gpu.startswith("mig") else SimpleNamespace(gpu=97),
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=4 * GIB, total=141 * GIB),
        nvmlDeviceGetTemperature=lambda gpu, sensor: 61,
        nvmlDeviceGetPowerUsage=lambda gpu: refuse() if gpu.startswith("mig") else 412_500,
    )


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_nvml", nvml_of_two)


@pytest.mark.usefixtures("driver")
def test_gpus_are_read_with_what_they_answer() -> None:
    h200, first, second = system.gpus()
    assert h200 == system.Gpu("GPU-h200", 0, "H200", 97.0, 4 * GIB, 141 * GIB, 61.0, 412.5)
    assert (first.uuid, second.uuid) == ("MIG-mig0", "MIG-mig1")
    assert (first.utilization, first.power, first.memory_used) == (None, None, 4 * GIB)


def computing(pid: int, memory: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=memory, gpuInstanceId=0)


def test_who_computes_on_a_gpu_is_told_with_what_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    not_available = (1 << 64) - 1
    nvml = nvml_of_two()
    nvml.nvmlDeviceGetHandleByUUID = {"GPU-h200": "h200", "MIG-mig0": "mig0"}.__getitem__
    listed = {
        "h200": [computing(2, None), computing(3, GIB), computing(1, not_available), computing(os.getpid(), 2 * GIB)],
        "mig0": [],
    }
    nvml.nvmlDeviceGetComputeRunningProcesses = listed.__getitem__
    monkeypatch.setattr(system, "_nvml", lambda: nvml)
    monkeypatch.setattr(system, "_user", {1: "root", 2: "", 3: "ann", os.getpid(): "me"}.__getitem__)
    assert system.gpu_processes("GPU-h200") == (
        system.GpuProcess(os.getpid(), 2 * GIB, "me"),
        system.GpuProcess(3, GIB, "ann"),
        system.GpuProcess(1, None, "root"),
        system.GpuProcess(2, None, ""),
    )
    assert system.gpu_processes("MIG-mig0") == ()
    assert system.gpu_processes("GPU-of another machine") == ()


@pytest.mark.parametrize("nvml", [None, nvml_of_two()], ids=["no driver", "a driver that does not tell"])
def test_where_nobody_tells_who_computes_nobody_is_named(
    nvml: SimpleNamespace | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_nvml", lambda: nvml)
    assert system.gpu_processes("GPU-h200") == ()


def test_a_user_is_named_only_where_the_drivers_pids_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def in_namespace(inode: int) -> str:
        there = SimpleNamespace(st_ino=inode)
        monkeypatch.setattr(os, "stat", lambda path, **more: there if "ns/pid" in str(path) else real(path, **more))
        return system._user(os.getpid())

    assert in_namespace(system.FIRST_PID_NAMESPACE) == psutil.Process().username()
    assert in_namespace(7) == ""
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.undo()
    assert system._user(gone.pid) == ""


def test_a_driver_that_fails_at_everything_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_nvml", SimpleNamespace)
    assert system.gpus() == ()


def test_without_a_driver_cpu_and_memory_are_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_nvml", lambda: None)
    looked = system.sample()
    assert looked.gpus == ()
    assert 0 < looked.ram_used <= looked.ram_total
    assert 0 <= looked.cpu <= 100


@pytest.mark.usefixtures("driver")
def test_the_machine_is_logged_until_told_to_stop(tmp_path: Path, until: Until) -> None:
    path = tmp_path / "system.jsonl"
    log = system.SystemLog(path, os.getpid(), interval_s=0.01)
    log.start()
    until(lambda: path.exists() and path.read_bytes().count(b"\n") >= 3, "three records")
    log.stop()
    log.join()
    records = MetricsTail(path).poll()
    assert {record["kind"] for record in records} == {"system"}
    assert records[0]["engine_rss"] > 1 << 20
    assert [gpu["uuid"] for gpu in records[0]["gpus"]] == ["GPU-h200", "MIG-mig0", "MIG-mig1"]
    assert len(json.dumps(records[0])) < 4096


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_that_cannot_be_written_ends_quietly(tmp_path: Path) -> None:
    log = system.SystemLog(tmp_path / "absent" / "system.jsonl", os.getpid(), interval_s=0.01)
    log.start()
    log.join()


@pytest.mark.parametrize(
    ("memberships", "files", "expected"),
    [
        ("0::/user.slice/session-1.scope\n", {"user.slice/session-1.scope/memory.events": "oom 3\noom_kill 2\n"}, 2),
        ("4:memory:/job\n0::/\n", {"memory/job/memory.oom_control": "oom_kill_disable 0\noom_kill 5\n"}, 5),
        ("12:cpu,memory:/job\n", {"memory/job/memory.oom_control": "under_oom 0\noom_kill 1\n"}, 1),
    ],
)
def test_kills_are_counted_for_either_version_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memberships: str, files: dict[str, str], expected: int
) -> None:
    (tmp_path / "cgroup").write_text(memberships)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    counters = system._cgroup_counters(tmp_path / "cgroup", tmp_path)
    monkeypatch.setattr(system, "_cgroup_counters", lambda: counters)
    assert system.oom_kills() == expected


def test_a_machine_that_tells_nothing_of_groups_counts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_cgroup_counters", lambda: [Path("/nowhere")])
    counted = system.oom_kills()
    assert counted is None or counted >= 0


GPUS = [system.Gpu(f"GPU-{letter}{letter}", number, "H100") for number, letter in enumerate("abc")]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, "abc"),
        ("", ""),
        ("-1", ""),
        ("2,0", "ca"),
        ("GPU-bb", "b"),
        ("GPU-b, GPU-a", "ba"),
        ("0,7,1", "a"),
        ("0,0", "a"),
    ],
)
def test_cuda_visible_devices_means_what_it_means_to_cuda(setting: str | None, expected: str) -> None:
    assert [gpu.uuid for gpu in slots.visible(GPUS, setting)] == [f"GPU-{letter}{letter}" for letter in expected]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> tuple[slots.Slot, ...]:
    monkeypatch.setattr(system, "gpus", lambda: tuple(GPUS[:2]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return slots.of_machine({"GPU-bb": 3})


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("auto", ["H100 0", "H100 1"]),
        ("cuda", ["H100 0", "H100 1"]),
        ("cuda:1", ["H100 1"]),
        ("cuda:2", []),
        ("cpu", ["CPU"]),
    ],
)
def test_a_run_goes_where_its_device_is(two_gpus: tuple[slots.Slot, ...], device: str, expected: list[str]) -> None:
    assert [slot.label for slot in slots.suitable(two_gpus, device)] == expected


def test_an_engine_sees_its_slots_gpu_alone_unless_it_counts_gpus_itself(two_gpus: tuple[slots.Slot, ...]) -> None:
    second = two_gpus[1]
    assert second.capacity == 3
    assert second.environment("auto") == {"CUDA_VISIBLE_DEVICES": "GPU-bb"}
    assert second.environment("cuda:1") == {}
    assert two_gpus[2].environment("cpu") == {}
