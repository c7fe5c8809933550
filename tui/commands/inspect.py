"""``--inspect PRESET``: parameters, MACs and activation memory, layer by layer."""

from argparse import Namespace

from engine import inspection
from engine.counts_cache import Counts
from engine.experiment import Experiment
from engine.text import clean
from tui import format, glyphs
from tui.commands.source import read_experiment, set_overrides
from tui.strict_json import to_line
from tui.table import Column, render

COLUMNS = (
    Column("layer"),
    Column("kind"),
    Column("detail", limit=60),
    Column("output"),
    Column("parameters", right=True),
    Column("MACs", right=True),
)


def inspect(args: Namespace) -> int:
    """``--inspect PRESET [--set KEY=VALUE] [--json]``"""
    experiment = read_experiment(args.inspect, set_overrides(args))
    counts = inspection.inspect(experiment)
    if args.json:
        print(to_line({"name": experiment.name, "architecture": experiment.architecture.name, **counts.to_json()}))
        return 0
    print(*_facts(experiment, counts), "", *_layers(counts), sep="\n")
    return 0


def _facts(experiment: Experiment, counts: Counts) -> list[str]:
    image = f"{counts.channels}x{counts.size}x{counts.size}"
    network = experiment.architecture.name or experiment.architecture.family
    precision = "fp32" if counts.precision == "auto" else counts.precision
    facts = [
        ("preset", experiment.name),
        ("network", f"{network}, images {image}, {counts.classes} classes"),
        ("parameters", f"{format.thousands(counts.parameters)}, {format.thousands(counts.trainable)} trainable"),
        ("MACs", f"{format.thousands(counts.macs)} an image: convolutions and linear layers, without biases"),
        ("FLOPs", f"{format.thousands(counts.flops)} an image = 2 MACs"),
        ("activations", f"{format.memory(counts.activation_bytes)} kept at batch {counts.batch} in {precision}"),
        *_published(experiment, counts),
    ]
    return [f"{label:12}{clean(value)}" for label, value in facts]


def _published(experiment: Experiment, counts: Counts) -> list[tuple[str, str]]:
    published = experiment.published.parameters if experiment.published else None
    if published is None:
        return []
    beyond = counts.parameters - published
    said = f"{'+' if beyond > 0 else ''}{format.thousands(beyond)}" if beyond else "the same"
    return [("published", f"{format.thousands(published)} parameters: {said}")]


def _layers(counts: Counts) -> list[str]:
    rows = [
        (
            layer.name,
            layer.kind,
            layer.detail,
            glyphs.active().times.join(str(side) for side in layer.shape),
            format.thousands(layer.parameters),
            format.thousands(layer.macs) if layer.macs else "",
        )
        for layer in counts.layers
    ]
    total = ("total", "", "", "", format.thousands(counts.parameters), format.thousands(counts.macs))
    return render(COLUMNS, [*rows, total])
