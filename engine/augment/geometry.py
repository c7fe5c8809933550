"""Operations that move whole pixels: a run of them becomes one gather.

Each maps the coordinates of its output to those of its input. Maps are composed from the last operation to the first,
and only then are pixels fetched. Coordinates stay separable, (n, H, 1) and (n, 1, W), until a rotation mixes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.augment.affine import source_positions
from engine.augment.plan import Draws
from engine.options.augmentation import Crop, Cutout, Flip, Operation, Rotate, Translate


@dataclass(frozen=True)
class Window:
    """Which source pixel every output pixel shows: 0 where that lies outside the image, or where a condition fails.

    A condition is (n, H, W), or has one row or one column as long as it is of columns or of rows alone. ``strays`` says
    whether coordinates may lie outside.
    """

    y: Tensor
    x: Tensor
    size: int
    conditions: tuple[Tensor, ...] = ()
    strays: bool = False

    def moved(self, y: Tensor, x: Tensor, *, strays: bool) -> "Window":
        """Further on to other coordinates; what lay outside before stays there."""
        kept = (_valid(self.y, self.size), _valid(self.x, self.size)) if self.strays else ()
        return Window(y, x, self.size, (*self.conditions, *kept), strays)


def moves_pixels(operation: Operation) -> bool:
    """Whether ``operation`` can join a gather: it neither blends pixels nor changes their values."""
    return type(operation) in _MAPS and not (isinstance(operation, Rotate) and operation.interpolation == "bilinear")


def gather(images: Tensor, rows: Tensor, operations: Sequence[Operation], draws: Sequence[Draws]) -> Tensor:
    """Images ``rows`` (n,) of ``images`` (N, H, W, C), moved by ``operations``: (n, H, W, C) of the same dtype."""
    if not operations:
        return images.index_select(0, rows)
    window = _whole(images)
    for operation, drawn in zip(reversed(operations), reversed(draws), strict=True):
        window = _MAPS[type(operation)](operation, drawn, window)
    return _fetch(images, rows, window)


def gather_affine(images: Tensor, matrix: Tensor) -> Tensor:
    """``images`` (n, H, W, C) moved by ``matrix`` (n, 2, 3), each output pixel the nearest source pixel or 0."""
    rows = torch.arange(len(images), device=images.device)
    return _fetch(images, rows, _move_nearest(matrix, _whole(images)))


def _whole(images: Tensor) -> Window:
    """Every pixel in its own place. 32 bits where they can number every pixel: half the memory traffic."""
    size = images.shape[1]
    integer = torch.int32 if images.numel() < 2**31 else torch.int64
    line = torch.arange(size, dtype=integer, device=images.device)
    return Window(line[None, :, None], line[None, None, :], size)


def _fetch(images: Tensor, rows: Tensor, window: Window) -> Tensor:
    """One lookup a pixel. What shows none is sent to a border of zeros: a mask would be a product over all channels."""
    y, x, size, channels = window.y, window.x, window.size, images.shape[3]
    if window.strays or window.conditions:
        images = functional.pad(images.index_select(0, rows), (0, 0, 1, 1, 1, 1))
        rows = torch.arange(len(rows), device=rows.device)
        y, x = y.clamp(-1, size) + 1, x.clamp(-1, size) + 1
        for condition in window.conditions:
            y, x = (y * condition, x) if condition.shape[2] == 1 else (y, x * condition)
    stride = images.shape[1]
    places = (rows.to(y.dtype)[:, None, None] * stride + y) * stride + x
    pixels = images.reshape(-1, channels).index_select(0, places.reshape(-1))
    return pixels.view(len(rows), size, size, channels)


def _flip(operation: Flip, draws: Draws, window: Window) -> Window:
    mirrored = torch.where(draws["flip"][:, None, None], window.size - 1 - window.x, window.x)
    return replace(window, x=mirrored)


def _shift(operation: Crop | Translate, draws: Draws, window: Window) -> Window:
    shift = draws["shift"].to(window.y.dtype)[:, :, None, None]
    y, x, size = window.y + shift[:, 0], window.x + shift[:, 1], window.size
    if operation.fill == "reflect":
        return window.moved(_reflect(y, size), _reflect(x, size), strays=False)
    return window.moved(y, x, strays=True)


def _reflect(coordinate: Tensor, size: int) -> Tensor:
    """Mirror about the centres of the first and the last pixel, which are not repeated."""
    period = 2 * size - 2
    folded = coordinate.remainder(period)
    return torch.minimum(folded, period - folded)


def _valid(coordinate: Tensor, size: int) -> Tensor:
    return (coordinate >= 0) & (coordinate < size)


def _rotate(operation: Rotate, draws: Draws, window: Window) -> Window:
    return _move_nearest(draws["matrix"], window)


def _move_nearest(matrix: Tensor, window: Window) -> Window:
    """Follow an affine map (n, 2, 3) to the nearest pixel."""
    source_y, source_x = source_positions(matrix, window.y, window.x, window.size)
    y, x = source_y.round().to(window.y.dtype), source_x.round().to(window.y.dtype)
    return window.moved(y, x, strays=True)


def _cutout(operation: Cutout, draws: Draws, window: Window) -> Window:
    top, left = draws["corner"][:, 0, None, None], draws["corner"][:, 1, None, None]
    side = draws["side"][:, None, None]
    rows = (window.y >= top) & (window.y < top + side)
    columns = (window.x >= left) & (window.x < left + side)
    return replace(window, conditions=(*window.conditions, ~(rows & columns)))


_MAPS: dict[type, Callable[[Any, Draws, Window], Window]] = {
    Flip: _flip,
    Crop: _shift,
    Translate: _shift,
    Rotate: _rotate,
    Cutout: _cutout,
}
