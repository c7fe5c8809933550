"""Training metrics that stay on the device until somebody asks (after cifar10-fast: statistics move once a while)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Means:
    """Means over the images since the last reset: loss per image, accuracy in percent, and how many images."""

    loss: float
    accuracy: float
    images: int


class Meters:
    """Two windows, the epoch's and the log's, and the first step whose loss was not finite, in one small tensor.

    Rows of ``totals``: sum of losses, sum of hits, images; columns: since the last record, since the epoch began.
    """

    def __init__(self, device: torch.device) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.totals = torch.zeros(3, 2, dtype=dtype, device=device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, loss: Tensor, hits: Tensor, images: int, step: Tensor | int) -> None:
        """Add one batch. ``loss``: () mean over the batch; ``hits``: () number of right answers. No host sync."""
        loss = loss.detach()
        self.totals += torch.stack((loss * images, hits, torch.full_like(loss, images))).to(self.totals.dtype)[:, None]
        first_bad = (self.bad_step < 0) & ~torch.isfinite(loss)
        self.bad_step.copy_(torch.where(first_bad, step, self.bad_step))

    def read(self) -> tuple[Means, Means, int]:
        """The log's window, the epoch's window, and the first bad step or -1. One transfer; clears the log's window."""
        flat = torch.cat((self.totals.flatten(), self.bad_step[None].to(self.totals.dtype))).tolist()
        self.totals[:, 0] = 0
        window, epoch = (Means(*_means(*flat[column:6:2])) for column in (0, 1))
        return window, epoch, int(flat[6])

    def start_epoch(self) -> None:
        """Clear the epoch's window."""
        self.totals[:, 1] = 0

    def state_dict(self) -> dict[str, Tensor]:
        """For a resume inside an epoch."""
        return {"totals": self.totals, "bad_step": self.bad_step}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.totals.copy_(state["totals"])
        self.bad_step.copy_(state["bad_step"])


def _means(loss: float, hits: float, images: float) -> tuple[float, float, int]:
    count = max(images, 1.0)
    return loss / count, 100.0 * hits / count, int(images)
