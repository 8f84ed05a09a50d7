"""How long a motion is, by the spectra of made pictures whose blur is known."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.analysis.blur_length import LENGTHS, Length, joined, medians, predict_length, seen
from unblur.analysis.coefficients import coefficients
from unblur.analysis.motion_field import measure_field


@pytest.mark.parametrize(("length", "degrees"), [(5, 60), (8, 0), (12, 30), (14, 90), (20, 135)])
def test_a_moved_picture(leaves, moved, length, degrees):
    found = predict_length(moved(leaves, length, degrees))
    assert found.median == pytest.approx(length, rel=0.3)
    assert found.median < found.most < 2 * length


def test_longer_than_any_class_is_told_at_a_smaller_size(leaves, moved):
    blurry = moved(leaves.repeat(1, 4, 4), 64, 20)
    assert predict_length(blurry).median == pytest.approx(64, rel=0.35)


@pytest.mark.parametrize("times", [2, 4])
def test_enlarged_it_is_about_as_many_times_as_long(leaves, moved, times):
    blurry = moved(leaves, 12, 30)
    large = F.interpolate(blurry[None], scale_factor=float(times), mode="bicubic")[0].clamp(0, 1)
    assert predict_length(large).median == pytest.approx(times * predict_length(blurry).median, rel=0.35)


@pytest.mark.parametrize("picture", [torch.full((3, 200, 300), 0.4), torch.rand(3, 63, 400)])
def test_nothing_to_tell_it_from(picture):
    assert predict_length(picture) is None
    motion = measure_field(torch.zeros(6, *picture.shape[1:]), picture).motion(predict_length(picture))
    assert motion.as_dict()["length"] is None
    assert "px" not in str(motion)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_any_size(leaves, height, width):
    found = predict_length(F.interpolate(leaves[None], (height, width))[0])
    assert (found is None) == (min(height, width) < 64)
    assert found is None or LENGTHS[0] / 2 < found.median < 8 * LENGTHS[-1]


def test_the_median_of_a_distribution():
    shares = torch.tensor([[0, 0, 1, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1]])
    shares = F.pad(shares.float(), (0, len(LENGTHS) - 4))
    step = LENGTHS[1] / LENGTHS[0]
    wanted = torch.tensor([LENGTHS[2], LENGTHS[0] * step**0.5, LENGTHS[1] * step**0.5, LENGTHS[3]])
    assert torch.allclose(medians(shares), wanted, rtol=1e-4)
    uneven = torch.cat((torch.zeros(2), torch.tensor([0.2, 0.8]), torch.zeros(len(LENGTHS) - 4)))[None]
    assert LENGTHS[2] * step**0.5 < medians(uneven) < LENGTHS[3]


def test_half_of_the_size_counts_for_nothing_where_it_is_not_known():
    fine = torch.randn(3, coefficients()["blur_length.table"].shape[1] // 4)
    half = coefficients()["blur_length.mean"][1:]
    assert torch.allclose(joined(seen(fine), half), joined(seen(fine), half[:0]), atol=1e-5)


def test_a_motion_says_both_lengths():
    motion = measure_field(torch.full((2, 64, 64), 2.0), torch.rand(3, 64, 64)).motion(Length(9.0, 12.0))
    assert (motion.length, motion.length_95) == (9, 12)
    assert motion.path_length == pytest.approx(4 * 2**0.5)
    assert str(motion).startswith("9.0 px long (95 % under 12.0 px), at ")
