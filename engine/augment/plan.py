"""Everything random about an epoch: the order of its images, and each operation's numbers for every image.

Drawn on the CPU whatever the device, so that every device and every mode of running sees the same numbers. Each
operation draws from a stream of its own, named by seed, epoch and operation: moving an operation in the list, or adding
another kind, changes nobody else's numbers.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from engine.augment import magnitudes
from engine.augment.affine import rotation
from engine.options.augmentation import (
    BrightnessContrast,
    ColorJitter,
    Crop,
    Cutmix,
    Cutout,
    Flip,
    Mixup,
    Operation,
    RandAugment,
    RandomResizedCrop,
    Rotate,
    Translate,
    TrivialAugment,
)

Draws = dict[str, Tensor]


@dataclass(frozen=True)
class EpochPlan:
    """``order`` (n,) int64: image indices in training order. ``draws``: each operation's tensors (n, …), by image.

    Where one pass over n images ends within the plan and the next begins, ``draws`` are (2n, …), and n is added to the
    indices of the second pass.
    """

    order: Tensor
    draws: tuple[Draws, ...]

    def to(self, device: torch.device | str) -> Self:
        """The same plan on ``device``."""
        return type(self)(
            self.order.to(device, non_blocking=True),
            tuple({name: drawn.to(device, non_blocking=True) for name, drawn in draws.items()} for draws in self.draws),
        )

    def copy_(self, other: "EpochPlan") -> None:
        """Take over the numbers of ``other`` in place, as a captured graph needs it."""
        self.order.copy_(other.order, non_blocking=True)
        for mine, theirs in zip(self.draws, other.draws, strict=True):
            for name, drawn in mine.items():
                drawn.copy_(theirs[name], non_blocking=True)


def draw_epoch(operations: Sequence[Operation], size: int, seed: int, epoch: int, n: int) -> EpochPlan:
    """The plan of ``epoch`` (from 0) for ``n`` images of ``size`` pixels a side: a function of its arguments alone."""
    order = torch.randperm(n, generator=_stream(seed, epoch, "order"))
    seen: Counter[str] = Counter()
    draws = []
    for operation in operations:
        stream = _stream(seed, epoch, f"{operation.op} {seen[operation.op]}")
        seen[operation.op] += 1
        draws.append(_draw(operation, stream, n, size, seed, epoch))
    return EpochPlan(order, tuple(draws))


def draw_stretch(operations: Sequence[Operation], size: int, seed: int, epoch: int, n: int, length: int) -> EpochPlan:
    """The plan of the ``epoch``-th stretch (from 0) of ``length`` images, at most n, of passes that follow one another.

    The passes over the ``n`` images are those of ``draw_epoch``; a stretch sees no more than two of them.
    """
    whole, start = divmod(epoch * length, n)
    first, second = (draw_epoch(operations, size, seed, number, n) for number in (whole, whole + 1))
    draws = tuple(
        {name: torch.cat((drawn, after[name])) for name, drawn in before.items()}
        for before, after in zip(first.draws, second.draws, strict=True)
    )
    return EpochPlan(torch.cat((first.order, second.order + n))[start : start + length], draws)


def _stream(seed: int, epoch: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {epoch} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _draw(operation: Any, stream: torch.Generator, n: int, size: int, seed: int, epoch: int) -> Draws:
    if isinstance(operation, Flip) and operation.mode == "alternating":
        return _alternating_flip(n, seed, epoch)
    draw = _DRAWS.get(type(operation))
    return draw(operation, stream, n, size) if draw else {}


def _alternating_flip(n: int, seed: int, epoch: int) -> Draws:
    """Half of the images on even epochs, the others on odd ones (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds")."""
    first = torch.randint(0, 2, (n,), generator=_stream(seed, 0, "alternating flip")).bool()
    return {"flip": first if epoch % 2 == 0 else ~first}


def _flip(operation: Flip, stream: torch.Generator, n: int, size: int) -> Draws:
    return {"flip": torch.rand(n, generator=stream) < operation.p}


def _shift(reach: int, stream: torch.Generator, n: int) -> Draws:
    return {"shift": torch.randint(-reach, reach + 1, (n, 2), generator=stream)}


def _crop(operation: Crop, stream: torch.Generator, n: int, size: int) -> Draws:
    return _shift(operation.padding, stream, n)


def _translate(operation: Translate, stream: torch.Generator, n: int, size: int) -> Draws:
    return _shift(operation.pixels, stream, n)


def _rotate(operation: Rotate, stream: torch.Generator, n: int, size: int) -> Draws:
    degrees = _uniform(stream, n, -operation.degrees, operation.degrees)
    return {"matrix": rotation(degrees).float()}


def _cutout(operation: Cutout, stream: torch.Generator, n: int, size: int) -> Draws:
    places = max(1, size - operation.size + 1) if operation.inside else size
    drawn = torch.randint(0, places, (n, 2), generator=stream)
    applied = torch.rand(n, generator=stream) < operation.p
    corner = drawn if operation.inside else drawn - operation.size // 2
    return {"corner": corner, "side": applied * operation.size}


def _random_resized_crop(operation: RandomResizedCrop, stream: torch.Generator, n: int, size: int) -> Draws:
    """The first that fits of ten areas and ratios, else the whole image, as torchvision does it."""
    area = _uniform(stream, (n, 10), operation.scale_min, operation.scale_max) * size * size
    reach = math.log(operation.ratio)
    ratio = _uniform(stream, (n, 10), -reach, reach).exp()
    width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (width >= 1) & (width <= size) & (height >= 1) & (height <= size)
    first = fits.int().argmax(dim=1, keepdim=True)
    none = ~fits.any(dim=1)
    width = width.gather(1, first)[:, 0].masked_fill(none, size)
    height = height.gather(1, first)[:, 0].masked_fill(none, size)
    top = (torch.rand(n, generator=stream, dtype=torch.float64) * (size - height + 1)).floor()
    left = (torch.rand(n, generator=stream, dtype=torch.float64) * (size - width + 1)).floor()
    return {"box": torch.stack((top, left, height, width), dim=1).float()}


def _color_jitter(operation: ColorJitter, stream: torch.Generator, n: int, size: int) -> Draws:
    strengths = torch.tensor((operation.brightness, operation.contrast, operation.saturation))
    return {"factor": 1 + strengths * _uniform(stream, (n, 3), -1, 1).float()}


def _brightness_contrast(operation: BrightnessContrast, stream: torch.Generator, n: int, size: int) -> Draws:
    shift = operation.brightness * _uniform(stream, n, -1, 1)
    factor = 1 + operation.contrast * _uniform(stream, n, -1, 1)
    return {"shift": shift.float(), "factor": factor.float()}


def _rand_augment(operation: RandAugment, stream: torch.Generator, n: int, size: int) -> Draws:
    kinds = torch.randint(0, len(magnitudes.KINDS), (n, operation.operations), generator=stream)
    negative = torch.rand(n, operation.operations, generator=stream) < 0.5
    return magnitudes.rand_augment(kinds, negative, operation.magnitude, size)


def _trivial_augment(operation: TrivialAugment, stream: torch.Generator, n: int, size: int) -> Draws:
    kinds = torch.randint(0, len(magnitudes.KINDS), (n, 1), generator=stream)
    bins = torch.randint(0, magnitudes.BINS, (n, 1), generator=stream)
    negative = torch.rand(n, 1, generator=stream) < 0.5
    return magnitudes.trivial_augment(kinds, bins, negative, size)


def _mixup(operation: Mixup, stream: torch.Generator, n: int, size: int) -> Draws:
    return {"weight": _mixing_weight(operation, stream, n)}


def _cutmix(operation: Cutmix, stream: torch.Generator, n: int, size: int) -> Draws:
    """Corners of the pasted rectangle, ends excluded, clipped at the border (n, 4): top, left, bottom, right."""
    weight = _mixing_weight(operation, stream, n)
    half = (size * (1 - weight).sqrt() / 2).floor().long()[:, None]
    centre = torch.randint(0, size, (n, 2), generator=stream)
    return {"box": torch.cat((centre - half, centre + half), dim=1).clamp(0, size)}


def _mixing_weight(operation: Mixup | Cutmix, stream: torch.Generator, n: int) -> Tensor:
    """Share of the image itself, (n,) float32: Beta(alpha, alpha), or 1 where the operation passes over an image."""
    # torch.distributions takes no generator; the gamma sampler beneath it does.
    shape = torch.full((n, 2), operation.alpha, dtype=torch.float64)
    gammas = torch._standard_gamma(shape, generator=stream).clamp_min(1e-300)
    applied = torch.rand(n, generator=stream) < operation.p
    return torch.where(applied, gammas[:, 0] / gammas.sum(dim=1), 1.0).float()


def _uniform(stream: torch.Generator, shape: int | tuple[int, ...], low: float, high: float) -> Tensor:
    sizes = (shape,) if isinstance(shape, int) else shape
    return low + (high - low) * torch.rand(sizes, generator=stream, dtype=torch.float64)


_DRAWS: dict[type, Callable[[Any, torch.Generator, int, int], Draws]] = {
    Flip: _flip,
    Crop: _crop,
    Translate: _translate,
    Rotate: _rotate,
    Cutout: _cutout,
    RandomResizedCrop: _random_resized_crop,
    ColorJitter: _color_jitter,
    BrightnessContrast: _brightness_contrast,
    RandAugment: _rand_augment,
    TrivialAugment: _trivial_augment,
    Mixup: _mixup,
    Cutmix: _cutmix,
}
