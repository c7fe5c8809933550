"""What one fault came to: how often it was tried, how often all that was promised held, and what was measured."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """One line of the table. `failures` are sentences about what did not hold; `skipped` says why it was not tried."""

    fault: str
    tries: int = 0
    survived: int = 0
    detail: str = ""
    skipped: str = ""
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def note(self, failure: str) -> None:
        """Count one try, which held when there is no failure to tell of."""
        self.tries += 1
        if failure:
            self.failures.append(failure)
        else:
            self.survived += 1


@dataclass(frozen=True)
class Budget:
    """How much of everything: the counts of a night, or of a few minutes."""

    seeds: int
    kills: int
    cuts: int
    fuzz: int
    runs: int
    storms: int
    soak_s: float


Trial = Callable[["Budget", random.Random, Path], Iterable[Outcome]]


def timed(trial: Trial, budget: Budget, rng: random.Random, folder: Path) -> Iterator[Outcome]:
    """What one trial in a folder of its own comes to, as it comes; what it raises is an outcome too."""
    folder.mkdir(mode=0o700)
    began = time.monotonic()
    try:
        for outcome in trial(budget, rng, folder):
            outcome.seconds = outcome.seconds or round(time.monotonic() - began, 1)
            yield outcome
    except Exception as error:
        yield Outcome(trial.__name__, 1, 0, failures=[f"the trial itself: {type(error).__name__}: {error}"])
