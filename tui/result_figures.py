"""What the Results screen shows of a run's test: read from results/test/result.json, computed without a terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.text import clean

RESULT_BYTES = 16 << 20
MOST_CLASSES = 1000
PER = 1000  # cells of the matrix count so many images of a class


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image that was taken for another class; probabilities from 0 to 1."""

    index: int
    label: int
    answer: int
    confidence: float
    of_label: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about equal confidence: how many, how sure on average, how often right (both 0 to 1)."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Account:
    """The test of one checkpoint. `confusion[i][j]`: images of class i answered as j; accuracies in percent."""

    which: str
    epoch: float
    accuracy: float
    loss: float
    per_class: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    bins: tuple[Bin, ...]
    ece: float | None
    worst: tuple[Mistake, ...]

    @property
    def images(self) -> int:
        return sum(map(sum, self.confusion))

    @property
    def mistakes(self) -> int:
        return self.images - sum(row[place] for place, row in enumerate(self.confusion))

    def per_thousand(self, row: int, column: int) -> float:
        """A cell of the matrix as images of a thousand of its class."""
        total = sum(self.confusion[row])
        return PER * self.confusion[row][column] / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Results:
    """All that was tested: one account a checkpoint, `best` before `last`."""

    classes: tuple[str, ...]
    accounts: tuple[Account, ...]
    published: float | None = None
    published_for: str = "best"  # the checkpoint that the published accuracy is compared with

    def beyond_published(self, account: Account) -> float | None:
        """The accuracy of an account minus the published one, in points; None where that was another checkpoint's."""
        alone = len(self.accounts) == 1 and self.published_for == "best"
        if self.published is None or not (alone or account.which == self.published_for):
            return None
        return account.accuracy - self.published

    def first(self) -> int:
        """The account to begin with: of the checkpoint that is compared, the best one where that is not told."""
        found = [place for place, account in enumerate(self.accounts) if account.which == self.published_for]
        return found[0] if found else 0


def read(value: Mapping[str, Any] | None) -> Results | None:
    """The results in a parsed result.json; None when there is nothing in it that can be shown."""
    if value is None:
        return None
    named = value.get("classes")
    checkpoints = value.get("checkpoints")
    if not isinstance(named, list) or not isinstance(checkpoints, Mapping) or not 0 < len(named) <= MOST_CLASSES:
        return None
    classes = tuple(clean(str(name)) for name in named)
    found = (_account(which, checkpoints.get(which), len(classes)) for which in ("best", "last"))
    accounts = tuple(account for account in found if account is not None)
    published = value.get("published")
    known: Mapping[str, Any] = published if isinstance(published, Mapping) else {}
    compared = "last" if known.get("checkpoint") == "last" else "best"
    return Results(classes, accounts, _number(known.get("test_accuracy")), compared) if accounts else None


def _account(which: str, value: Any, classes: int) -> Account | None:
    if not isinstance(value, Mapping):
        return None
    try:
        confusion = tuple(tuple(int(count) for count in row) for row in value["confusion"])
        account = Account(
            which=which,
            epoch=float(value["epoch"]),
            accuracy=float(value["accuracy"]),
            loss=float(value["loss"]) if value.get("loss") is not None else math.nan,
            per_class=tuple(float(share) for share in value["per_class"]),
            confusion=confusion,
            bins=tuple(_bin(entry) for entry in value.get("calibration") or ()),
            ece=_number(value.get("ece")),
            worst=tuple(_mistake(entry, classes) for entry in value.get("worst") or ()),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    square = len(confusion) == classes and all(len(row) == classes for row in confusion)
    return account if square and len(account.per_class) == classes else None


def _bin(entry: Mapping[str, Any]) -> Bin:
    return Bin(int(entry["count"]), float(entry["confidence"]), float(entry["accuracy"]))


def _mistake(entry: Mapping[str, Any], classes: int) -> Mistake:
    label, answer = int(entry["label"]), int(entry["answer"])
    if not (0 <= label < classes and 0 <= answer < classes):
        raise ValueError("a mistake names a class that there is not")
    return Mistake(int(entry["index"]), label, answer, float(entry["confidence"]), float(entry["probability_of_label"]))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def bars_start(per_class: Sequence[float]) -> float:
    """Where the bars of the classes begin: the round ten below the worst class."""
    return float(min(90, max(0, math.floor(min(per_class, default=0.0) / 10) * 10)))


def in_order(account: Account, rows: int) -> list[int]:
    """The classes as the bars show them: in their own order where all fit, else from the worst."""
    classes = list(range(len(account.per_class)))
    if len(classes) <= rows:
        return classes
    return sorted(classes, key=lambda index: account.per_class[index])[:rows]


def strongest_miss(account: Account) -> float:
    """The greatest cell off the diagonal, per thousand."""
    size = range(len(account.confusion))
    return max((account.per_thousand(i, j) for i in size for j in size if i != j), default=0.0)


def hit_strength(account: Account, row: int) -> float:
    """How strongly a class's hits are tinted, 0 to 1: nought for the round ten below the worst class."""
    start = bars_start(account.per_class)
    return min(max((account.per_thousand(row, row) / 10 - start) / (100 - start), 0.0), 1.0)


def mistakes_of(account: Account, cell: tuple[int, int] | None) -> list[Mistake]:
    """The most confident mistakes: all of them, or those of one cell of the matrix."""
    if cell is None:
        return list(account.worst)
    return [mistake for mistake in account.worst if (mistake.label, mistake.answer) == cell]


def worst_confusion(account: Account) -> tuple[int, int]:
    """The cell off the diagonal with most images of its class: where the cursor begins."""
    size = range(len(account.confusion))
    cells = [(account.per_thousand(i, j), -i, -j) for i in size for j in size if i != j]
    _, row, column = max(cells, default=(0.0, 0, 0))
    return -row, -column
