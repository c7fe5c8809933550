"""Options of the two averages of weights: the exponential moving average and lookahead."""

from engine.options.base import Options, option


class Ema(Options):
    """An exponential moving average of the weights, evaluated in place of the last ones (Polyak averaging)."""

    decay: float = option(0.999, "How much of the average is kept at an update.", gt=0, lt=1)
    warmup: bool = option(True, "Begin with a smaller decay, (1 + updates) / (10 + updates), until it reaches decay.")
    every: int = option(1, "Update after every so many steps.", "steps", ge=1)


class Lookahead(Options):
    """Slow weights that follow the fast ones and are copied back (Zhang et al. 2019), with airbench's rising decay.

    At step t of T the slow weights keep ``(decay ** every) * (t / T) ** power`` of themselves.
    """

    decay: float = option(0.95, "How much of the slow weights is kept a step, at the end of the run.", ge=0, lt=1)
    every: int = option(5, "Look ahead after every so many steps.", "steps", ge=1)
    power: float = option(3.0, "How late the decay rises; 0 keeps it constant.", ge=0)
