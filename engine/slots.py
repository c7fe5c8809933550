"""Where runs can go: a slot is a GPU, named by its UUID, or the CPU."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine import system

CPU = "cpu"


@dataclass(frozen=True)
class Slot:
    """A place for `capacity` runs at a time. `name` is a GPU's UUID or "cpu", `number` the N of ``cuda:N`` here."""

    name: str
    label: str
    number: int | None = None
    capacity: int = 1

    def suits(self, device: str) -> bool:
        """Whether a run whose ``train.device`` is `device` may go here; for "auto" see `suitable`."""
        if self.number is None:
            return device in (CPU, "mps")
        return device in ("cuda", f"cuda:{self.number}")

    def environment(self, device: str) -> dict[str, str]:
        """What shows the engine this slot's GPU alone. A device with a number means that number among all GPUs."""
        if self.number is None or device == f"cuda:{self.number}":
            return {}
        return {"CUDA_VISIBLE_DEVICES": self.name}


def of_machine(capacities: Mapping[str, int] | None = None) -> tuple[Slot, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, then the CPU; one run each unless `capacities` has another by name."""
    wanted = capacities or {}
    gpus = visible(system.gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    found = [Slot(gpu.uuid, f"{gpu.name} {gpu.index}", number) for number, gpu in enumerate(gpus)]
    found.append(Slot(CPU, "CPU"))
    return tuple(Slot(slot.name, slot.label, slot.number, wanted.get(slot.name, 1)) for slot in found)


def suitable(slots: Sequence[Slot], device: str) -> list[Slot]:
    """The slots where a run may go, best first; none when its device is not there."""
    if device == "auto":
        return [slot for slot in slots if slot.number is not None] or [slot for slot in slots if slot.number is None]
    return [slot for slot in slots if slot.suits(device)]


def visible(gpus: Sequence[system.Gpu], setting: str | None) -> list[system.Gpu]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES leaves, in its order.

    Numbers count by bus, UUIDs may be shortened, and what follows an entry that fits none is ignored, as CUDA has it
    (CUDA C++ Programming Guide, "CUDA Environment Variables").
    """
    if setting is None:
        return list(gpus)
    chosen: list[system.Gpu] = []
    for entry in (part.strip() for part in setting.split(",")):
        fitting = [gpu for n, gpu in enumerate(gpus) if entry == str(n) or (entry and gpu.uuid.startswith(entry))]
        if not fitting or fitting[0] in chosen:
            break
        chosen.append(fitting[0])
    return chosen
