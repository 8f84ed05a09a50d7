from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.exposure.average import average
from unblur.pipeline.compositing import Patch, PatchedFilm, Place, low_frequency_drift, runs_backward


class Given:
    """A film of these frames, at 0, 0.5 and 1."""

    def __init__(self, *frames):
        self.made = frames

    def frames(self, times):
        return iter([self.made[round(2 * time)] for time in times])


@given(
    st.integers(-30, 90), st.integers(-30, 70), st.integers(2, 60), st.integers(2, 60), st.integers(0, 3), st.booleans()
)
def test_nothing_outside_is_touched(left, top, wide, high, turns, rough):
    place = Place.of((left, top, left + wide, top + high), 50, 70, 0.5, turns)
    if place is None:
        assert not (0 <= left + wide / 2 < 70 and 0 <= top + high / 2 < 50)
        return
    picture = torch.rand(3, 50, 70)
    made = picture.clone()
    patch = torch.full_like(place.cut(picture), 1e6 if rough else 1.0)
    place.paste(made, patch)
    outside = torch.ones(50, 70, dtype=torch.bool)
    outside[place.rows, place.columns] = False
    assert torch.equal(made[:, outside], picture[:, outside])
    side = max(wide, high)
    x, y = torch.arange(70) + 0.5 - (left + wide / 2), torch.arange(50) + 0.5 - (top + high / 2)
    far = (x.abs()[None] > side + 1) | (y.abs()[:, None] > side + 1)
    assert torch.equal(made[:, far], picture[:, far])
    # The box itself is all restored.
    near = (x.abs()[None] <= side / 2) & (y.abs()[:, None] <= side / 2)
    assert torch.allclose(made[:, near], torch.full_like(made[:, near], float(patch.max())))


def test_what_is_pasted_unchanged_changes_nothing():
    picture = torch.rand(3, 60, 60)
    for turns in range(4):
        place = Place.of((20, 25, 40, 40), 60, 60, 0.5, turns)
        made = picture.clone()
        place.paste(made, place.cut(picture))
        assert torch.equal(made, picture)


def test_no_step_at_the_rim():
    place = Place.of((30, 30, 60, 60), 90, 90)
    made = torch.zeros(3, 90, 90)
    place.paste(made, torch.ones_like(place.cut(made)))
    assert made[0, 45].diff().abs().max() < 0.12
    assert (made[0, 45, 30:60] == 1).all()
    assert made[0, 45, 15] < 0.01


def test_no_fall_at_the_edge_of_the_picture():
    place = Place.of((0, 20, 20, 40), 60, 60)
    assert (place.weight[20, :20] == 1).all()
    made = torch.zeros(3, 60, 60)
    place.paste(made, torch.ones_like(place.cut(made)))
    assert made[0, 30, 0] == 1
    assert made[0, 30, 59] == 0


def test_patches_are_cut_upright():
    picture = torch.zeros(3, 40, 40)
    picture[:, 10, 15] = 1  # above the middle of the box
    turned = torch.rot90(picture, -1, (1, 2))  # now right of it
    place = Place.of((10, 10, 20, 30), 40, 40, 0.0, 1)
    up = Place.of((20, 10, 30, 20), 40, 40, 0.0, 1)
    assert place is not None
    assert up.cut(turned).argmax() == Place.of((10, 10, 20, 20), 40, 40, 0.0).cut(picture).argmax()


def test_stray():
    sharp = torch.rand(3, 64, 64)
    blurry = torch.nn.functional.avg_pool2d(sharp[None], 9, 1, 4, count_include_pad=False)[0]
    assert low_frequency_drift(sharp, blurry) < 0.06
    assert low_frequency_drift(1 - blurry, torch.zeros_like(blurry)) > 0.4
    assert low_frequency_drift(sharp + 0.2, sharp) == pytest.approx(0.2, abs=1e-6)
    assert low_frequency_drift(sharp[:, :5, :7], sharp[:, :5, :7]) == 0


def test_every_frame_has_its_patches():
    torch.manual_seed(0)
    whole = torch.rand(3, 3, 40, 60)
    place = Place.of((20, 10, 40, 30), 40, 60)
    parts = torch.rand(3, *place.cut(whole[0]).shape)
    for backward in (False, True):
        film = PatchedFilm(Given(*whole), [Patch(place, Given(*parts), backward)])
        made = torch.stack(list(film.frames([0, 0.5, 1])))
        for frame, source, part in zip(made, whole, parts.flip(0) if backward else parts, strict=True):
            wanted = source.clone()
            place.paste(wanted, part)
            assert torch.equal(frame, wanted)
        ((rows, means),) = film.averages([0, 0.5, 1], ("srgb", "linear"))
        assert rows == slice(0, 40)
        assert torch.allclose(means[1], made.mean(0))
        lit = average(made[None], "srgb")[0]
        assert torch.allclose(means[0] > 0.5, lit > 0.7353, atol=1e-4)
    # What it was made of stays as it was.
    assert torch.equal(whole[0], next(Given(*whole).frames([0])))


def test_the_direction_of_the_whole():
    place = Place.of((20, 10, 40, 30), 40, 60, 0.5, 1)
    ends = [torch.zeros(3, 40, 60), torch.ones(3, 40, 60)]
    parts = [place.cut(end) for end in ends]
    assert not runs_backward(ends, parts, place)
    assert runs_backward(ends, parts[::-1], place)
