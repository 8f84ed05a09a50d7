"""What the two parts of a film network are trained for, each apart from the other."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.layers.paths import follow_back, reverse_time, warp
from unblur.losses.pixel import charbonnier
from unblur.losses.priors import path_error
from unblur.networks.path_film import PathFilm

Part = Literal["both", "restorer", "paths", "guess", "detail"]
CELL = 8
"""Pixels between the places where a guess is compared."""


def part_terms(
    network: PathFilm,
    blurry: Tensor,
    frames: Tensor,
    times: Tensor,
    paths: Tensor | None = None,
    path_weight: float = 0.02,
    eps: float = 1e-3,
    train: Part = "both",
) -> dict[str, Tensor]:
    """The terms of the loss of a `PathFilm` by name.

    The restorer learns the middle frame. The path network learns to move the *true* middle frame to the other times,
    given anything from the restorer's frame to the true one: so it fits the restorer it runs behind, and a better one
    put in its place. No gradient passes between the two: a path that is wrong must not teach the restorer to be soft.

    The photo does not tell which end of the exposure came first, and no rule of direction is continuous in the motion:
    where it jumps, a network that must follow it learns the average of both, which is no motion. So each exposure is
    compared in the direction that the prediction is nearer to; `PathFilm` applies the rule to what it has predicted.

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
    train : {"both", "restorer", "paths", "guess", "detail"}
        The part that learns; the other stays as it is. With "guess" only the coarse estimate of the path network
        learns (`spectral_motion.SpectralMotion`), in a fraction of the time: the way to begin. With "detail" it stays,
        and only what corrects it learns. Where there is nothing to correct it, the guess is all that the paths learn.
    """
    truth = frames[:, 0]
    learns = train in ("both", "restorer")
    with torch.set_grad_enabled(learns):
        sharp = network.restorer(blurry).float()
    terms = {"sharp": charbonnier(sharp, truth, eps)} if learns else {}
    if train == "restorer":
        return terms
    # Quality of the frame given: a third as restored, a third the truth, the others anything between.
    share = (3 * torch.rand(len(truth), 1, 1, 1, device=truth.device) - 1).clamp(0, 1)
    given = torch.lerp(sharp.detach(), truth, share)
    if train == "guess" or network.motion.unet is None:
        if paths is None:
            raise ValueError("a guess learns from true displacements")
        guesses, rightwards, downwards = network.motion.guesses(blurry, given)
        error = torch.stack([guess_error(guess, truth, paths, times) for guess in guesses]).sum()
        rules = rule_error(rightwards, downwards, truth, paths, times)
        return {**terms, "guess": path_weight * error, "rules": path_weight * rules}
    coefficients = network.motion(blurry, given, keep_guess=train == "detail")
    # The middle frame does not move, whatever is predicted: its share of the errors is zero, and need not be computed.
    count, times = times.shape[1], times[:, 1:]
    if paths is not None:
        paths = paths[:, 1:]
        coefficients = nearer_direction(coefficients, paths, times, network.iterations)
    back = follow_back(coefficients, times, network.iterations)
    terms["moved"] = charbonnier(warp(truth, back), frames[:, 1:], eps)
    if paths is not None and path_weight:
        terms["paths"] = path_weight * (1 - 1 / count) * path_error(back, paths)
    return terms


def guess_error(guess: Tensor, truth: Tensor, paths: Tensor, times: Tensor) -> Tensor:
    """How far guessed paths are from the true ones, up to the direction of time: log(1 + distance in pixels).

    A path that is far off draws a wrong picture however far it is, so distances count by their logarithm; and where
    nothing is to be seen nothing moves, so places count by the contrast of the middle frame.

    Parameters
    ----------
    guess : Tensor
        Coefficients of `CELL` times fewer pixels than the pictures have, (B, K, H / CELL, W / CELL), in pixels.
    truth : Tensor
        (B, 3, H, W), the middle frame.
    paths, times : Tensor
        As in `part_terms`.
    """
    places, weight = _places(paths), _contrast(truth)
    errors = [
        (_distance(coefficients, places, times).log1p() * weight).mean((1, 2, 3))
        for coefficients in (guess, reverse_time(guess))
    ]
    return torch.stack(errors).amin(0).mean()


def rule_error(rightwards: Tensor, downwards: Tensor, truth: Tensor, paths: Tensor, times: Tensor) -> Tensor:
    """As `guess_error`, of paths that are to run one way: see `spectral_motion.SpectralMotion.two_directions`.

    Each place is compared in the direction in which it truly moves rightwards, or downwards, and counts by the square
    of the cosine between its motion and that direction: nothing is asked where the rule jumps.

    Parameters
    ----------
    rightwards, downwards : Tensor
        Coefficients as in `guess_error`.
    """
    places, weight = _places(paths), _contrast(truth)
    since = (times - 0.5)[..., None, None, None]
    net = (places * since).sum(1) / since.square().sum(1).clamp_min(1e-3)
    aligned = net.square() / (net.square().sum(1, keepdim=True) + 1e-2)
    error = torch.zeros((), device=truth.device)
    for axis, coefficients in enumerate((rightwards, downwards)):
        as_asked, reversed_ = (_distance(c, places, times) for c in (coefficients, reverse_time(coefficients)))
        distance = torch.where(net[:, None, axis] > 0, as_asked, reversed_)
        error = error + (distance.log1p() * weight * aligned[:, axis : axis + 1]).mean()
    return error


def _places(paths: Tensor) -> Tensor:
    """True displacements (B, T, 2, H / CELL, W / CELL) where a guess is compared."""
    return paths[..., CELL // 2 :: CELL, CELL // 2 :: CELL]


def _contrast(truth: Tensor) -> Tensor:
    """How much is to be seen around each of those places, (B, 1, H / CELL, W / CELL), about 1."""
    cells = F.avg_pool2d(truth.mean(1, keepdim=True), 2)
    spread = (F.avg_pool2d(cells.square(), 4) - F.avg_pool2d(cells, 4).square()).clamp_min(0).sqrt()
    spread = F.avg_pool2d(spread, 3, 1, 1, count_include_pad=False)
    return (spread / spread.mean((-2, -1), keepdim=True).clamp_min(1e-3)).clamp(0.25, 3)


def _distance(coefficients: Tensor, places: Tensor, times: Tensor) -> Tensor:
    """(B, T, H / CELL, W / CELL), smooth at 0."""
    back = CELL * follow_back(coefficients / CELL, times, 1)
    return ((back - places).square().sum(2) + 0.01).sqrt()


@torch.no_grad()
def _errors(coefficients: Tensor, paths: Tensor, times: Tensor, iterations: int) -> Tensor:
    return (follow_back(coefficients, times, iterations) - paths).abs().flatten(1).mean(1)


def nearer_direction(coefficients: Tensor, paths: Tensor, times: Tensor, iterations: int = 2) -> Tensor:
    """Path coefficients (B, K, H, W), reversed in time where that is nearer to the displacements (B, T, 2, H, W)."""
    reversed_ = reverse_time(coefficients)
    forward, backward = (_errors(c, paths, times, iterations) for c in (coefficients, reversed_))
    return torch.where((backward < forward)[:, None, None, None], reversed_, coefficients)
