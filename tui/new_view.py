"""How New run is drawn: each of its panes on a grid of cells.

Pure: everything shown is in `Shown`, which the screen fills in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from engine.text import shorten
from tui import format, glyphs, line, pixels
from tui.dialogs import TextLine
from tui.grid import Grid
from tui.line import Part
from tui.new_layout import (
    LARGE_SIDE,
    LISTS,
    SMALL_SIDE,
    TINY_SIDE,
    Area,
    SizeClass,
    areas,
    areas_left_end,
    field_places,
    first_row,
    samples_fit,
)
from tui.plot.canvas import render
from tui.theme import Palette

if TYPE_CHECKING:
    from engine.counts_cache import Counts
    from tui.new_facts import Budget, Fact, LayerGroup
    from tui.new_form import Choice, Draft, Field
    from tui.plot.model import Plot

TITLES = {
    "architecture": "Architecture",
    "augmentation": "Augmentation",
    "optimizer": "Optimiser",
    "training": "Training",
    "experiments": "Experiments",
}
_LONGEST_NAME = 21
_PARAMETERS = 8


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures of one image: RGB bytes of `side` x `side` pixels each, the first unchanged."""

    side: int
    label: str
    pictures: tuple[bytes, ...]


@dataclass(frozen=True)
class ListShown:
    """One list: what it offers, where its cursor is, and how many there are without the search."""

    choices: tuple["Choice", ...]
    cursor: int
    total: int


@dataclass
class Shown:
    """All that is on the screen. `None` and `…` stand for what is not known yet."""

    lists: Mapping[str, ListShown]
    fields: Sequence["Field"]
    texts: Mapping[str, str]
    draft: "Draft | None"
    focus: str = "architecture"
    at_field: str = "data"
    editing: TextLine | None = None
    search: TextLine | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    facts: Sequence["Fact"] = ()
    budget: "Budget | None" = None
    layers: Sequence["LayerGroup"] = ()
    counts: "Counts | None" = None
    samples: Samples | None = None
    samples_remark: str = ""
    plot: "Plot | None" = None
    plot_remark: str = ""
    summary: Sequence[tuple[int, str, str]] = ()
    experiments: Sequence[tuple[str, str]] = ()
    experiment: int = 0
    source: str = ""
    remarks: Mapping[str, str] = field(default_factory=dict)
    busy: str = ""
    in_use: str = ""
    batch_advice: str = ""


def draw(shown: Shown, width: int, height: int, size: SizeClass, palette: Palette) -> Grid:
    """The whole body of the screen."""
    grid = Grid(width, height)
    places = areas(width, height, size)
    divider = places["divider"]
    for row in range(divider.top, divider.bottom):
        grid.write(row, divider.left, glyphs.active().upright, palette.style("rule"))
    for name in LISTS:
        _draw_list(grid, places[name], name, shown, size, palette)
    _draw_training(grid, places["training"], shown, size, palette)
    if "experiments" in places:
        _draw_experiments(grid, places["experiments"], shown, palette)
    _draw_facts(grid, places["facts"], shown, size, palette)
    if "layers" in places:
        _draw_layers(grid, places["layers"], shown, palette)
    if "samples" in places:
        side = LARGE_SIDE if size == "wide" else SMALL_SIDE
        draw_samples(grid, places["samples"], shown, side, palette)
    _draw_rate(grid, places["rate"], shown, size, palette)
    if "yaml" in places:
        _draw_yaml(grid, places["yaml"], shown, palette)
    _draw_validity(grid, places["validity"], shown, size, palette)
    return grid


def _head(
    grid: Grid, area: Area, title: str, facts: Sequence[Part], palette: Palette, *, focused: bool = False
) -> None:
    grid.write_parts(area.top, area.left, line.pane_head(title, area.width, palette, facts, focused=focused))


def _draw_list(grid: Grid, area: Area, name: str, shown: Shown, size: SizeClass, palette: Palette) -> None:
    entries = shown.lists[name]
    focused = shown.focus == name
    _draw_list_head(grid, area, name, shown, palette)
    rows = area.height - 1
    first = first_row(entries.cursor, len(entries.choices), rows)
    name_width = _name_width(entries.choices, area, name, size)
    for row, choice in enumerate(entries.choices[first : first + rows]):
        at_cursor = first + row == entries.cursor
        parts = _row_parts(choice, name, name_width, area.width, shown, size, palette, at_cursor, focused)
        _write_row(grid, area.top + 1 + row, area, parts, palette, selected=at_cursor and focused)
    if not entries.choices and shown.draft is not None:
        grid.write(area.top + 1, area.left + 2, "no preset matches; esc clears", palette.style("dim"))


def _draw_list_head(grid: Grid, area: Area, name: str, shown: Shown, palette: Palette) -> None:
    entries, focused = shown.lists[name], shown.focus == name
    count = len(entries.choices)
    fact = f"{entries.cursor + 1} of {count}" if focused and count else f"{count}"
    if focused and shown.search is not None:
        title = f"{TITLES[name]} /"
        _head(grid, area, title, [(fact, palette.style("dim"))], palette, focused=True)
        column = area.left + cell_len(title)
        room = max(area.width - cell_len(title) - cell_len(fact) - 4, 4)
        grid.fill(area.top, column, room, " ", palette.style("text"))
        shown.search.draw(grid, area.top, column, room, palette, focused=True)
        return
    _head(grid, area, TITLES[name], [(fact, palette.style("dim"))], palette, focused=focused)


def _name_width(choices: Sequence["Choice"], area: Area, name: str, size: SizeClass) -> int:
    longest = min(max((cell_len(choice.name) for choice in choices), default=8), _LONGEST_NAME)
    if size == "narrow":
        return max(area.width - 2 - (_PARAMETERS + 1 if name == "architecture" else 0), 4)
    return longest


def _row_parts(
    choice: "Choice",
    kind: str,
    name_width: int,
    width: int,
    shown: Shown,
    size: SizeClass,
    palette: Palette,
    at_cursor: bool,
    focused: bool,
) -> list[Part]:
    dim = palette.style("dim")
    role = "accent" if at_cursor and not focused else "text"
    mark = glyphs.active().chosen if at_cursor else " "
    name = shorten(choice.name, name_width, glyphs.active().ellipsis)
    # Where there is no column of remarks, only this tells a changed choice from the one of its name.
    change = f" {choice.about}" if size == "narrow" and choice.changed else ""
    called = line.cut([(name, palette.style(role, bold=at_cursor)), (change, dim)], name_width)
    parts: list[Part] = [
        (f"{mark} ", palette.style("accent", bold=True)),
        *called,
        (" " * (name_width - line.width_of(called)), dim),
    ]
    if kind == "architecture":
        count = shown.parameters.get(choice.name)
        figure = glyphs.active().ellipsis if count is None else format.parameters(count)
        strong = palette.style("text", bold=True) if at_cursor and focused else dim
        parts.append((f" {figure:>{_PARAMETERS}}", strong))
    if size == "narrow":
        return parts
    remark = choice.problem or choice.about
    style = palette.style("bad") if choice.problem else dim
    return line.cut([*parts, ("  ", dim), (remark, style)], width)


def _write_row(grid: Grid, row: int, area: Area, parts: Sequence[Part], palette: Palette, *, selected: bool) -> None:
    if not selected:
        grid.write_parts(row, area.left, parts)
        return
    grid.fill(row, area.left, area.width, " ", palette.selected(Style()))
    grid.write_parts(row, area.left, [(text, palette.selected(style)) for text, style in parts])


def _draw_training(grid: Grid, area: Area, shown: Shown, size: SizeClass, palette: Palette) -> None:
    focused = shown.focus == "training"
    facts = [("e", palette.style("accent", bold=True)), (" edit", palette.style("dim"))] if size == "wide" else []
    _head(grid, area, TITLES["training"], facts, palette, focused=focused)
    if not shown.fields:
        return
    for one, place in field_places(area, size).items():
        _draw_field(grid, place, one, shown, size, palette)
        if size == "wide":
            _draw_field_help(grid, place, one, shown, palette)


def _label_width(size: SizeClass) -> int:
    return 8 if size == "narrow" else 12


def _draw_field(grid: Grid, place: Area, name: str, shown: Shown, size: SizeClass, palette: Palette) -> None:
    one = next(one for one in shown.fields if one.name == name)
    focused = shown.focus == "training" and shown.at_field == name
    label = one.short if size == "narrow" else one.label
    grid.write(place.top, place.left, label, palette.style("accent" if focused else "dim", bold=focused))
    column = place.left + _label_width(size)
    room = place.right - column
    if focused and shown.editing is not None:
        grid.fill(place.top, column, room, " ", palette.selected(Style()))
        shown.editing.draw(grid, place.top, column, room, palette, focused=True)
        return
    wrong = shown.draft is not None and any(where == name for where, _ in shown.draft.problems)
    text = shorten(shown.texts.get(name, ""), room, glyphs.active().ellipsis)
    style = palette.style("bad" if wrong else "text", bold=focused)
    if focused:
        grid.fill(place.top, column, room, " ", palette.selected(Style()))
        style = palette.selected(style)
    end = grid.write(place.top, column, text, style)
    if not text and size == "normal" and len(one.hint) <= room:
        grid.write(place.top, column, one.hint, palette.style("dim"))
    runs = len(shown.draft.seeds) if shown.draft else 1
    if name == "seeds" and runs > 1 and size == "normal" and end + 2 + len(f"{runs} runs") <= place.right:
        grid.write(place.top, end + 2, f"{runs} runs", palette.style("dim"))


def _draw_field_help(grid: Grid, place: Area, name: str, shown: Shown, palette: Palette) -> None:
    one = next(one for one in shown.fields if one.name == name)
    column = place.right + 2
    warn = (shown.in_use or shown.busy) if name == "device" else ""
    text = warn or shown.remarks.get(name, one.hint)
    room = areas_left_end(grid.width) - column
    grid.write_parts(place.top, column, line.cut([(text, palette.style("warn" if warn else "dim"))], room))


def _draw_experiments(grid: Grid, area: Area, shown: Shown, palette: Palette) -> None:
    focused = shown.focus == "experiments"
    _head(grid, area, TITLES["experiments"], [("prefill all of the above", palette.style("dim"))], palette,
          focused=focused)  # fmt: skip
    rows = area.height - 1
    first = first_row(shown.experiment, len(shown.experiments), rows)
    width = min(max((cell_len(name) for name, _ in shown.experiments), default=8), _LONGEST_NAME)
    for row, (name, about) in enumerate(shown.experiments[first : first + rows]):
        at_cursor = focused and first + row == shown.experiment
        source = name == shown.source
        mark = glyphs.active().chosen if source else " "
        role = "accent" if source and not at_cursor else "text"
        label = shorten(name, width, glyphs.active().ellipsis)
        parts: list[Part] = [
            (f"{mark} ", palette.style("accent", bold=True)),
            (label + " " * (width - cell_len(label) + 2), palette.style(role, bold=at_cursor or source)),
            (about, palette.style("dim")),
        ]
        _write_row(grid, area.top + 1 + row, area, line.cut(parts, area.width), palette, selected=at_cursor)


def _draw_facts(grid: Grid, area: Area, shown: Shown, size: SizeClass, palette: Palette) -> None:
    entries = shown.lists["architecture"]
    chosen = entries.choices[entries.cursor].name if entries.choices else ""
    facts: list[Part] = [] if size == "narrow" else [(chosen, palette.style("text"))]
    _head(grid, area, "Facts", facts, palette)
    value_end = area.right if size == "narrow" else area.left + 26
    for row, fact in enumerate(shown.facts, start=area.top + 1):
        grid.write(row, area.left, fact.label, palette.style("dim"))
        style = palette.style("text", bold=fact.strong)
        grid.write(row, value_end - cell_len(fact.value), fact.value, style)
        if size != "narrow":
            remark = line.cut([(fact.remark, palette.style("dim"))], area.right - value_end - 2)
            grid.write_parts(row, value_end + 2, remark)
    if shown.budget is not None:
        row = area.top + 1 + len(shown.facts)
        _draw_budget(grid, row, area, shown.budget, size, palette)


def _draw_budget(grid: Grid, row: int, area: Area, budget: "Budget", size: SizeClass, palette: Palette) -> None:
    limit = format.parameters(budget.limit).replace(".00", "")
    role = "bad" if budget.over else "good"
    right: list[Part] = [(budget.percent, palette.style("text", bold=True))]
    if size == "narrow" and budget.over:
        right = [(budget.remark, palette.style("bad", bold=True))]
    elif size != "narrow" and budget.remark:
        right.append((f"  {budget.remark}", palette.style(role)))
    left = limit if size == "narrow" else "budget"
    grid.write(row, area.left, left, palette.style("dim" if size != "narrow" else "text"))
    start = area.left + cell_len(left) + 1
    if size != "narrow":
        start = area.left + 16
        grid.write(row, start - cell_len(limit), limit, palette.style("text"))
        start += 2
    end = area.right - line.width_of(right)
    grid.write_parts(row, start, line.bar(budget.share, max(end - start - 2, 0), palette.style(role), palette))
    grid.write_parts(row, end, right)


def _draw_layers(grid: Grid, area: Area, shown: Shown, palette: Palette) -> None:
    dim, text = palette.style("dim"), palette.style("text")
    _head(grid, area, "Layers", [("parameters", dim), ("       MACs", dim)], palette)
    rows = [(group.name, group.detail, group.parameters, group.macs) for group in shown.layers]
    if shown.counts is not None:
        rows.append(("total", "", shown.counts.parameters, shown.counts.macs))
    for row, (name, detail, parameters, macs) in enumerate(rows[: area.height - 1], start=area.top + 1):
        last = name == "total"
        parts = [(f"{name:<10}", text if last else dim), (f" {detail}", dim)]
        grid.write_parts(row, area.left, line.cut(parts, area.width - 24))
        figure, cost = format.thousands(parameters), format.macs(macs, fact=True)
        grid.write(row, area.right - 11 - cell_len(figure), figure, text)
        grid.write(row, area.right - cell_len(cost), cost, text)


def draw_samples(grid: Grid, area: Area, shown: Shown, side: int, palette: Palette) -> None:
    """The augmented samples with their head, as many as fit."""
    entries = shown.lists["augmentation"]
    chosen = entries.choices[entries.cursor].name if entries.choices else ""
    keys = line.keys_line([("space", "draw"), ("i", "image")], palette, gap=2)
    _head(grid, area, "Augmented", [(f"{chosen}   ", palette.style("dim")), *keys], palette)
    drawable = pixels.drawable(palette)
    if shown.samples is None or not drawable:
        remark = (shown.samples_remark or glyphs.active().ellipsis) if drawable else pixels.NEEDED
        grid.write_parts(area.top + 1, area.left, line.cut([(remark, palette.style("dim"))], area.width))
        return
    gap = 2 if side == LARGE_SIDE else 1
    labels = [shown.samples.label, *(f"draw {number}" for number in range(1, 99))]
    fit = samples_fit(area.width, side)
    places = [(area.top + 1, area.left + index * (side + gap), side) for index in range(fit)]
    if side == LARGE_SIDE and area.width - fit * (side + gap) >= TINY_SIDE:
        column = area.left + fit * (side + gap)
        places += [(area.top + 1, column, TINY_SIDE), (area.top + 3 + TINY_SIDE // 2, column, TINY_SIDE)]
    for (row, column, across), label, image in zip(places, labels, shown.samples.pictures, strict=False):
        grid.write_parts(row, column, line.cut([(label, palette.style("dim"))], across))
        rows = pixels.picture(image, shown.samples.side, shown.samples.side, palette, across)
        for below, segments in enumerate(rows, start=row + 1):
            _write_segments(grid, below, column, segments)


def _write_segments(grid: Grid, row: int, column: int, segments: Sequence[Segment]) -> None:
    for segment in segments:
        column = grid.write(row, column, segment.text, segment.style or Style.null())


def _draw_rate(grid: Grid, area: Area, shown: Shown, size: SizeClass, palette: Palette) -> None:
    entries = shown.lists["optimizer"]
    chosen = entries.choices[entries.cursor].name if entries.choices else ""
    facts: list[Part] = [(chosen, palette.style("dim"))]
    if size == "wide" and shown.plot_remark:
        facts.append((f"   {shown.plot_remark}", palette.style("dim")))
    _head(grid, area, "Learning rate", facts, palette)
    below = 1 if size == "normal" else 0
    if shown.plot is not None and area.height > 3 + below:
        drawn = render(shown.plot, area.width, area.height - 1 - below, palette)
        _copy(drawn, grid, area.top + 1, area.left)
    if below:
        said = shown.plot_remark
        said = said if cell_len(said) <= area.width else said.replace("after epoch", "after")
        remark = line.cut([(said, palette.style("dim"))], area.width)
        grid.write_parts(area.bottom - 1, area.left, remark)


def _copy(drawn: Grid, grid: Grid, top: int, left: int) -> None:
    for row, cells in enumerate(drawn.cells):
        for column, (character, style) in enumerate(cells):
            grid.put(top + row, left + column, character, style)


def _draw_yaml(grid: Grid, area: Area, shown: Shown, palette: Palette) -> None:
    _head(grid, area, "YAML", line.keys_line([("y", "all")], palette), palette)
    ellipsis = glyphs.active().ellipsis
    for row, (depth, key, value) in enumerate(shown.summary[: area.height - 1], start=area.top + 1):
        start = grid.write(row, area.left, "  " * depth + key + ": ", palette.style("dim"))
        grid.write(row, start, shorten(value, max(area.right - start, 1), ellipsis), palette.style("text"))


def _draw_validity(grid: Grid, area: Area, shown: Shown, size: SizeClass, palette: Palette) -> None:
    if size == "narrow" and shown.focus == "training" and shown.at_field in ("name", "set"):
        _draw_field(grid, area, shown.at_field, shown, size, palette)
        if shown.draft is None or shown.draft.valid or shown.editing is not None:
            return
    grid.fill(area.top, area.left, area.width, " ", palette.style("text"))
    grid.write_parts(area.top, area.left, line.cut(_validity(shown, palette), area.width))


def _validity(shown: Shown, palette: Palette) -> list[Part]:
    draft, signs = shown.draft, glyphs.active()
    if draft is None:
        return [(f"reading presets{signs.ellipsis}", palette.style("dim"))]
    if not draft.valid:
        return [(f"{signs.state('failed')} ", palette.style("bad", bold=True)), (draft.sentence, palette.style("text"))]
    if shown.focus == "training" and shown.at_field == "batch_size" and shown.batch_advice:
        return [(shown.batch_advice, palette.style("text"))]
    if shown.in_use and (shown.focus != "training" or shown.at_field == "device"):
        return [("! ", palette.style("warn", bold=True)), (shown.in_use, palette.style("text"))]
    if shown.focus == "training":
        one = next(one for one in shown.fields if one.name == shown.at_field)
        return [(f"{one.label}  ", palette.style("text")), (one.help, palette.style("dim"))]
    first, last = draft.names[0], draft.names[-1]
    many = len(draft.seeds) > 1
    said = (
        f"{len(draft.seeds)} runs, named {first} {signs.ellipsis} {_ending(first, last)}" if many else f"named {first}"
    )
    return [
        (f"{signs.state('finished')} ", palette.style("good", bold=True)),
        ("valid  ", palette.style("text")),
        (said, palette.style("dim")),
    ]


def _ending(first: str, last: str) -> str:
    """What differs of the last name: `s3` of `best_5m-s3` after `best_5m-s1`."""
    common = 0
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    start = max(first.rfind("-", 0, common), first.rfind("_", 0, common), -1) + 1
    return last[start:]
