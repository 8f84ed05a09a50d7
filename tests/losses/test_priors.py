import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unblur.exposure.average import average
from unblur.losses.priors import (
    code_norm,
    divergence,
    hyper_laplacian,
    path_error,
    reblur_consistency,
    released_divergence,
    reversible_path_error,
)
from unblur.networks.kinds import Code


@pytest.mark.parametrize("response", ["srgb", "gamma", "linear"])
def test_true_frames_are_consistent_only_in_their_own_response(response: str) -> None:
    torch.manual_seed(0)
    frames = torch.rand(2, 5, 3, 4, 4)
    blurry = average(frames, response)
    assert reblur_consistency(blurry, frames, response) < 1.001e-3
    other = "linear" if response != "linear" else "srgb"
    assert reblur_consistency(blurry, frames, other) > 1e-2


def test_gradient_pulls_the_mean_towards_the_input() -> None:
    frames = torch.full((1, 3, 3, 2, 2), 0.4, requires_grad=True)
    reblur_consistency(torch.full((1, 3, 2, 2), 0.6), frames).backward()
    assert (frames.grad < 0).all()


def test_path_error_is_in_pixels() -> None:
    paths = torch.zeros(1, 2, 2, 3, 3)
    assert path_error(paths + 1.5, paths) == 1.5
    with pytest.raises(ValueError, match="shapes differ"):
        path_error(paths[:, :1], paths)


def test_divergence_of_normal_distributions() -> None:
    assert divergence(Code(torch.zeros(2, 3), torch.zeros(2, 3))) == 0
    mean, log_variance = torch.randn(4, 5), torch.randn(4, 5)
    exact = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0))
    code = Code(mean, log_variance)
    torch.testing.assert_close(divergence(code), exact.mean())
    torch.testing.assert_close(released_divergence(code), 2 * exact.sum(), rtol=1e-5, atol=1e-4)


def test_the_released_divergence_knows_a_deviation_of_either_sign() -> None:
    mean, sigma = torch.randn(4, 5), torch.randn(4, 5)
    released = (mean**2 + sigma**2 - torch.log(1e-8 + sigma**2) - 1).sum()
    torch.testing.assert_close(released_divergence(Code(mean, sigma.square().log())), released)


def test_a_code_without_spread_has_no_divergence() -> None:
    for function in (divergence, released_divergence):
        with pytest.raises(ValueError, match="log variance"):
            function(Code(torch.zeros(1)))


def test_reversible_path_error_takes_the_nearer_way_of_each() -> None:
    paths = torch.randn(2, 3, 2, 4, 4)
    signs = torch.tensor([1.0, -1.0])[:, None, None, None, None]
    assert reversible_path_error(signs * paths, -signs * paths, paths) == 0
    torch.testing.assert_close(reversible_path_error(paths + 1, paths + 2, paths), torch.tensor(1.0))
    with pytest.raises(ValueError, match="shapes differ"):
        reversible_path_error(paths, paths[:, :1], paths)


def test_a_hyper_laplacian_wants_few_steep_edges() -> None:
    step = torch.zeros(1, 3, 16, 16)
    step[..., 8:] = 1
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    assert hyper_laplacian(step) < hyper_laplacian(ramp)
    assert hyper_laplacian(ramp, power=2) < hyper_laplacian(step, power=2)
    assert float(hyper_laplacian(torch.full((1, 3, 5, 1), 0.3))) == pytest.approx(1e-6**0.33, rel=1e-4)


def test_a_hyper_laplacian_by_hand() -> None:
    picture = torch.rand(2, 3, 9, 7)
    grey = np.pad(picture.double().sum(1).numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    total = 0.0
    for one in grey:
        for y in range(9):
            for x in range(7):
                patch = one[y : y + 3, x : x + 3]
                gx = (patch[:, 2] - patch[:, 0]) @ [1, 2, 1]
                gy = (patch[2] - patch[0]) @ [1, 2, 1]
                total += (gx**2 + gy**2 + 1e-6) ** 0.33
    assert float(hyper_laplacian(picture)) == pytest.approx(total / (2 * 9 * 7), rel=1e-5)


def test_a_code_has_a_length() -> None:
    code = torch.zeros(2, 4, 1, 2)
    code[0, 0, 0] = torch.tensor([3.0, 4.0])
    assert float(code_norm(code)) == pytest.approx(2.5)
