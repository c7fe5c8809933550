"""Hard examples by a proxy network, the evaluation that comes rarely, and views for the least certain images."""

import itertools
from dataclasses import replace

import pytest
import torch

from engine import device
from engine.augment import build as build_augmenter
from engine.data.dataset import Dataset
from engine.errors import UserError
from engine.evaluate import logits_of
from engine.experiment import Experiment, loads
from engine.options.augmentation import Augmentation
from engine.training import Training

PRESET = """
architecture: {family: vgg, channels: [8, 12], convolutions: [1, 1], batch_norm: true, global_pool: true, head: []}
augmentation: {ops: [{op: flip}, {op: normalize, statistics: half}]}
optimizer: {algorithm: sgd, lr: 0.05, momentum: 0.9}
data: {name: shapes, validation: 100}
train:
  epochs: 3
  batch_size: 40
  seed: 1
  threads: 1
  device: cpu
  precision: fp32
  selection:
    proxy: {family: vgg, channels: [4], convolutions: [1], batch_norm: true, global_pool: true, head: []}
    keep: 0.25
    every: 2
"""


def experiment(*overrides: tuple[str, str]) -> Experiment:
    return loads(PRESET, overrides=overrides)


def fresh(settings: Experiment, data: Dataset) -> Training:
    part = replace(data, train_images=data.train_images[:200], train_labels=data.train_labels[:200])
    return Training(settings, device.settle(settings.train, settings.total_steps), part)


def take(training: Training, steps: int) -> None:
    plan = training.draw_epoch()
    for position in range(training.position, training.position + steps):
        training.take_step(plan, position)


def test_the_images_of_largest_loss_are_kept(small_data: Dataset) -> None:
    training = fresh(experiment(), small_data)
    assert training.selection is not None
    images = training.normalise(small_data.train_images[:20])
    labels = small_data.train_labels[:20]
    losses = training.selection.loss(training.selection.forward(images), labels)
    kept = training.selection.choose(images, labels, step=1)
    assert kept.tolist() == sorted(losses.topk(5).indices.tolist())


def test_only_what_is_kept_is_learnt_from_and_counted(small_data: Dataset) -> None:
    training = fresh(experiment(), small_data)
    take(training, 3)
    window = training.meters.read().window
    assert window.images == 30


def test_the_proxy_learns_at_every_second_step_alone(small_data: Dataset) -> None:
    training = fresh(experiment(), small_data)
    assert training.selection is not None
    weights = next(training.selection.proxy.parameters())
    seen = [weights.detach().clone()]
    for _ in range(3):
        take(training, 1)
        seen.append(weights.detach().clone())
    moved = [not torch.equal(before, after) for before, after in itertools.pairwise(seen)]
    assert moved == [True, False, True]


def test_a_resume_keeps_choosing_the_same_images(small_data: Dataset) -> None:
    unbroken, broken = (fresh(experiment(), small_data) for _ in range(2))
    take(unbroken, 5)
    take(broken, 3)
    continued = fresh(experiment(("train.seed", "1")), small_data)
    continued.load_state_dict(broken.state_dict(), None)
    take(continued, 2)
    pairs = zip(unbroken.model.state_dict().values(), continued.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_step_is_not_captured_with_a_selection(small_data: Dataset) -> None:
    training = fresh(experiment(), small_data)
    training.runtime = replace(training.runtime, graph=True)
    assert "chosen outside" in training.capture()


@pytest.mark.parametrize(("every", "due"), [(1, [1, 1, 1]), (2, [0, 1, 1]), (0, [0, 0, 1])])
def test_evaluation_comes_as_often_as_asked_and_after_the_last_epoch(
    every: int, due: list[int], small_data: Dataset
) -> None:
    settings = experiment(("train.evaluate_every", str(every)), ("data.train_limit", "200"))
    training = fresh(settings, small_data)
    seen = []
    for epoch in range(3):
        training.step = settings.steps_per_epoch * (epoch + 1)
        training.epoch_index = epoch
        seen.append(int(training.evaluation_is_due))
    assert seen == due


@pytest.mark.parametrize(
    "follower", [("optimizer.schedule", "{kind: plateau}"), ("train.early_stopping", "{metric: watched_loss}")]
)
def test_a_rule_that_follows_the_watched_set_wants_every_evaluation(follower: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"train.evaluate_every has to be 1"):
        experiment(follower, ("train.evaluate_every", "5"))


def test_views_are_spent_on_the_least_certain_images(small_data: Dataset) -> None:
    training = fresh(experiment(), small_data)
    images, runtime = small_data.test_images[:40], training.runtime
    plain = logits_of(training.model, images, training.normalise, runtime, 40)
    every = logits_of(training.model, images, training.normalise, runtime, 40, "flip_translate")
    some = logits_of(training.model, images, training.normalise, runtime, 40, "flip_translate", 0.25)
    sure = plain.softmax(1).amax(1).argsort(descending=True)
    assert torch.equal(some[sure[:30]], plain[sure[:30]])
    assert torch.allclose(some[sure[30:]], every[sure[30:]], atol=1e-5)
    assert not torch.allclose(some[sure[30:]], plain[sure[30:]], atol=1e-5)


def test_a_square_that_stays_inside_always_blanks_its_whole_area() -> None:
    options = Augmentation.model_validate({"ops": [{"op": "cutout", "size": 12, "inside": True}]})
    augmenter = build_augmenter(options, 32, 3, 10, None)
    images = torch.full((200, 32, 32, 3), 255, dtype=torch.uint8)
    labels = torch.zeros(200, dtype=torch.int64)
    plan = augmenter.draw_epoch(0, 0, 200)
    blanked, _ = augmenter(images, labels, torch.arange(200), plan)
    assert (blanked == 0).sum(dim=(1, 2, 3)).tolist() == [3 * 12 * 12] * 200
    corners = plan.draws[0]["corner"]
    assert (int(corners.min()), int(corners.max())) == (0, 20)
