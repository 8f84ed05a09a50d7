"""What the two parts of a film network are trained for, each apart from the other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unblur.losses.pixel import charbonnier
from unblur.losses.priors import path_error
from unblur.networks.paths import FilmNet, follow_back, reverse_time, warp

Part = Literal["both", "restorer", "paths"]


def part_terms(
    network: FilmNet,
    blurry: Tensor,
    frames: Tensor,
    times: Tensor,
    paths: Tensor | None = None,
    path_weight: float = 0.02,
    eps: float = 1e-3,
    train: Part = "both",
) -> dict[str, Tensor]:
    """The terms of the loss of a `FilmNet` by name.

    The restorer learns the middle frame. The path network learns to move the *true* middle frame to the other times,
    given anything from the restorer's frame to the true one: so it fits the restorer it runs behind, and a better one put
    in its place. No gradient passes between the two: a path that is wrong must not
    teach the restorer to be soft.

    The photo does not tell which end of the exposure came first, and no rule of direction is continuous in the motion:
    where it jumps, a network that must follow it learns the average of both, which is no motion. So each exposure is
    compared in the direction that the prediction is nearer to; `FilmNet` applies the rule to what it has predicted.

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
    train : {"both", "restorer", "paths"}
        The part that learns; the other stays as it is.
    """
    truth = frames[:, 0]
    with torch.set_grad_enabled(train != "paths"):
        sharp = network.restorer(blurry).float()
    terms = {} if train == "paths" else {"sharp": charbonnier(sharp, truth, eps)}
    if train == "restorer":
        return terms
    # Quality of the frame given: a third as restored, a third the truth, the others anything between.
    share = (3 * torch.rand(len(truth), 1, 1, 1, device=truth.device) - 1).clamp(0, 1)
    given = torch.lerp(sharp.detach(), truth, share)
    coefficients = network.paths(blurry, given)
    if paths is not None:
        coefficients = nearer_direction(coefficients, paths, times, network.iterations)
    back = follow_back(coefficients, times, network.iterations)
    terms["moved"] = charbonnier(warp(truth, back[:, 1:]), frames[:, 1:], eps)
    if paths is not None and path_weight:
        terms["paths"] = path_weight * path_error(back, paths)
    return terms


@torch.no_grad()
def _errors(coefficients: Tensor, paths: Tensor, times: Tensor, iterations: int) -> Tensor:
    return (follow_back(coefficients, times, iterations) - paths).abs().flatten(1).mean(1)


def nearer_direction(coefficients: Tensor, paths: Tensor, times: Tensor, iterations: int = 2) -> Tensor:
    """Path coefficients (B, K, H, W), reversed in time where that is nearer to the displacements (B, T, 2, H, W)."""
    reversed_ = reverse_time(coefficients)
    forward, backward = (_errors(c, paths, times, iterations) for c in (coefficients, reversed_))
    return torch.where((backward < forward)[:, None, None, None], reversed_, coefficients)
