"""The settings of the plots: each key's next state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.plot.view_state import SMOOTHINGS, ViewState

WHOLE = (0.0, 200.0)
EPOCHS = [float(epoch) for epoch in range(1, 138)]


def test_smoothing_goes_by_tenths_and_stays_below_one() -> None:
    state = ViewState()
    seen = []
    for _ in range(14):
        state = state.smoothed(+1)
        seen.append(state.smoothing)
    assert seen[:9] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert seen[-1] == SMOOTHINGS[-1] < 1
    assert ViewState().smoothed(-1).smoothing == 0.0
    assert state.unsmoothed().smoothing == 0.0


def test_the_axis_goes_round_and_takes_the_places_with_it() -> None:
    state = ViewState("epoch", window=(10.0, 20.0), cross_hair=15.0)
    assert state.next_axis() == "time"
    timed = state.on_axis("time", lambda epoch: epoch * 2)
    assert (timed.x, timed.window, timed.cross_hair) == ("time", (20.0, 40.0), 30.0)
    assert timed.next_axis() == "step"
    lost = state.on_axis("step", lambda epoch: None)
    assert (lost.window, lost.cross_hair) == (None, None)


def test_zooming_keeps_the_cross_hair_where_it_is_on_the_screen() -> None:
    state = ViewState(cross_hair=50.0).zoomed(WHOLE, 2)
    assert state.window == (25.0, 125.0)
    assert state.zoomed(WHOLE, 2).window == (37.5, 87.5)
    assert state.zoomed(WHOLE, 0.5).window is None


def test_zooming_without_a_cross_hair_is_about_the_newest_point_or_the_middle() -> None:
    assert ViewState().zoomed(WHOLE, 2, newest=200.0).window == (100.0, 200.0)
    assert ViewState(follow=False).zoomed(WHOLE, 2, newest=200.0).window == (50.0, 150.0)


def test_zooming_on_a_log_axis_halves_the_decades() -> None:
    window = ViewState(log_x=True, cross_hair=100.0).zoomed((1.0, 10_000.0), 2).window
    assert window == pytest.approx((10.0, 1000.0))


def test_panning_stops_at_the_ends_and_no_longer_follows() -> None:
    state = ViewState(window=(150.0, 190.0)).panned(WHOLE, +1)
    assert state.window == (160.0, 200.0)
    assert not state.follow
    assert state.panned(WHOLE, +1).window == (160.0, 200.0)
    assert state.panned(WHOLE, -1).window == (150.0, 190.0)
    assert ViewState().panned(WHOLE, -1) == ViewState()


def test_following_leaps_when_the_newest_point_has_left_the_window() -> None:
    state = ViewState(window=(0.0, 40.0))
    assert state.following(39.0, WHOLE) is state
    assert state.following(41.0, WHOLE).window == (11.0, 51.0)
    assert state.following(199.0, WHOLE).window == (160.0, 200.0)
    standing = state.toggled_follow()
    assert standing.following(41.0, WHOLE) is standing


def test_the_cross_hair_comes_at_the_newest_sample_in_view_and_goes_again() -> None:
    on = ViewState().toggled_cross_hair(EPOCHS, WHOLE)
    assert on.cross_hair == 137.0
    assert ViewState(window=(10.0, 20.5)).toggled_cross_hair(EPOCHS, WHOLE).cross_hair == 20.0
    assert on.toggled_cross_hair(EPOCHS, WHOLE).cross_hair is None
    assert ViewState().toggled_cross_hair([], WHOLE).cross_hair is None


def test_the_cross_hair_moves_by_samples_and_stays_on_the_curve() -> None:
    state = ViewState(cross_hair=81.0)
    assert state.moved(EPOCHS, +1, WHOLE).cross_hair == 82.0
    assert state.moved(EPOCHS, -10, WHOLE).cross_hair == 71.0
    assert state.moved(EPOCHS, +100, WHOLE).cross_hair == 137.0
    assert state.moved([], 1, WHOLE) is state
    assert ViewState().moved(EPOCHS, 1, WHOLE).cross_hair == 137.0


def test_the_cross_hair_passes_over_samples_that_lie_too_close() -> None:
    steps = [float(step) for step in range(0, 1001)]
    state = ViewState("step", cross_hair=500.0).moved(steps, 1, (0.0, 1000.0), least=20.0)
    assert state.cross_hair == 520.0
    assert state.moved(steps, 100, (0.0, 1000.0), least=30.0).cross_hair == 1000.0


def test_the_window_goes_with_the_cross_hair() -> None:
    state = ViewState(window=(10.0, 20.0), cross_hair=20.0).moved(EPOCHS, 3, WHOLE)
    assert (state.cross_hair, state.window) == (23.0, (13.0, 23.0))


def test_x_values_are_written_in_the_axis_own_way() -> None:
    assert ViewState().x_text(81.0) == "81"
    assert ViewState().x_text(2.5) == "2.50"
    assert ViewState("step").x_text(48224.0) == "48,224"
    assert ViewState("time").x_text(72.0) == "1 m 12 s"


@given(
    st.lists(st.sampled_from(["zoom", "out", "left", "right", "follow", "move", "hair"]), max_size=30),
    st.booleans(),
    st.floats(0.0, 1e6),
    st.floats(1e-3, 1e6),
)
def test_no_sequence_of_keys_leaves_the_whole_range(keys: list[str], log: bool, low: float, extent: float) -> None:
    whole, state = (low, low + extent), ViewState(log_x=log)
    xs = [low + extent * index / 50 for index in range(51)]
    for key in keys:
        match key:
            case "zoom":
                state = state.zoomed(whole, 2, xs[-1])
            case "out":
                state = state.zoomed(whole, 0.5)
            case "left" | "right":
                state = state.panned(whole, -1 if key == "left" else 1)
            case "follow":
                state = state.following(xs[-1], whole)
            case "move":
                state = state.moved(xs, -7, whole)
            case _:
                state = state.toggled_cross_hair(xs, whole)
        start, end = state.shown(whole)
        slack = 1e-6 * extent + 1e-9 * low
        assert whole[0] - slack <= start < end <= whole[1] + slack
