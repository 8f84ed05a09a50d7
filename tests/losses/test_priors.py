import pytest
import torch

from unblur.exposure.average import average
from unblur.losses.priors import path_error, reblur_consistency


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
