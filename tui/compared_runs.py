"""The runs that Compare follows: their lines and curves, computed again only where a run has changed."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.curves import Axis, Points, Reading
from engine.run_view import RunView
from tui import comparison
from tui.comparison import METRIC, METRICS, Drawn, Line, Member, Metric, Reached
from tui.configuration import Settings

Order = str  # "" as marked, "best" or "worst" first


class Feed(Protocol):
    """What `services.RunFeed` knows of a run."""

    version: int
    view: RunView

    def names(self) -> list[str]: ...

    def series(self, name: str, x: Axis = "epoch") -> Points: ...

    def exact(self, place: float, x: Axis = "epoch") -> Reading | None: ...


class ComparedRuns:
    """Feeds of runs by id, in the order in which they were marked. `settings` may come later, and `readings`, the
    records nearest to the cross-hair."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        self.feeds = feeds
        self.settings: dict[str, Settings] = {}
        self.readings: dict[str, Reading] = {}
        self._reached: dict[str, tuple[int, dict[str, Reached]]] = {}
        self._drawn: dict[str, tuple[object, Drawn]] = {}

    def views(self) -> list[RunView]:
        """The runs as they were last seen."""
        return [feed.view for feed in self.feeds.values()]

    def find(self, run_id: str) -> Feed | None:
        return self.feeds.get(run_id)

    def lines(self, *, together: bool, order: Order, metric: Metric) -> list[Line]:
        """The lines as marked, or by what they have reached in a metric."""
        members = [
            Member(feed.view, self.settings.get(run_id, {}), self._reached_by(run_id, feed))
            for run_id, feed in self.feeds.items()
        ]
        found = comparison.lines(members, together=together)
        return _ordered(found, metric, order) if order else found

    def _reached_by(self, run_id: str, feed: Feed) -> dict[str, Reached]:
        version, found = self._reached.get(run_id, (-1, {}))
        if version != feed.version:
            version, found = feed.version, comparison.extremes(feed)
            self._reached[run_id] = version, found
        return found

    def metrics(self) -> list[Metric]:
        """The metrics that some run has values of."""
        names = {name for feed in self.feeds.values() for name in feed.names()}
        return [metric for metric in METRICS if metric.series in names]

    def metric(self, wanted: str) -> Metric:
        """The metric of a series, or the first that some run has."""
        known = self.metrics()
        if wanted in {metric.series for metric in known}:
            return METRIC[wanted]
        return known[0] if known else METRICS[0]

    def drawn(self, found: Sequence[Line], metric: Metric, x: Axis, smoothing: float) -> list[Drawn]:
        """The curves of the lines."""
        self._drawn = {line.key: self._curve(line, metric, x, smoothing) for line in found}
        return [drawn for _, drawn in self._drawn.values()]

    def read(self, place: float, x: Axis) -> dict[str, Reading]:
        """Read the records nearest to a place again, from the files: call it in a thread."""
        found = {run_id: feed.exact(place, x) for run_id, feed in self.feeds.items()}
        return {run_id: reading for run_id, reading in found.items() if reading}

    def measured(self, found: Sequence[Line], metric: Metric, x: Axis, at: float) -> list[float | None]:
        """The exact values of the lines at a place, by the newest `readings`."""
        return [comparison.measured(line, metric, x, at, self.readings, self.find) for line in found]

    def _curve(self, line: Line, metric: Metric, x: Axis, smoothing: float) -> tuple[object, Drawn]:
        versions = tuple((member.view.id, self.feeds[member.view.id].version) for member in line.members)
        wanted = (versions, metric, x, smoothing)
        known = self._drawn.get(line.key)
        if known is not None and known[0] == wanted:
            return known
        return wanted, comparison.curve(line, metric, x, smoothing, self.find)


def _ordered(found: list[Line], metric: Metric, order: Order) -> list[Line]:
    """By what lines have reached, those without a figure last."""
    sign = (-1 if metric.better == "higher" else 1) * (1 if order == "best" else -1)

    def rank(line: Line) -> tuple[bool, float]:
        value = comparison.mean(line.figures(metric.series))
        return value is None, sign * (value or 0.0)

    return sorted(found, key=rank)
