"""The recipe: from data to checkpoint, an epoch at a time, with nothing read back from the device between records."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.checkpoint import Checkpointer
from engine.evaluate import LeftError, Score, logits_of, score
from engine.meters import Figures, Means
from engine.recorder import Recorder, StopRequested
from engine.training import StepReading, Training

HOLD_S = 0.1
TELL_S = 1.0  # how often it is said at which step a run is whose records are further apart
SAVING = "saving"


class DivergedError(Exception):
    """The loss became NaN or infinite. The message names step and learning rate and suggests another."""


def train(training: Training, recorder: Recorder, checkpointer: Checkpointer) -> None:
    """Run to the last step or to early stopping; the last checkpoint is written when this returns.

    Raises:
        StopRequested: somebody asked the run to end; its checkpoint is written.
        DivergedError: the loss is not finite; no checkpoint was written since.
    """
    recorder.write_summary(state="running", phase="training", **training.facts())
    training.stopwatch.start()
    while not training.finished:
        _epoch(training, recorder, checkpointer)
    training.take_slow_weights()
    _save(training, recorder, checkpointer)
    recorder.update(phase=SAVING)
    checkpointer.wait()
    training.stopwatch.stop()


def _epoch(training: Training, recorder: Recorder, checkpointer: Checkpointer) -> None:
    plan = training.draw_epoch()
    log_every = training.experiment.train.log_every
    told = time.monotonic()
    for position in training.remaining_positions():
        training.take_step(plan, position)
        if time.monotonic() - told > TELL_S:
            recorder.update(**training.progress())
            told = time.monotonic()
        if training.step % log_every == 0:
            log_step(training, recorder)
            _save_when_due(training, recorder, checkpointer)
        else:
            write_arrived(training, recorder)
        _attend(training, recorder, checkpointer)
    training.draw_ahead()
    if training.step >= training.experiment.total_steps:
        training.take_slow_weights()
    _end_epoch(training, recorder, checkpointer)


def log_step(training: Training, recorder: Recorder) -> None:
    """Begin a record of this step, which is written once its figures are here: on a GPU some steps later."""
    write_pending(training, recorder)
    with training.timed("logging"):
        training.start_reading()
    if training.schedule.awaits_accuracy:
        write_pending(training, recorder)
    else:
        write_arrived(training, recorder)


def write_arrived(training: Training, recorder: Recorder) -> None:
    """Write the record that is on its way if its figures are here; wait for nothing."""
    if training.pending is not None and training.pending.figures.is_here:
        write_pending(training, recorder)


def write_pending(training: Training, recorder: Recorder) -> Figures | None:
    """Wait for what is on its way and write its record."""
    reading, training.pending = training.pending, None
    if reading is None:
        return None
    with training.timed("logging"):
        return _record_step(training, recorder, reading)


def _record_step(training: Training, recorder: Recorder, reading: StepReading) -> Figures:
    figures = reading.figures.wait()
    if figures.bad_step >= 0:
        raise _diverged(training, figures.bad_step)
    if figures.gradient_norm is not None:
        training.last_gradient_norm = figures.gradient_norm
    window = figures.window
    if window.images:
        training.schedule.observe_training(window.accuracy)
        recorder.record(
            "step",
            step=reading.step,
            epoch=round(reading.epoch, 6),
            loss=window.loss,
            accuracy=window.accuracy,
            lr=reading.lr,
            grad_norm=training.last_gradient_norm,
            images_s=round(training.stopwatch.rate(window.images), 1),
        )
    recorder.update(**training.progress())
    return figures


def _epoch_means(training: Training, recorder: Recorder) -> Means:
    """Means over the epoch; steps since the last record get one of their own."""
    write_pending(training, recorder)
    training.start_reading()
    figures = write_pending(training, recorder)
    assert figures is not None
    return figures.epoch


def _end_epoch(training: Training, recorder: Recorder, checkpointer: Checkpointer) -> None:
    means = _epoch_means(training, recorder)
    epoch_s = training.stopwatch.lap_s
    metrics: dict[str, float] = {"train_loss": means.loss, "train_accuracy": means.accuracy}
    began = time.monotonic()
    try:
        watched = _evaluate(training, recorder)
    except LeftError:  # the epoch stays open: a resume has nothing of it left to train and evaluates it
        _attend(training, recorder, checkpointer)
        raise
    training.stopwatch.restart()
    if watched is not None:
        prefix = "test" if training.watches_test else "val"
        metrics |= {f"{prefix}_loss": watched.loss, f"{prefix}_accuracy": watched.accuracy}
    recorder.record(
        "epoch",
        epoch=_whole(training.epoch),
        step=training.step,
        **metrics,
        lr=training.learning_rate,
        images_s=round(means.images / epoch_s, 1) if epoch_s else None,
        epoch_s=round(epoch_s, 3),
        eval_s=round(time.monotonic() - began, 3),
    )
    line = epoch_line(_whole(training.epoch), metrics, training.learning_rate, epoch_s)
    print(time.strftime("%H:%M:%S"), line, sep="  ", flush=True)
    training.end_epoch(metrics, watched)
    recorder.add_spark(metrics.get("val_accuracy", metrics.get("test_accuracy", means.accuracy)))
    recorder.update(last={**metrics, "lr": training.learning_rate}, best=training.best_summary(), **training.progress())
    if training.experiment.train.checkpoint_each_epoch and not training.finished:
        _save(training, recorder, checkpointer)
    else:
        _save_when_due(training, recorder, checkpointer)


def epoch_line(epoch: float, metrics: dict[str, float], lr: float, epoch_s: float) -> str:
    """An epoch in the log, its figures as the terminal writes them."""
    scores = "   ".join(
        f"{name} {metrics[f'{name}_accuracy']:.2f} %  {_loss(metrics[f'{name}_loss'])}"
        for name in ("train", "val", "test")
        if f"{name}_accuracy" in metrics
    )
    return f"epoch {round(epoch, 2):g}   {scores}   lr {_scientific(lr, 2) if lr else 0}   {epoch_s:.2f} s"


def _loss(value: float) -> str:
    """Four decimals, or powers of ten where these would show nothing or a row of digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else _scientific(value, 1)


def _scientific(value: float, decimals: int) -> str:
    """`8.2e-4`: Python's exponent without its padding."""
    return f"{value:.{decimals}e}".replace("e+", "e").replace("e0", "e").replace("e-0", "e-")


def _evaluate(training: Training, recorder: Recorder) -> Score | None:
    """Score of the averaged weights, if there are any, else of the trained ones, on the watched set."""
    images, labels = training.watched_set()
    if len(images) == 0 or not training.evaluation_is_due:
        return None
    recorder.update(phase="evaluating")
    with training.timed("evaluation"), training.evaluated_weights() as model:
        logits = logits_of(
            model,
            images,
            training.normalise,
            training.runtime,
            training.experiment.train.eval_batch_size,
            leave=recorder.end_is_asked,
        )
    result = score(logits, labels, training.plain_loss)
    recorder.update(phase="training")
    return result


def _save_when_due(training: Training, recorder: Recorder, checkpointer: Checkpointer) -> None:
    recorder.update(problem=checkpointer.problem)
    if not training.finished and training.seconds_since_checkpoint() >= training.experiment.train.checkpoint_every:
        _save(training, recorder, checkpointer)


def _save(training: Training, recorder: Recorder, checkpointer: Checkpointer) -> None:
    write_pending(training, recorder)
    if int(training.meters.bad_step) >= 0:
        raise _diverged(training, int(training.meters.bad_step))
    with _while_busy(recorder, checkpointer), training.timed("checkpoint"):
        checkpointer.save(training.state_dict(), training.best, recorder.offset)
    training.note_checkpoint()


@contextmanager
def _while_busy(recorder: Recorder, checkpointer: Checkpointer) -> Iterator[None]:
    """Where the disk has not yet taken the checkpoint before, training waits for it: that is said."""
    if not checkpointer.busy:
        yield
        return
    recorder.update(phase=SAVING)
    yield
    recorder.update(phase="training")


def _attend(training: Training, recorder: Recorder, checkpointer: Checkpointer) -> None:
    """Carry out what was asked for since the last step."""
    for request in recorder.requests():
        match request["request"]:
            case "checkpoint":
                recorder.answer(request)
                _save(training, recorder, checkpointer)
            case "pause":
                recorder.answer(request)
                _hold(training, recorder, checkpointer)
            case "stop":
                _stop(training, recorder, checkpointer, request)


def _hold(training: Training, recorder: Recorder, checkpointer: Checkpointer) -> None:
    """Wait at this step, memory kept and heartbeat going on; the time counts in no speed."""
    write_pending(training, recorder)
    training.stopwatch.stop()
    recorder.write_summary(state="paused", eta_s=None)
    while True:
        for request in recorder.requests():
            if request["request"] == "continue":
                recorder.answer(request)
                recorder.write_summary(state="running")
                training.stopwatch.start()
                return
            if request["request"] == "stop":
                _stop(training, recorder, checkpointer, request)
            if request["request"] == "checkpoint":
                recorder.answer(request)
                _save(training, recorder, checkpointer)
        time.sleep(HOLD_S)


def _stop(training: Training, recorder: Recorder, checkpointer: Checkpointer, request: dict[str, Any]) -> None:
    _save(training, recorder, checkpointer)
    recorder.update(phase=SAVING, **training.progress())
    checkpointer.wait()
    recorder.answer(request)
    raise StopRequested(str(request.get("by", "")), int(request.get("code", 143)))


def _diverged(training: Training, bad_step: int) -> DivergedError:
    # The advice is for the option: warm-up and schedule scale it down to the rate of this step.
    advice = _round_down(training.experiment.optimizer.lr / 5)
    rate = training.rate_at(bad_step)
    return DivergedError(f"loss is not finite at step {bad_step}, lr {rate:g}; try optimizer.lr={advice:g}")


def _round_down(value: float) -> float:
    """The next smaller 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next((factor * power for factor in (5, 2, 1) if factor * power <= value), power)


def _whole(epoch: float) -> float | int:
    return round(epoch) if abs(epoch - round(epoch)) < 1e-9 else round(epoch, 6)
