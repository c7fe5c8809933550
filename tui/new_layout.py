"""Where the panes of New run are in a terminal of a given size, and the order in which a cursor goes through them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SizeClass = Literal["narrow", "normal", "wide"]
LISTS = ("architecture", "augmentation", "optimizer")
TINY_SIDE, SMALL_SIDE, LARGE_SIDE = 14, 20, 32
_FIELDS_BY_SIZE: Mapping[SizeClass, tuple[str, ...]] = {
    "narrow": ("data", "epochs", "seeds", "device", "batch_size", "validation", "precision", "tags", "name", "set"),
    "normal": ("data", "epochs", "batch_size", "validation", "seeds", "precision", "device", "tags", "name", "set"),
    "wide": ("data", "epochs", "batch_size", "validation", "seeds", "precision", "device", "name", "tags", "set"),
}


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of cells."""

    top: int
    left: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def holds(self, row: int, column: int) -> bool:
        return self.top <= row < self.bottom and self.left <= column < self.right


def field_order(size: SizeClass) -> tuple[str, ...]:
    """The fields as the cursor goes through them: down one column, then the next."""
    return _FIELDS_BY_SIZE[size]


def pane_order(size: SizeClass) -> tuple[str, ...]:
    """The panes that take the focus."""
    return (*LISTS, "training", "experiments") if size == "wide" else (*LISTS, "training")


def areas(width: int, height: int, size: SizeClass) -> dict[str, Area]:
    """Where each pane is, its head included. `divider` is the line between left and right."""
    share = {"narrow": 0.50, "normal": 0.46, "wide": 0.395}[size]
    divider = int(width * share)
    left, right = 1, divider + 2
    found = {"divider": Area(0, divider, 1, height)}
    left_width, right_width = divider - 1 - left, width - 1 - right
    top = 1 if size == "wide" else 0
    found |= _left_areas(top, left, left_width, height, size)
    place = {"narrow": _right_narrow, "normal": _right_normal, "wide": _right_wide}[size]
    return found | place(top, right, right_width, height)


def _left_areas(top: int, left: int, width: int, height: int, size: SizeClass) -> dict[str, Area]:
    below = {"narrow": 0, "normal": 1 + 7 + 1, "wide": 1 + 11 + 1 + 7 + 2}[size]
    rows = max(height - top - below - 3 - 2, 3)
    quarter = max(rows // 4, 1)
    heights = (rows - 2 * quarter + 1, quarter + 1, quarter + 1)
    found = {}
    for name, pane_height in zip(LISTS, heights, strict=True):
        found[name] = Area(top, left, width, pane_height)
        top += pane_height + 1
    if size == "normal":
        found["training"] = Area(top, left, width, 7)
    if size == "wide":
        found["training"] = Area(top, left, width, 11)
        found["experiments"] = Area(top + 12, left, width, 7)
    if size != "narrow":
        found["validity"] = Area(height - 1, left, width, 1)
    return found


def _right_narrow(top: int, left: int, width: int, height: int) -> dict[str, Area]:
    training = height - 6
    return {
        "facts": Area(0, left, width, 7),
        "rate": Area(8, left, width, max(training - 9, 0)),
        "training": Area(training, left, width, 5),
        "validity": Area(height - 1, left, width, 1),
    }


def _right_normal(top: int, left: int, width: int, height: int) -> dict[str, Area]:
    samples = 2 + SMALL_SIDE // 2
    yaml_width = min(max(24, width * 2 // 5), 40)
    lower = 9 + samples + 1
    return {
        "facts": Area(0, left, width, 8),
        "samples": Area(9, left, width, samples),
        "rate": Area(lower, left, width - yaml_width - 2, height - lower),
        "yaml": Area(lower, left + width - yaml_width, yaml_width, height - lower),
    }


def _right_wide(top: int, left: int, width: int, height: int) -> dict[str, Area]:
    samples = 2 + LARGE_SIDE // 2
    side = min(max(44, width * 2 // 5), 60)
    lower = top + 9 + samples + 1
    return {
        "facts": Area(top, left, width - side - 4, 8),
        "layers": Area(top, left + width - side, side, 8),
        "samples": Area(top + 9, left, width, samples),
        "rate": Area(lower, left, width - side - 4, height - lower),
        "yaml": Area(lower, left + width - side, side, height - lower),
    }


def samples_fit(width: int, side: int) -> int:
    """How many pictures of `side` pixels stand beside each other in `width` cells."""
    gap = 2 if side == LARGE_SIDE else 1
    return max((width + gap) // (side + gap), 0)


def first_row(cursor: int, count: int, rows: int) -> int:
    """Which entry of a list stands in its first row: the cursor is kept in the middle where it can be."""
    return min(max(cursor - rows // 2, 0), max(count - rows, 0))


def field_places(area: Area, size: SizeClass) -> dict[str, Area]:
    """Where each field's label and value stand."""
    order = field_order(size)
    if size == "wide":
        return {name: Area(area.top + 1 + row, area.left, 36, 1) for row, name in enumerate(order)}
    half = (area.width + 1) // 2 if size == "narrow" else area.width // 2
    found = {}
    for index, name in enumerate(order[:8]):
        column, row = divmod(index, 4)
        found[name] = Area(area.top + 1 + row, area.left + column * half, half - 1, 1)
    if size == "normal":
        for row, name in enumerate(order[8:], start=5):
            found[name] = Area(area.top + row, area.left, area.width, 1)
    return found


def areas_left_end(width: int) -> int:
    """The column after the left half of a wide screen."""
    return areas(width, 48, "wide")["architecture"].right
