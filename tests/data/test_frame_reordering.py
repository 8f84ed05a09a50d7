from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.data.frame_reordering import fmr_order, fmr_statistics, fmr_times, kendall_tau

places = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9)


@given(places)
def test_x_then_y_then_time(eyes):
    order = fmr_order(eyes)
    assert sorted(order) == list(range(len(eyes)))
    keys = [(*eyes[i], i) for i in order]
    assert keys == sorted(keys)


def test_fractions_are_cut_off_as_released():
    eyes = [(10.9, 5.0), (10.1, 5.9), (9.99, 7.0)]
    assert fmr_order(eyes) == [2, 0, 1]
    assert fmr_order(eyes, whole_pixels=False) == [2, 1, 0]
    # Toward zero, not down: an eye just outside the frame counts as on its edge.
    assert fmr_order([(0.5, 0), (-0.5, 0)]) == [0, 1]


def test_an_eye_that_is_nowhere():
    with pytest.raises(ValueError, match="not a number"):
        fmr_order([(1, 2), (float("nan"), 2)])


@given(places)
def test_times_are_ranks(eyes):
    order = fmr_order(eyes)
    times = fmr_times(order)
    assert np.allclose(times[order], np.linspace(0, 1, len(eyes)))


def test_a_single_frame_is_the_middle():
    assert fmr_times([0]).tolist() == [0.5]


@given(st.permutations(range(6)))
def test_a_mirror_turns_the_times_round(order):
    eyes = [(float(order.index(i)), 0.0) for i in range(6)]
    mirror = [(99 - x, y) for x, y in eyes]
    assert np.allclose(fmr_times(fmr_order(mirror)), 1 - fmr_times(fmr_order(eyes)))


@given(st.permutations(range(7)))
def test_tau(order):
    agreeing = [1 if order[i] < order[j] else -1 for i, j in combinations(range(7), 2)]
    assert kendall_tau(order) == pytest.approx(np.mean(agreeing))


def test_statistics_by_hand():
    found = fmr_statistics([[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [0, 1, 2, 3, 4]])
    three, five = found
    assert (three.frames, three.clips, five.clips) == (3, 4, 1)
    assert three.tau == pytest.approx((1 - 1 + 1 / 3 + 1 / 3) / 4)
    assert three.tau_size == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)
    assert (three.forward, three.backward, three.monotone, three.centre) == (0.25, 0.25, 0.5, 0.5)
    with pytest.raises(ValueError, match="no order"):
        fmr_statistics([[0]])
