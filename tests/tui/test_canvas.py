"""Plots as text: what stands where, at several sizes and for every kind of data."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui import format, glyphs
from tui.grid import Grid, Span, changed_spans
from tui.plot.canvas import render, texts, value_at
from tui.plot.layout import Axis, Steady, frame
from tui.plot.model import Band, Curve, Mark, Plot, Upright
from tui.theme import palette

DARK = palette()
RUN = DARK.run(0)
EPOCHS = [float(epoch) for epoch in range(1, 61)]
VAL = [92 - 60 * math.exp(-epoch / 8) for epoch in EPOCHS]
TRAIN = [99 - 70 * math.exp(-epoch / 10) for epoch in EPOCHS]
ACCURACY = Plot(
    "accuracy",
    (
        Curve(EPOCHS, VAL, RUN.solid, "val", value="91.97", layer=1),
        Curve(EPOCHS, TRAIN, RUN.soft, "train", value="98.83", strong=False, broken=True),
    ),
    unit="%",
    x_range=(1, 100),
    floor=0,
    ceiling=100,
    outliers="low",
    marks=(Mark(50, VAL[49], "best 91.88 @ 50", RUN.solid),),
)
LOSS = Plot(
    "loss",
    (Curve(EPOCHS, [2.3 * math.exp(-epoch / 6) + 0.003 for epoch in EPOCHS], RUN.solid, "val"),),
    log_y=True,
    form=format.loss,
    x_range=(1, 60),
)


def drawn(plot: Plot, width: int, height: int) -> str:
    return "\n" + render(plot, width, height, DARK).text()


@pytest.fixture
def ascii_glyphs() -> Iterator[None]:
    glyphs.choose(utf8=False)
    yield
    glyphs.choose(utf8=True)


def test_a_plot_of_sixty_by_twelve() -> None:
    assert (
        drawn(ACCURACY, 60, 12)
        == """
 accuracy %                           ━ val  ━ train
  100 ───────────────⢀⣀⣀⣀⣀⣀⠤⠤⠤⠤⠤⠤⠄────────────────── 98.83
               ⢀⡠⠔⢀⣀⣀⣀⣀⣀⣀⠤⠤⠤◆⠤⠤⠤⠤⠄                   91.97
            ⢀⣀⠤⠒⠊⠉⠁          best 91.88 @ 50
   80 ─────⡰⠊───────────────────────────────────────
         ⢀⠜⠁
        ⢠⠊
   60 ─⢀⠇───────────────────────────────────────────
       ⡎⠁
      ⢸⠃
   40 ⠘─────────────────────────────────────────────
      1        20       40       60       80     100 epoch"""
    )


def test_a_small_plot_keeps_its_axes_and_drops_words() -> None:
    assert (
        drawn(ACCURACY, 30, 7)
        == """
 accuracy %       ━  ━
  100 ────⣀⣀⠤⠤⠤⠄────── 98.83
        ⣀⠤⠒⠉⠉◆⠉⠁       91.97
   75 ─⢰⠁─────────────
      ⢰⠁
   50 ⠘───────────────
      1      50    100 epoch"""
    )


def test_the_cross_hair_shows_values_in_the_head_and_x_on_the_axis() -> None:
    assert (
        drawn(replace(ACCURACY, cross_hair=30.0), 60, 9)
        == """
 accuracy %          at epoch 30   ━ 90.59   ━ 95.51
  100 ─────────────│⣀⣀⣀⣀⣀⠤⠤⠤⠤⠤⠤⠤⠤⠄────────────────── 98.83
              ⢀⢀⣀⡠⠤●⠤⠤⠤⠤⠤⠒⠒⠒◆⠒⠒⠒⠒⠂                   91.97
           ⢀⠤⠒⠉⠁   │         best 91.88 @ 50
   75 ────⡠⠊───────│────────────────────────────────
        ⢠⠊⠁        │
       ⢠⠃          │
   50 ─⠃───────────│────────────────────────────────
      1            30   40       60       80     100 epoch"""
    )


def test_a_log_axis() -> None:
    assert (
        drawn(LOSS, 50, 11)
        == """
 loss                                ━ val
   10 ────────────────────────────────────
      ⢀
    1 ─⠉⠒⢄⣀───────────────────────────────
           ⠉⠢⠤⣀
  0.1 ─────────⠉⠒⠤⣀───────────────────────
                   ⠉⠑⠢⠤⣀
 0.01 ──────────────────⠉⠒⠢⠤⣀⣀────────────
                              ⠉⠉⠉⠒⠒⠒⠒⠒⠒⠒⠤⠤
0.001 ────────────────────────────────────
      1    10    20    30    40    50   60 epoch"""
    )


def curve(ys: list[float], **settings: object) -> Plot:
    xs = [float(index + 1) for index in range(len(ys))]
    return Plot("p", (Curve(xs, ys, RUN.solid, "val"),), **settings)  # type: ignore[arg-type]


def test_one_point_is_a_dot_on_its_row() -> None:
    rows = render(curve([50.0], floor=0, ceiling=100), 30, 7, DARK).text().split("\n")
    assert [index for index, row in enumerate(rows) if any("\u2800" < sign <= "\u28ff" for sign in row)] == [3]


def test_a_constant_lies_on_a_grid_line() -> None:
    rows = render(curve([5.0] * 20), 34, 7, DARK).text().split("\n")
    assert rows[3].startswith("  5.0")
    assert "⠒⠒⠒⠒" in rows[3]


@pytest.mark.parametrize("ys", [[], [math.nan] * 5, [math.inf, -math.inf]])
def test_nothing_to_draw_leaves_an_empty_plot(ys: list[float]) -> None:
    text = render(curve(ys, x_range=(1, 200)), 40, 8, DARK).text()
    assert "epoch" in text
    assert not any("\u2800" < sign <= "\u28ff" for sign in text)


def test_not_finite_values_part_a_curve() -> None:
    rows = render(curve([1.0] * 10 + [math.nan] * 10 + [1.0] * 10, head=False, x_axis=False), 44, 3, DARK).text()
    middle = rows.split("\n")[1][6:36]
    assert middle.startswith("⠐⠒") or middle.startswith("⠒⠒")
    assert "─" in middle[11:19]
    assert middle.rstrip().endswith("⠒")


def test_points_outside_the_range_are_left_out_and_not_moved_to_the_edge() -> None:
    low = render(curve([-50.0] * 10 + [50.0] * 10, y_range=(0, 100), floor=0, ceiling=100), 40, 9, DARK)
    bottom = low.cells[7]
    assert sum(sign not in "─ 0" for sign, _ in bottom) <= 1


def test_a_value_is_in_the_middle_of_its_cell() -> None:
    axis = Axis(0.0, 100.0, 11)
    assert [axis.cell(value) for value in (0.0, 4.9, 5.1, 50.0, 100.0)] == [0, 0, 1, 5, 10]
    assert axis.value(5) == 50.0
    assert Axis(1.0, 1000.0, 4, log=True).value(1) == pytest.approx(10.0)


def test_validation_is_drawn_over_train() -> None:
    same = replace(ACCURACY, curves=tuple(replace(one, ys=VAL) for one in ACCURACY.curves), marks=())
    signs = [cell for row in render(same, 60, 12, DARK).cells[1:-1] for cell in row if "\u2800" < cell[0] <= "\u28ff"]
    assert signs
    assert {style for _, style in signs} == {RUN.solid}


def test_train_is_dashed_where_colours_lack() -> None:
    few = palette("dark", "16")
    plot = curve([1.0] * 60, y_range=(0, 2), floor=0, head=False, x_axis=False)
    broken = replace(plot, curves=(replace(plot.curves[0], broken=True),))
    assert "⠒⠒·⠒⠒·⠒⠒" in render(broken, 60, 3, few).text().replace("─", "·")
    assert "⠒⠒⠒⠒⠒⠒⠒⠒" in render(broken, 60, 3, DARK).text()


def test_runs_carry_letters_where_colours_lack() -> None:
    plot = replace(LOSS, curves=(replace(LOSS.curves[0], letter="b", legend="resnet"),), x_range=(1, 100))
    rows = render(plot, 60, 11, palette("dark", "none")).text().split("\n")
    assert "━ b resnet" in rows[0]
    assert any(row.rstrip().endswith("b") for row in rows[1:])
    assert "b resnet" not in render(plot, 60, 11, DARK).text()


def test_current_values_that_would_meet_are_moved_apart() -> None:
    base = curve([50.0] * 10, floor=0, ceiling=100, y_range=(0, 100)).curves[0]
    three = tuple(replace(base, value=f"5{index}.00") for index in range(3))
    text = render(Plot("p", three, floor=0, ceiling=100, y_range=(0, 100)), 40, 7, DARK).text()
    assert all(f"5{index}.00" in text for index in range(3))


def test_a_label_never_covers_a_curve_or_the_cross_hair() -> None:
    bare = replace(ACCURACY, marks=(), cross_hair=55.0)
    marked = replace(ACCURACY, cross_hair=55.0)
    before, after = render(bare, 60, 12, DARK), render(marked, 60, 12, DARK)
    for row_before, row_after in zip(before.cells[1:-1], after.cells[1:-1], strict=True):
        for (was, _), (now, _) in zip(row_before, row_after, strict=True):
            assert was == now or was in " ─" or now == "◆"
    assert "best 91.88 @ 50" in after.text()


def test_a_band_is_background_with_edges_in_eighths() -> None:
    band = Band(EPOCHS, [value - 8 for value in VAL], [min(value + 5, 100) for value in VAL], RUN.band)
    plot = replace(ACCURACY, curves=(replace(ACCURACY.curves[0], band=band),), marks=())
    grid = render(plot, 60, 12, DARK)
    backgrounds = {style.bgcolor.name for row in grid.cells for _, style in row if style.bgcolor}
    assert RUN.band in backgrounds
    assert any(sign in "▁▂▃▄▅▆▇" for row in grid.cells for sign, _ in row)
    assert not any(style.bgcolor for row in render(plot, 60, 12, palette("dark", "16")).cells for _, style in row)


def test_a_band_between_two_samples_follows_straight_lines() -> None:
    band = Band([0.0, 10.0], [0.0, 80.0], [20.0, 100.0], RUN.band)
    plot = Plot("p", (Curve([], [], RUN.solid, band=band),), x_range=(0, 10), y_range=(0, 100))
    grid = render(plot, 60, 12, DARK)
    columns = [column for column in range(6, 52) if any(row[column][1].bgcolor for row in grid.cells)]
    assert len(columns) >= 45
    tinted = [sum(bool(row[column][1].bgcolor) for row in grid.cells) for column in columns]
    assert max(tinted) <= 4


def test_an_upright_has_its_label_beside_it() -> None:
    scatter = Plot(
        "test accuracy",
        (),
        marks=(Mark(4.8, 92.0, "best_5m", RUN.solid), Mark(0.5, 90.0, glyph="•"), Mark(36.0, 95.0, glyph="•")),
        uprights=(Upright(5.0, "5 M", DARK.style("dim")),),
        log_x=True,
        x_range=(0.2, 40),
        x_label="",
        right=0,
    )
    text = render(scatter, 40, 12, DARK).text()
    assert "5 M" in text
    assert text.count("┆") >= 8
    assert text.count("•") == 2
    assert "◆" in text
    assert "best_5m" in text


def test_ascii_draws_with_ascii_alone(ascii_glyphs: None) -> None:
    plot = replace(ACCURACY, cross_hair=30.0)
    text = render(plot, 60, 12, palette("dark", "none")).text()
    assert text.isascii()
    assert "@" in text
    assert "|" in text


def test_the_value_under_the_cross_hair_is_the_nearest_sample() -> None:
    one = curve([1.0, 2.0, math.nan, 4.0]).curves[0]
    assert value_at(one, 2.2) == 2.0
    assert value_at(one, 3.1) is None
    assert value_at(one, 4.9) == 4.0
    assert value_at(one, 30.0) is None
    assert value_at(curve([]).curves[0], 1.0) is None


def test_there_is_no_frame_where_there_is_no_room() -> None:
    assert frame(ACCURACY, 15, 10) is None
    assert frame(ACCURACY, 60, 2) is None


def test_texts_are_the_grid_for_rich() -> None:
    grid = render(ACCURACY, 60, 12, DARK)
    assert "\n".join(line.plain.rstrip() for line in texts(grid)) == grid.text()


values = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(0, 70), st.integers(0, 20), st.booleans(), st.booleans(), st.sampled_from(["dark", "16"]))
def test_no_data_and_no_size_makes_it_fail(
    ys: list[float], width: int, height: int, log_x: bool, log_y: bool, colours: str
) -> None:
    xs = [float(index) for index in range(len(ys))]
    one = Curve(xs, ys, RUN.solid, "val", value="1", raw=ys, letter="a", band=Band(xs, ys, ys, RUN.band))
    plot = Plot("p", (one,), marks=(Mark(3, 1, "best"),), log_x=log_x, log_y=log_y, cross_hair=2.0, outliers="high")
    chosen = DARK if colours == "dark" else palette("dark", "16")
    grid = render(plot, width, height, chosen)
    assert (grid.width, grid.height) == (width, height)
    assert all(len(row) == width for row in grid.cells)


def test_changed_spans_are_what_differs() -> None:
    before, after = Grid(20, 3), Grid(20, 3)
    assert list(changed_spans(before, after)) == []
    after.write(1, 2, "ab", RUN.solid)
    after.write(1, 15, "c", RUN.solid)
    after.write(2, 0, "x", RUN.solid)
    after.write(2, 3, "y", RUN.solid)
    assert list(changed_spans(before, after)) == [Span(1, 2, 2), Span(1, 15, 1), Span(2, 0, 4)]


def test_wide_and_combining_characters_keep_the_columns() -> None:
    grid = Grid(8, 1)
    assert grid.write(0, 0, "日本e\u0301x", RUN.solid) == 6
    assert [sign for sign, _ in grid.cells[0]] == ["日", "", "本", "", "e\u0301", "x", " ", " "]
    assert sum(segment.cell_length for segment in grid.segments(0)) == 8
    edge = Grid(3, 1)
    edge.write(0, 0, "日本", RUN.solid)
    assert edge.text() == "日"


def test_the_y_axis_does_not_move_to_and_fro_with_its_extent() -> None:
    steady = Steady()

    def limits(low: float, high: float) -> tuple[float, float]:
        shown = Plot("loss", (Curve([0.0, 1.0], [low, high], palette().run(0).solid),), floor=0.0)
        found = steady.frame(shown, 80, 13)
        assert found is not None
        return found.y_ticks.limits

    assert limits(0.01, 0.99) == (0.0, 1.0)
    wider = limits(0.01, 1.01)
    assert wider[1] > 1.0
    assert limits(0.01, 0.99) == wider
    assert limits(0.01, 0.90) == (0.0, 1.0)
    assert limits(0.01, 0.99) == (0.0, 1.0)
    near = limits(0.451, 0.499)
    assert near[1] - near[0] < 0.2
