"""Pictures in half blocks."""

import pytest
from rich.segment import Segment

from tui import glyphs
from tui.pixels import picture
from tui.theme import palette

RED, GREEN, BLUE = b"\xff\x00\x00", b"\x00\xff\x00", b"\x00\x00\xff"
DARK = palette()


def colours(segment: Segment) -> tuple[str | None, str | None]:
    style = segment.style
    assert style is not None
    return style.color and style.color.name, style.bgcolor and style.bgcolor.name


def test_a_cell_is_two_pixels() -> None:
    rows = picture(RED + GREEN + BLUE + GREEN, 2, 2, DARK)
    assert [segment.text for segment in rows[0]] == ["▀", "▀"]
    assert [colours(segment) for segment in rows[0]] == [("#ff0000", "#0000ff"), ("#00ff00", "#00ff00")]


def test_neighbours_of_one_colour_are_one_segment() -> None:
    assert [segment.text for segment in picture(RED * 8, 4, 2, DARK)[0]] == ["▀▀▀▀"]


def test_an_odd_last_row_has_no_lower_pixel() -> None:
    rows = picture(RED * 3, 1, 3, DARK)
    assert len(rows) == 2
    assert colours(rows[1][0]) == ("#ff0000", None)


def test_shrinking_takes_means() -> None:
    rows = picture(RED * 2 + BLUE * 2, 2, 2, DARK, scale_to=1)
    assert colours(rows[0][0])[0] == "#7f007f"


def test_growing_repeats() -> None:
    rows = picture(RED, 1, 1, DARK, scale_to=4)
    assert [row[0].text for row in rows] == ["▀▀▀▀", "▀▀▀▀"]


@pytest.mark.parametrize("size", [1, 7, 20, 32, 33])
def test_any_size_has_its_rows_and_cells(size: int) -> None:
    rows = picture(bytes(range(256)) * 12, 32, 32, DARK, scale_to=size)
    assert len(rows) == (size + 1) // 2
    assert {sum(len(segment.text) for segment in row) for row in rows} == {size}


def test_a_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 x 2 pixels need 12 bytes, got 3"):
        picture(RED, 2, 2, DARK)


def test_pictures_are_left_out_without_colours_or_blocks() -> None:
    assert picture(RED * 4, 2, 2, palette("dark", "none"))[0][0].text == "  "
    glyphs.choose(utf8=False)
    try:
        assert picture(RED * 4, 2, 2, DARK)[0][0].text == "  "
    finally:
        glyphs.choose(utf8=True)
