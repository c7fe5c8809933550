"""What one asks of trained networks. Each answer is data, written with its pictures into the run folder.

Importing this package imports no torch: ``ask`` has the question answered by an engine process of its own.
"""

import json
import os
import subprocess
import sys
from typing import Any

from engine.errors import UserError

# The functions that answer, as "module:function"; each takes the question and returns plain values.
ANSWERS = {
    "figure": "engine.figures:answer",
    "gradcam": "engine.analysis.gradcam:answer",
    "prune": "engine.analysis.pruning:answer",
    "bn_study": "engine.analysis.bn_study:answer",
}
# These train; the others are too small to wake a GPU up for.
TRAINING = ("prune", "bn_study")

USER_ERROR, INTERRUPTED = 2, 130


def ask(question: dict[str, Any], *, quietly: bool = False) -> dict[str, Any]:
    """The answer to ``question``, whose ``ask`` names the analysis.

    Its progress goes to standard error, line by line, or nowhere where one asks ``quietly``.

    Raises UserError for a mistake in the question, RuntimeError when the process failed, KeyboardInterrupt when it was
    interrupted.
    """
    environment = dict(os.environ)
    if question["ask"] not in TRAINING:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-P", "-m", "engine.analysis"]
    errors = subprocess.DEVNULL if quietly else None
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
    ) as engine:
        try:
            out, _ = engine.communicate(json.dumps(question))
        except KeyboardInterrupt:
            engine.terminate()  # where Ctrl-C reached only us
            engine.communicate()  # until it has saved what it would otherwise lose
            raise
    if engine.returncode == USER_ERROR:
        raise UserError(json.loads(out)["error"])
    if engine.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if engine.returncode:
        raise RuntimeError(f"the analysis ended with exit code {engine.returncode}")
    answer: dict[str, Any] = json.loads(out)
    return answer
