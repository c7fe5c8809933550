"""How long a run has been training, over all its attempts."""

import time


class Stopwatch:
    """Active seconds: pauses and evaluations are left out of speed, pauses also out of the run's own time.

    ``lap_s`` of the ``active_s`` seconds before belong to an epoch that goes on.
    """

    def __init__(self, active_s: float = 0.0, lap_s: float = 0.0) -> None:
        self._before = active_s
        self._since: float | None = None
        self._rate_from = active_s
        self._lap_from = active_s - lap_s

    @property
    def active_s(self) -> float:
        """Seconds of training and evaluation so far, over all attempts."""
        return self._before + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def lap_s(self) -> float:
        """Seconds since the last restart."""
        return self.active_s - self._lap_from

    def start(self) -> None:
        """Begin, or go on after a pause."""
        self._since = time.monotonic()

    def stop(self) -> None:
        """Hold; what has passed is kept."""
        self._before, self._since = self.active_s, None

    def restart(self) -> None:
        """Begin the next epoch's measurement without counting what has passed since the last."""
        self._rate_from = self._lap_from = self.active_s

    def rate(self, count: int) -> float:
        """``count`` per second since the last call."""
        now = self.active_s
        elapsed, self._rate_from = now - self._rate_from, now
        return count / elapsed if elapsed > 0 else 0.0
