"""What the options of all network families share: activation, initialisation, bounded types, shape arithmetic."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from engine.options.base import Buildable, option

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "sigmoid", "silu"]
Initialization = Literal["torch", "he_fan_out", "xavier"]

MAX_WIDTH = 16384
MAX_BLOCKS = 400


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(f"a kernel of {kernel} pixels has no centre; choose an odd size")
    return kernel


Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Widths = Annotated[tuple[Width, ...], Field(strict=False, max_length=16)]
Repeats = Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_BLOCKS)], ...], Field(strict=False, max_length=16)]
Strides = Annotated[tuple[Annotated[int, Field(ge=1, le=4)], ...], Field(strict=False, max_length=16)]
Kernel = Annotated[int, Field(ge=1, le=11), AfterValidator(_odd)]
Kernels = Annotated[tuple[Kernel, ...], Field(strict=False, max_length=2)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Rates = Annotated[tuple[Rate, ...], Field(strict=False, max_length=17)]


class ArchitectureOptions(Buildable):
    """Options that every family has.

    The builder is called as ``builder(options, channels, size, classes)`` with the number of image channels, the image
    side in pixels and the number of classes. It returns a module from (N, channels, size, size) to (N, classes).
    """

    family: str
    name: str = option("", "The preset the architecture came from, as shown in tables.", max_length=200)
    activation: Activation = option("relu", "Activation used everywhere in the network.")
    initialization: Initialization = option(
        "torch", "How weights start: torch's own rules, He normal by fan-out, or Xavier (Glorot) normal."
    )

    def misfit(self, channels: int, size: int) -> str | None:
        """Why images of (channels, size, size) cannot pass through this network, in one sentence; None if they can."""
        return None


def strided(size: int, *strides: int) -> int:
    """Side in pixels after convolutions of these strides with odd kernels and same padding."""
    for stride in strides:
        size = -(-size // stride)
    return size


def stage_strides(strides: tuple[int, ...], stages: int) -> tuple[int, ...]:
    """The strides as given, or where none are: 1 for the first stage and 2 for every later one."""
    return strides or (1, *[2] * (stages - 1))


def check_stages(channels: tuple[int, ...], strides: tuple[int, ...] = (), **each: tuple[object, ...]) -> None:
    """Raise ValueError with one sentence unless every list has an entry for each stage; strides may be left out."""
    if not channels:
        raise ValueError("channels is empty; give the width of at least one stage")
    for name, values in {**each, "strides": strides or channels}.items():
        if len(values) != len(channels):
            raise ValueError(
                f"{name} has length {len(values)} and channels has length {len(channels)}; give each stage one"
            )


def check_dropout(dropout: tuple[float, ...], head: tuple[int, ...]) -> None:
    """Raise ValueError unless ``dropout`` is empty or has a rate for each linear layer, the last one included."""
    if dropout and len(dropout) != len(head) + 1:
        raise ValueError(
            f"dropout has length {len(dropout)} but the head has {len(head) + 1} linear layers; "
            "give a rate for each, or none"
        )


def pool_misfit(pool: int, size: int, image: int) -> str | None:
    """Why an average pool of ``pool`` pixels does not fit on a map of ``size``; 0 pools the whole map."""
    if pool <= size:
        return None
    return (
        f"pool is {pool} but the last feature map of a {image}x{image} image is {size}x{size}; "
        f"choose {size} or less, or 0 for the global average"
    )
