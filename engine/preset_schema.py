"""JSON Schema of preset files, for editors: of whole experiments, of each kind of ingredient and of sweeps.

``python -m engine.preset_schema presets`` writes them beside the presets, whose first line points at them.
"""

import json
import sys
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from engine import presets
from engine.experiment import Experiment
from engine.sweep import SweepOptions

DRAFT = "https://json-schema.org/draft/2020-12/schema"
KINDS: tuple[presets.Kind, ...] = get_args(presets.Kind)


def schema(kind: presets.Kind = "experiment") -> dict[str, Any]:
    """JSON Schema of a preset file of this kind."""
    described = {"experiment": _experiment, "sweep": _sweep}.get(kind, lambda: _ingredient(kind))()
    return {"$schema": DRAFT, **described, "title": f"cifar-tui {kind}"}


def _experiment() -> dict[str, Any]:
    """The experiment, with each ingredient also as a name or as ``{use: NAME, …}``."""
    described = Experiment.model_json_schema()
    for kind in presets.INGREDIENTS:
        described["properties"][kind] = _with_short_forms(kind, described["properties"][kind])
    return described


def _sweep() -> dict[str, Any]:
    """The sweep, whose base is an experiment's name or one in full."""
    described, experiment = SweepOptions.model_json_schema(), _experiment()
    definitions = {**experiment.pop("$defs"), **described.get("$defs", {})}
    name = {"type": "string", "anyOf": [{"enum": presets.names("experiment")}, {}]}
    described["properties"]["base"] = {"description": experiment.get("description", ""), "anyOf": [name, experiment]}
    return {**described, "$defs": definitions}


def _with_short_forms(kind: presets.Kind, full: dict[str, Any]) -> dict[str, Any]:
    name = {"type": "string", "anyOf": [{"enum": presets.names(kind)}, {}]}
    use = {"type": "object", "required": ["use"], "properties": {"use": name}}
    return {"description": full.get("description", ""), "anyOf": [name, use, full]}


def _ingredient(kind: presets.Kind) -> dict[str, Any]:
    """The options of every family, each with the line that lists show beside the preset's name."""
    described = TypeAdapter(Experiment.model_fields[kind].rebuild_annotation()).json_schema()
    about = {"type": "string", "description": "One line that lists show beside the name."}
    for owner in (described, *described.get("$defs", {}).values()):
        if "name" in owner.get("properties", {}):
            owner["properties"]["about"] = about
    return described


def main(folder: str) -> int:
    """Write all schemas into ``folder``/schema."""
    target = Path(folder) / "schema"
    target.mkdir(exist_ok=True)
    for kind in KINDS:
        (target / f"{kind}.json").write_text(json.dumps(schema(kind), separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
