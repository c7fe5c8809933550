"""The typed description of one run: loaded from YAML, composed of named ingredients, validated whole, resolved."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from engine import presets, strict_yaml
from engine.composition import Override, Tree, compose
from engine.errors import UserError
from engine.options.architecture import ArchitectureChoice
from engine.options.augmentation import Augmentation
from engine.options.base import Names, Options, option
from engine.options.data import Data
from engine.options.optimizer import OptimizerChoice
from engine.options.training import Published, Train
from engine.validation import sentences

# What a person may change without making it another experiment.
_LABELS = ("name", "tags", "notes", "published")
_INGREDIENT_LABELS = ("name",)


class Experiment(Options):
    """Everything that decides a run. Two runs of equal experiments on equal machines have equal weights."""

    name: str = option("", "Name of the runs; the preset's own when empty.", max_length=200)
    tags: Names = option((), "Words to find the runs by.", max_length=32)
    notes: str = option("", "Remarks, shown with the run.", max_length=8000)
    architecture: ArchitectureChoice = option(
        ..., "The network: a preset's name, {use: NAME, …}, or its options in full."
    )
    augmentation: Augmentation = option(..., "What happens to an image before the network sees it.")
    optimizer: OptimizerChoice = option(..., "The optimiser with its learning-rate schedule.")
    data: Data = option(Data(), "The images.")
    train: Train = option(Train(), "How long, how large, on what and how watched.")
    published: Published | None = option(None, "A published figure to set beside ours.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = self._contradictions()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _contradictions(self) -> list[str]:
        problems = []
        images = self.data.train_images
        if self.train.batch_size > images:
            problems.append(f"train.batch_size {self.train.batch_size} is more than the {images} images of data")
        followers = self._followers_of_the_watched_set
        if followers and not self._watches_a_set:
            watched = "data.validation is 0" if self.train.watch == "validation" else "train.watch is none"
            problems += [
                f"{who} has nothing to watch: {watched}; hold out images with data.validation=5000, or follow "
                f"{who}.metric=train_loss"
                for who in followers
            ]
        if self.train.evaluate_every != 1 and followers:
            problems.append("train.evaluate_every has to be 1 where plateau or early stopping follow the watched set")
        warmup = self.optimizer.warmup
        if max(warmup.steps, warmup.epochs * self.steps_per_epoch) > self.total_steps:
            problems.append(
                f"optimizer.warmup is longer than the run of {self.total_epochs:g} epochs; train longer, or set "
                "optimizer.warmup.epochs and optimizer.warmup.steps to 0"
            )
        problems += [
            f"augmentation: a cutout of {operation.size} pixels does not lie inside an image of {self.data.size}; make "
            "it smaller, or leave out inside"
            for operation in self.augmentation.ops
            if operation.op == "cutout" and operation.inside and operation.size > self.data.size
        ]
        misfit = self.architecture.misfit(self.data.channels, self.data.size)
        if misfit:
            problems.append(f"architecture: {misfit}")
        return problems

    @property
    def _followers_of_the_watched_set(self) -> list[str]:
        """Keys of the rules that look at the watched set after every epoch."""
        rules = {"optimizer.schedule": self.optimizer.schedule, "train.early_stopping": self.train.early_stopping}
        return [key for key, rule in rules.items() if getattr(rule, "metric", "").startswith("watched")]

    @property
    def _watches_a_set(self) -> bool:
        return self.train.watch == "test" or (self.train.watch == "validation" and self.data.validation > 0)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run, before any early stopping."""
        if self.train.steps is not None:
            return self.train.steps
        return max(1, round(self.train.epochs * self.steps_per_epoch))

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the training images."""
        images, batch = self.data.train_images, self.train.batch_size
        return max(1, images // batch if self._batches_are_whole else -(-images // batch))

    @property
    def smallest_batch(self) -> int:
        """Images of the smallest batch that the run trains on."""
        left_over = self.data.train_images % self.train.batch_size
        reached = not self._batches_are_whole and self.total_steps >= self.steps_per_epoch
        return left_over if left_over and reached else self.train.batch_size

    @property
    def _batches_are_whole(self) -> bool:
        return self.train.drop_last or self.train.carry_over

    @property
    def total_epochs(self) -> float:
        """Length of the run in epochs."""
        return self.total_steps / self.steps_per_epoch

    def to_yaml(self) -> str:
        """The fully resolved experiment, which alone reproduces the run."""
        return strict_yaml.dump(self.model_dump(mode="json"))

    @cached_property
    def config_hash(self) -> str:
        """Hash of what decides the result: all but names, tags, notes and published figures."""
        return _hash(self._deciding())

    @cached_property
    def group_hash(self) -> str:
        """As ``config_hash`` but the same for every seed, so that repetitions find each other."""
        deciding = self._deciding()
        deciding["train"].pop("seed")
        return _hash(deciding)

    def _deciding(self) -> dict[str, Any]:
        dump = self.deciding()
        for kind in presets.INGREDIENTS:
            dump[kind] = {key: value for key, value in dump[kind].items() if key not in _INGREDIENT_LABELS}
        return {key: value for key, value in dump.items() if key not in _LABELS}

    def headline(self) -> dict[str, Any]:
        """The facts that the summary of a run repeats, so that lists need not read its configuration."""
        return {
            "architecture": self.architecture.name or self.architecture.family,
            "augmentation": self.augmentation.name or "custom",
            "optimizer": self.optimizer.name or self.optimizer.algorithm,
            "dataset": self.data.name,
            "batch_size": self.train.batch_size,
            "lr": self.optimizer.lr,
            "seed": self.train.seed,
            "epochs": self.total_epochs,
            "steps": self.total_steps,
            "published": self.published.model_dump(mode="json") if self.published else None,
            "config_hash": self.config_hash,
            "group_hash": self.group_hash,
        }


def load(source: str | Path, overrides: Sequence[Override] = ()) -> Experiment:
    """Read a preset by path or name, apply overrides, fill in its ingredients and validate it.

    Raises UserError that lists every problem of the file, one a line.
    """
    path = presets.locate("experiment", str(source))
    document = presets.read(path)
    experiment = _validated(document, str(path), overrides)
    return experiment if experiment.name else experiment.model_copy(update={"name": path.stem})


def loads(text: str | bytes, source: str = "<text>", overrides: Sequence[Override] = ()) -> Experiment:
    """As ``load``, from text: standard input, a form, or the config.yaml of a run."""
    return _validated(strict_yaml.parse(text, source), source, overrides)


def _validated(document: strict_yaml.Document, source: str, overrides: Sequence[Override]) -> Experiment:
    return from_tree(compose(document, source, overrides))


def from_tree(tree: Tree) -> Experiment:
    """The experiment of a completed tree. Raises UserError that lists every problem, one a line, with its origin."""
    try:
        return Experiment.model_validate(tree.value)
    except ValidationError as error:
        raise UserError("\n".join(sentences(error, tree, Experiment))) from None


def _hash(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
