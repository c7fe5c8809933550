"""Affine maps of the image plane, from a pixel of the output to the place in the input that it shows.

A matrix (n, 2, 3) takes (x, y, 1), measured in pixels from the image's centre, to the source's (x, y).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def rotation(degrees: Tensor) -> Tensor:
    """Matrices (n, 2, 3) that turn images counter-clockwise by ``degrees`` (n,)."""
    angle = torch.deg2rad(degrees)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    return torch.stack((cosine, -sine, zero, sine, cosine, zero), dim=-1).reshape(*degrees.shape, 2, 3)


def source_positions(matrix: Tensor, y: Tensor, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the pixels at ``y`` and ``x`` (integer, broadcasting to (n, H, W)) come from: two (n, H, W) float32.

    0 is the centre of the first pixel, as in the integer coordinates.
    """
    centre = (size - 1) / 2
    entries = matrix[:, :, :, None, None]
    across, down = x - centre, y - centre
    source_x = entries[:, 0, 0] * across + entries[:, 0, 1] * down + (entries[:, 0, 2] + centre)
    source_y = entries[:, 1, 0] * across + entries[:, 1, 1] * down + (entries[:, 1, 2] + centre)
    return source_y, source_x


def sample_bilinear(values: Tensor, source_y: Tensor, source_x: Tensor) -> Tensor:
    """Blend the four neighbours of every position; what lies outside counts as 0.

    ``values`` (n, H, W, C) float, positions (n, H, W) in pixels: (n, H, W, C) float.
    """
    size = values.shape[1]
    grid = torch.stack((source_x, source_y), dim=-1).add(0.5).mul(2 / size).sub(1)
    images = values.permute(0, 3, 1, 2)
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.permute(0, 2, 3, 1)
