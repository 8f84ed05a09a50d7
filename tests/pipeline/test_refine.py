"""Refined paths explain the photo better, or are left alone."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.exposure.average import average, frame_times
from unblur.layers.paths import follow_back, warp
from unblur.networks.path_film import PathFilm
from unblur.pipeline import refine as refine_module
from unblur.pipeline.film import MapFilm
from unblur.pipeline.refine import GRID, Correction, find_correction, refine_paths
from unblur.pipeline.residual import measure_residual
from unblur.runtime.runner import Runner


def texture(height=96, width=96):
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))
    return (0.5 + 2.5 * (F.avg_pool2d(F.pad(noise, (3, 3, 3, 3), "reflect"), 7, 1) - 0.5)).clamp(0, 1)


def moving(x, y, height=96, width=96):
    """Coefficients of a straight path, x and y pixels from its middle to its end."""
    return torch.tensor([x, y, 0.0, 0.0])[None, :, None, None].expand(1, 4, height, width).contiguous()


def photo_of(sharp, coefficients):
    return average(warp(sharp, follow_back(coefficients, frame_times(33))))


def bent(state, correction):
    film = MapFilm(Runner(PathFilm(), torch.device("cpu"), torch.float32), state.clone(), 96, "a.png")
    film.state[:, 3:] += F.interpolate(correction.grid, state.shape[-2:], mode="bicubic", align_corners=True)
    film.paths_changed()
    return film


def test_paths_are_found_from_wrong_ones():
    sharp, truth = texture(), moving(4.0, 2.0)
    photo, state = photo_of(sharp, truth), torch.cat((sharp, moving(3.0, 0.5)), 1)
    correction = find_correction(photo, state)
    film = bent(state, correction)
    inside = (..., slice(12, -12), slice(12, -12))
    distance = lambda state: (state[:, 3:5] - truth[:, :2])[inside].norm(dim=1).mean()  # noqa: E731
    assert distance(film.state) < 0.5 * distance(state)
    assert correction.helps
    assert correction.misfit[1] < correction.misfit[0]
    before = measure_residual(bent(state, none()), photo[0])
    assert measure_residual(film, photo[0]).linear_light_db > before.linear_light_db + 3
    assert torch.equal(film.state[:, :3], sharp), "the frame stays"


def none():
    return Correction(torch.zeros(1, 4, GRID, GRID), 1.0, (1.0, 1.0))


def test_right_paths_stay():
    sharp, truth = texture(), moving(4.0, 2.0)
    state = torch.cat((sharp, truth), 1)
    correction = find_correction(photo_of(sharp, truth), state)
    assert correction.grid[..., 1:-1, 1:-1].abs().max() < 1.0
    assert 0.9 < correction.shrinkage < 1.1


def test_paths_that_collapse_are_told():
    photo = photo_of(texture(), moving(4.0, 2.0))
    correction = find_correction(photo, torch.cat((photo, moving(4.0, 2.0)), 1), steps=60)
    assert correction.misfit[1] < correction.misfit[0]
    assert not correction.helps, "the frame is as blurred as the photo: no motion explains it best"


def test_a_film_is_refined_where_that_helps():
    sharp, truth = texture(), moving(4.0, 2.0)
    film = bent(torch.cat((sharp, moving(3.0, 0.5)), 1), none())
    before = film.state.clone()
    done = refine_paths(film, photo_of(sharp, truth))
    assert done.kept
    assert done.after.linear_light_db > done.before.linear_light_db + 3
    assert not torch.equal(film.state, before)
    left = bent(torch.cat((photo_of(sharp, truth), truth), 1), none())
    before = left.state.clone()
    assert not refine_paths(left, photo_of(sharp, truth)).kept
    assert torch.equal(left.state, before)


def test_inside_inference_mode_and_told():
    sharp, told = texture(), []
    state = torch.cat((sharp, moving(3.0, 0.5)), 1)
    with torch.inference_mode():
        inside = find_correction(sharp, state.clone(), steps=3, progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(inside.grid, find_correction(sharp, state, steps=3).grid), "and the same every time"


def test_a_large_picture_on_a_small_copy(monkeypatch):
    monkeypatch.setattr(refine_module, "MOST_PIXELS", 48 * 48)
    sharp, truth = texture(), moving(8.0, 4.0)
    state = torch.cat((sharp, moving(6.0, 1.0)), 1)
    correction = find_correction(photo_of(sharp, truth), state)
    found = correction.plane(0, (96, 96))[0, 48, 48]
    assert found == pytest.approx(2.0, abs=1.0), "in pixels of the picture"


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), level=st.sampled_from([0.0, 0.5, 1.0]))
def test_any_size_and_flat_pictures(height, width, level):
    flat = torch.full((1, 3, height, width), level)
    correction = find_correction(flat, torch.cat((flat, moving(1.0, 1.0, height, width)), 1), steps=2)
    assert correction.grid.isfinite().all()
    assert correction.plane(3, (height, width)).shape == (1, height, width)


@pytest.mark.parametrize(
    ("blurry", "state"),
    [
        (torch.zeros(3, 8, 8), torch.zeros(1, 7, 8, 8)),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 6, 8, 8)),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 7, 8, 9)),
    ],
)
def test_what_does_not_fit(blurry, state):
    with pytest.raises(ValueError, match=r"got|differ"):
        find_correction(blurry, state)
