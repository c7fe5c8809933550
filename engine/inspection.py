"""The counts of an experiment's network: from the cache without torch, else counted by a process of the engine's."""

import json
import os
import subprocess
import sys
from typing import TextIO

from engine import counts_cache
from engine.counts_cache import Counts
from engine.errors import UserError
from engine.experiment import Experiment, loads


def inspect(experiment: Experiment) -> Counts:
    """Count without loading torch here. Raises UserError when the network cannot be built for these images."""
    known = cached(experiment)
    if known is not None:
        return known
    # Counting needs no GPU, and waking one up takes seconds.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-P", "-m", "engine", "--inspect"]
    asked = experiment.to_yaml()
    engine = subprocess.run(command, input=asked, capture_output=True, text=True, env=environment, check=False)
    if engine.returncode:
        raise UserError(engine.stderr.strip() or "the network could not be counted")
    return Counts.from_json(json.loads(engine.stdout))


def cached(experiment: Experiment) -> Counts | None:
    """The counts where the same network was counted before with these versions."""
    data, train = experiment.data, experiment.train
    return counts_cache.lookup(
        experiment.architecture, data.channels, data.size, data.classes, train.batch_size, train.precision
    )


def main(source: TextIO, out: TextIO) -> int:
    """Count the experiment whose YAML is in ``source`` and write the counts as JSON; this loads torch."""
    from engine.counting import counted

    try:
        experiment = loads(source.read(), "experiment")
        data, train = experiment.data, experiment.train
        counts = counted(
            experiment.architecture, data.channels, data.size, data.classes, train.batch_size, train.precision
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    json.dump(counts.to_json(), out)
    return 0
