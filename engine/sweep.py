"""A sweep: one base experiment and a table of named variations, each with the figures published for it.

Its file has a ``base`` (a preset's name, or an experiment in full) and either ``rows``, a list of variations, or a
``grid``, every combination of some values. A variation changes the base key by key, as ``--set`` does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from math import prod
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from engine import inspection, presets, strict_yaml
from engine.composition import Change, KeyPath, Override, Tree, completed, read_tree
from engine.counts_cache import Counts
from engine.errors import UserError
from engine.experiment import Experiment, from_tree
from engine.options.base import Options, option
from engine.options.training import Published
from engine.runs import RunView
from engine.tested import compared
from engine.validation import sentences

MAX_MEMBERS = 10_000


class RowOptions(Options):
    """One variation of the base."""

    name: str = option(..., "Name of the row and of its runs.", min_length=1, max_length=100)
    set: dict[str, Any] = option({}, "What the row changes: values by dotted key, as --set takes them.")
    notes: str = option("", "Remarks on this row, added to those of the sweep.", max_length=4000)
    published: Published | None = option(None, "The figures published for this row.")


class SweepOptions(Options):
    """A sweep as its file holds it."""

    about: str = option("", "One line about the sweep, shown in lists.", max_length=200)
    notes: str = option("", "Remarks on all rows.", max_length=4000)
    base: str | dict[str, Any] = option(..., "What the rows vary: a preset's name, or an experiment in full.")
    published: Published | None = option(None, "What the published figures of all rows have in common.")
    rows: Annotated[tuple[RowOptions, ...], Field(strict=False)] = option((), "The variations, one by one.")
    grid: dict[str, list[Any]] = option({}, "Values by dotted key; every combination is a row.")

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if bool(self.rows) == bool(self.grid):
            raise ValueError("a sweep has either rows or a grid")
        names = [row.name for row in self.rows]
        twice = [name for index, name in enumerate(names) if name in names[:index]]
        if twice:
            raise ValueError(f'two rows are called "{twice[0]}"')
        empty = [key for key, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"grid.{empty[0]} has no values")
        points = prod(map(len, self.grid.values()))
        if points > MAX_MEMBERS:
            raise ValueError(f"the grid has {points:,} combinations; {MAX_MEMBERS:,} are the most")
        return self


@dataclass(frozen=True)
class Row:
    """One line of the table: a whole experiment, with what was published about it in ``experiment.published``."""

    name: str
    experiment: Experiment
    notes: str = ""

    @property
    def published(self) -> Published:
        """The published figures; all unknown where nothing was published."""
        return self.experiment.published or Published()


@dataclass(frozen=True)
class Sweep:
    """A sweep ready to run. ``changes`` are the overrides that make it another one than its file describes."""

    name: str
    path: Path
    about: str
    notes: str
    rows: tuple[Row, ...]
    changes: tuple[Override, ...] = ()


@dataclass(frozen=True)
class Member:
    """One run of a sweep: a row (its position from 0) with one seed."""

    row: int
    name: str
    experiment: Experiment

    @property
    def seed(self) -> int:
        return self.experiment.train.seed


def load(source: str, overrides: Sequence[Override] = ()) -> Sweep:
    """Read a sweep by path or name and validate every row, with ``overrides`` made after the row's own changes.

    Raises UserError that lists every problem of the file, one a line.
    """
    path = presets.locate("sweep", source)
    file = read_tree(presets.read(path), str(path))
    try:
        options = SweepOptions.model_validate(file.value)
    except ValidationError as error:
        raise UserError("\n".join(sentences(error, file, SweepOptions))) from None
    rows, problems = _rows(options, file, overrides)
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return Sweep(path.stem, path.absolute(), options.about, options.notes.strip(), tuple(rows), tuple(overrides))


def members(sweep: Sweep, seeds: int = 1) -> list[Member]:
    """Every run of the sweep: all rows with their own seed, then all with the next one, and so on.

    Raises UserError where that would be absurdly many.
    """
    if len(sweep.rows) * seeds > MAX_MEMBERS:
        raise UserError(f"{len(sweep.rows)} rows with {seeds} seeds are more than {MAX_MEMBERS} runs")
    return [
        Member(index, row.name, _with_seed(row.experiment, row.experiment.train.seed + offset))
        for offset in range(seeds)
        for index, row in enumerate(sweep.rows)
    ]


def match(wanted: Sequence[Member], runs: Iterable[RunView]) -> list[RunView | None]:
    """For each member the run that did or does the same, by configuration hash; None where there is none.

    A finished run comes before a live one, that before any other; of equals the newest. ``runs`` are newest first.
    """
    found: dict[str, RunView] = {}
    for run in runs:
        known = found.get(run.config_hash)
        if run.config_hash and (known is None or _merit(run) > _merit(known)):
            found[run.config_hash] = run
    return [found.get(member.experiment.config_hash) for member in wanted]


@dataclass(frozen=True)
class Figure:
    """A measured figure over the finished runs of a row: mean, sample standard deviation (from two on), how many."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Result:
    """One line of the result table. Accuracies in percent, time in seconds; None for what is not known."""

    row: int
    name: str
    published: Published
    notes: str
    runs: tuple[RunView | None, ...]
    test: Figure | None
    validation: Figure | None
    train: Figure | None
    epochs: Figure | None
    time_s: Figure | None
    parameters: int | None
    macs: int | None

    @property
    def difference(self) -> float | None:
        """Our mean test accuracy minus the published one, in points."""
        if self.test is None or self.published.test_accuracy is None:
            return None
        return self.test.mean - self.published.test_accuracy

    @property
    def finished(self) -> int:
        """How many of its runs are finished."""
        return sum(run is not None and run.state == "finished" for run in self.runs)


def gather(sweep: Sweep, runs: Iterable[RunView]) -> tuple[list[Member], list[RunView | None]]:
    """The members that ``runs`` hold, whatever their seeds, each with its run; a row without any is there with None."""
    seeds: dict[str, set[int]] = {}
    listed = list(runs)
    for run in listed:
        if run.seed is not None:
            seeds.setdefault(run.group_hash, set()).add(run.seed)
    wanted = [
        Member(index, row.name, _with_seed(row.experiment, seed))
        for index, row in enumerate(sweep.rows)
        for seed in sorted(seeds.get(row.experiment.group_hash, {row.experiment.train.seed}))
    ]
    return wanted, match(wanted, listed)


def counts(sweep: Sweep) -> list[Counts | None]:
    """For each row the counts of its network where it was counted before; this reads files."""
    return [inspection.cached(row.experiment) for row in sweep.rows]


def results(
    sweep: Sweep,
    wanted: Sequence[Member],
    found: Sequence[RunView | None],
    known: Sequence[Counts | None] = (),
) -> list[Result]:
    """The table: for each row what its finished runs came to, beside the published figures.

    ``known`` are counts for rows that have no finished run yet, as ``counts`` gives them.
    """
    pairs = list(zip(wanted, found, strict=True))
    return [
        _result(index, row, [run for member, run in pairs if member.row == index], counted)
        for (index, row), counted in zip_longest(enumerate(sweep.rows), known)
    ]


def _result(index: int, row: Row, runs: Sequence[RunView | None], counts: Counts | None) -> Result:
    finished = [run for run in runs if run is not None and run.state == "finished"]
    published = row.published
    return Result(
        row=index,
        name=row.name,
        published=published,
        notes=" ".join(part for part in (published.note, row.notes) if part),
        runs=tuple(runs),
        test=_figure([compared(run, published.checkpoint) for run in finished]),
        validation=_figure([run.best for run in finished if run.best_metric == "val_accuracy"]),
        train=_figure([run.last.get("train_accuracy") for run in finished]),
        epochs=_figure([run.epoch for run in finished]),
        time_s=_figure([run.active_s or None for run in finished]),
        parameters=next((run.parameters for run in finished), counts.parameters if counts else None),
        macs=next((run.macs for run in finished), counts.macs if counts else None),
    )


def _figure(values: Iterable[float | None]) -> Figure | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Figure(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def _merit(run: RunView) -> int:
    return 2 if run.state == "finished" else 1 if run.live or run.state == "unknown" else 0


def _rows(options: SweepOptions, file: Tree, overrides: Sequence[Override]) -> tuple[list[Row], list[str]]:
    base = _base(options, file)
    asked = [Change(key, strict_yaml.parse(text, f"--set {key}").value, f"--set {key}") for key, text in overrides]
    rows, problems = [], []
    for index, (name, changes, notes, published) in enumerate(_variations(options, file)):
        place = file.origin(("rows", index) if options.rows else ("grid",))
        remarks = "\n".join(part for part in (options.notes.strip(), notes.strip()) if part)
        labels = [Change("name", name, place), Change("published", published, place)]
        if remarks:
            labels.append(Change("notes", remarks, place))
        # What contradicts itself only in this row is a mistake of the row, not of the base.
        written = Tree(base.value, {**base.origins, (): place})
        try:
            rows.append(Row(name, from_tree(completed(written, [*changes, *labels, *asked])), notes.strip()))
        except UserError as error:
            problems += str(error).splitlines()
    return rows, problems


def _base(options: SweepOptions, file: Tree) -> Tree:
    if isinstance(options.base, str):
        path = presets.locate("experiment", options.base)
        return read_tree(presets.read(path), str(path))
    below = {place[1:]: origin for place, origin in file.origins.items() if place[:1] == ("base",)}
    return Tree(options.base, below)


Variation = tuple[str, list[Change], str, dict[str, Any] | None]


def _variations(options: SweepOptions, file: Tree) -> list[Variation]:
    """Name, changes, notes and published figures of every row."""
    if options.grid:
        return [_grid_point(point, options, file) for point in product(*options.grid.values())]
    return [
        (row.name, _changes(row.set, file, ("rows", index, "set")), row.notes, _published(options, row.published))
        for index, row in enumerate(options.rows)
    ]


def _grid_point(point: Sequence[Any], options: SweepOptions, file: Tree) -> Variation:
    settings = dict(zip(options.grid, point, strict=True))
    name = ", ".join(_setting(key, value) for key, value in settings.items())
    return name, _changes(settings, file, ("grid",)), "", _published(options, None)


def _changes(settings: Mapping[str, Any], file: Tree, place: KeyPath) -> list[Change]:
    return [Change(key, value, file.origin((*place, key))) for key, value in settings.items()]


def _published(options: SweepOptions, own: Published | None) -> dict[str, Any] | None:
    """The row's figures over what all rows have in common; never the base's, which are those of another row."""
    parts = [part.model_dump(exclude_unset=True) for part in (options.published, own) if part is not None]
    return {key: value for part in parts for key, value in part.items()} or None


def _setting(key: str, value: Any) -> str:
    """One setting as it names a row: `lr 0.1`, or for a whole ingredient its preset alone."""
    if isinstance(value, dict):
        value = " ".join(str(item) for item in value.values())
    return str(value) if key in presets.INGREDIENTS else f"{key.rpartition('.')[2].replace('_', ' ')} {value}"


def _with_seed(experiment: Experiment, seed: int) -> Experiment:
    """Made anew from its fields, since a copy would keep the hashes of the other seed."""
    fields = {name: getattr(experiment, name) for name in Experiment.model_fields}
    return Experiment.model_validate({**fields, "train": experiment.train.model_copy(update={"seed": seed})})
