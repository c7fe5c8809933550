"""What a person sees who has no runs yet: two keys to a running training, and what that training is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style

from tui import format, glyphs, line
from tui.grid import Grid
from tui.line import Part
from tui.pixels import picture
from tui.theme import Palette, mix, rgb

# One figure of every class of the shapes data, upright: how much of each of 10 x 10 pixels it covers, in ninths.
FIGURES = (
    (
        "disc",
        "0000220000 0049999400 0499999940 0999999990 2999999992 2999999992 0999999990 0499999940 0049999400 0000220000",
    ),
    (
        "ring",
        "0000220000 0049999400 0499779940 0992002990 2970000792 2970000792 0992002990 0499779940 0049999400 0000220000",
    ),
    (
        "square",
        "0000000000 0355555530 0599999950 0599999950 0599999950 0599999950 0599999950 0599999950 0355555530 0000000000",
    ),
    (
        "frame",
        "0000000000 0466666640 0699999960 0690000960 0690000960 0690000960 0690000960 0699999960 0466666640 0000000000",
    ),
    (
        "triangle",
        "0000000000 0000440000 0001991000 0006996000 0029999200 0079999700 0399999930 0111111110 0000000000 0000000000",
    ),
    (
        "plus",
        "0000000000 0003993000 0003993000 0336996330 0999999990 0999999990 0336996330 0003993000 0003993000 0000000000",
    ),
    (
        "half disc",
        "0000000000 0000000000 0003553000 0079999700 0799999970 1999999991 2666666662 0000000000 0000000000 0000000000",
    ),
    (
        "crescent",
        "0000220000 0049996100 0499700000 0999000000 2997000000 2997000000 0999000000 0499700000 0049996100 0000220000",
    ),
    (
        "stripes",
        "0000000000 0466666640 0699999960 0344444430 0000000000 0000000000 0344444430 0699999960 0466666640 0000000000",
    ),
    (
        "corner",
        "0000000000 0355555530 0599999950 0599888840 0598000000 0598000000 0598000000 0598000000 0354000000 0000000000",
    ),
)
SIDE = 10
INKS = ("#7fcdf7", "#e39ad2", "#fb7d63", "#f0bd5f", "#9fe88b")
GROUNDS = ("#2b3d5e", "#46304e", "#24463c", "#4a3823", "#3a3a3e")

MARGIN = 5
_KEYS = 6
_WORDS = 24
_CIFAR10_BYTES = 170_498_071


@dataclass(frozen=True, slots=True)
class Quickstart:
    """What is said of the preset that New run begins with; None is not known yet."""

    epochs: float | None = None
    images: int | None = None
    size: int = 32
    parameters: int | None = None
    macs: int | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """The folder and the keys as they are shown."""

    folder: str
    new: str
    launch: str
    open_folder: str


def draw(width: int, height: int, quickstart: Quickstart, words: Words, palette: Palette) -> Grid:
    """The whole first-run screen, in the middle; blank lines go first, then pictures, then facts."""
    grid = Grid(width, height)
    room = max(width - 2 * MARGIN - 1, 10)
    blocks = [
        _head(words, room, palette),
        _keys(quickstart, words, room, palette),
        _pictures(room, palette),
        _facts(quickstart, palette),
        _ending(words, room, palette),
    ]
    for dropped, spare in ((None, 2), (None, 1), (2, 1), (3, 1), (4, 1)):
        if dropped is not None:
            blocks[dropped] = []
        shown = [block for block in blocks if block]
        if _rows(shown, spare) <= height:
            break
    row = max((height - _rows(shown, spare)) // 2, 0)
    for block in shown:
        for parts in block:
            grid.write_parts(row, MARGIN, line.cut(parts, width - MARGIN - 1))
            row += 1
        row += spare
    return grid


def _rows(blocks: Sequence[Sequence[object]], spare: int) -> int:
    return sum(map(len, blocks)) + spare * (len(blocks) - 1)


def _head(words: Words, room: int, palette: Palette) -> list[list[Part]]:
    title: list[Part] = [
        ("No runs yet", palette.style("text", bold=True)),
        (f" in {words.folder}", palette.style("dim")),
    ]
    return [title, [(glyphs.active().rule * room, palette.style("rule"))]]


def _keys(quickstart: Quickstart, words: Words, room: int, palette: Palette) -> list[list[Part]]:
    epochs = f"{quickstart.epochs:g} epochs" if quickstart.epochs else "some epochs"
    long = f"{epochs} on the shapes data, nothing to download, about a minute on two CPU cores"
    rows = (
        (words.new, "choose a run", "quickstart is already filled in"),
        (words.launch, "launch it", long if len(long) + _WORDS <= room else f"{epochs}, nothing to download"),
    )
    accent, bold, dim = palette.style("accent", bold=True), palette.style("text", bold=True), palette.style("dim")
    return [[(key.ljust(_KEYS), accent), (what.ljust(_WORDS - _KEYS), bold), (why, dim)] for key, what, why in rows]


def _pictures(room: int, palette: Palette) -> list[list[Part]]:
    """As many figures as fit side by side, their names below; nothing where there is no colour for pictures."""
    if not glyphs.active().utf8 or not palette.rich_in_colour:
        return []
    shown = FIGURES[: (room + 1) // (SIDE + 1)]
    dim, blank = palette.style("dim"), Style()
    rows: list[list[Part]] = [[("quickstart".ljust(_WORDS), palette.style("text", bold=True))], []]
    rows[0].append(("a small network learns ten shapes", dim))
    drawn = [picture(_pixels(index), SIDE, SIDE, palette) for index in range(len(shown))]
    for row in range(SIDE // 2):
        parts: list[Part] = []
        for figure in drawn:
            parts += [*((segment.text, segment.style or blank) for segment in figure[row]), (" ", blank)]
        rows.append(parts)
    return [*rows, [(name.ljust(SIDE + 1), dim) for name, _ in shown]]


def _pixels(index: int) -> bytes:
    """A figure in its colours: 10 x 10 x 3 bytes."""
    ink, ground = INKS[index % len(INKS)], GROUNDS[index % len(GROUNDS)]
    shares = FIGURES[index][1].replace(" ", "")
    return bytes(channel for share in shares for channel in rgb(mix(ground, ink, int(share) / 9)))


def _facts(quickstart: Quickstart, palette: Palette) -> list[list[Part]]:
    side = f"{quickstart.size} {glyphs.active().times} {quickstart.size}"
    rows = [
        ("parameters", quickstart.parameters, f"{format.macs(quickstart.macs, fact=True)} MACs per image"),
        ("images", quickstart.images, f"{side}, drawn, the same on every machine"),
    ]
    figures = [(label, format.thousands(figure), remark) for label, figure, remark in rows if figure is not None]
    figures.append(("expected", "90 %", "at least; a linear model stays under 60 %"))
    dim, text = palette.style("dim"), palette.style("text", bold=True)
    return [
        [(label.ljust(_WORDS - 12), dim), (figure.rjust(10), text), (f"  {remark}", dim)]
        for label, figure, remark in figures
    ]


def _ending(words: Words, room: int, palette: Palette) -> list[list[Part]]:
    text, dim = palette.style("text"), palette.style("dim")
    size = f"{_CIFAR10_BYTES / 1e6:.0f} MB"
    what = f", the 92.49 % model of 4,779,530 parameters: CIFAR-10 ({size}) is fetched once and checked."
    if len(what) + 12 > room:
        what = f", 92.49 % with 4.78 M parameters; CIFAR-10 is {size} to fetch."
    elsewhere = " opens another folder, or start with " if room > 80 else " opens it, or "
    return [
        [(glyphs.active().rule * room, palette.style("rule"))],
        [("Then ", dim), ("best_5m", text), (what, dim)],
        [
            ("Runs kept elsewhere? ", dim),
            (words.open_folder, palette.style("accent", bold=True)),
            (elsewhere, dim),
            ("cifar-tui --runs DIR", text),
        ],
    ]
