"""A sharp frame brought nearer to the photo, in one piece or in bands."""

import pytest
import torch
import torch.nn.functional as F

from unblur.exposure.average import average, frame_times
from unblur.layers.paths import follow_back, warp
from unblur.metrics.fidelity import psnr
from unblur.networks.path_film import PathFilm
from unblur.pipeline.consistency import consistent
from unblur.pipeline.film import MapFilm
from unblur.runtime.runner import Runner

decode = PathFilm.decode.__get__(PathFilm())


def texture(height=64, width=80):
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))
    return (0.5 + 2 * (F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), "reflect"), 5, 1) - 0.5)).clamp(0, 1)


def exposure():
    """Photo, truth, and paths."""
    sharp = texture()
    paths = torch.tensor([4.0, 2.0, 1.0, 0.0])[None, :, None, None].expand(1, 4, 64, 80).contiguous()
    return average(warp(sharp, follow_back(paths, frame_times(33)))), sharp, paths


def test_it_comes_nearer_to_the_truth_and_to_the_photo():
    photo, truth, paths = exposure()
    begun = torch.lerp(photo, truth, 0.5)
    made = consistent(photo, begun, paths, steps=8)
    assert psnr(made, truth) > psnr(begun, truth) + 1.5
    again = lambda sharp: average(decode(torch.cat((sharp, paths), 1), frame_times(9)))  # noqa: E731
    assert psnr(again(made), photo) > psnr(again(begun), photo) + 4


def test_what_stands_still_becomes_the_photo():
    photo, still = texture(), torch.zeros(1, 4, 64, 80)
    made = consistent(photo, (photo + 0.1).clamp(0, 1), still)
    assert (made - photo).abs().max() < 1e-3


@pytest.mark.parametrize("rows", [1, 7, 30])
def test_bands_are_the_whole(rows):
    photo, truth, paths = exposure()
    begun = torch.lerp(photo, truth, 0.5)
    whole = consistent(photo, begun, paths, steps=2)
    margin = int(paths.abs().sum(1).max()) + 2
    assert torch.allclose(consistent(photo, begun, paths, steps=2, rows=rows, margin=margin), whole, atol=1e-5)


def test_no_step_changes_nothing():
    photo, truth, paths = exposure()
    assert consistent(photo, truth, paths, steps=0) is truth


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3)])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_the_smallest_and_the_flattest(size, level):
    flat = torch.full((1, 3, *size), level)
    with torch.inference_mode():
        made = consistent(flat, flat.clone(), torch.ones(1, 4, *size))
    assert (made - flat).abs().max() < 0.02


def test_of_a_film_only_the_frame_changes():
    photo, truth, paths = exposure()
    state = torch.cat((torch.lerp(photo, truth, 0.5), paths), 1)
    film = MapFilm(Runner(PathFilm(), torch.device("cpu"), torch.float32), state.clone(), 80, "a.png")
    film.make_consistent(photo, 3)
    assert torch.equal(film.state[:, 3:], paths)
    assert torch.allclose(film.state[:, :3], consistent(photo, state[:, :3], paths, steps=3), atol=1e-5)
