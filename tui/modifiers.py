"""The options of the command line that say how, as data: what each does, an example of it, what it takes."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EXPORT_FORMATS = ("csv", "json", "md")
CHECKPOINTS = ("best", "last")
GRADCAM_METHODS = ("gradcam", "gradcam++", "gradcam++-package")
PRUNE_ORDERS = ("path", "magnitude")
PROFILES = ("parts", "trace")
MAX_FPS = 30


@dataclass(frozen=True)
class Modifier:
    """An option that says how. Without ``metavar`` and ``choices`` it is a switch."""

    flag: str
    help: str
    example: str
    metavar: str | None = None
    repeat: bool = False
    type: Callable[[str], object] = str
    choices: tuple[str, ...] | None = None
    const: str | None = None

    @property
    def dest(self) -> str:
        """Attribute of the parsed arguments that holds this option."""
        return destination(self.flag)


def destination(flag: str) -> str:
    """``--allow-inexact`` as ``allow_inexact``; ``--continue``, a keyword of Python's, as ``continue_``."""
    name = flag.removeprefix("--").replace("-", "_")
    return f"{name}_" if name == "continue" else name


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text)):
        raise ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def _epochs(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if 0 < value <= 100_000:
            return value
    raise ArgumentTypeError(f"expected a number above 0, found {text!r}")


def _fps(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if 0 < value <= MAX_FPS:
            return value
    raise ArgumentTypeError(f"expected a number above 0 and at most {MAX_FPS}, found {text!r}")


def _path(text: str) -> Path:
    with suppress(RuntimeError):
        return Path(text).expanduser()
    raise ArgumentTypeError(f"there is no home folder for {text.partition('/')[0]!r}")


MODIFIERS = (
    Modifier(
        "--profile",
        "say at the end where the time went; with trace, also write some steps for a trace viewer",
        "cifar-tui --run quickstart --profile",
        metavar="KIND",
        choices=PROFILES,
        const="parts",
    ),
    Modifier(
        "--set",
        "override one setting of the preset; may be repeated",
        "cifar-tui --run best_5m --set optimizer.lr=0.01 --set train.epochs=30",
        metavar="KEY=VALUE",
        repeat=True,
    ),
    Modifier(
        "--row",
        "only this row of a sweep, by number or part of its name; may be repeated",
        "cifar-tui --sweep seed_a_general --row DLA",
        metavar="ROW",
        repeat=True,
    ),
    Modifier(
        "--seeds",
        "train every row of a sweep with so many seeds, counting up from its own",
        "cifar-tui --sweep seed_c_optimizers --seeds 3",
        metavar="N",
        type=_count,
    ),
    Modifier(
        "--epochs",
        "length of every row of a sweep, to try it",
        "cifar-tui --sweep seed_c_optimizers --epochs 1",
        metavar="N",
        type=_epochs,
    ),
    Modifier(
        "--jobs",
        "runs at a time on each device while a sweep is followed; with --detach until it is changed",
        "cifar-tui --sweep seed_c_optimizers --jobs 2",
        metavar="N",
        type=_count,
    ),
    Modifier("--name", "name of the run", "cifar-tui --run quickstart --name first", metavar="TEXT"),
    Modifier(
        "--seed",
        "seed of weights, order and augmentation",
        "cifar-tui --run best_5m --seed 7",
        metavar="N",
        type=_natural,
    ),
    Modifier(
        "--device",
        "auto, cpu, mps, cuda or cuda:N",
        "cifar-tui --run best_5m --device cuda:1",
        metavar="DEVICE",
    ),
    Modifier(
        "--data",
        "folder that holds the data sets, in place of CIFAR_TUI_DATA",
        "cifar-tui --run best_5m --data ~/datasets",
        metavar="DIR",
        type=_path,
    ),
    Modifier("--detach", "return at once with the run's id", "cifar-tui --run best_5m --detach"),
    Modifier(
        "--allow-inexact",
        "resume even where the result can no longer be bit for bit that of an unbroken run",
        "cifar-tui --resume last --allow-inexact",
    ),
    Modifier("--archived", "list archived runs too", "cifar-tui --list --archived"),
    Modifier(
        "--format",
        "csv, json or md; without it the ending of --output decides, else csv",
        "cifar-tui --export last --format md",
        metavar="FORMAT",
        choices=EXPORT_FORMATS,
    ),
    Modifier(
        "--output",
        "file to write, in place of standard output; with --sweep also a folder, in place of sweeps/ beside the runs",
        "cifar-tui --export last --output report.md",
        metavar="FILE",
        type=_path,
    ),
    Modifier(
        "--kind",
        "process, comparison, confusion, reliability, or the name of a recorded series",
        "cifar-tui --figure last --kind confusion",
        metavar="KIND",
    ),
    Modifier(
        "--checkpoint",
        "best or last; without it best where there is one",
        "cifar-tui --gradcam last --checkpoint last",
        metavar="WHICH",
        choices=CHECKPOINTS,
    ),
    Modifier(
        "--images",
        "test images: numbers such as 3,16, the name of a class, or worst for the most confident mistakes",
        "cifar-tui --gradcam last --images 3,16",
        metavar="WHICH",
    ),
    Modifier("--count", "how many of them", "cifar-tui --gradcam last --images worst --count 4", "N", type=_natural),
    Modifier(
        "--layer",
        "the layer whose maps are weighed, by its name; without it the last before pooling",
        "cifar-tui --gradcam last --layer stage2",
        metavar="NAME",
    ),
    Modifier(
        "--explain",
        "the class that is explained: its name, or label for the true one; without it the predicted one",
        "cifar-tui --gradcam last --explain label",
        metavar="CLASS",
    ),
    Modifier(
        "--method",
        "gradcam, gradcam++, or gradcam++-package, whose denominator is not the paper's",
        "cifar-tui --gradcam last --method gradcam++",
        metavar="METHOD",
        choices=GRADCAM_METHODS,
    ),
    Modifier(
        "--order",
        "path takes out first what entered last (DessiLBI), magnitude what is smallest; path where there is one",
        "cifar-tui --prune last --order magnitude",
        metavar="ORDER",
        choices=PRUNE_ORDERS,
    ),
    Modifier(
        "--ratios", "parts of each layer to take out, in percent", "cifar-tui --prune last --ratios 0,50,80", "LIST"
    ),
    Modifier(
        "--layers",
        "a pattern in the names of the weights that are pruned; without it all convolutions",
        "cifar-tui --prune last --layers conv3",
        metavar="PATTERN",
    ),
    Modifier(
        "--finetune",
        "epochs of SGD after pruning, in which what is out stays out",
        "cifar-tui --prune last --finetune 2",
        metavar="EPOCHS",
        type=_natural,
    ),
    Modifier(
        "--beside",
        "another run of the same network, whose filters are drawn beside",
        "cifar-tui --prune last --beside lenet_sgd",
        metavar="RUN",
    ),
    Modifier("--json", "JSON for programs; while training one object a line", "cifar-tui --run quickstart --json"),
    Modifier(
        "--fps",
        f"most screen updates a second, up to {MAX_FPS}",
        "cifar-tui --fps 1",
        metavar="N",
        type=_fps,
    ),
    Modifier("--lite", "send less: for slow lines", "cifar-tui --lite"),
    Modifier("--ascii", "only ASCII characters", "cifar-tui --ascii"),
    Modifier(
        "--runs",
        "folder of the runs, in place of CIFAR_TUI_RUNS or ./runs",
        "cifar-tui --list --runs ~/cifar/runs",
        metavar="DIR",
        type=_path,
    ),
)
