"""Paths that are handed on from neighbour to neighbour, so that they have edges."""

import pytest
import torch
import torch.nn.functional as F

from unblur.exposure.average import average, frame_times
from unblur.layers.paths import follow_back, warp
from unblur.networks.path_film import PathFilm
from unblur.pipeline.edges import propagated
from unblur.pipeline.film import MapFilm
from unblur.runtime.runner import Runner

HEIGHT, WIDTH, EDGE = 96, 112, 50


def texture(seed=3):
    noise = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 2 * (F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), "reflect"), 5, 1) - 0.5)).clamp(0, 1)


def alike(*path):
    """One path for all: x, y of tau, then of tau^2."""
    path = torch.tensor([*path, 0.0, 0.0][:4])
    return path[None, :, None, None].expand(1, 4, HEIGHT, WIDTH).contiguous()


def two_halves():
    """Photo, sharp frame, true paths and those of cells of 16 pixels: the left goes down, the right to the side."""
    sharp, down, aside = texture(), alike(0.0, 5.0), alike(4.0, 0.0, 3.0, 0.0)
    film = lambda paths: warp(sharp, follow_back(paths, frame_times(33)))  # noqa: E731
    left = torch.arange(WIDTH) < EDGE
    photo = average(torch.where(left, film(down), film(aside)))
    truth = torch.where(left, down, aside)
    return photo, sharp, truth, F.interpolate(F.avg_pool2d(truth, 16), scale_factor=16, mode="bilinear")


def test_an_edge_is_found():
    photo, sharp, truth, coarse = two_halves()
    # Right at the edge one pixel's light is the other's.
    judged = ((torch.arange(WIDTH) - EDGE).abs() > 5) & ((torch.arange(WIDTH) - EDGE).abs() < 20)
    wrong = lambda paths: (paths - truth).abs().sum(1)[..., 20:-20, judged].mean()  # noqa: E731
    assert wrong(propagated(photo, sharp, coarse)) < 0.4 * wrong(coarse)


def turned(picture):
    """Columns to rows from the bottom up; of paths x and y too."""
    picture = picture.transpose(-1, -2).flip(-2)
    if picture.shape[1] == 3:
        return picture
    return picture[:, [1, 0, 3, 2]] * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]


def test_no_side_is_preferred():
    pictures = two_halves()[:2] + two_halves()[3:]
    found = propagated(*pictures)
    for _ in range(3):
        pictures, found = [turned(each) for each in pictures], turned(found)
        assert torch.allclose(propagated(*pictures), found, atol=1e-3)


def test_noise_hides_no_edge_and_the_right_path_may_be_two_steps_away():
    photo, sharp, truth, _ = two_halves()
    photo = photo + 0.06 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    late = truth.roll(-28, -1)
    wrong = lambda paths: (paths - truth).abs().sum(1)[..., 20:-20, EDGE - 11 : EDGE - 6].mean()  # noqa: E731
    assert wrong(propagated(photo, sharp, late)) < 0.4 * wrong(late)


def test_where_neighbours_agree_nothing_changes():
    paths = alike(3.0, 1.0)
    paths[:, :2] += torch.linspace(0, 0.01, WIDTH) * torch.tensor([1.0, -1.0])[:, None, None]
    assert torch.equal(propagated(texture(1), texture(2), paths), paths)


def test_noise_decides_nothing():
    """In a flat picture every path explains the photo, and no one wins."""
    *_, coarse = two_halves()
    flat = torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    noisy, grain = flat + 0.002 * torch.randn(2, *flat.shape, generator=torch.Generator().manual_seed(0))
    smooth = propagated(flat, flat, coarse)
    assert (propagated(noisy, grain, coarse) - smooth).abs().max() < 0.1


@pytest.mark.parametrize(("side", "longer"), [(13, 1), (40, 1), (40, 6)])
def test_tiles_are_the_whole(side, longer):
    photo, sharp, _, coarse = two_halves()
    coarse = longer * coarse
    whole = propagated(photo, sharp, coarse)
    assert torch.allclose(propagated(photo, sharp, coarse, side=side), whole, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 3)])
def test_small_pictures(size):
    paths = 9 * torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(1))
    found = propagated(torch.rand(2, 3, *size), torch.rand(2, 3, *size), paths)
    assert found.shape == paths.shape
    # A mean of the paths that were there.
    assert found.amax() <= paths.amax() + 1e-5
    assert found.amin() >= paths.amin() - 1e-5


def test_a_film_takes_them():
    photo, sharp, _, coarse = two_halves()
    network = PathFilm(motion={"degree": 2}).eval()
    film = MapFilm(Runner(network, torch.device("cpu"), torch.float32), torch.cat((sharp, coarse), 1), 96, "a photo")
    before = film.state.clone()
    film.propagate_paths(photo)
    assert torch.equal(film.state[:, :3], before[:, :3])
    assert torch.allclose(film.state[:, 3:], propagated(photo, sharp, coarse), atol=1e-4)


def test_no_numbers_are_left_for_others_to_tell():
    *_, coarse = two_halves()
    coarse[..., 40, 40] = float("nan")
    assert torch.equal(propagated(texture(), texture(), coarse).isnan(), coarse.isnan())
