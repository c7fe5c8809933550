"""Shapes: ten classes of figures, drawn from integers alone, so that every machine draws the same bytes.

Image ``index`` of seed ``seed`` depends on a 64-bit hash of the two. Geometry is fixed-point: positions in 1/16 pixel,
directions as integers of length 256. Place, size, angle and both colours say nothing of the class, which therefore no
linear model can read off.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.data.hashing import UInt64s, hash64

CLASSES = ("disc", "ring", "square", "frame", "triangle", "plus", "half disc", "crescent", "stripes", "corner")
TRAIN_IMAGES = 10_000
TEST_IMAGES = 2_000
SEED = 2026

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

# round(256 sin(k * 90° / 16)) for k = 0…16.
_QUARTER_SINE = (0, 25, 50, 74, 98, 121, 142, 162, 181, 198, 213, 226, 237, 245, 251, 255, 256)
_HALF_SINE = (*_QUARTER_SINE[:16], *_QUARTER_SINE[:0:-1])
_SINE = np.array([*_HALF_SINE, *(-value for value in _HALF_SINE)], dtype=np.int32)
_DIRECTIONS = len(_SINE)
_UNIT = 256  # a figure's radius in its own coordinates
_CHUNK = 250  # images drawn at once: about what a core's cache holds
# Chosen so that five convolutions need nine epochs to 90 %.
_LEAST_CONTRAST = 40  # levels between ground and ink, on average over the channels
_NOISE = 60  # levels of noise, either way


def draw(first: int, count: int, size: int, channels: int, seed: int = SEED) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Draw images ``first`` to ``first + count``: (count, size, size, channels) uint8, and their labels (count,) int64.

    The label of an image is its index modulo ten, so that any ten neighbours hold every class once. A grey image is the
    luminance of the coloured one (ITU-R BT.601 weights).
    """
    images = np.empty((count, size, size, channels), dtype=np.uint8)
    labels = (np.arange(first, first + count) % len(CLASSES)).astype(np.int64)
    for label in range(len(CLASSES)):
        places = np.flatnonzero(labels == label)
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            images[chunk] = _draw_class(label, (chunk + first).astype(np.uint64), size, channels, seed)
    return images, labels


def _draw_class(label: int, indices: UInt64s, size: int, channels: int, seed: int) -> Bytes:
    u, v = _figure_coordinates(indices, size, seed)
    coloured = _paint(_FIGURES[label](u, v), indices, seed)
    if channels == 3:
        return coloured
    red, green, blue = (coloured[..., channel].astype(np.int32) for channel in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)[..., None]


def _uniform(indices: UInt64s, seed: int, key: int, low: int, high: int) -> Ints:
    """One integer an image in low…high, both included, shaped (n, 1, 1)."""
    spread = np.uint64(high - low + 1)
    drawn = (hash64(seed, indices, key) % spread).astype(np.int32) + np.int32(low)
    return drawn[:, None, None]


def _figure_coordinates(indices: UInt64s, size: int, seed: int) -> tuple[Ints, Ints]:
    """Coordinates of every pixel in its figure's own frame, (n, size, size): centre 0, radius 256, turned."""
    radius = _uniform(indices, seed, 1, 16 * size * 5 // 32, 16 * size * 11 // 32)
    margin = 16 * size * 9 // 32
    centre_y = _uniform(indices, seed, 2, margin, 16 * size - margin)
    centre_x = _uniform(indices, seed, 3, margin, 16 * size - margin)
    direction = _uniform(indices, seed, 4, 0, _DIRECTIONS - 1)
    sine, cosine = _SINE[direction], _SINE[(direction + _DIRECTIONS // 4) % _DIRECTIONS]
    pixel_centres = 16 * np.arange(size, dtype=np.int32) + 8
    y = (pixel_centres[None, :, None] - centre_y) * _UNIT // radius
    x = (pixel_centres[None, None, :] - centre_x) * _UNIT // radius
    return (x * cosine + y * sine) >> 8, (y * cosine - x * sine) >> 8


def _disc(u: Ints, v: Ints) -> Bools:
    return u * u + v * v <= _UNIT * _UNIT


def _ring(u: Ints, v: Ints) -> Bools:
    distance = u * u + v * v
    return (distance <= _UNIT * _UNIT) & (distance >= 140 * 140)


def _square(u: Ints, v: Ints) -> Bools:
    return (np.abs(u) <= 210) & (np.abs(v) <= 210)


def _frame(u: Ints, v: Ints) -> Bools:
    distance = np.maximum(np.abs(u), np.abs(v))
    return (distance <= 220) & (distance >= 120)


def _triangle(u: Ints, v: Ints) -> Bools:
    # Equilateral, its corners on the circle of radius 256; 443 / 256 approximates the square root of three.
    below_the_sides: Bools = 256 * v + 443 * np.abs(u) <= _UNIT * _UNIT
    return (v >= -128) & below_the_sides


def _plus(u: Ints, v: Ints) -> Bools:
    across, along = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    return (across <= 80) & (along <= 240)


def _half_disc(u: Ints, v: Ints) -> Bools:
    raised = v + 100
    return (u * u + raised * raised <= _UNIT * _UNIT) & (raised >= 0)


def _crescent(u: Ints, v: Ints) -> Bools:
    shifted = u - 120
    return _disc(u, v) & (shifted * shifted + v * v >= 200 * 200)


def _stripes(u: Ints, v: Ints) -> Bools:
    return (np.abs(u) <= 220) & (np.abs(v) <= 220) & (np.abs(v) >= 90)


def _corner(u: Ints, v: Ints) -> Bools:
    arms: Bools = (u <= -70) | (v <= -70)
    return _square(u, v) & arms


_FIGURES: tuple[Callable[[Ints, Ints], Bools], ...] = (
    _disc,
    _ring,
    _square,
    _frame,
    _triangle,
    _plus,
    _half_disc,
    _crescent,
    _stripes,
    _corner,
)


def _paint(figure: Bools, indices: UInt64s, seed: int) -> Bytes:
    """Colour figure and ground and add noise: (n, size, size) to (n, size, size, 3) uint8."""
    ground, ink = _colours(indices, seed)
    painted = np.where(figure[..., None], ink, ground)
    size = figure.shape[1]
    painted += _noise(indices, size, seed)
    return np.clip(painted, 0, 255, out=painted).astype(np.uint8)


def _colours(indices: UInt64s, seed: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Ground and ink of every image, (n, 1, 1, 3) each, far enough apart in brightness to be told apart under noise."""
    ground = np.stack([_uniform(indices, seed, 10 + channel, 0, 255) for channel in range(3)], axis=-1)
    ink = np.stack([_uniform(indices, seed, 20 + channel, 0, 255) for channel in range(3)], axis=-1)
    difference = (ink - ground).sum(axis=-1, keepdims=True) // 3
    wanted = np.where(difference < 0, -_LEAST_CONTRAST, _LEAST_CONTRAST)
    push = np.where(np.abs(difference) < _LEAST_CONTRAST, wanted - difference, 0)
    return ground.astype(np.int16), (ink + push).astype(np.int16)


def _noise(indices: UInt64s, size: int, seed: int) -> npt.NDArray[np.int16]:
    """Uniform noise, (n, size, size, 3) int16: four bytes of one hash a pixel, of which three are used."""
    keys = (hash64(seed, indices, 30) & np.uint64(0xFFFFFFFF)).astype(np.uint32)[:, None]
    state = np.arange(size * size, dtype=np.uint32)[None, :] * np.uint32(0x9E3779B1) ^ keys
    # The 32-bit finaliser of MurmurHash3.
    state ^= state >> np.uint32(16)
    state *= np.uint32(0x85EBCA6B)
    state ^= state >> np.uint32(13)
    state *= np.uint32(0xC2B2AE35)
    state ^= state >> np.uint32(16)
    noise = state.astype("<u4").view(np.uint8).reshape(len(indices), size, size, 4)[..., :3].astype(np.int16)
    noise -= 128
    noise *= _NOISE
    noise >>= 7
    return noise
