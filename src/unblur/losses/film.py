"""What the two parts of a film network are trained for, each apart from the other."""

from __future__ import annotations

from torch import Tensor

from unblur.losses.pixel import charbonnier
from unblur.losses.priors import path_error
from unblur.networks.paths import FilmNet, follow_back, warp


def part_terms(
    network: FilmNet,
    blurry: Tensor,
    frames: Tensor,
    times: Tensor,
    paths: Tensor | None = None,
    path_weight: float = 0.02,
    eps: float = 1e-3,
) -> dict[str, Tensor]:
    """The terms of the loss of a `FilmNet` by name.

    The restorer learns the middle frame. The path network learns to move the *true* middle frame to the other times,
    given the restorer's frame for one half of the batch and the true one for the other: so it fits the restorer it runs
    behind, and a better one put in its place later. No gradient passes between the two: a path that is wrong must not
    teach the restorer to be soft.

    Parameters
    ----------
    blurry : Tensor
        (B, 3, H, W) in [0, 1].
    frames : Tensor
        (B, T, 3, H, W), the middle one (t = 0.5) first.
    times : Tensor
        (B, T).
    paths : Tensor, optional
        (B, T, 2, H, W), the true displacements in pixels.
    path_weight : float
        Of their mean absolute error.
    eps : float
        Of the Charbonnier distance.
    """
    sharp = network.restorer(blurry).float()
    truth = frames[:, 0]
    given = sharp.detach().clone()
    given[::2] = truth[::2]
    back = follow_back(network.paths(blurry, given), times, network.iterations)
    terms = {
        "sharp": charbonnier(sharp, truth, eps),
        "moved": charbonnier(warp(truth, back[:, 1:]), frames[:, 1:], eps),
    }
    if paths is not None and path_weight:
        terms["paths"] = path_weight * path_error(back, paths)
    return terms
