"""All that a run trains with, assembled from its experiment, and all that a resume must put back."""

import contextlib
import copy
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.augment import Augmenter, EpochPlan
from engine.checkpoint import State, restore_rng_state, rng_state
from engine.data.dataset import Dataset
from engine.device import Runtime, vectorises_lookups
from engine.early_stopping import EarlyStopping
from engine.evaluate import Score
from engine.experiment import Experiment
from engine.graph import GraphedStep, optimizer_tensors
from engine.losses import make_loss
from engine.meters import Meters, Reading
from engine.models.layers import DataInitialised
from engine.optim.averaging import Ema, Lookahead
from engine.optim.groups import can_capture, follow_schedule
from engine.optim.sam import Sam, frozen_statistics
from engine.options.architecture import ArchitectureChoice
from engine.options.loss import CrossEntropy, LossChoice
from engine.profile import Profile
from engine.schedules import make_schedule
from engine.selection import HardExamples
from engine.stopwatch import Stopwatch

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StepReading:
    """What a record says of a step: known at once, and under way from the device."""

    step: int
    epoch: float
    lr: float
    figures: Reading


class Training:
    """One run's network, optimiser and progress, and the step that advances them.

    ``step`` counts optimiser steps, ``epoch_index`` whole epochs done, ``position`` steps done in the current one.
    """

    def __init__(self, experiment: Experiment, runtime: Runtime, data: Dataset) -> None:
        self.experiment = experiment
        self.runtime = runtime
        self.device = torch.device(runtime.device)
        self.data = data.to(self.device)
        self.classes = len(data.classes)
        random.seed(experiment.train.seed)
        torch.manual_seed(experiment.train.seed)
        options = experiment.data
        self.augment: Augmenter = experiment.augmentation.resolve_builder()(
            experiment.augmentation, options.size, options.channels, self.classes, data.train_images
        ).to(self.device)
        self.batch_of = self.augment.__call__
        self.model = self._build_model(experiment.architecture)
        self.forward: Network = self.model
        self.optimizer = experiment.optimizer.resolve_builder()(
            experiment.optimizer, list(self.model.named_parameters())
        )
        self.loss = make_loss(experiment.train.loss, self.classes)
        self.plain_loss = make_loss(_without_smoothing(experiment.train.loss), self.classes)
        self.schedule = make_schedule(experiment.optimizer, experiment.total_steps, experiment.steps_per_epoch)
        optimizer = experiment.optimizer
        self.ema = Ema(experiment.train.ema, self.model) if experiment.train.ema else None
        self.lookahead = (
            Lookahead(optimizer.lookahead, self.model, experiment.total_steps) if optimizer.lookahead else None
        )
        self.selection = self._build_selection()
        self.sam = Sam(optimizer.sam, self.model.parameters()) if optimizer.sam else None
        stopping = experiment.train.early_stopping
        self.stopping = EarlyStopping(stopping) if stopping else None
        self.meters = Meters(self.device)
        self.graphed: GraphedStep | None = None
        self.profile: Profile | None = None
        self.stopwatch = Stopwatch()
        self.best: State | None = None
        self.step = self.epoch_index = self.position = 0
        self.stopped_early = False
        self.last_gradient_norm: float | None = None
        self.pending: StepReading | None = None
        self._ahead: tuple[int, EpochPlan] | None = None
        self._checkpoint_at = time.monotonic()
        self._first_step = 0
        self._first_active_s = 0.0

    def _build_selection(self) -> HardExamples | None:
        options, optimizer = self.experiment.train.selection, self.experiment.optimizer
        if options is None:
            return None
        proxy = self._build_model(options.proxy)
        return HardExamples(
            options,
            proxy,
            optimizer.resolve_builder()(optimizer, list(proxy.named_parameters())),
            self.schedule,
            make_loss(self.experiment.train.loss, self.classes, "none"),
            self.runtime,
        )

    def compile(self, obstacle: str = "") -> str:
        """Compile augmentation and networks where the runtime says so; returns why they could not be, or nothing.

        With an ``obstacle``, a reason why not, it is not tried. What is not compiled is as if nobody had asked for it,
        and the runtime says so.
        """
        if not self.runtime.compile or len(self.data.train_images) < self.experiment.train.batch_size:
            return ""
        problem = obstacle or self._rehearse()
        if problem:
            self._use_plain()
        return problem

    def _rehearse(self) -> str:
        """One compiled step that leaves no trace, since compilers fail as late as in a backward pass; why it failed."""
        before, problem = copy.deepcopy(self.state_dict()), ""
        plan = self.draw_epoch()
        try:
            self._use_compiled()
            self.advance(plan.order[: self.experiment.train.batch_size], plan, self.step)
        except Exception as error:  # of a compiler, linker, loader or disk: whatever it is, the plain step needs none
            cause = getattr(error, "inner_exception", error)  # what made the compiler fail
            problem = f"{type(cause).__name__}: {cause}".partition("\n")[0]
        self.optimizer.zero_grad(set_to_none=True)
        self.load_state_dict(before, self.best)
        return problem

    def _use_compiled(self) -> None:
        if vectorises_lookups(self.device):
            self.batch_of = torch.compile(self.augment.__call__)
        self.forward = torch.compile(self.model)
        if self.selection:
            self.selection.forward = torch.compile(self.selection.proxy)

    def _use_plain(self) -> None:
        self.batch_of, self.forward = self.augment.__call__, self.model
        if self.selection:
            self.selection.forward = self.selection.proxy
        self.runtime = replace(self.runtime, compile=False)

    def _build_model(self, architecture: ArchitectureChoice) -> nn.Module:
        data = self.experiment.data
        model: nn.Module = architecture.resolve_builder()(architecture, data.channels, data.size, self.classes)
        model.to(memory_format=self.runtime.memory_format)
        model.to(self.device)
        if isinstance(model, DataInitialised):
            model.initialise_from_data(self.normalise(self.data.train_images[: model.initial_images]))
        return model

    @property
    def finished(self) -> bool:
        """Whether the last epoch has been closed, or early stopping has ended the run."""
        return self.stopped_early or (self.step >= self.experiment.total_steps and self.position == 0)

    @property
    def epoch(self) -> float:
        """Epochs trained, with the fraction of the current one."""
        return self.step / self.experiment.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """Learning rate of the step taken last."""
        return self.schedule.learning_rate(max(self.step - 1, 0))

    def rate_at(self, step: int) -> float:
        """Learning rate of an earlier step, counted from 0."""
        return self.schedule.learning_rate(step)

    @property
    def watches_test(self) -> bool:
        """Whether the test set, not the validation set, is what best checkpoint and plateau look at."""
        return self.experiment.train.watch == "test"

    @property
    def chosen_on(self) -> Literal["test", "validation", ""]:
        """The set on which the best checkpoint is chosen; nothing where none is kept."""
        images, _ = self.watched_set()
        if len(images) == 0:
            return ""
        return "test" if self.watches_test else "validation"

    def watched_set(self) -> tuple[Tensor, Tensor]:
        """Images and labels evaluated after each epoch; empty when nothing is."""
        watch = self.experiment.train.watch
        if watch == "test":
            return self.data.test_images, self.data.test_labels
        end = None if watch == "validation" else 0
        return self.data.validation_images[:end], self.data.validation_labels[:end]

    @property
    def evaluation_is_due(self) -> bool:
        """Whether the watched set is evaluated at the end of the current epoch."""
        every = self.experiment.train.evaluate_every
        return self.step >= self.experiment.total_steps or (every > 0 and (self.epoch_index + 1) % every == 0)

    def normalise(self, images: Tensor) -> Tensor:
        """What the network sees of ``images`` (N, H, W, C) uint8 in evaluation."""
        return self.augment.normalize(images)

    def draw_epoch(self) -> EpochPlan:
        """Order and every draw of the current epoch, a pure function of seed and epoch."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == self.epoch_index:
            return ahead[1]
        return self._draw(self.epoch_index)

    def draw_ahead(self) -> None:
        """Draw the next epoch, if there is one, while a GPU is still busy with the steps of this one."""
        if self.step < self.experiment.total_steps:
            self._ahead = (self.epoch_index + 1, self._draw(self.epoch_index + 1))

    def _draw(self, epoch: int) -> EpochPlan:
        settings, images = self.experiment.train, len(self.data.train_images)
        if not settings.carry_over:
            return self.augment.draw_epoch(settings.seed, epoch, images)
        length = self.experiment.steps_per_epoch * settings.batch_size
        return self.augment.draw_stretch(settings.seed, epoch, images, length)

    def remaining_positions(self) -> range:
        """Positions of the current epoch that are still to be trained."""
        left = self.experiment.total_steps - self.step
        return range(self.position, min(self.experiment.steps_per_epoch, self.position + left))

    def take_step(self, plan: EpochPlan, position: int) -> None:
        """One batch: gather and augment, forward, backward, update. Nothing comes back to the host."""
        size = self.experiment.train.batch_size
        whole = (position + 1) * size <= len(plan.order)
        if self.graphed is not None and whole:
            with self.timed("captured step"):
                self.graphed(plan, position, self.step)
        else:
            follow_schedule(self.optimizer, self.schedule, self.step)
            self.advance(plan.order[position * size : (position + 1) * size], plan, self.step)
            if self.graphed is not None:
                self.graphed.adopt_gradients()
        if self.lookahead or self.ema:
            with self.timed("averages"):
                self._average()
        self.step += 1
        self.position += 1
        if self.profile:
            self.profile.end_step()

    def _average(self) -> None:
        if self.lookahead:
            self.lookahead.update(self.model, self.step)
        if self.ema:
            self.ema.update(self.model, self.step)

    def timed(self, part: str) -> contextlib.AbstractContextManager[None]:
        """Where a profile is kept, what happens within counts towards this part of it."""
        return self.profile.part(part) if self.profile else contextlib.nullcontext()

    def advance(self, index: Tensor, plan: EpochPlan, step: Tensor | int) -> None:
        """The device's share of one step on the images at ``index`` (n,): all of it can be captured in a graph."""
        # For an epoch's last batch, which is smaller, a compiler would build everything a second time.
        whole = len(index) == self.experiment.train.batch_size
        batch_of, forward = (self.batch_of, self.forward) if whole else (self.augment, self.model)
        with self.timed("data"):
            images, targets = batch_of(self.data.train_images, self.data.train_labels, index, plan)
            images = images.contiguous(memory_format=self.runtime.memory_format)
        if self.selection:
            kept = self.selection.choose(images, targets, int(step))
            images, targets, index = images[kept], targets[kept], index[kept]
        logits, loss = self._gradients(forward, images, targets)
        with self.timed("optimizer"):
            if self.experiment.optimizer.clip_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.experiment.optimizer.clip_norm)
            self.optimizer.step()
        hits = (logits.argmax(1) == self.data.train_labels[index % len(self.data.train_labels)]).sum()
        self.meters.update(loss, hits, len(index), step)

    def device_state(self) -> Iterator[Tensor]:
        """Every tensor that ``advance`` changes in place; the optimiser's last, since they come with its first step."""
        yield from self.model.state_dict().values()
        yield from self.meters.state_dict().values()
        yield from optimizer_tensors(self.optimizer)

    def capture(self) -> str:
        """Capture the step where the runtime says so; returns why it could not be, or nothing."""
        size = self.experiment.train.batch_size
        if not self.runtime.graph or len(self.data.train_images) < size:
            return ""
        if self.selection:
            return "the hard images of a batch are chosen outside of it"
        if not can_capture(self.optimizer):
            return "this optimiser decides on the host what its step is"
        try:
            self.graphed = GraphedStep(self, self.draw_epoch(), size)
        except RuntimeError as error:
            return str(error).partition("\n")[0]
        return ""

    def _gradients(self, forward: Network, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the loss, with SAM those at the worst weights nearby; logits and loss of the first pass."""
        self.optimizer.zero_grad(set_to_none=True)
        logits, loss = self._pass(forward, images, targets)
        if self.sam:
            self.sam.climb()
            with frozen_statistics(self.model):
                self._pass(forward, images, targets)
            self.sam.descend()
        return logits.detach(), loss.detach()

    def _pass(self, forward: Network, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with self.timed("forward"):
            with self.runtime.autocast:
                logits = forward(images)
            loss = self.loss(logits, targets)
        with self.timed("backward"):
            torch.autograd.backward(loss)
        return logits, loss

    def take_slow_weights(self) -> None:
        """Once nothing more is trained, lookahead's slow weights are the result; taking them twice changes nothing."""
        if self.lookahead:
            self.lookahead.finish(self.model)

    def end_epoch(self, metrics: dict[str, float], watched: Score | None) -> None:
        """Close the epoch: best weights, schedule, early stopping, counters."""
        watched_metrics = {"watched_loss": watched.loss, "watched_accuracy": watched.accuracy} if watched else {}
        if watched and (self.best is None or watched.accuracy > self.best["value"]):
            self.best = self._best_state(watched)
        self.schedule.observe({**metrics, **watched_metrics})
        if self.stopping:
            self.stopped_early = self.stopping.observe({**metrics, **watched_metrics})
        self.meters.start_epoch()
        self.epoch_index += 1
        self.position = 0

    @contextlib.contextmanager
    def evaluated_weights(self) -> Iterator[nn.Module]:
        """The network as it is judged: with the averaged weights, if an average is kept."""
        with self.ema.applied_to(self.model) if self.ema else contextlib.nullcontext():
            yield self.model

    def _best_state(self, watched: Score) -> State:
        metric = "test_accuracy" if self.watches_test else "val_accuracy"
        with self.evaluated_weights() as model:
            weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        return {
            "metric": metric,
            "value": watched.accuracy,
            "loss": watched.loss,
            "epoch": self.epoch,
            "step": self.step,
            "weights": weights,
        }

    def best_summary(self) -> dict[str, Any] | None:
        """Metric, value, epoch and step of the best checkpoint."""
        if self.best is None:
            return None
        return {key: self.best[key] for key in ("metric", "value", "epoch", "step")}

    def start_reading(self) -> None:
        """Send the meters and the norm of the last gradients to the host, for a record of the step taken last."""
        self.pending = StepReading(
            self.step, self.epoch, self.learning_rate, self.meters.start_reading(self._norm_of_gradients())
        )

    def gradient_norm(self) -> float | None:
        """Norm of all gradients of the last step together; on a GPU the host waits for it."""
        norm = self._norm_of_gradients()
        if norm is not None:
            self.last_gradient_norm = float(norm)
        return self.last_gradient_norm

    def _norm_of_gradients(self) -> Tensor | None:
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return nn.utils.get_total_norm(gradients) if gradients else None

    def facts(self) -> dict[str, Any]:
        """What the summary says of device, arithmetic and length."""
        return {
            "device": f"{self.runtime.device} {self.runtime.device_name}",
            "precision": self.runtime.precision,
            "chosen_on": self.chosen_on,
            **self.progress(),
        }

    def progress(self) -> dict[str, Any]:
        """Where the run stands: steps, epochs, seconds, and an estimate of those left."""
        done = self.step - self._first_step
        active_s = self.stopwatch.active_s
        per_step = (active_s - self._first_active_s) / done if done else None
        left = self.experiment.total_steps - self.step
        return {
            "step": self.step,
            "steps": self.experiment.total_steps,
            "epoch": self.epoch,
            "epochs": self.experiment.total_epochs,
            "active_s": round(active_s, 3),
            "eta_s": round(per_step * left, 1) if per_step is not None else None,
            "images_s": round(self.experiment.train.batch_size / per_step, 1) if per_step else None,
        }

    def seconds_since_checkpoint(self) -> float:
        """Seconds since the last checkpoint, or since the start."""
        return time.monotonic() - self._checkpoint_at

    def note_checkpoint(self) -> None:
        """A checkpoint was taken now."""
        self._checkpoint_at = time.monotonic()

    def state_dict(self) -> State:
        """All that decides the rest of the run. Tensors are not copied."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "epoch_index": self.epoch_index,
            "position": self.position,
            "stopped_early": self.stopped_early,
            "active_s": self.stopwatch.active_s,
            "epoch_s": self.stopwatch.lap_s,
            "gradient_norm": self.gradient_norm(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "lookahead": self.lookahead.state_dict() if self.lookahead else None,
            "selection": self.selection.state_dict() if self.selection else None,
            "stopping": self.stopping.state_dict() if self.stopping else None,
            "meters": self.meters.state_dict(),
            "rng": rng_state(self.device),
            "runtime": self.runtime.to_json(),
            "config_hash": self.experiment.config_hash,
        }

    def load_state_dict(self, state: State, best: State | None) -> None:
        """Continue where ``state_dict`` was taken; the generators are restored last, after everything that draws."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        if self.lookahead:
            self.lookahead.load_state_dict(state["lookahead"])
        if self.selection:
            self.selection.load_state_dict(state["selection"])
        if self.stopping and state["stopping"]:  # a longer run may stop early where the one before could not
            self.stopping.load_state_dict(state["stopping"])
        self.meters.load_state_dict(state["meters"])
        self.step = self._first_step = state["step"]
        self.epoch_index, self.position = state["epoch_index"], state["position"]
        # A longer run that continues this one was asked for to go on.
        self.stopped_early = state["stopped_early"] and state["config_hash"] == self.experiment.config_hash
        self.last_gradient_norm = state["gradient_norm"]
        self.stopwatch = Stopwatch(state["active_s"], state.get("epoch_s", 0.0))
        self._first_active_s = state["active_s"]
        self.best = best
        restore_rng_state(state["rng"], self.device)


def _without_smoothing(options: LossChoice) -> LossChoice:
    """The loss that is reported for validation and test: label smoothing belongs to training alone."""
    return options.model_copy(update={"label_smoothing": 0.0}) if isinstance(options, CrossEntropy) else options
