import pytest
import torch
import torch.nn.functional as F

from unblur.exposure.average import frame_times
from unblur.layers.paths import follow_back, warp
from unblur.networks import spectral_motion as revision
from unblur.networks.spectral_motion import GaussNewtonUpdate, gauss_newton


def texture(side=64):
    noise = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(3))
    return 0.5 + 2 * (F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), "reflect"), 5, 1) - 0.5)


def paths(*numbers, side=64):
    return torch.tensor(numbers)[None, :, None, None].expand(1, -1, side, side).contiguous()


def light(*numbers):
    sharp = texture()
    return torch.cat((warp(sharp, follow_back(paths(*numbers), frame_times(33))).mean(1), sharp), 1)


def test_a_step_leads_to_paths_that_explain_the_photo():
    truth, guess = (3.0, 1.0, 0.5, 0.0), paths(2.4, 0.6, 0.0, 0.0, side=4)
    pictures = light(*truth)
    distance = lambda guess: (guess - paths(*truth, side=4))[..., 1:-1, 1:-1].norm(dim=1).mean()  # noqa: E731
    before, unexplained = distance(guess), []
    for _ in range(8):
        step, seen = gauss_newton(pictures, guess)
        unexplained.append(seen[:, 1].mean())
        guess = guess + step
    assert distance(guess) < 0.4 * before
    assert unexplained[-1] < unexplained[0]


def test_where_nothing_is_unexplained_no_step_is_taken():
    sharp = texture()
    step, seen = gauss_newton(torch.cat((sharp, sharp), 1), paths(0.0, 0.0, 0.0, 0.0, side=4))
    assert step.abs().max() < 1e-3
    assert seen[:, 2].max() < 1e-2


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_flat_pictures(level):
    step, seen = gauss_newton(torch.full((2, 2, 32, 48), level), torch.ones(2, 6, 2, 3))
    assert step.abs().max() < 1e-6
    assert seen.isfinite().all()


def test_a_revision_begins_with_half_of_the_step_and_learns():
    torch.manual_seed(0)
    revision, pictures = GaussNewtonUpdate(8, 4, 4.0, blocks=1), light(3.0, 1.0, 0.5, 0.0)
    guess, features = paths(0.6, 0.2, 0.0, 0.0, side=4), torch.randn(1, 8, 4, 4)
    revised, rest = revision(features, guess, pictures)
    step, _ = gauss_newton(pictures, 4 * guess)
    assert torch.allclose(revised, guess + 0.5 * step / 4)
    assert rest.shape == (1, 2, 4, 4)
    (revised.sum() + rest.sum()).backward()
    assert revision.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_bands_are_the_whole(rows, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    pictures = torch.rand(2, 2, 96, 40, generator=generator)
    coefficients = 4 * torch.randn(2, 4, 12, 5, generator=generator)
    whole = gauss_newton(pictures, coefficients)
    seen, in_one = [], revision._in_one
    monkeypatch.setattr(revision, "BAND_PIXELS", rows * 8 * 40)
    monkeypatch.setattr(revision, "_in_one", lambda light, field: seen.append(len(light[0, 0])) or in_one(light, field))
    for banded, expected in zip(gauss_newton(pictures, coefficients), whole, strict=True):
        torch.testing.assert_close(banded, expected, atol=1e-5, rtol=1e-4)
    assert len(seen) == -(-12 // rows)
    assert seen[0] < 96


def test_paths_that_are_no_numbers_have_no_reach(monkeypatch):
    pictures, nothing = torch.rand(1, 2, 32, 16), torch.full((1, 4, 4, 2), torch.nan)
    whole, _ = gauss_newton(pictures, nothing)
    monkeypatch.setattr(revision, "BAND_PIXELS", 1)
    step, _ = gauss_newton(pictures, nothing)
    torch.testing.assert_close(step, whole, equal_nan=True)
