"""The experiment that a command line names: a preset with its overrides, and the folder of its data."""

import os
import sys
from argparse import Namespace

from engine import experiment as experiments
from engine.composition import Override
from engine.errors import UserError
from engine.experiment import Experiment

STDIN_BYTES = 64 << 10
STDIN_NAME = "stdin"


def use_data_folder(args: Namespace) -> None:
    """``--data DIR``, for us and for the engine, which inherits the environment."""
    if args.data is not None:
        folder = args.data.absolute()
        if not os.path.isdir(folder):
            raise UserError(f"--data: there is no folder {folder}")
        os.environ["CIFAR_TUI_DATA"] = str(folder)


def overrides(args: Namespace) -> list[Override]:
    """``--set`` and the options that stand for a setting, as overrides; the last of equal keys wins."""
    found = set_overrides(args)
    given = (
        ("name", args.name),
        ("train.seed", args.seed),
        ("train.device", args.device),
        ("train.profile", args.profile),
    )
    for key, value in given:
        if value is not None:
            found.append((key, _quoted(value) if key == "name" else str(value)))
    return found


def set_overrides(args: Namespace) -> list[Override]:
    """``--set KEY=VALUE`` as often as it was given."""
    return [_split(text) for text in args.set or []]


def _split(text: str) -> Override:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: expected KEY=VALUE, as in --set optimizer.lr=0.01")
    return key.strip(), value


def _quoted(text: str) -> str:
    """A text as YAML reads it back, whatever is in it: `--name 3` is a name, not a number."""
    return "'" + text.replace("'", "''") + "'"


def read_experiment(source: str, changes: list[Override]) -> Experiment:
    """The preset at a path, by name, or (``-``) on standard input."""
    if source != "-":
        return experiments.load(source, changes)
    text = sys.stdin.buffer.read(STDIN_BYTES + 1)
    if len(text) > STDIN_BYTES:
        raise UserError(f"standard input: more than {STDIN_BYTES >> 10} KiB; a preset is smaller")
    experiment = experiments.loads(text, "standard input", changes)
    return experiment if experiment.name else experiment.model_copy(update={"name": STDIN_NAME})
