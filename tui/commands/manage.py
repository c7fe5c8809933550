"""``--evaluate``, ``--delete`` and ``--undelete``: what is done to runs that are over."""

import os
import subprocess
import sys
from argparse import Namespace

from engine import runs, trash
from engine.errors import UserError
from tui.commands.folder import find_run, runs_folder
from tui.commands.source import use_data_folder
from tui.headless.json_events import view_to_json
from tui.headless.plain import result_lines
from tui.strict_json import to_line


def evaluate(args: Namespace) -> int:
    """``--evaluate RUN``: test its best and last checkpoint again, in a process of the engine's."""
    use_data_folder(args)
    run = find_run(args, args.evaluate)
    if run.view().live:
        raise UserError(f"run {run.id} is in progress; its checkpoints are tested when it ends")
    where = [] if args.device is None else [args.device]
    command = [sys.executable, "-P", "-m", "engine", "--evaluate", str(run.path), *where]
    engine = subprocess.run(command, stdout=sys.stderr, check=False, env=os.environ.copy())
    if engine.returncode:
        return engine.returncode if engine.returncode > 0 else 1
    view = run.view()
    if args.json:
        print(to_line(view_to_json(view)))
    else:
        print(*result_lines(view), sep="\n")
    return 0


def delete(args: Namespace) -> int:
    """``--delete RUN``: to the trash."""
    run = find_run(args, args.delete)
    view = run.view()
    runs.delete(run)
    name = f" ({view.name})" if view.name else ""
    print(f"run {run.id}{name} is in the trash; cifar-tui --undelete {run.id} brings it back")
    return 0


def undelete(args: Namespace) -> int:
    """``--undelete RUN``: back from the trash."""
    root = runs_folder(args)
    print(runs.undelete(root, trash.find(root, args.undelete)).id)
    return 0
