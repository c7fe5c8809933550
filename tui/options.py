"""The options of the command line as data: what each does, an example of it, and which go together."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

EXPORT_FORMATS = ("csv", "json", "md")
CHECKPOINTS = ("best", "last")
GRADCAM_METHODS = ("gradcam", "gradcam++", "gradcam++-package")
PRUNE_ORDERS = ("path", "magnitude")
SCHEMA_KINDS = ("experiment", "architecture", "augmentation", "optimizer", "sweep")
PROFILES = ("parts", "trace")
QUEUE_ACTIONS = ("show", "start", "pause", "continue")
MAX_FPS = 30


@dataclass(frozen=True)
class Command:
    """An option that says what to do. ``handler`` is "module:function", imported only when this one is asked for."""

    flag: str
    handler: str
    help: str
    example: str
    modifiers: tuple[str, ...] = ()
    metavar: str | tuple[str, ...] | None = None
    nargs: int | Literal["?", "+"] | None = None
    const: str | None = None
    choices: tuple[str, ...] | None = None

    @property
    def dest(self) -> str:
        """Attribute of the parsed arguments that holds this option."""
        return destination(self.flag)


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


_DISPLAY = ("--json", "--fps", "--lite", "--ascii")
_TRAIN = ("--set", "--name", "--seed", "--device", "--data", "--profile", "--detach", *_DISPLAY)

TRAIN = (
    Command(
        "--run",
        "tui.commands.run:start",
        "train a preset: a YAML file, the name of a preset, or - for YAML on standard input",
        "cifar-tui --run quickstart",
        modifiers=_TRAIN,
        metavar="PRESET",
    ),
    Command(
        "--resume",
        "tui.commands.run:resume",
        "go on with a run from its newest checkpoint; with --set train.epochs=N a finished run goes on as a new one",
        "cifar-tui --resume last",
        modifiers=("--allow-inexact", *_TRAIN),
        metavar="RUN",
    ),
    Command(
        "--sweep",
        "tui.commands.sweep:sweep",
        "train the rows of a sweep that are not finished yet, and set the results beside the published figures",
        "cifar-tui --sweep seed_c_optimizers",
        modifiers=(
            "--row",
            "--seeds",
            "--epochs",
            "--jobs",
            "--set",
            "--seed",
            "--device",
            "--data",
            "--detach",
            "--output",
            "--json",
            "--lite",
            "--ascii",
        ),
        metavar="SWEEP",
    ),
    Command(
        "--watch",
        "tui.commands.run:watch",
        "show a run as it goes; Ctrl-C leaves it running",
        "cifar-tui --watch last",
        modifiers=_DISPLAY,
        metavar="RUN",
    ),
    Command(
        "--stop",
        "tui.commands.control:stop",
        "end a run after its current step, with a checkpoint",
        "cifar-tui --stop best_5m",
        metavar="RUN",
    ),
    Command(
        "--pause",
        "tui.commands.control:pause",
        "hold a run at its next step; it keeps its memory",
        "cifar-tui --pause last",
        metavar="RUN",
    ),
    Command(
        "--continue",
        "tui.commands.control:proceed",
        "let a paused run go on",
        "cifar-tui --continue last",
        metavar="RUN",
    ),
    Command(
        "--queue",
        "tui.commands.control:show_queue",
        "alone: show the queue, or start, pause or continue it; with --run: wait for a free device instead of starting",
        "cifar-tui --run best_5m --queue",
        modifiers=("--json",),
        metavar="ACTION",
        nargs="?",
        const="show",
        choices=QUEUE_ACTIONS,
    ),
)

LOOK = (
    Command(
        "--list",
        "tui.commands.listing:list_runs",
        "list the runs, all or those that a filter lets through (status:live,finished: either will do)",
        "cifar-tui --list 'resnet lr>=0.01 status:live,finished -note:debug'",
        modifiers=("--json", "--ascii", "--archived"),
        metavar="FILTER",
        nargs="?",
        const="",
    ),
    Command(
        "--show",
        "tui.commands.listing:show",
        "show one run: state, results beside the published figure, configuration, where its files are",
        "cifar-tui --show last",
        modifiers=("--json", "--ascii"),
        metavar="RUN",
    ),
    Command(
        "--compare",
        "tui.commands.compare:compare",
        "two runs side by side: results, and the settings that differ",
        "cifar-tui --compare best_5m last",
        modifiers=("--json", "--ascii"),
        metavar=("A", "B"),
        nargs=2,
    ),
    Command(
        "--export",
        "tui.commands.export:export",
        "write a run's metrics as CSV or JSON, or a report of it as Markdown",
        "cifar-tui --export last --format csv --output last.csv",
        modifiers=("--format", "--output"),
        metavar="RUN",
    ),
    Command(
        "--inspect",
        "tui.commands.inspect:inspect",
        "count a preset's parameters, MACs and activation memory, layer by layer, without training it",
        "cifar-tui --inspect best_5m",
        modifiers=("--json", "--set"),
        metavar="PRESET",
    ),
    Command(
        "--list-presets",
        "tui.commands.schema:list_presets",
        "list the presets with a line about each",
        "cifar-tui --list-presets",
        modifiers=("--json",),
        nargs=0,
    ),
    Command(
        "--schema",
        "tui.commands.schema:schema",
        "print the JSON Schema of an experiment, of one kind of ingredient or of a sweep, for editors",
        "cifar-tui --schema > experiment.schema.json",
        metavar="KIND",
        nargs="?",
        const="experiment",
        choices=SCHEMA_KINDS,
    ),
)

MANAGE = (
    Command(
        "--evaluate",
        "tui.commands.manage:evaluate",
        "test a run's checkpoints on the test set again",
        "cifar-tui --evaluate last",
        modifiers=("--json", "--device", "--data"),
        metavar="RUN",
    ),
    Command(
        "--delete",
        "tui.commands.manage:delete",
        "move a run to the trash; never a live one",
        "cifar-tui --delete 20260131-142233-9f3a1c",
        metavar="RUN",
    ),
    Command(
        "--undelete",
        "tui.commands.manage:undelete",
        "bring a run back from the trash",
        "cifar-tui --undelete 20260131-142233-9f3a1c",
        metavar="RUN",
    ),
)

ANALYSE = (
    Command(
        "--figure",
        "tui.commands.analyse:figure",
        "draw a run's course, or several runs against each other, as PNG or SVG",
        "cifar-tui --figure best_5m last --output compared.svg",
        modifiers=("--kind", "--checkpoint", "--output", "--json"),
        metavar="RUN",
        nargs="+",
    ),
    Command(
        "--gradcam",
        "tui.commands.analyse:gradcam",
        "show what a run's network looked at in test images: heat maps by Grad-CAM, written as PNG and JSON",
        "cifar-tui --gradcam last --images cat --count 4",
        modifiers=("--images", "--count", "--layer", "--explain", "--method", "--checkpoint", "--data", "--json"),
        metavar="RUN",
    ),
    Command(
        "--prune",
        "tui.commands.analyse:prune",
        "accuracy against sparsity: filters taken out by their order of entry or size; really smaller networks",
        "cifar-tui --prune last --ratios 0,20,40,60,80",
        modifiers=("--order", "--ratios", "--layers", "--finetune", "--beside", "--device", "--data", "--json"),
        metavar="RUN",
    ),
    Command(
        "--bn-study",
        "tui.commands.analyse:bn_study",
        "a VGG with and without BatchNorm: loss landscape, gradient change, smoothness; goes on where it stopped",
        "cifar-tui --bn-study vgg_a_adam --set train.epochs=2 --set study.every=20",
        modifiers=("--set", "--device", "--data", "--json"),
        metavar="PRESET",
    ),
)

COMMANDS = (*TRAIN, *LOOK, *ANALYSE, *MANAGE)

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
        type=Path,
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
        type=Path,
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
        type=Path,
    ),
)

# What may stand beside every command, and what the terminal app itself understands.
EVERYWHERE = ("--runs",)
APP_MODIFIERS = ("--data", "--fps", "--lite", "--ascii")
