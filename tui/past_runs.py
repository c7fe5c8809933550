"""Which past runs tell how long another will take. Pure functions of views."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.run_view import RunView

_FEWEST_EPOCHS = 1.0


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
    """Past runs of the same experiment, else of the same network, batch size and data set, else of any network whose
    MACs are known. None where there are none."""
    timed = [run for run in past if run.epoch >= _FEWEST_EPOCHS and run.active_s > 0]
    same = [run for run in timed if run.group_hash and run.group_hash == wanted.group_hash]
    network = (wanted.architecture, wanted.batch_size, wanted.dataset)
    alike = [run for run in timed if (run.architecture, run.batch_size, run.dataset) == network]
    if same or alike:
        return Nearest(same or alike, exact=True)
    counted = [run for run in timed if run.macs]
    return Nearest(counted, exact=False) if counted and wanted.macs else None


def images_an_epoch(run: RunView) -> float | None:
    """Training images of an epoch, as far as steps and batch size tell."""
    if not (run.steps and run.epochs and run.batch_size):
        return None
    return run.batch_size * run.steps / run.epochs
