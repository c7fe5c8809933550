"""Which test accuracy counts for a run: the one that tables show, and the one that stands beside a published figure."""

from engine.run_view import RunView


def tested(run: RunView) -> float | None:
    """Test accuracy of the best checkpoint in percent, or of the last where no best one was kept."""
    return run.test if run.test is not None else run.test_last


def compared(run: RunView, checkpoint: str) -> float | None:
    """The test accuracy that is set against a published one: of the best checkpoint unless that was the last's."""
    return run.test_last if checkpoint == "last" else tested(run)


def published_accuracy(run: RunView) -> float | None:
    """The test accuracy that was published for the run, in percent."""
    figure = run.published.get("test_accuracy")
    return float(figure) if isinstance(figure, float | int) else None


def beyond_published(run: RunView) -> float | None:
    """The run's test accuracy minus the published one, in points, both of the same checkpoint; None before the test."""
    figure, ours = published_accuracy(run), compared(run, str(run.published.get("checkpoint", "best")))
    return None if figure is None or ours is None else ours - figure
