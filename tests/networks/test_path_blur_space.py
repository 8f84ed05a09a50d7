"""The blur space whose codes are motion: the operator against sums done by hand, and what holds of any weights."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.exposure.average import trapezoid_weights
from unblur.exposure.response import from_linear, to_linear
from unblur.layers.paths import path_at, reverse_time
from unblur.metrics.fidelity import psnr
from unblur.networks.path_blur_space import INSTANTS, PathBlurSpace, canonical

SMALL = {"channels": 5, "widths": (4, 4, 6, 6), "blocks": (1, 1, 1, 1), "features": 8}
EVIDENCE = {"hidden": 8, "blocks": 1, "window": 16, "reaches": (2, 3)}


@pytest.fixture(scope="module")
def space():
    torch.manual_seed(0)
    return PathBlurSpace(**SMALL, spectral=EVIDENCE, gauss_newton_steps=1).eval()


def moving(dx, dy, height, width):
    """Coefficients of a steady motion of (dx, dy) pixels over the exposure."""
    field = torch.zeros(1, 6, height, width)
    field[:, 0], field[:, 1] = dx / 2, dy / 2
    return field


def test_a_steady_motion_is_a_mean_of_shifts(space):
    picture = torch.rand(1, 3, 24, 64)
    made = space.expose(picture, moving(8.0, 0.0, 24, 64), instants=9)
    light = to_linear(picture)
    by_hand = sum(
        share * light.roll(shift, -1) for share, shift in zip(trapezoid_weights(9).tolist(), range(-4, 5), strict=True)
    )
    inside = slice(4, -4)
    torch.testing.assert_close(made[..., inside], from_linear(by_hand)[..., inside], atol=2e-5, rtol=0)


def test_no_motion_changes_nothing(space):
    picture = torch.rand(1, 3, 20, 30)
    torch.testing.assert_close(space.expose(picture, torch.zeros(1, 6, 20, 30)), picture, atol=1e-3, rtol=0)


def test_an_even_picture_stays_as_it_is(space):
    grey = torch.full((1, 3, 40, 150), 0.4)
    code = torch.randn(1, 5, 1, 2)
    torch.testing.assert_close(space.reblur(grey, code), grey, atol=1e-5, rtol=0)


def test_time_may_run_either_way(space):
    picture, field = torch.rand(1, 3, 32, 48), torch.randn(1, 6, 32, 48).cumsum(-1) / 8
    one, other = space.expose(picture, field), space.expose(picture, reverse_time(field))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    coarse = torch.randn(2, 6, 8, 16)
    torch.testing.assert_close(space.encode_paths(coarse).mean, space.encode_paths(reverse_time(coarse)).mean)
    torch.testing.assert_close(canonical(canonical(coarse)), canonical(coarse))


def test_as_many_instants_as_the_paths_are_long(space):
    assert space._instants(moving(0.0, 0.0, 32, 32)) == INSTANTS[0]
    assert space._instants(moving(30.0, 0.0, 32, 32)) == 31
    assert space._instants(moving(500.0, 0.0, 32, 32)) == INSTANTS[1]


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 300))
def test_any_size(space, height, width):
    sharp, blurry = torch.rand(2, 1, 3, height, width).unbind()
    with torch.no_grad():
        code = space.encode(sharp, blurry)
        made = space.reblur(sharp, code.mean)
    rows, columns = -(-height // 128), -(-width // 128)
    assert space.grid(height, width) == (rows, columns)
    assert code.mean.shape == code.log_variance.shape == (1, 5, rows, columns)
    assert made.shape == sharp.shape
    assert bool(torch.isfinite(made).all())
    assert 0 <= made.min() <= made.max() <= 1


def test_the_size_of_a_code_is_checked(space):
    with pytest.raises(ValueError, match=r"a picture of 300 x 200 has a code of \(5, 3, 2\), got \(5, 1, 1\)"):
        space.reblur(torch.rand(1, 3, 300, 200), torch.zeros(1, 5, 1, 1))
    with pytest.raises(ValueError, match="got \\(4, 1, 1\\)"):
        space.reblur(torch.rand(1, 3, 30, 20), torch.zeros(1, 4, 1, 1))
    with pytest.raises(ValueError, match="of one size"):
        space.encode(torch.rand(1, 3, 30, 20), torch.rand(1, 3, 30, 21))


def test_a_code_is_fitted_to_another_size(space):
    code = torch.randn(1, 5, 2, 2)
    assert space.fitted(code, 256, 256) is code
    assert space.fitted(code, 720, 1280).shape == (1, 5, 6, 10)


@torch.no_grad()
def test_displacements_follow_the_paths():
    """Where the motion is even, a frame's content comes from the place it left."""
    space, times = PathBlurSpace(**SMALL, spectral=EVIDENCE), torch.tensor([0.0, 0.5, 0.8])
    space.unfold.outro.weight.zero_()
    code = torch.randn(1, 5, 1, 1)
    back = space.displacements(code, times, (100, 90))
    ahead = path_at(space.coefficients(code, 100, 90), times)
    assert back.shape == (1, 3, 2, 100, 90)
    assert float(ahead.abs().max()) > 0.05
    torch.testing.assert_close(back, -ahead, atol=1e-5, rtol=0)
    assert float(back[:, 1].abs().max()) == 0


def test_draws_are_normal_with_the_prior_s_moments():
    space = PathBlurSpace(**SMALL, spectral=EVIDENCE)
    space.prior_mean.copy_(torch.arange(5.0))
    space.prior_factor.copy_(torch.diag(torch.arange(1.0, 6.0)))
    space.prior_nearness.copy_(torch.tensor([0.0, 0.2, 0.5, 0.8, 0.9]))
    codes = space.draw(4000, 256, 128, torch.Generator().manual_seed(1))
    assert codes.shape == (4000, 5, 2, 1)
    torch.testing.assert_close(codes.mean((0, 2, 3)), torch.arange(5.0), atol=0.25, rtol=0)
    torch.testing.assert_close(codes.std(0)[:, 0, 0], torch.arange(1.0, 6.0), rtol=0.05, atol=0)
    near = [float(torch.corrcoef(codes[:, i, :, 0].T)[0, 1]) for i in range(5)]
    assert near == pytest.approx([0.0, 0.2, 0.5, 0.8, 0.9], abs=0.06)


def test_draws_are_as_alike_as_their_cells_are_near():
    """In grids that are not square too: every cell with every other."""
    space = PathBlurSpace(**SMALL, spectral=EVIDENCE)
    space.prior_nearness.fill_(0.8)
    codes = space.draw(4000, 2 * 128, 3 * 128, torch.Generator().manual_seed(2))
    place = torch.tensor([[row, column] for row in range(2) for column in range(3)]).double()
    expected = 0.8 ** torch.cdist(place, place).square()
    seen = torch.stack([torch.corrcoef(codes[:, i].flatten(1).T) for i in range(5)]).mean(0)
    torch.testing.assert_close(seen.double(), expected, atol=0.03, rtol=0)


def test_draws_follow_the_seed(space):
    draw = lambda seed: space.draw(2, 300, 200, torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    assert not torch.equal(*draw(3))


def test_distance_is_about_one_for_what_is_known(space):
    known = torch.randn(50, 5, 3, 3)
    assert float(space.distance(known).mean()) == pytest.approx(0.95, abs=0.05)
    assert space.distance(10 + known).min() > 5
    assert space.distance(known).shape == (50, 3, 3)


def test_gradients_reach_the_code_and_the_picture(space):
    picture, code = torch.rand(1, 3, 40, 40, requires_grad=True), torch.randn(1, 5, 1, 1, requires_grad=True)
    space.reblur(picture, code).square().sum().backward()
    assert float(picture.grad.abs().sum()) > 0
    assert float(code.grad.abs().sum()) > 0


@torch.no_grad()
def test_steps_of_gauss_and_newton_find_a_motion(leaves):
    """Half of it is known; looking again explains the rest."""
    space = PathBlurSpace(**SMALL, spectral=EVIDENCE).eval()
    for first in (0, 6):
        space.spectral.head.bias[first : first + 2] = torch.tensor([1.0, 0.4]) / 2 / 8
    sharp = leaves[None]
    blurry = space.expose(sharp, moving(3.0, 1.2, 256, 320))
    explained = []
    for space.gauss_newton_steps in (0, 6):
        fine = F.interpolate(space.read(sharp, blurry), scale_factor=16, mode="bilinear")
        explained.append(float(psnr(space.expose(sharp, fine), blurry)))
    assert explained[1] > explained[0] + 8
