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

from math import ceil, isfinite

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.average import frame_times, integrate
from unblur.exposure.response import Response, from_linear, to_linear
from unblur.layers.bands import Band, bands_of
from unblur.layers.paths import path_at, warp

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
"""Pixels that a pixel looks far, beside the reach of the paths."""
DARKEST = 1e-5
SIDES = ((STEP, 0), (-STEP, 0), (0, STEP), (0, -STEP))


def propagated(
    blurry: Tensor, sharp: Tensor, paths: Tensor, *, side: int | None = None, response: Response = "srgb"
) -> Tensor:
    """Let neighbours hand on their paths.

    Parameters
    ----------
    blurry, sharp : Tensor
        (B, 3, H, W); `blurry` in [0, 1].
    paths : Tensor
        (B, 2 * degree, H, W), coefficients in pixels; see `layers.paths`.
    side : int, optional
        Of the tiles, pixels, that are worked on one at a time, to bound the memory; the result is the same.
    response : {"srgb", "gamma", "linear"}
        Of the camera.

    Returns
    -------
    Tensor
        The shape of `paths`.
    """
    found = paths.clone()
    height, width = paths.shape[-2:]
    for band in bands_of(height, side or height, LOOK):
        for column in bands_of(width, side or width, LOOK):
            near = paths[..., band.seen, column.seen].float()
            longest = float(_length(near).amax())
            # What is no number is told of where films are made.
            if not isfinite(longest) or not _disagreement(near, _candidates(near)).any():
                continue
            # As far as light came from, too.
            margin = LOOK + ceil(min(longest, height + width)) + 1
            tall, wide = Band.of(band.rows, margin, height), Band.of(column.rows, margin, width)
            photo, frame, own = (image[..., tall.seen, wide.seen].to(near) for image in (blurry, sharp, paths))
            tile = _chosen(photo, frame, own, response)
            found[..., band.rows, column.rows] = tile[..., tall.kept, wide.kept].to(found)
    return found


def _chosen(blurry: Tensor, sharp: Tensor, paths: Tensor, response: Response) -> Tensor:
    light = to_linear(sharp.clamp(0, 1), response)
    for _ in range(ROUNDS):
        candidates = _candidates(paths)
        error = torch.stack([_error(blurry, light, candidate, response) for candidate in candidates])
        weights = torch.softmax(-error / (SOFTNESS * error.amin(0) + FLOOR), 0)
        taken = torch.zeros_like(paths)
        for weight, candidate in zip(weights, candidates, strict=True):
            taken.addcmul_(weight, candidate)
        paths = torch.lerp(paths, taken, _disagreement(paths, candidates))
    return paths


def _candidates(paths: Tensor) -> list[Tensor]:
    """Its own path for each pixel, and those of its neighbours."""
    return [paths, *(_moved(paths, *side) for side in SIDES)]


def _disagreement(paths: Tensor, candidates: list[Tensor]) -> Tensor:
    """0 where all candidates are one path, to 1 where there are two: (B, 1, H, W)."""
    apart = torch.stack([_length(other - paths) for other in candidates[1:]]).amax(0)
    return ((apart - ALIKE) / (2 * ALIKE)).clamp(0, 1)


def _error(blurry: Tensor, light: Tensor, paths: Tensor, response: Response) -> Tensor:
    """How far the photo is from the mean of what moves along the path of each pixel, around it: (B, 1, H, W)."""
    mean = integrate(warp(light, -path_at(paths, frame_times(FRAMES).to(light))))
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
