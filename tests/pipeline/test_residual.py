"""What a film leaves of its photo is given back: half of it to the mean, nothing to the middle frame."""

import torch

from unblur.exposure.average import frame_times
from unblur.exposure.response import from_linear, to_linear
from unblur.pipeline.residual import INSTANTS, film_residual, with_residual


def test_half_of_it_reaches_the_mean():
    light = 0.3 + 0.2 * torch.rand(3, 20, 30)
    photo, film = from_linear(light + 0.02), from_linear(light)[None].expand(16, -1, -1, -1)
    times = torch.tensor(INSTANTS)
    left = film_residual(photo, to_linear(film).mean(0))
    torch.testing.assert_close(left, torch.full_like(left, 0.02), atol=1e-5, rtol=0)
    after = film_residual(photo, to_linear(with_residual(film, left, times)).mean(0))
    torch.testing.assert_close(after, left / 2, atol=1e-5, rtol=0)


def test_the_middle_frame_stays_and_the_ends_get_most():
    film, left = torch.rand(2, 5, 3, 8, 9), 0.1 * torch.rand(2, 3, 8, 9)
    again = with_residual(film, left, frame_times(5))
    torch.testing.assert_close(again[:, 2], film[:, 2], atol=1e-5, rtol=0)
    change = (to_linear(again) - to_linear(film)).mean((0, 2, 3, 4))
    assert change[0] > change[1] > change[2]
    torch.testing.assert_close(change, change.flip(0), atol=0.02, rtol=0)


def test_a_true_film_stays_as_it_is():
    film = torch.rand(16, 3, 8, 9)
    mean = to_linear(film).mean(0)
    again = with_residual(film, film_residual(from_linear(mean), mean), torch.tensor(INSTANTS))
    torch.testing.assert_close(again, film, atol=1e-4, rtol=0)


def test_nothing_leaves_the_range():
    again = with_residual(torch.rand(4, 3, 8, 9), torch.randn(3, 8, 9), frame_times(4))
    assert 0 <= again.min() <= again.max() <= 1
