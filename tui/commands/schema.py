"""``--schema`` and ``--list-presets``: what can be written in a preset, and which there are."""

import json
from argparse import Namespace
from dataclasses import asdict
from typing import get_args

from engine import preset_schema, presets
from engine.text import clean
from tui.strict_json import to_line
from tui.table import Column, render


def schema(args: Namespace) -> int:
    """``--schema``"""
    print(json.dumps(preset_schema.schema(args.schema), indent=2))
    return 0


def list_presets(args: Namespace) -> int:
    """``--list-presets``"""
    found = [preset for kind in get_args(presets.Kind) for preset in presets.catalogue(kind)]
    if args.json:
        print(to_line([{**asdict(preset), "path": str(preset.path)} for preset in found]))
        return 0
    columns = (Column("kind"), Column("name"), Column("about"))
    print(*render(columns, [(preset.kind, clean(preset.name), clean(preset.about)) for preset in found]), sep="\n")
    return 0
