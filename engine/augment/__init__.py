"""Augmentation on the device: an epoch's draws are made at its start, a step only applies them to its batch."""

from engine.augment.augmenter import Augmenter, build
from engine.augment.plan import EpochPlan

__all__ = ["Augmenter", "EpochPlan", "build"]
