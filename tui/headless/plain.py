"""A run as plain lines: a head, one line an epoch, and how it ended. For pipes, logs and cron; no escape codes."""

from collections.abc import Callable

from engine.runs import RunView
from engine.tested import beyond_published, published_accuracy
from engine.untrusted import as_figure, as_number
from tui import format, glyphs
from tui.headless.follow import Record

Write = Callable[[str], object]


class PlainDisplay:
    """Writes lines through ``write``, which must not wait for more before it shows them."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._phase = self._notice = ""
        self._seen = float("-inf")
        self._begun = False
        self._best: float | None = None

    def show(self, view: RunView, records: list[Record], restarted: bool) -> None:
        """Write what is new: each epoch once, and before the first of them what the engine is busy with."""
        if not self._begun:
            self._begun = True
            self._write(heading(view))
        for record in records:
            moment = as_number(record.get("t")) or 0.0
            if record["kind"] == "epoch" and moment > self._seen:
                self._seen = moment
                self._write(epoch_line(record, view, self._is_best(record, view)))
        if view.phase != self._phase and view.live and self._seen == float("-inf"):
            self._phase = view.phase
            self._write(f"  {view.phase}" if view.phase else f"  {view.state}")
        if view.notice not in ("", self._notice):
            self._notice = view.notice
            self._write(f"  {view.notice}")

    def _is_best(self, record: Record, view: RunView) -> bool:
        """Whether no epoch before it was as good, by the metric that chooses the best checkpoint."""
        metric = view.best_metric or ("test_accuracy" if "test_accuracy" in record else "val_accuracy")
        value = as_number(record.get(metric))
        if value is None:
            return False
        better = self._best is None or (value < self._best if "loss" in metric else value > self._best)
        if better:
            self._best = value
        return better

    def close(self, view: RunView) -> None:
        """Write how the run ended, or that it goes on."""
        for line in outcome(view):
            self._write(line)


def heading(view: RunView) -> str:
    """`run 20261121-… quickstart: small on shapes, in ./runs/20261121-…`"""
    network = f"{view.architecture} on {view.dataset}" if view.architecture else "starting"
    return f"run {view.id} {view.name or 'without a name'}: {network}, seed {view.seed}, in {view.path}"


def epoch_line(record: Record, view: RunView, best: bool = False) -> str:
    """One epoch: losses to four decimals, accuracies in percent, speed, time taken and left."""
    figures = {name: as_figure(value) for name, value in record.items()}
    epochs = format.epochs(view.epochs)
    parts = [f"epoch {format.epochs(figures.get('epoch')):>{len(epochs)}}/{epochs}"]
    for name, label in (("train", "train"), ("val", "val"), ("test", "test")):
        loss, accuracy = figures.get(f"{name}_loss"), figures.get(f"{name}_accuracy")
        if loss is not None or accuracy is not None:
            parts.append(f"{label} loss {format.loss(loss, 4)} acc {format.accuracy(accuracy)} %")
    if best:
        parts.append("best")
    parts.append(f"lr {format.learning_rate(figures.get('lr'))}")
    parts.append(format.throughput(figures.get("images_s")))
    parts.append(format.duration(figures.get("epoch_s")))
    if view.live and view.eta_s is not None:
        parts.append(format.remaining(view.eta_s, "left"))
    return "  ".join(parts)


def outcome(view: RunView) -> list[str]:
    """How a run ended, with its figures; or, when it is still live, how to see it again."""
    sign = glyphs.active().state(view.state)
    if view.live or view.state == "unknown":
        return [f"{sign} {view.state}; it goes on: cifar-tui --watch {view.id}"]
    took = f" after {format.duration(view.active_s)}" if view.active_s else ""
    lines = [f"{sign} {view.state}{took}" + (f": {view.reason}" if view.reason else "")]
    lines += [f"  {line}" for line in result_lines(view)]
    return lines


def result_lines(view: RunView) -> list[str]:
    """The figures of a run: best, test, and the published one beside it."""
    lines = []
    if view.best is not None:
        value = format.loss(view.best) if "loss" in view.best_metric else f"{format.accuracy(view.best)} %"
        at = f" at epoch {format.epochs(view.best_epoch)}" if view.best_epoch is not None else ""
        lines.append(f"best {view.best_metric.replace('_', ' ')} {value}{at}")
    if view.test is not None:
        last = f", last {format.accuracy(view.test_last)} %" if view.test_last is not None else ""
        lines.append(f"test accuracy {format.accuracy(view.test)} %{last}")
    elif view.test_last is not None:
        lines.append(f"test accuracy {format.accuracy(view.test_last)} % of the last checkpoint")
    published = published_accuracy(view)
    if published is not None:
        lines.append(f"published {format.accuracy(published)} %{_difference(view)}")
    return lines


def _difference(view: RunView) -> str:
    beyond, source = beyond_published(view), view.published.get("source")
    origin = f" ({source})" if source else ""
    return origin if beyond is None else f"{origin}, difference {format.delta(beyond)}"
