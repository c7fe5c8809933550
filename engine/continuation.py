"""A longer run from one that has ended: a folder of its own that begins where its parent's checkpoint stands."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engine import atomic, runs
from engine.composition import Override
from engine.errors import UserError
from engine.experiment import loads
from engine.runs import RunFolder

# What may change without the weights, the optimiser's state or the order of the images losing their meaning.
CHANGEABLE = (
    "train.epochs",
    "train.steps",
    "train.early_stopping",
    "train.checkpoint_every",
    "train.log_every",
    "name",
)


def continue_from(root: Path, parent: RunFolder, overrides: Sequence[Override], name: str = "") -> RunFolder:
    """A new queued run that goes on from ``parent``'s newest checkpoint, with its metrics up to there.

    Raises UserError when an override changes more than length and bookkeeping, when there is no checkpoint, when the
    parent is not ours alone, or when nothing would be left to train.
    """
    parent.refuse_foreign()
    for key, _ in overrides:
        if not key.startswith(CHANGEABLE):
            raise UserError(f"--set {key}: a resume can change {', '.join(CHANGEABLE)}; for more, start a new run")
    before = loads(parent.config_text(), str(parent.path / "config.yaml"))
    experiment = loads(parent.config_text(), str(parent.path / "config.yaml"), overrides)
    done = parent.view().step
    if experiment.total_steps <= done or experiment.config_hash == before.config_hash:
        stopped_early = done < before.total_steps
        way_on = "train.early_stopping=null" if stopped_early else f"train.epochs={before.total_epochs * 2:g}"
        raise UserError(
            f"run {parent.id} has trained {done / before.steps_per_epoch:g} epochs"
            f"{' and stopped early' if stopped_early else ''}; these settings leave nothing to train, "
            f"go on with --set {way_on}"
        )
    if not any((parent.path / "ckpt").glob("ck_*.pt")):
        config = parent.path / "config.yaml"
        raise UserError(f"run {parent.id} has no checkpoint to continue from; train anew with cifar-tui --run {config}")
    user = {**parent.user(), "name": name or experiment.name or parent.view().name, "archived": False}
    user.pop("schema", None)
    notes = parent.summary().get("notes", {})
    summary = {**experiment.headline(), "parent": parent.id, "continues": before.config_hash, "notes": notes}
    run = runs.create(root, experiment.to_yaml(), summary, user)
    _copy(parent, run)
    return run


def _copy(parent: RunFolder, run: RunFolder) -> None:
    files = [path for path in sorted((parent.path / "ckpt").iterdir()) if path.suffix in {".pt", ".json"}]
    for path in [*files, parent.path / "metrics.jsonl"]:
        with suppress(FileNotFoundError):
            data = atomic.read_regular(path, path.stat().st_size)
            atomic.write_bytes(run.path / path.relative_to(parent.path), data)
