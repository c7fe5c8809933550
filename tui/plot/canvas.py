"""One plot as a grid of styled cells: a pure function of its series, its settings, a size and a palette.

Textual's widget and the headless live display both show this grid, so that a plot is drawn in one place. Top to bottom
it has a head line (title, unit, legend), the rows of the plot, and x ticks; at the left a gutter of six cells for y
ticks, at the right one of eight for current values and the name of the x axis.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from engine.text import shorten
from tui import format, glyphs, line
from tui.grid import Grid
from tui.plot import backend, decimate, ticks
from tui.plot.layout import Frame, frame
from tui.plot.model import Band, Curve, Mark, Plot, Range, Upright
from tui.theme import Palette

# Columns drawn and left out, by dash index: no pattern, then ever shorter ones.
DASHES = ((1, 0), (8, 1), (5, 1), (4, 1), (3, 1), (4, 2), (3, 2), (2, 2))
TRAIN_DASH = (2, 1)
# Ever shorter legends: the longest name, and whether a smoothed curve's measured value stands behind the drawn one.
_LEGENDS = ((None, True), (None, False), (16, False), (12, False), (8, False), (6, False), (0, False))
BOLD = Style(bold=True)
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def render(plot: Plot, width: int, height: int, palette: Palette) -> Grid:
    """Draw the plot on a grid of exactly `width` by `height` cells. Never raises for any data or size."""
    return render_framed(plot, frame(plot, width, height), width, height, palette)


def render_framed(plot: Plot, place: Frame | None, width: int, height: int, palette: Palette) -> Grid:
    """The same where it is known already what stands where."""
    grid = Grid(width, height)
    if plot.head and height > 0:
        _draw_head(grid, plot, palette, place)
    if place is None:
        return grid
    _draw_y_axis(grid, plot, place, palette)
    taken: set[tuple[int, int]] = set()
    for upright in plot.uprights:
        taken |= _draw_upright(grid, upright, place)
    for curve in sorted(plot.curves, key=_layer):
        _draw_band(grid, curve, place, palette)
    for curve in sorted(plot.curves, key=_layer):
        if curve.raw is not None:
            taken |= _draw_line(grid, curve, curve.raw, curve.soft or curve.style, place, palette)
        taken |= _draw_line(grid, curve, curve.ys, curve.style, place, palette)
        _draw_letter(grid, curve, place, palette)
    _draw_cross_hair(grid, plot, place, palette)
    _draw_marks(grid, plot, place, palette, taken)
    _draw_values(grid, plot, place, palette)
    if plot.x_axis:
        _draw_x_axis(grid, plot, place, palette)
    return grid


def _layer(curve: Curve) -> int:
    return curve.layer


def _draw_head(grid: Grid, plot: Plot, palette: Palette, place: Frame | None) -> None:
    title = palette.style("dim") if plot.quiet else palette.style("accent" if plot.focused else "text", bold=True)
    indent = max(plot.left - 5, 0)
    end = grid.write(0, indent, plot.title, title)
    if plot.unit:
        end = grid.write_parts(0, end + 1, line.cut([(plot.unit, palette.style("dim"))], grid.width - end - 1))
    right = grid.width - plot.right if place else grid.width
    for longest, measured in _LEGENDS:
        parts = _legend(plot, palette, place, longest, measured=measured)
        width = line.width_of(parts)
        if width and right - width > end + 1:
            grid.write_parts(0, right - width, parts)
            return


def _legend(
    plot: Plot, palette: Palette, place: Frame | None, longest: int | None, *, measured: bool
) -> list[line.Part]:
    """The legend's parts, with the cross-hair on the values under it; names cut to `longest` cells (None: whole).

    With `measured` the values of smoothed curves have the measured ones in brackets behind them.
    """
    dim = palette.style("dim")
    parts: list[line.Part] = []
    at = plot.cross_hair if place is not None and _cross_hair_column(plot, place) is not None else None
    if at is not None:
        parts += [(f"at {plot.x_label} ", dim), (_x_value(plot, at), palette.style("accent", bold=True))]
    for curve in plot.curves:
        if curve.legend:
            gap = "" if not parts else "   " if at is not None else "  "
            parts += [(gap, dim), *_named(curve, palette, longest)]
            if at is not None:
                parts += _read(plot, curve, palette, at, measured=measured)
    return parts


def _named(curve: Curve, palette: Palette, longest: int | None) -> list[line.Part]:
    signs = glyphs.active()
    dashed = curve.broken and not palette.rich_in_colour
    parts = [(signs.legend_dashed if dashed else signs.legend, curve.style)]
    if curve.letter and not palette.rich_in_colour:
        parts.append((f" {curve.letter}", curve.style + BOLD))
    name = curve.legend if longest is None else shorten(curve.legend, longest, signs.ellipsis) if longest else ""
    if name:
        parts.append((f" {name}", palette.style(curve.legend_role)))
    return parts


def _read(plot: Plot, curve: Curve, palette: Palette, at: float, *, measured: bool) -> list[line.Part]:
    """The value under the cross-hair: the exact one, of a smoothed curve what is drawn there and the exact one."""
    value, exact = value_at(curve, at), curve.reading
    if value is not None and exact is not None and not curve.smoothed:
        value = exact
    parts = [(f" {format.unknown() if value is None else plot.form(value)}", curve.style + BOLD)]
    if measured and curve.smoothed and value is not None and exact is not None:
        parts.append((f" ({plot.form(exact)})", palette.style("dim")))
    return parts


def value_at(curve: Curve, x: float) -> float | None:
    """The sample of a curve nearest to `x`, None when that lies beyond its ends or is not finite."""
    index = decimate.nearest(curve.xs, x)
    if index is None:
        return None
    last = len(curve.xs) - 1
    spacing = (curve.xs[last] - curve.xs[0]) / last if last else 1.0
    if not curve.xs[0] - spacing <= x <= curve.xs[last] + spacing:
        return None
    value = curve.ys[index]
    return value if math.isfinite(value) else None


def _x_value(plot: Plot, x: float) -> str:
    if plot.x_kind == "seconds":
        return format.duration(x)
    return format.thousands(x) if float(x).is_integer() or abs(x) >= 1000 else f"{x:.2f}"


def _draw_y_axis(grid: Grid, plot: Plot, place: Frame, palette: Palette) -> None:
    signs = glyphs.active()
    sign = signs.rule if palette.rich_in_colour or not signs.utf8 else signs.same
    for index, label in enumerate(place.y_ticks.labels):
        row = place.top + place.y_ticks.row(index)
        grid.fill(row, place.left, place.columns, sign, palette.style("grid"))
        text = label.replace("-", signs.minus)
        grid.write(row, max(plot.left - 1 - len(text), 0), text, palette.style("dim"))


def _draw_x_axis(grid: Grid, plot: Plot, place: Frame, palette: Palette) -> None:
    row, column = place.bottom, _cross_hair_column(plot, place)
    label = f" {_x_value(plot, plot.cross_hair)} " if column is not None and plot.cross_hair is not None else ""
    start = place.left + ticks.centred((column or place.left) - place.left, len(label), place.columns)
    for tick in _x_ticks(plot, place):
        begin, end = place.left + tick.start, place.left + tick.end
        # What is closer to the reversed value than two cells would read as part of it.
        if not label or end + 2 <= start or begin >= start + len(label) + 2:
            grid.write(row, begin, tick.label, palette.style("dim"))
    if label:
        reverse = palette.style("accent", bold=True) + Style(reverse=True)
        grid.write(row, start, label, reverse)
    if plot.right > 1:
        grid.write(row, place.left + place.columns + 1, plot.x_label[: plot.right - 1], palette.style("dim"))


def _x_ticks(plot: Plot, place: Frame) -> list[ticks.XTick]:
    axis = place.x
    if axis.log:
        return ticks.log_x_ticks(axis.low, axis.high, axis.cells)
    return ticks.x_ticks(axis.low, axis.high, axis.cells, plot.x_kind)


def _draw_line(
    grid: Grid, curve: Curve, ys: Sequence[float], style: Style, place: Frame, palette: Palette
) -> set[tuple[int, int]]:
    """Draw one series; returns the cells it took."""
    signs, taken = glyphs.active(), set()
    dots = _dots(curve.xs, ys, place)
    pattern = _pattern(curve, palette)
    for row, cells in enumerate(dots):
        for column, bits in enumerate(cells):
            if bits and column % sum(pattern) < pattern[0]:
                character = chr(backend.BRAILLE + bits) if signs.utf8 else glyphs.curve_ascii(bits)
                grid.put(place.top + row, place.left + column, character, style)
                taken.add((place.top + row, place.left + column))
    return taken


def _dots(xs: Sequence[float], ys: Sequence[float], place: Frame) -> list[list[int]]:
    x, y = place.x, place.y
    if x.log:
        placed = [(x.place(at), value) for at, value in zip(xs, ys, strict=True) if not math.isnan(x.place(at))]
        xs, ys = [at for at, _ in placed], [value for _, value in placed]
    kept_x, kept_y = decimate.minmax(xs, ys, x.drawn, place.columns)
    kept_y = [y.place(value) for value in kept_y]
    return backend.draw(decimate.clip(kept_x, kept_y, x.drawn, y.drawn), place.columns, place.rows, x.drawn, y.drawn)


def _pattern(curve: Curve, palette: Palette) -> tuple[int, int]:
    if palette.rich_in_colour:
        return DASHES[0]
    return TRAIN_DASH if curve.broken else DASHES[curve.dash % len(DASHES)]


def _draw_letter(grid: Grid, curve: Curve, place: Frame, palette: Palette) -> None:
    """The curve's letter beside its right end, where colours cannot name it."""
    if palette.rich_in_colour or not curve.letter:
        return
    ends = [(x, y) for x, y in zip(curve.xs, curve.ys, strict=True) if place.holds(x, y)]
    if ends:
        x, y = ends[-1]
        column = min(place.column(x) + 1, place.left + place.columns - 1)
        grid.put(place.row(y), column, curve.letter, curve.style + BOLD)


def _draw_band(grid: Grid, curve: Curve, place: Frame, palette: Palette) -> None:
    """Background from the band's low to its high edge in each column, the edges to an eighth of a cell."""
    band = curve.band
    if band is None or band.colour is None or not palette.rich_in_colour:
        return
    for column in range(place.columns):
        edges = _band_at(band, place, column)
        if edges:
            _fill_band(grid, place, column, edges, band.colour, palette.colour("background"))


def _band_at(band: Band, place: Frame, column: int) -> Range | None:
    """The band's edges over a column, in rows from the bottom of the plot (the middle of the lowest row is 0.5)."""
    start, stop = (bisect_left(band.xs, place.x.value(column + half)) for half in (-0.5, 0.5))
    middle = place.x.value(column)
    lows = [edge for edge in (*band.low[start:stop], _between(band.xs, band.low, middle)) if math.isfinite(edge)]
    highs = [edge for edge in (*band.high[start:stop], _between(band.xs, band.high, middle)) if math.isfinite(edge)]
    if not lows or not highs:
        return None
    below, above = (place.y.share(edge) * (place.rows - 1) + 0.5 for edge in (min(lows), max(highs)))
    if math.isnan(below) or math.isnan(above):
        return None
    below, above = max(below, 0.0), min(above, float(place.rows))
    return (below, above) if above > below else None


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The value at `x` on the straight line between its neighbours, NaN beyond the ends."""
    right = bisect_left(xs, x)
    if right in (0, len(xs)):
        return math.nan
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])


def _fill_band(grid: Grid, place: Frame, column: int, edges: Range, colour: str, background: str) -> None:
    signs = glyphs.active()
    below, above = edges
    for level in range(math.floor(below), math.ceil(above)):
        bottom, top = max(below - level, 0.0), min(above - level, 1.0)
        row, at = place.bottom - 1 - level, place.left + column
        under = colour if top - bottom >= 0.5 else None
        if not signs.utf8 or (bottom > 1 / 16) == (top < 15 / 16):
            if under:
                grid.tint(row, at, colour)
        elif top < 15 / 16:
            grid.edge(row, at, _EIGHTHS[round(top * 8)], Style(color=colour), under)
        else:
            grid.edge(row, at, _EIGHTHS[round(bottom * 8)], Style(color=background, bgcolor=colour), under)


def _draw_upright(grid: Grid, upright: Upright, place: Frame) -> set[tuple[int, int]]:
    """Draw a vertical line and its label; returns the cells they took."""
    if not place.x.contains(upright.x):
        return set()
    sign, column = "┆" if glyphs.active().utf8 else ":", place.column(upright.x)
    for row in range(place.top, place.bottom):
        grid.put(row, column, sign, upright.style)
    width = len(upright.label)
    start = column - 1 - width if column - 1 - width >= place.left else column + 2
    grid.write(place.top, start, upright.label, upright.style)
    label = {(place.top, start + offset) for offset in range(width)}
    return label | {(row, column) for row in range(place.top, place.bottom)}


def _cross_hair_column(plot: Plot, place: Frame) -> int | None:
    at = plot.cross_hair
    return place.column(at) if at is not None and place.x.contains(at) else None


def _draw_cross_hair(grid: Grid, plot: Plot, place: Frame, palette: Palette) -> None:
    column = _cross_hair_column(plot, place)
    if column is None or plot.cross_hair is None:
        return
    signs = glyphs.active()
    for row in range(place.top, place.bottom):
        grid.put(row, column, signs.upright, palette.style("accent"))
    for curve in sorted(plot.curves, key=_layer):
        value = value_at(curve, plot.cross_hair)
        if value is not None and place.holds(plot.cross_hair, value):
            grid.put(place.row(value), column, signs.cross_hair, curve.style)


def _draw_marks(grid: Grid, plot: Plot, place: Frame, palette: Palette, taken: set[tuple[int, int]]) -> None:
    """Signs first, so that no label covers another mark's sign; then labels in the nearest free cells."""
    cross_hair = _cross_hair_column(plot, place)
    shown = [mark for mark in plot.marks if place.holds(mark.x, mark.y)]
    if cross_hair is not None:
        taken = taken | {(row, cross_hair) for row in range(place.top, place.bottom)}
    for mark in shown:
        row, column = place.row(mark.y), place.column(mark.x)
        if column != cross_hair:
            grid.put(row, column, mark.glyph or glyphs.active().best, mark.style)
        taken = taken | {(row, column)}
    for mark in shown:
        if mark.label:
            taken = taken | _draw_label(grid, mark, place, palette, taken)


def _draw_label(
    grid: Grid, mark: Mark, place: Frame, palette: Palette, taken: set[tuple[int, int]]
) -> set[tuple[int, int]]:
    width = len(mark.label)
    for row, column in _label_places(place.row(mark.y), place.column(mark.x), width, place):
        cells = {(row, column + offset) for offset in range(-1, width + 1)}
        if not cells & taken:
            grid.write(row, column, mark.label, mark.label_style or palette.style("text"))
            return cells
    return set()


def _label_places(row: int, column: int, width: int, place: Frame) -> list[tuple[int, int]]:
    """Where a label may start, nearest first: below right, above right, below left, above left, then further off."""
    places = []
    for distance in range(1, place.rows):
        for beside in (column + 1, column - width, column - width // 2):
            places += [(row + distance, beside), (row - distance, beside)]
        if distance == 1:
            places += [(row, column + 2), (row, column - width - 1)]
    left, right = place.left, place.left + place.columns
    return [(r, c) for r, c in places if place.top <= r < place.bottom and left <= c and c + width <= right]


def _draw_values(grid: Grid, plot: Plot, place: Frame, palette: Palette) -> None:
    """The current value of each curve in the right gutter at its height, moved where two would meet."""
    wanted: list[tuple[int, float, Curve]] = []
    for curve in plot.curves:
        last = _last_drawn(curve, place)
        if curve.value and last is not None and plot.right > 1:
            level = min(max(place.y.share(last), 0.0), 1.0)
            row = place.bottom - 1 - math.floor(level * (place.rows - 1) + 0.5)
            wanted.append((row, -last, curve))
    rows = _apart([row for row, _, _ in sorted(wanted, key=_height)], place.top, place.bottom)
    for row, (_, _, curve) in zip(rows, sorted(wanted, key=_height), strict=False):
        style = curve.style + BOLD if curve.strong else curve.style
        room = plot.right - 1
        grid.write(row, place.left + place.columns + 1, (curve.value or "")[:room], style)


def _height(entry: tuple[int, float, Curve]) -> tuple[int, float]:
    return entry[0], entry[1]


def _last_drawn(curve: Curve, place: Frame) -> float | None:
    return next((y for y in reversed(curve.ys) if not math.isnan(place.y.place(y))), None)


def _apart(rows: list[int], top: int, bottom: int) -> list[int]:
    """Ascending rows moved as little as it takes for no two to be equal; those beyond the room are left out."""
    placed: list[int] = []
    for row in rows[: bottom - top]:
        placed.append(max(row, placed[-1] + 1) if placed else row)
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], bottom - (len(placed) - index))
    return placed


def texts(grid: Grid) -> list[Text]:
    """The grid as one Rich text a row, for the headless live display."""
    return [Text.assemble(*((segment.text, segment.style or "") for segment in row)) for row in segments(grid)]


def segments(grid: Grid) -> list[list[Segment]]:
    """The grid as runs of equal style."""
    return [grid.segments(row) for row in range(grid.height)]
