"""The options of the command line that say what to do, as data: each with an example, and what may stand beside it."""

from dataclasses import dataclass
from typing import Literal

from tui.modifiers import destination

SCHEMA_KINDS = ("experiment", "architecture", "augmentation", "optimizer", "sweep")
QUEUE_ACTIONS = ("show", "start", "pause", "continue")


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
        "bring a run back from the trash; last is the one deleted last",
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

# What may stand beside every command, and what the terminal app itself understands.
EVERYWHERE = ("--runs",)
APP_MODIFIERS = ("--data", "--fps", "--lite", "--ascii")
