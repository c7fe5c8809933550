"""What can be known before a run folder is made, without torch: where it goes, room on the disk, device, data."""

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from engine import system
from engine.data.releases import RELEASES, data_root, needs_download, unreachable
from engine.errors import UserError
from engine.experiment import Experiment
from engine.process import Identity
from engine.slots import Slot
from engine.text import clean
from tui import format

CHECKPOINTS = 2
TENSORS_A_PARAMETER = 4  # the weight, two moments of Adam, and an average
BYTES_A_NUMBER = 4
LOGS_BYTES = 32 << 20
REACH_S = 8.0
PROCESSES_NAMED = 3
UNSEEN_BYTES = 1 << 30  # more than a driver keeps for itself on a GPU that nobody uses
DRIVER_NODES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, Windows beneath Linux, AMD


def check(experiment: Experiment, root: Path, parameters: int | None = None) -> None:
    """Refuse a run that cannot succeed. ``parameters`` of its network, where known, tell the size of checkpoints.

    Raises UserError with one line for each problem.
    """
    device = experiment.train.device
    problems = [*_folder(root), *_room(root, parameters), *_processes(), *_device(device), *_data(experiment)]
    if problems:
        raise UserError("\n".join(problems))


def in_use(slot: Slot | None) -> str:
    """That others compute on the GPU of a slot: their pids and memory, and what is free. "" where nobody is known to.

    No reason to refuse a run, which may well fit beside them. Asks the driver, which may take its time.
    """
    gpu = next((gpu for gpu in system.gpus() if slot is not None and gpu.uuid == slot.name), None)
    if slot is None or gpu is None:
        return ""
    processes = system.gpu_processes(gpu.uuid)
    taken, total = gpu.memory_used, gpu.memory_total
    if not processes and (taken or 0) < UNSEEN_BYTES:
        return ""
    said = [_process(process) for process in processes[:PROCESSES_NAMED]]
    said += [f"{len(processes) - PROCESSES_NAMED} more"] if len(processes) > PROCESSES_NAMED else []
    said = said or [f"{format.memory(taken)} by processes that cannot be seen from here"]
    free = f"; {format.memory_used(max(total - taken, 0), total)} free" if taken is not None and total else ""
    return clean(f"GPU {gpu.index} in use: {', '.join(said)}{free}")


def _process(process: system.GpuProcess) -> str:
    whose = f" ({process.user})" if process.user else ""
    return f"pid {process.pid} {'unknown memory' if process.memory is None else format.memory(process.memory)}{whose}"


def _folder(root: Path) -> Iterator[str]:
    existing = _nearest(root)
    if not os.path.isdir(existing):
        yield f"the runs folder {root} cannot be made: {existing} is not a folder; give another one with --runs"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"the runs folder {root} cannot be written: permission denied; give another one with --runs"
    elif shutil.disk_usage(existing).total == 0:  # /proc, /sys and their like
        yield f"the runs folder {root} cannot be created there: {existing} keeps no files; give another one with --runs"


def _room(root: Path, parameters: int | None) -> Iterator[str]:
    needed = LOGS_BYTES + CHECKPOINTS * TENSORS_A_PARAMETER * BYTES_A_NUMBER * (parameters or 0)
    try:
        disk = shutil.disk_usage(_nearest(root))
    except OSError:
        return
    if disk.total and disk.free < needed:
        yield (
            f"{root}: {format.memory(disk.free)} are free, and a run with {CHECKPOINTS} checkpoints needs "
            f"{format.memory(needed)}; free some space, or give another folder with --runs"
        )


def _processes() -> Iterator[str]:
    if not Identity.current().start_ticks:
        yield "no run can be started here: /proc, which tells its processes from others, is not there to be read"


def _device(device: str) -> Iterator[str]:
    if device == "mps" and sys.platform != "darwin":
        yield "train.device: mps is a Mac's; use --device cpu or cuda"
    if not device.startswith("cuda") or sys.platform != "linux":
        return
    if not any(Path(node).exists() for node in DRIVER_NODES):
        yield f"train.device: found {device}, but no GPU driver is loaded here; use --device cpu"
        return
    count, index = len(system.gpus()), int(device.partition(":")[2] or 0)
    if count and index >= count:
        yield f"train.device: found {device}, but there are {count} GPUs; use cuda:0 to cuda:{count - 1}"


def _data(experiment: Experiment) -> Iterator[str]:
    data = experiment.data
    if not needs_download(data):
        return
    release, root = RELEASES[data.name], data_root(None)
    existing = _nearest(root)
    if not (os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)):
        yield (
            f"{release.title} is not in {root}, and that folder cannot be written: "
            "use --data DIR with a folder that holds it or that can be written"
        )
        return
    if all(os.path.isfile(root / name) for name in release.archives):
        return
    reason = _unreachable(release.url + release.archives[0])
    if reason:
        yield unreachable(release, root, reason)


def _unreachable(url: str) -> str:
    """Why ``url`` cannot be reached, or ""."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=REACH_S):
            return ""
    except urllib.error.HTTPError as error:
        # A server that refuses to answer HEAD may still answer GET.
        return "" if error.code in (403, 405, 501) else f"the server says {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", None) or error)


def _nearest(path: Path) -> Path:
    """``path`` or the nearest folder above it that exists."""
    path = path.expanduser().absolute()
    return next(folder for folder in (path, *path.parents) if os.path.exists(folder))
