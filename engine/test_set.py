"""The last word on a run: its best and last weights on the test set, beside the published figure."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from engine import atomic
from engine.errors import UserError
from engine.evaluate import account, logits_of
from engine.recorder import Recorder
from engine.runs import RunFolder
from engine.training import Training


def evaluate_test_set(training: Training, run: RunFolder, recorder: Recorder | None = None) -> dict[str, Any]:
    """Evaluate the best and the last weights, write results/test/result.json, and return the summary's share of it.

    The test set chooses nothing here; ``chosen_on`` says on which set the best epoch was chosen, if any.

    Raises:
        LeftError: the end of the run was asked for meanwhile; the weights are as they were.
        UserError: a run that has ended is tested again, and its results cannot be written.
    """
    accounts: dict[str, Any] = {}
    if training.best is not None:
        with _weights(training.model, training.best["weights"]):
            accounts["best"] = {"epoch": training.best["epoch"], **_account(training, recorder)}
    with training.evaluated_weights():
        accounts["last"] = {"epoch": training.epoch, **_account(training, recorder)}
    if recorder is not None:
        for which, result in accounts.items():
            shown = {key: result[key] for key in ("epoch", "accuracy", "loss")}
            recorder.record("test", checkpoint=which, **shown)
    try:
        _write_result(run, training, accounts)
    except OSError as error:
        if recorder is None:
            raise UserError(f"{error.filename or run.path}: cannot be written: {error.strerror}") from error
        if not atomic.out_of_room(error):
            raise
        # The figures are in the log and the summary; a full disk is no reason to call a trained run a failure.
        print(f"results/test not written: {error.strerror}; write it with: cifar-tui --evaluate {run.id}", flush=True)
    return {"test": {which: result["accuracy"] for which, result in accounts.items()}}


def _account(training: Training, recorder: Recorder | None) -> dict[str, Any]:
    settings = training.experiment.train
    stopping = {"leave": recorder.end_is_asked} if recorder is not None else {}
    logits = logits_of(
        training.model,
        training.data.test_images,
        training.normalise,
        training.runtime,
        settings.eval_batch_size,
        settings.tta,
        settings.tta_share,
        **stopping,
    )
    return account(logits, training.data.test_labels, training.plain_loss, training.data.classes)


def _write_result(run: RunFolder, training: Training, accounts: dict[str, Any]) -> None:
    folder = run.results_folder("test")
    progress = training.progress()
    published = training.experiment.published
    result = {
        "schema": 1,
        "written": time.time(),
        "classes": list(training.data.classes),
        "chosen_on": training.chosen_on,
        "tta": training.experiment.train.tta,
        "checkpoints": accounts,
        "published": published.model_dump(mode="json") if published else None,
        "active_s": progress["active_s"],
        "images_s": progress["images_s"],
    }
    atomic.write_json(folder / "result.json", result)


@contextlib.contextmanager
def _weights(model: nn.Module, weights: dict[str, torch.Tensor]) -> Iterator[None]:
    """The network with other weights, for a while."""
    kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(kept)
