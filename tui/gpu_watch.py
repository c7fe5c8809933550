"""A look now and then at who else computes on the GPU where the next run would start."""

from pathlib import Path

from tui.services import Poke, Poller

WATCH_S = 5.0


class GpuWatch(Poller):
    """``said`` is a sentence about others on that GPU; "" while it is free, or where our own runs take every slot."""

    def __init__(self, root: Path, poke: Poke) -> None:
        super().__init__("GPU watch", poke)
        self.said = ""
        self._root = root
        self._device = "auto"

    @property
    def interval_s(self) -> float:
        return WATCH_S

    def use(self, device: str) -> None:
        """Look at the GPU for another ``train.device``."""
        if device != self._device:
            self._device = device
            self.wake()

    def poll(self) -> bool:
        before, self.said = self.said, self._look()
        return self.said != before

    def _look(self) -> str:
        from engine import system
        from tui import new_launch, preflight

        if not system.gpus():
            return ""
        return preflight.in_use(new_launch.free_slot(self._root, self._device))
