"""Typed options of the training loop and of a published figure, free of torch."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.options.averaging import Ema
from engine.options.base import Options, option
from engine.options.early_stopping import EarlyStopping
from engine.options.loss import CrossEntropy, LossChoice
from engine.options.selection import Selection


class Train(Options):
    """How long, how large, on what and how watched."""

    younger: ClassVar[frozenset[str]] = frozenset({"carry_over"})

    epochs: float = option(200.0, "Length of the run; fractions of an epoch are allowed.", "epochs", gt=0, le=100_000)
    steps: int | None = option(None, "Length in optimiser steps; overrides epochs when given.", "steps", ge=1)
    batch_size: int = option(128, "Images a step.", "images", ge=1, le=60_000)
    eval_batch_size: int = option(1000, "Images a forward pass in evaluation.", "images", ge=1, le=60_000)
    drop_last: bool = option(False, "Leave out an epoch's last batch when it is smaller.")
    carry_over: bool = option(
        False, "Let batches reach over the ends of epochs: none is smaller, and no image is left out."
    )
    seed: int = option(0, "Seed of the weights, the order and every draw.", ge=0, lt=2**63)
    loss: LossChoice = option(CrossEntropy(), "What is minimised.")
    ema: Ema | None = option(None, "Moving average of the weights; null for none.")
    early_stopping: EarlyStopping | None = option(None, "When to stop early; null for never.")
    watch: Literal["validation", "test", "none"] = option(
        "validation", "Set evaluated after each epoch; best checkpoint, plateau and early stopping look at it."
    )
    evaluate_every: int = option(
        1, "Epochs between two evaluations of the watched set; 0 evaluates after the last one only.", "epochs", ge=0
    )
    tta: Literal["none", "flip", "flip_translate", "flip_translate_even"] = option(
        "none", "Test-time augmentation: logits averaged over mirrored (and shifted) views; even weighs all six alike."
    )
    tta_share: float = option(
        1.0, "Part of the test images, the least certain ones, that are looked at in these views.", gt=0, le=1
    )
    selection: Selection | None = option(None, "Learn from the hardest images of each batch; null for all.")
    device: str = option("auto", "auto takes cuda, else mps, else cpu.", pattern=r"^(auto|cpu|mps|cuda|cuda:\d{1,3})$")
    precision: Literal["auto", "fp32", "bf16"] = option("auto", "Arithmetic of the forward pass; weights stay fp32.")
    channels_last: Literal["auto", "on", "off"] = option("auto", "Memory format of images and filters.")
    compile: Literal["auto", "on", "off"] = option("auto", "torch.compile of model and augmentation.")
    graph: Literal["auto", "on", "off"] = option("auto", "One CUDA graph of the whole training step.")
    deterministic: bool = option(False, "Only algorithms that repeat bit for bit; slower on a GPU.")
    threads: int = option(0, "CPU threads; 0 takes the cores this process may use.", "threads", ge=0, le=1024)
    profile: Literal["off", "parts", "trace"] = option(
        "off", "Say at the end where the time went; trace also writes some steps for a trace viewer."
    )
    log_every: int = option(50, "Steps between two records of the training metrics.", "steps", ge=1)
    checkpoint_every: float = option(60.0, "Least time between two checkpoints; the last is always written.", "s", ge=0)
    checkpoint_each_epoch: bool = option(False, "Write a checkpoint after every epoch, however quick.")

    @model_validator(mode="after")
    def _last_batch_is_one_or_the_other(self) -> Self:
        if self.drop_last and self.carry_over:
            raise ValueError("drop_last leaves out the images that carry_over takes along; choose one of them")
        return self


class Published(Options):
    """The figures somebody published for this experiment, set beside ours."""

    test_accuracy: float | None = option(None, "Test accuracy.", "%", ge=0, le=100)
    checkpoint: Literal["best", "last"] = option("best", "Which of our checkpoints the test accuracy is compared with.")
    validation_accuracy: float | None = option(None, "Validation accuracy.", "%", ge=0, le=100)
    train_accuracy: float | None = option(None, "Training accuracy.", "%", ge=0, le=100)
    epochs: float | None = option(None, "Epochs trained.", "epochs", ge=0)
    parameters: int | None = option(None, "Parameters.", ge=0)
    macs: int | None = option(None, "Multiply-accumulates of one image.", ge=0)
    source: str = option("", "Where the figures stand.", max_length=200)
    note: str = option("", "What is known about them: how they were chosen, whether one is a slip.", max_length=2000)
