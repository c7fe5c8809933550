"""``python -P -m engine``: one process of the engine, of whichever kind is asked for. People use ``cifar-tui``.

RUN [--resume] [--allow-inexact]   train a run folder
--supervise RUN [ARGUMENT …]       start and watch the engine of a run
--queue RUNS                       start what waits in the queue
--serve                            answer questions on standard input
--inspect                          count the network of the experiment on standard input
--evaluate RUN [DEVICE]            test a run's best and last weights again
"""

import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Dispatch to the kind of process asked for; only what that kind needs is imported."""
    match arguments:
        case ["--supervise", run, *rest]:
            from engine import supervisor

            return supervisor.main(run, rest)
        case ["--queue", root, *_]:
            from engine import queue

            return queue.main(root)
        case ["--serve"]:
            from engine import serve

            return serve.main(sys.stdin, sys.stdout)
        case ["--inspect"]:
            from engine import inspection

            return inspection.main(sys.stdin, sys.stdout)
        case ["--evaluate", run, *where] if len(where) < 2:
            from engine import worker

            return worker.evaluate_again(Path(run), *where)
        case [run, *flags] if not run.startswith("-") and set(flags) <= {"--resume", "--allow-inexact"}:
            return _train(Path(run), resume="--resume" in flags, allow_inexact="--allow-inexact" in flags)
    print(f"usage: python -P -m engine\n{__doc__.partition(chr(10) * 2)[2]}", file=sys.stderr)
    return 2


def _train(run: Path, *, resume: bool, allow_inexact: bool) -> int:
    """Hold the run before torch is imported: in those seconds a second engine could slip in."""
    from engine.process import Lock
    from engine.supervisor import ENGINE_BYTE

    if not (run / "config.yaml").is_file():
        print(f"{run} is no run folder: it holds no config.yaml", file=sys.stderr)
        return 2
    lock = Lock(run / "lock")
    if not lock.acquire(ENGINE_BYTE):
        print(f"run {run.name} is held by another engine; stop that one first", file=sys.stderr)
        return 2
    from engine import output, worker

    output.install()
    return worker.main(run, resume=resume, allow_inexact=allow_inexact)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Interpreter teardown with torch loaded costs up to a second and nothing is left to do.
    os._exit(code)
