"""Options of the optimisers, discriminated by ``algorithm``; each names the function that builds it."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.options.averaging import Lookahead
from engine.options.base import Buildable, Options, option
from engine.options.schedule import Constant, ScheduleChoice, Warmup

Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Fraction, Fraction], Field(strict=False)]


class Group(Options):
    """Parameters, chosen by a pattern in their name, that learn at a rate or decay of their own."""

    match: str = option(..., "A regular expression searched in the parameter's name; the first group that fits wins.")
    lr_scale: float = option(1.0, "What the learning rate is multiplied by.", ge=0)
    weight_decay: float | None = option(None, "Their weight decay; without it, the optimiser's.", ge=0)

    @field_validator("match")
    @classmethod
    def _is_a_pattern(cls, match: str) -> str:
        try:
            re.compile(match)
        except re.error as error:
            raise ValueError(f"{match!r} is not a regular expression: {error}") from None
        return match


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


OptimizerChoice = Annotated[
    Sgd | Adam | AdamW | RmsProp | Adagrad | Adadelta,
    Field(discriminator="algorithm"),
]
