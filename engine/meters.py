"""Training metrics that stay on the device until somebody asks (after cifar10-fast: statistics move once a while)."""

from dataclasses import dataclass

import torch
from torch import Tensor

NO_NORM = -1.0  # norms are never negative


@dataclass(frozen=True)
class Means:
    """Means over the images since the last reset: loss per image, accuracy in percent, and how many images."""

    loss: float
    accuracy: float
    images: int


@dataclass(frozen=True)
class Figures:
    """What a reading of the meters says.

    ``bad_step`` is the first step whose loss was not finite, or -1; ``gradient_norm`` is None where there was none.
    """

    window: Means
    epoch: Means
    bad_step: int
    gradient_norm: float | None


class Reading:
    """Figures on their way to the host, which on a GPU issues further steps meanwhile."""

    def __init__(self, figures: Tensor) -> None:
        self._figures = figures.to("cpu", non_blocking=True)
        self._arrival: torch.cuda.Event | None = None
        if figures.is_cuda:
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrival.record()

    @property
    def is_here(self) -> bool:
        """Whether ``wait`` would return at once."""
        return self._arrival is None or bool(self._arrival.query())  # type: ignore[no-untyped-call]

    def wait(self) -> Figures:
        """The figures, once they have arrived."""
        if self._arrival is not None:
            self._arrival.synchronize()
        *totals, bad_step, norm = self._figures.tolist()
        window, epoch = (Means(*_means(*totals[column::2])) for column in (0, 1))
        return Figures(window, epoch, int(bad_step), None if norm == NO_NORM else norm)


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

    @torch.no_grad()
    def start_reading(self, gradient_norm: Tensor | None = None) -> Reading:
        """Send everything, and a norm () beside it, to the host in one transfer; clears the log's window."""
        norm = torch.full_like(self.totals[0, 0], NO_NORM) if gradient_norm is None else gradient_norm
        rest = torch.stack((self.bad_step.to(self.totals.dtype), norm.to(self.totals.dtype)))
        reading = Reading(torch.cat((self.totals.flatten(), rest)))
        self.totals[:, 0] = 0
        return reading

    def read(self) -> Figures:
        """The same at once."""
        return self.start_reading().wait()

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
