"""The fourteen operations that RandAugment and TrivialAugment draw from, and torchvision's strengths of them."""

import torch
from torch import Tensor

from engine.augment.affine import rotation

KINDS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "auto_contrast",
    "equalize",
)
BINS = 31


def rand_augment(kinds: Tensor, negative: Tensor, magnitude: int, size: int) -> dict[str, Tensor]:
    """Strengths of RandAugment (Cubuk et al. 2020) at ``magnitude`` of 30, for ``kinds`` and ``negative`` (n, k)."""
    strength = torch.full(kinds.shape, magnitude / (BINS - 1), dtype=torch.float64)
    limits = {"shear": 0.3, "translate": 150 / 331 * size, "rotate": 30.0, "blend": 0.9, "bits": 4.0}
    return _draws(kinds, negative, strength, limits, size)


def trivial_augment(kinds: Tensor, bins: Tensor, negative: Tensor, size: int) -> dict[str, Tensor]:
    """Strengths of TrivialAugment's wide space (Müller and Hutter 2021) for ``bins`` 0…30, (n, k) as the others."""
    limits = {"shear": 0.99, "translate": 32.0, "rotate": 135.0, "blend": 0.99, "bits": 6.0}
    return _draws(kinds, negative, bins.double() / (BINS - 1), limits, size)


def _draws(kinds: Tensor, negative: Tensor, strength: Tensor, limits: dict[str, float], size: int) -> dict[str, Tensor]:
    """``kind`` (n, k) int64, ``amount`` (n, k) float32 and ``matrix`` (n, k, 2, 3) float32.

    The amount is a factor of blending, a number of bits to drop, or the level from which solarizing inverts.
    """
    signed = torch.where(negative, -strength, strength)
    amount = 1 + limits["blend"] * signed
    amount = torch.where(kinds == KINDS.index("posterize"), (limits["bits"] * strength).round(), amount)
    amount = torch.where(kinds == KINDS.index("solarize"), 255 * (1 - strength), amount)
    matrix = _matrices(kinds, signed, limits, size)
    return {"kind": kinds, "amount": amount.float(), "matrix": matrix.float()}


def _matrices(kinds: Tensor, signed: Tensor, limits: dict[str, float], size: int) -> Tensor:
    """Affine maps (n, k, 2, 3) of the five geometric kinds; the identity for the others.

    Rotations keep the centre of the image in place, shears its upper left corner.
    """
    degrees = torch.where(kinds == KINDS.index("rotate"), limits["rotate"] * signed, 0.0)
    matrix = rotation(degrees)
    slope, shift = limits["shear"] * signed, (limits["translate"] * signed).trunc()
    for row, axis in enumerate("xy"):
        sheared = torch.where(kinds == KINDS.index(f"shear_{axis}"), slope, 0.0)
        shifted = torch.where(kinds == KINDS.index(f"translate_{axis}"), shift, 0.0)
        matrix[..., row, 1 - row] += sheared
        matrix[..., row, 2] += sheared * size / 2 - shifted
    return matrix
