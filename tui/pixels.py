"""Pictures from RGB bytes in half blocks: a cell is two pixels, one above the other."""

from collections.abc import Sequence
from functools import lru_cache

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from tui import glyphs
from tui.theme import Palette, nearest_256

UPPER_HALF = "▀"
NEEDED = "pictures need 256 colours and UTF-8"


def drawable(palette: Palette) -> bool:
    """Whether this terminal can show pictures."""
    return glyphs.active().utf8 and palette.rich_in_colour


def picture(
    pixels: bytes, width: int, height: int, palette: Palette, scale_to: int | None = None
) -> list[list[Segment]]:
    """Rows of cells of an image: `pixels` is height x width x 3, uint8, row by row.

    `scale_to` is the width and height in pixels to draw at (nearest neighbours, area means when it shrinks). The result
    has ceil(height / 2) rows. In ASCII and without colours pictures are left out: the rows are blank.

    Raises:
        ValueError: `pixels` has not the length that width and height say.
    """
    if len(pixels) != width * height * 3:
        raise ValueError(f"{width} x {height} pixels need {width * height * 3} bytes, got {len(pixels)}")
    rows = _rows(pixels, width, height)
    if scale_to and (width, height) != (scale_to, scale_to):
        rows = _scaled(rows, scale_to, scale_to)
    if not drawable(palette):
        return [[Segment(" " * len(rows[0]))] for _ in range((len(rows) + 1) // 2)] if rows else []
    if palette.depth == "256":
        rows = [[nearest_256(*pixel) for pixel in row] for row in rows]
    return [_cells(rows[top], rows[top + 1] if top + 1 < len(rows) else None) for top in range(0, len(rows), 2)]


Pixel = tuple[int, int, int]


def _rows(pixels: bytes, width: int, height: int) -> list[list[Pixel]]:
    triples = list(zip(pixels[0::3], pixels[1::3], pixels[2::3], strict=True))
    return [triples[row * width : (row + 1) * width] for row in range(height)]


def _scaled(rows: list[list[Pixel]], width: int, height: int) -> list[list[Pixel]]:
    across, down = _parts(len(rows[0]), width), _parts(len(rows), height)
    return [[_mean(rows, top, left) for left in across] for top in down]


def _parts(source: int, target: int) -> list[range]:
    """The source pixels each target pixel stands for: at least one."""
    starts = [index * source // target for index in range(target)]
    ends = [max(-(-(index + 1) * source // target), start + 1) for index, start in enumerate(starts)]
    if target >= source:
        return [range(start, start + 1) for start in starts]
    return [range(start, end) for start, end in zip(starts, ends, strict=True)]


def _mean(rows: list[list[Pixel]], down: range, across: range) -> Pixel:
    covered = [rows[y][x] for y in down for x in across]
    count = len(covered)
    red, green, blue = (sum(pixel[channel] for pixel in covered) // count for channel in range(3))
    return red, green, blue


def _cells(upper: Sequence[Pixel], lower: Sequence[Pixel] | None) -> list[Segment]:
    """One row of cells, neighbours of one style joined."""
    segments: list[Segment] = []
    below: Sequence[Pixel | None] = lower if lower is not None else [None] * len(upper)
    for top, bottom in zip(upper, below, strict=True):
        style = _style(top, bottom)
        if segments and segments[-1].style is style:
            segments[-1] = Segment(segments[-1].text + UPPER_HALF, style)
        else:
            segments.append(Segment(UPPER_HALF, style))
    return segments


@lru_cache(maxsize=8192)
def _style(top: Pixel, bottom: Pixel | None) -> Style:
    return Style.from_color(Color.from_rgb(*top), Color.from_rgb(*bottom) if bottom else None)
