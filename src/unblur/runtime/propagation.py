"""Paths with edges: every pixel takes, of the paths around it, those that explain the photo.

A path network tells how places of 16 pixels moved, so at the edge of a thing that moves by itself the paths of both
sides run into each other, and the film smears. The right ones are near: they are handed on from neighbour to neighbour,
as PatchMatch stereo (Bleyer, Rhemann and Rother, 2011) does with planes. With p(x) the path of a pixel and d a step
to a side, the candidates are p(x), p(x + d), ...; for each the sharp frame is moved along it and averaged in linear
light, and how far that is from the photo, around x, says how much of the candidate is taken:

    weight(d) = softmax over d of -error(d) / (SOFTNESS * the least error + FLOOR).

Where neighbours agree nothing changes, and nothing is computed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.average import exposed, times_of
from unblur.exposure.response import Response, from_linear, to_linear
from unblur.layers.bands import bands_of
from unblur.layers.motion import path_at, warp

ROUNDS = 2
STEP = 16
"""Pixels to the neighbour: a cell of the path network."""
FRAMES = 7
WINDOW = 7
"""Side of the box, pixels, over which errors are averaged twice."""
SOFTNESS = 0.3
FLOOR = 1e-4
"""Of squared errors of stored values: differences as small as noise decide nothing."""
ALIKE = 0.25
"""Paths that differ by less, pixels, are one; from three times as much on they are two."""
LOOK = ROUNDS * (STEP + 2 * (WINDOW // 2))
"""Rows that a pixel looks far, beside the reach of the paths."""
DARKEST = 1e-5
SIDES = ((STEP, 0), (-STEP, 0), (0, STEP), (0, -STEP))


def propagated(
    blurry: Tensor,
    sharp: Tensor,
    paths: Tensor,
    *,
    rows: int | None = None,
    reach: int = 0,
    response: Response = "srgb",
) -> Tensor:
    """Let neighbours hand on their paths.

    Parameters
    ----------
    blurry, sharp : Tensor
        (B, 3, H, W); `blurry` in [0, 1].
    paths : Tensor
        (B, 2 * degree, H, W), coefficients in pixels; see `layers.motion`.
    rows : int, optional
        Work on this many rows at a time, and bound the memory so.
    reach : int
        How many pixels long the paths are at most to either end; only matters with `rows`.
    response : {"srgb", "gamma", "linear"}
        Of the camera.

    Returns
    -------
    Tensor
        The shape of `paths`.
    """
    found = torch.empty_like(paths)
    height = paths.shape[-2]
    for band, seen, kept in bands_of(height, rows or height, reach + LOOK):
        own = paths[..., seen, :].float()
        for _ in range(ROUNDS):
            own = _round(blurry[..., seen, :].to(own), sharp[..., seen, :].to(own), own, response)
        found[..., band, :] = own[..., kept, :].to(found)
    return found


def _round(blurry: Tensor, sharp: Tensor, paths: Tensor, response: Response) -> Tensor:
    candidates = [paths, *(_moved(paths, *side) for side in SIDES)]
    apart = torch.stack([_length(other - paths) for other in candidates[1:]]).amax(0)
    share = ((apart - ALIKE) / (2 * ALIKE)).clamp(0, 1)
    if not share.any():
        return paths
    light = to_linear(sharp.clamp(0, 1), response)
    error = torch.stack([_error(blurry, light, candidate, response) for candidate in candidates])
    weights = torch.softmax(-error / (SOFTNESS * error.amin(0) + FLOOR), 0)
    chosen = sum((weight * other for weight, other in zip(weights, candidates, strict=True)), torch.zeros_like(paths))
    return torch.lerp(paths, chosen, share)


def _error(blurry: Tensor, light: Tensor, paths: Tensor, response: Response) -> Tensor:
    """How far the photo is from the mean of what moves along the path of each pixel, around it: (B, 1, H, W)."""
    mean = exposed(warp(light, -path_at(paths, times_of(FRAMES).to(light))))
    error = (from_linear(mean.clamp(DARKEST, 1), response) - blurry).square().mean(1, keepdim=True)
    for _ in range(2):
        error = F.avg_pool2d(error, WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return error


def _moved(paths: Tensor, right: int, down: int) -> Tensor:
    """The paths of the pixels so far to the right and down, of those at the rim where there are none."""
    height, width = paths.shape[-2:]
    place = lambda size, step: (torch.arange(size, device=paths.device) + step).clamp(0, size - 1)  # noqa: E731
    return paths.index_select(-2, place(height, down)).index_select(-1, place(width, right))


def _length(paths: Tensor) -> Tensor:
    """A bound on how far paths lead away from the middle: (B, 1, H, W) pixels."""
    return paths.unflatten(1, (-1, 2)).abs().sum(1).amax(1, keepdim=True)
