"""Options of the optimisers, discriminated by ``algorithm``; each names the function that builds it."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.options.averaging import Lookahead
from engine.options.base import Buildable, Options, option
from engine.options.schedule import Constant, Ending, ScheduleChoice, Warmup

# The quintic polynomial a x + b x^3 + c x^5 of Jordan et al. 2024, steep at 0: it sends singular values into about
# [.7, 1.2], not to 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Coefficient = Annotated[float, Field(ge=-100, le=100)]
Coefficients = Annotated[tuple[Annotated[float, Field(gt=0, le=100)], Coefficient, Coefficient], Field(strict=False)]
Betas = Annotated[tuple[Fraction, Fraction], Field(strict=False)]


def _is_a_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_is_a_pattern)]


class Group(Options):
    """Parameters, chosen by a pattern in their name, that learn at a rate or decay of their own."""

    match: Pattern = option(..., "A regular expression searched in parameter names; the first that fits wins.")
    lr_scale: float = option(1.0, "What the learning rate is multiplied by.", ge=0)
    weight_decay: float | None = option(None, "Their weight decay; without it, the optimiser's.", ge=0)
    ending: Ending | None = option(None, "Stop training them before the run ends.")


Groups = Annotated[tuple[Group, ...], Field(strict=False)]


class Sam(Options):
    """Sharpness-aware minimisation (Foret et al. 2021; adaptive: Kwon et al. 2021): two passes a step."""

    rho: float = option(0.05, "The radius in which the worst weights are looked for.", gt=0)
    adaptive: bool = option(False, "Measure the radius relative to the weights' sizes (ASAM; rho about 2).")


class OptimizerOptions(Buildable):
    """What every optimiser has."""

    name: str = option("", "The preset that these options came from.")
    lr: float = option(0.1, "The learning rate that the schedule scales.", gt=0)
    weight_decay: float = option(0.0, "How strongly weights are pulled to zero.", ge=0)
    decay: Literal["all", "weights"] = option("all", "What decays: every parameter, or none with one dimension.")
    schedule: ScheduleChoice = option(Constant(), "How the learning rate moves over the run.")
    warmup: Warmup = option(Warmup(), "A linear rise of the learning rate before the schedule.")
    clip_norm: float = option(0.0, "The largest norm of all gradients together; 0 does not clip.", ge=0)
    groups: Groups = option((), "Parameters with a learning rate or weight decay of their own.")
    sam: Sam | None = option(None, "Step with the gradient of the worst weights nearby.")
    lookahead: Lookahead | None = option(None, "Slow weights that follow the fast ones and are copied back.")


def _check_nesterov(nesterov: bool, momentum: float, dampening: float = 0.0) -> None:
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError("nesterov needs a momentum above 0 and no dampening")


class Sgd(OptimizerOptions):
    """Stochastic gradient descent with momentum; weight decay is added to the gradient."""

    builder: ClassVar[str] = "engine.optim.builders:build_sgd"
    algorithm: Literal["sgd"] = option("sgd", "Stochastic gradient descent.")
    momentum: float = option(0.9, "How much of the last step's direction is kept.", ge=0, lt=1)
    nesterov: bool = option(False, "Look ahead along the momentum (Nesterov).")
    dampening: float = option(0.0, "The part of a new gradient that the momentum leaves out.", ge=0, le=1)

    @model_validator(mode="after")
    def _nesterov_fits(self) -> Self:
        _check_nesterov(self.nesterov, self.momentum, self.dampening)
        return self


class _AdamFields(OptimizerOptions):
    lr: float = option(1e-3, "The learning rate that the schedule scales.", gt=0)
    betas: Betas = option((0.9, 0.999), "The decay of the two running means, of gradients and of their squares.")
    eps: float = option(1e-8, "Added to the root of the mean square.", gt=0)
    amsgrad: bool = option(False, "Divide by the largest mean square seen (Reddi et al. 2018).")


class Adam(_AdamFields):
    """Kingma and Ba 2015; weight decay is added to the gradient (L2)."""

    builder: ClassVar[str] = "engine.optim.builders:build_adam"
    algorithm: Literal["adam"] = option("adam", "Adam, with weight decay added to the gradient.")


class AdamW(_AdamFields):
    """Loshchilov and Hutter 2019; weight decay is taken from the weights themselves."""

    builder: ClassVar[str] = "engine.optim.builders:build_adamw"
    algorithm: Literal["adamw"] = option("adamw", "Adam, with weight decay taken from the weights themselves.")
    weight_decay: float = option(0.01, "How strongly weights are pulled to zero.", ge=0)


class RmsProp(OptimizerOptions):
    """Hinton 2012 (lecture 6e of Neural Networks for Machine Learning)."""

    builder: ClassVar[str] = "engine.optim.builders:build_rmsprop"
    algorithm: Literal["rmsprop"] = option("rmsprop", "Gradients divided by the root of their running mean square.")
    lr: float = option(0.01, "The learning rate that the schedule scales.", gt=0)
    alpha: float = option(0.99, "The decay of the running mean square.", ge=0, lt=1)
    eps: float = option(1e-8, "Added to the root of the mean square.", gt=0)
    momentum: float = option(0.0, "How much of the last step's direction is kept.", ge=0, lt=1)
    centered: bool = option(False, "Divide by the standard deviation in place of the root mean square.")


class Adagrad(OptimizerOptions):
    """Duchi, Hazan and Singer 2011."""

    builder: ClassVar[str] = "engine.optim.builders:build_adagrad"
    algorithm: Literal["adagrad"] = option("adagrad", "Gradients divided by the root of the sum of their squares.")
    lr: float = option(0.01, "The learning rate that the schedule scales.", gt=0)
    lr_decay: float = option(0.0, "The learning rate falls as 1 / (1 + steps * lr_decay).", ge=0)
    eps: float = option(1e-10, "Added to the root of the sum.", gt=0)
    initial_accumulator: float = option(0.0, "Where the sum of squares begins.", ge=0)


class Adadelta(OptimizerOptions):
    """Zeiler 2012."""

    builder: ClassVar[str] = "engine.optim.builders:build_adadelta"
    algorithm: Literal["adadelta"] = option("adadelta", "Steps scaled by the running size of the last steps.")
    lr: float = option(1.0, "The learning rate that the schedule scales.", gt=0)
    rho: float = option(0.9, "The decay of the running mean squares.", ge=0, lt=1)
    eps: float = option(1e-6, "Added to the mean squares.", gt=0)


class RestBySgd(Options):
    """What Muon leaves, by SGD."""

    algorithm: Literal["sgd"] = option("sgd", "Stochastic gradient descent.")
    lr: float = option(0.1, "Their learning rate, which the same schedule scales.", gt=0)
    weight_decay: float = option(0.0, "How strongly they are pulled to zero.", ge=0)
    momentum: float = option(0.9, "How much of the last step's direction is kept.", ge=0, lt=1)
    nesterov: bool = option(False, "Look ahead along the momentum (Nesterov).")

    @model_validator(mode="after")
    def _nesterov_fits(self) -> Self:
        _check_nesterov(self.nesterov, self.momentum)
        return self


class RestByAdamW(Options):
    """What Muon leaves, by AdamW."""

    algorithm: Literal["adamw"] = option("adamw", "Adam, with weight decay taken from the weights themselves.")
    lr: float = option(1e-3, "Their learning rate, which the same schedule scales.", gt=0)
    weight_decay: float = option(0.01, "How strongly they are pulled to zero.", ge=0)
    betas: Betas = option((0.9, 0.95), "The decay of the two running means, of gradients and of their squares.")
    eps: float = option(1e-8, "Added to the root of the mean square.", gt=0)


class Interval(Options):
    """Occasions in a run of T steps: step t is one if first + int((last - first) t / T) have passed since the last."""

    first: int = option(1, "Steps from one to the next at the start of the run.", "steps", ge=1)
    last: int = option(1, "Steps from one to the next at its end; in between they change evenly.", "steps", ge=1)


class Muon(OptimizerOptions):
    """Jordan et al. 2024: momentum made orthogonal by Newton-Schulz; a filter bank counts as a matrix."""

    younger: ClassVar[frozenset[str]] = frozenset({"newton_schulz_coefficients", "normalize_every", "decay_order"})
    builder: ClassVar[str] = "engine.optim.muon:build_muon"
    algorithm: Literal["muon"] = option("muon", "Momentum made orthogonal by Newton-Schulz iterations.")
    lr: float = option(0.02, "The learning rate that the schedule scales.", gt=0)
    momentum: float = option(0.95, "How much of the running direction is kept.", ge=0, lt=1)
    nesterov: bool = option(True, "Look ahead along the momentum (Nesterov).")
    decay_order: Literal["before", "after"] = option(
        "before", "Whether weights decay before a step, as AdamW's do, or after it."
    )
    newton_schulz_steps: int = option(5, "Iterations towards an orthogonal matrix.", ge=1, le=20)
    newton_schulz_coefficients: Coefficients = option(
        NEWTON_SCHULZ, "a, b, c of an iteration, which takes every singular value x to a x + b x^3 + c x^5."
    )
    precision: Literal["bf16", "fp16", "fp32"] = option("bf16", "The arithmetic of the iterations.")
    scale: Literal["original", "match_rms_adamw", "none"] = option(
        "original", "A step times max(1, rows/columns)^.5, times .2 max(rows, columns)^.5 (AdamW's size), or as it is."
    )
    normalize_filters: bool = option(False, "Before a step, rescale each filter bank to a norm of filters^.5.")
    normalize_every: Interval = option(Interval(), "In which steps filter banks are rescaled.")
    matrices: Literal["filters", "all"] = option("filters", "Filter banks only, or linear weights too.")
    exclude: Pattern | None = option(None, "Matrices that are left to the rest, by a pattern in their name.")
    rest: Annotated[RestBySgd | RestByAdamW, Field(discriminator="algorithm")] = option(
        RestByAdamW(), "How the parameters that are not such matrices learn."
    )

    @model_validator(mode="after")
    def _interval_is_used(self) -> Self:
        if self.normalize_every != Interval() and not self.normalize_filters:
            raise ValueError("normalize_every says when normalize_filters acts; set normalize_filters to true")
        return self


class DessiLbi(OptimizerOptions):
    """Fu et al. 2020 (arXiv 2007.02010): split linearised Bregman iterations, a path of ever more structure."""

    builder: ClassVar[str] = "engine.optim.dessilbi:build_dessilbi"
    algorithm: Literal["dessilbi"] = option("dessilbi", "Split linearised Bregman iterations: W with a sparse Gamma.")
    decay: Literal["all", "weights"] = option("weights", "What decays: every parameter, or none with one dimension.")
    momentum: float = option(0.9, "How much of the last loss gradients is kept (heavy ball).", ge=0, lt=1)
    nesterov: bool = option(False, "Look ahead along the momentum (Nesterov).")
    kappa: float = option(1.0, "Damping: every step of W is multiplied by it.", gt=0)
    nu: float = option(100.0, "How loosely Gamma is tied to W; V moves by lr (W - Gamma) / nu.", gt=0)
    group_lambda: float = option(1.0, "The norm of V above which a convolution filter enters (group lasso).", ge=0)
    lasso_lambda: float = option(1.0, "The size of V above which a linear weight enters (lasso).", ge=0)
    sparse: Pattern = option("", "The weights that get a Gamma, by a pattern in their name; empty takes them all.")
    base: Literal["sgd", "adam", "adam_then_sgd"] = option(
        "sgd", "The loss's part in W's step: momentum SGD, Adam's direction, or a full Adam step and SGD's on top."
    )
    betas: Betas = option((0.9, 0.999), "Adam's running means, of gradients and of their squares.")
    eps: float = option(1e-8, "Adam's: added to the root of the mean square.", gt=0)

    @model_validator(mode="after")
    def _nesterov_fits(self) -> Self:
        _check_nesterov(self.nesterov, self.momentum)
        return self


OptimizerChoice = Annotated[
    Sgd | Adam | AdamW | RmsProp | Adagrad | Adadelta | Muon | DessiLbi,
    Field(discriminator="algorithm"),
]
