"""Which past runs tell how long another will take. Pure functions of views."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.run_view import RunView

_FEWEST_EPOCHS = 1.0
# Small networks do fewer MACs a second: one of another size tells less, and one of quite another size nothing.
_AS_NEAR = 2.0
_TOO_FAR = 32.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The run that is asked about. `macs` None: its network was not counted yet."""

    group_hash: str
    architecture: str
    batch_size: int | None
    dataset: str
    macs: int | None


@dataclass(frozen=True, slots=True)
class Nearest:
    """The past runs that come nearest. `exact` where they are of the wanted network: then their times hold as they
    are, else they hold for a MAC."""

    runs: Sequence[RunView]
    exact: bool


def nearest(wanted: Wanted, past: Iterable[RunView]) -> Nearest | None:
    """Past runs of the same experiment, else of the same network, batch size and data set, else of the networks that
    come nearest by their MACs. None where there are none, or none of about that size."""
    timed = [run for run in past if run.epoch >= _FEWEST_EPOCHS and run.active_s > 0]
    same = [run for run in timed if run.group_hash and run.group_hash == wanted.group_hash]
    network = (wanted.architecture, wanted.batch_size, wanted.dataset)
    alike = [run for run in timed if (run.architecture, run.batch_size, run.dataset) == network]
    if same or alike:
        return Nearest(same or alike, exact=True)
    apart = [(_apart(run.macs, wanted.macs), run) for run in timed if run.macs and wanted.macs]
    least = min((times for times, _ in apart), default=_TOO_FAR)
    near = [run for times, run in apart if times <= _AS_NEAR * least]
    return Nearest(near, exact=False) if least < _TOO_FAR else None


def _apart(one: int, other: int) -> float:
    """How many times the larger is the smaller."""
    return max(one, other) / min(one, other)


def images_an_epoch(run: RunView) -> float | None:
    """Training images of an epoch, as far as steps and batch size tell."""
    if not (run.steps and run.epochs and run.batch_size):
        return None
    return run.batch_size * run.steps / run.epochs
