"""The Results screen drawn on one grid: matrix, bars a class or calibration, and the worst mistakes with pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.style import Style

from engine.text import shorten
from tui import format, glyphs, line, pixels
from tui.grid import Grid
from tui.line import Part
from tui.plot import canvas
from tui.plot.model import Curve, Plot
from tui.result_figures import (
    PER,
    Account,
    Mistake,
    Results,
    bars_start,
    hit_strength,
    in_order,
    strongest_miss,
)
from tui.theme import GRAD_CAM_RAMP, Palette, ramp

CELL, NARROW_CELL = 6, 5
LABEL, NARROW_LABEL = 11, 6
VERMILION = 5  # among the colours of runs
LEAST_SIDE = 30
CLASSES_WIDTH, CALIBRATION_WIDTH = 60, 46
LEAST_PICTURE, MOST_PICTURE = 12, 32
LEAST_ITEM = 28  # columns that what stands below a picture takes
LEAST_OF_THREE = 16  # pixels a side: smaller than that, two pairs say more than three
PICTURE_GAP, ITEM_GAP = 1, 3
CAPTIONS = 3
PANES = ("matrix", "classes", "calibration", "mistakes")


@dataclass(frozen=True, slots=True)
class Picture:
    """A test image and, where it was computed, what the network looked at: RGB bytes, row by row."""

    size: int
    image: bytes
    heat: bytes | None = None
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """All that is drawn. `page` counts from 0; `only` says that the mistakes are those of the cell at the cursor,
    `drawable` whether the terminal can show their pictures."""

    results: Results
    account: Account
    cursor: tuple[int, int]
    pane: str
    mistakes: Sequence[Mistake]
    page: int = 0
    only: bool = False
    pictures: Mapping[int, Picture] = field(default_factory=dict)
    heat: str = ""
    remark: str = ""
    drawable: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """How the board is parted for a size. `side` is the first column of the right pane (0: there is none)."""

    cell: int
    label: int
    rows: int
    columns: int
    side: int
    top: int
    mistakes: int
    picture: int
    item: int
    items: int


def shape(board: Board, width: int, height: int) -> Shape:
    """Matrix above, mistakes below; what does not fit goes in the order pictures, bars, mistakes."""
    classes = len(board.results.classes)
    cell, label = (CELL, LABEL) if width >= LABEL + CELL * min(classes, 10) + 2 else (NARROW_CELL, NARROW_LABEL)
    side = label + cell * min(classes, 10) + 5
    side = side if width - side >= LEAST_SIDE else 0
    columns = max(min(classes, ((side - 5 if side else width - 2) - label) // cell), 1)
    top = 1 if height >= 30 else 0
    rows = max(min(classes, max(height - top - 4, 1), 10 if height < 60 else 20), 1)
    mistakes = top + rows + (5 if height >= 30 else 4)
    room = height - mistakes - 2 - CAPTIONS
    picture = min(MOST_PICTURE, 2 * (room - (2 if room >= 8 else 0)))
    three = ((width - 2 + ITEM_GAP) // 3 - ITEM_GAP - PICTURE_GAP) // 4 * 2
    if board.heat and LEAST_OF_THREE <= three < picture:
        picture = three
    picture = picture if picture >= LEAST_PICTURE and board.drawable else 0
    pair = 2 * picture + PICTURE_GAP if board.heat else picture
    item = max(pair + ITEM_GAP, LEAST_ITEM) if picture else width
    items = max((width - 2 + ITEM_GAP) // item, 1) if picture else max(height - mistakes - 1, 0)
    return Shape(cell, label, rows, columns, side, top, mistakes, picture, item, items)


def draw(board: Board, width: int, height: int, palette: Palette) -> Grid:
    """The whole board."""
    grid = Grid(width, height)
    parted = shape(board, width, height)
    _draw_matrix(grid, board, parted, palette)
    if parted.side:
        for row in range(parted.top, parted.top + parted.rows + 4):
            grid.put(row, parted.side - 2, glyphs.active().upright, palette.style("rule"))
        both = width - parted.side >= CLASSES_WIDTH + CALIBRATION_WIDTH
        calibration = parted.side + CLASSES_WIDTH + 3 if both else parted.side
        if both or board.pane != "calibration":
            _draw_classes(grid, board, parted, CLASSES_WIDTH if both else width - 1 - parted.side, palette)
        if both or board.pane == "calibration":
            _draw_calibration(grid, board, parted, calibration, palette)
    if parted.items:
        _draw_mistakes(grid, board, parted, palette)
    return grid


def _draw_matrix(grid: Grid, board: Board, parted: Shape, palette: Palette) -> None:
    top, classes = parted.top, board.results.classes
    end = parted.side - 4 if parted.side else grid.width - 1
    facts = [(f"per {PER:,} of a class", palette.style("dim"))]
    head = line.pane_head("Confusion matrix", end - 1, palette, facts, focused=board.pane == "matrix")
    grid.write_parts(top, 1, head)
    first_row, first_column = _scrolled(board, parted)
    shown = range(first_column, min(first_column + parted.columns, len(classes)))
    for place, column in enumerate(shown):
        name = classes[column][: parted.cell - 1].rstrip()
        start = 1 + parted.label + place * parted.cell
        grid.write(top + 1, start + parted.cell - 1 - cell_len(name), name, palette.style("dim"))
    greatest = strongest_miss(board.account)
    for place, row in enumerate(range(first_row, min(first_row + parted.rows, len(classes)))):
        here = row == board.cursor[0]
        name = shorten(classes[row], parted.label - 1, glyphs.active().ellipsis)
        grid.write(top + 2 + place, 1, name, palette.style("text" if here else "dim"))
        for across, column in enumerate(shown):
            start = 1 + parted.label + across * parted.cell
            _draw_cell(grid, top + 2 + place, start, (row, column), board, parted.cell, greatest, palette)
    foot = top + 2 + parted.rows + (1 if grid.height >= 30 else 0)
    line_ = Grid(end + 1, 1)
    line.lay_out(line_, 0, [("row true, column answer", palette.style("dim"))], _sentence(board, palette))
    if foot < grid.height:
        grid.cells[foot][: end + 1] = line_.cells[0]


def _scrolled(board: Board, parted: Shape) -> tuple[int, int]:
    """The first row and column in view: those that keep the cursor near the middle where not all fit."""
    count = len(board.results.classes)
    row = min(max(board.cursor[0] - parted.rows // 2, 0), count - parted.rows)
    column = min(max(board.cursor[1] - parted.columns // 2, 0), count - parted.columns)
    return max(row, 0), max(column, 0)


def _draw_cell(
    grid: Grid,
    row: int,
    start: int,
    cell: tuple[int, int],
    board: Board,
    width: int,
    greatest: float,
    palette: Palette,
) -> None:
    value = board.account.per_thousand(*cell)
    hit = cell[0] == cell[1]
    if hit:
        tint = palette.tint(palette.colour("accent"), 0.12 + 0.40 * hit_strength(board.account, cell[0]))
        style = palette.style("text", bold=True)
    else:
        share = (value / greatest) ** 0.5 if greatest else 0.0
        tint = palette.tint(palette.run(VERMILION).colour, 0.62 * share) if value else None
        style = palette.style("text" if value >= greatest / 6 else "dim")
    text = f"{value:.0f}" if round(value) else (glyphs.active().same if not value else "<1")
    style = style + Style(bgcolor=tint) if tint else style
    grid.write(row, start, f"{text:>{width - 1}} ", style)
    if cell == board.cursor:
        bar = palette.style("accent", bold=True)
        grid.put(row, start, glyphs.active().marked, bar + Style(bgcolor=tint) if tint else bar)


def _sentence(board: Board, palette: Palette) -> list[Part]:
    """`cat taken for dog  87 of 1,000`"""
    row, column = board.cursor
    text, dim = palette.style("text"), palette.style("dim")
    truth, answer = board.results.classes[row], board.results.classes[column]
    value = f"{board.account.per_thousand(row, column):.0f}"
    said: list[Part] = [(truth, text), (" recognised", dim)]
    if row != column:
        said = [(truth, text), (" taken for ", dim), (answer, text)]
    return [*said, (f"  {value}", palette.style("text", bold=True)), (f" of {PER:,}", dim)]


def _draw_classes(grid: Grid, board: Board, parted: Shape, width: int, palette: Palette) -> None:
    """A bar a class, from the round ten below the worst of them to a hundred."""
    account, top, left = board.account, parted.top, parted.side
    facts = [("test %", palette.style("dim"))]
    grid.write_parts(top, left, line.pane_head("Per class", width, palette, facts, focused=board.pane == "classes"))
    start = bars_start(account.per_class)
    bar_left, bar = left + 12, width - 12 - 8
    dim = palette.style("dim")
    grid.write(top + 1, bar_left, f"{start:.0f}", dim)
    grid.write(top + 1, bar_left + bar - 3, "100", dim)
    mean = sum(account.per_class) / len(account.per_class)
    for place, index in enumerate(in_order(account, parted.rows)):
        share = account.per_class[index]
        role = "warn" if share < mean else "accent"
        here = index == board.cursor[0]
        name = shorten(board.results.classes[index], 11, glyphs.active().ellipsis)
        grid.write(top + 2 + place, left, name, palette.style("text" if here else "dim"))
        drawn = line.bar((share - start) / (100 - start), bar, palette.style(role), palette)
        grid.write_parts(top + 2 + place, bar_left, drawn)
        grid.write(top + 2 + place, left + width - 5, f"{share:5.2f}"[:5].rjust(5), palette.style("text"))
    text = f"{glyphs.active().up} mean {format.accuracy(mean)}"
    at = bar_left + round((mean - start) / (100 - start) * (bar - 1))
    grid.write(top + 2 + parted.rows, min(at, left + width - len(text)), text, dim)


def _draw_calibration(grid: Grid, board: Board, parted: Shape, left: int, palette: Palette) -> None:
    """How often answers are right against how sure they are; on the diagonal they are as sure as they should be."""
    bins = [one for one in board.account.bins if one.count]
    xs, ys = [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins]
    ece = board.account.ece
    plot = Plot(
        "Calibration",
        (
            Curve([0.0, 100.0], [0.0, 100.0], palette.style("rule")),
            Curve(xs, ys, palette.style("accent"), layer=1),
        ),
        unit=f"right %   ECE {format.accuracy(ece)} %" if ece is not None else "right %",
        x_range=(0.0, 100.0),
        y_range=(0.0, 100.0),
        x_label="sure %",
        focused=board.pane == "calibration",
        left=5,
    )
    width, height = grid.width - left, parted.rows + 4
    drawn = canvas.render(plot, width, height, palette)
    for row, cells in enumerate(drawn.cells):
        if parted.top + row < grid.height:
            grid.cells[parted.top + row][left : left + width] = cells


def _draw_mistakes(grid: Grid, board: Board, parted: Shape, palette: Palette) -> None:
    top, width = parted.mistakes, grid.width - 2
    truth, answer = (board.results.classes[place] for place in board.cursor)
    title = f"{truth} taken for {answer}" if board.only else "Worst mistakes"
    pages = max(-(-len(board.mistakes) // parted.items), 1)
    dim, accent = palette.style("dim"), palette.style("accent", bold=True)
    first = min(board.page, pages - 1) * parted.items
    shown = board.mistakes[first : first + parted.items]
    about = board.heat or board.remark or ("" if board.drawable else pixels.NEEDED)
    if parted.picture and not about and any(one.index not in board.pictures for one in shown):
        about = f"reading the pictures{glyphs.active().ellipsis}"
    facts: list[Part] = [(about, dim), ("   " if about else "", dim), ("j k", accent)]
    facts.append((f" page {min(board.page, pages - 1) + 1} of {pages}", dim))
    head = line.pane_head(title, width, palette, facts, focused=board.pane == "mistakes")
    grid.write_parts(top, 1, head)
    if not shown:
        grid.write(top + 1, 1, "none among the most confident ones", dim)
    for place, mistake in enumerate(shown):
        if parted.picture:
            _draw_item(grid, top + 2, 1 + place * parted.item, mistake, board, parted, palette)
        else:
            row: list[Part] = [*_verdict(mistake, board, palette), ("   ", dim), *_beside(mistake, board, palette)]
            grid.write_parts(top + 1 + place, 1, line.cut(row, width))
    if parted.picture and board.heat and top + 2 + parted.picture // 2 + 4 < grid.height:
        _draw_ramp(grid, grid.height - 1, palette)


def _draw_item(
    grid: Grid, top: int, left: int, mistake: Mistake, board: Board, parted: Shape, palette: Palette
) -> None:
    known = board.pictures.get(mistake.index)
    if known is not None:
        _draw_picture(grid, top, left, known.image, known.size, parted.picture, palette)
        if known.heat is not None:
            right = left + parted.picture + PICTURE_GAP
            _draw_picture(grid, top, right, known.heat, known.size, parted.picture, palette)
    below = top + parted.picture // 2 + 1
    room = parted.item - ITEM_GAP + 1
    verdict, beside = _verdict(mistake, board, palette), _beside(mistake, board, palette)
    if line.width_of(verdict) <= room:
        grid.write_parts(below, left, verdict)
        grid.write_parts(below + 1, left, line.cut(beside, room))
        return
    grid.write_parts(below, left, line.cut(verdict[:2], room))
    grid.write_parts(below + 1, left, line.cut(verdict[3:], room))
    grid.write_parts(below + 2, left, line.cut([beside[-1], beside[2], *beside[:2]], room))


def _draw_picture(grid: Grid, top: int, left: int, data: bytes, size: int, shown: int, palette: Palette) -> None:
    for row, segments in enumerate(pixels.picture(data, size, size, palette, shown)):
        column = left
        for segment in segments:
            column = grid.write(top + row, column, segment.text, segment.style or Style())


def _verdict(mistake: Mistake, board: Board, palette: Palette) -> list[Part]:
    """`is cat   said dog  99.7 %`"""
    dim, bold = palette.style("dim"), palette.style("text", bold=True)
    classes = board.results.classes
    return [
        ("is ", dim),
        (classes[mistake.label], bold),
        ("   ", dim),
        ("said ", dim),
        (classes[mistake.answer], palette.style("bad", bold=True)),
        (f"  {format.percent(100 * mistake.confidence, 1)}", palette.style("text")),
    ]


def _beside(mistake: Mistake, board: Board, palette: Palette) -> list[Part]:
    """`cat 0.2 %  deer 0.1 %  test 5142`: what else it thought of, and which image it is."""
    dim, text = palette.style("dim"), palette.style("text")
    known = board.pictures.get(mistake.index)
    others = [(mistake.label, mistake.of_label)]
    if known is not None and known.probabilities:
        ranked = sorted(enumerate(known.probabilities), key=lambda pair: -pair[1])
        others += [pair for pair in ranked if pair[0] not in (mistake.label, mistake.answer)][:1]
    parts: list[Part] = []
    for index, share in others:
        parts += [(f"{board.results.classes[index]} ", dim), (format.percent(100 * share, 1), text), ("  ", dim)]
    return [*parts, (f"test {mistake.index}", dim)]


def _draw_ramp(grid: Grid, row: int, palette: Palette) -> None:
    """`low ━━━━ high   influence on the answer`"""
    dim = palette.style("dim")
    column = grid.write(row, 1, "low ", dim)
    for place in range(24):
        tint = ramp(place / 23, GRAD_CAM_RAMP) if palette.rich_in_colour else None
        grid.put(row, column + place, glyphs.active().bar_done, Style(color=tint) if tint else dim)
    grid.write(row, column + 25, "high   influence on the answer", dim)
