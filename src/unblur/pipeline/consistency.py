"""The photo's own light brought back into the sharp frame: data consistency, by Landweber's iteration.

A restorer may invent, and may leave out; its frame, moved along the paths and averaged, shows where. With A the average
of the film that a sharp frame makes (in linear light, see `exposure.average`) and b the photo, each step is

    s <- s + A'(b - A s),

(Landweber, 1951; A' is the derivative of A, transposed). Few steps: what the paths have wrong would be sharpened into
the frame next.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.errors import UsageError
from unblur.exposure.average import frame_times, integrate
from unblur.exposure.response import Response, from_linear, to_linear
from unblur.layers.bands import bands_of
from unblur.layers.paths import follow_back, warp

STEPS = 4
FRAMES = 9
DARKEST = 1e-4
"""Of linear light: below, the camera's response is too steep to follow."""


def consistent(
    blurry: Tensor,
    sharp: Tensor,
    paths: Tensor,
    *,
    steps: int = STEPS,
    rows: int | None = None,
    margin: int = 0,
    response: Response = "srgb",
) -> Tensor:
    """Bring a sharp frame nearer to what the photo says.

    Parameters
    ----------
    blurry, sharp : Tensor
        (B, 3, H, W) in [0, 1].
    paths : Tensor
        (B, 2 * degree, H, W), coefficients in pixels; see `layers.paths`.
    steps : int
        Of the iteration; 0 changes nothing.
    rows : int, optional
        Work on this many rows at a time, and bound the memory so.
    margin : int
        How many rows away a frame looks for its content.
    response : {"srgb", "gamma", "linear"}
        Of the camera.

    Returns
    -------
    Tensor
        (B, 3, H, W) in [0, 1].
    """
    if steps == 0:
        return sharp
    sharp = sharp.clamp(0, 1)
    for _ in range(steps):
        step = torch.zeros_like(sharp)
        for _, seen, kept in bands_of(sharp.shape[-2], rows or sharp.shape[-2], margin):
            step[..., seen, :] += _back(blurry, sharp, paths, seen, kept, response)
        sharp.add_(step).clamp_(0, 1)
    return sharp


def _back(blurry: Tensor, sharp: Tensor, paths: Tensor, seen: slice, kept: slice, response: Response) -> Tensor:
    """A'(b - A s) of a band, as far as its frames reach: (B, 3, rows and margins, W)."""
    # Also where inference goes on around it.
    exact = torch.autocast(sharp.device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), exact:
        part = sharp[..., seen, :].clone().requires_grad_()
        back = follow_back(paths[..., seen, :].clone().float(), frame_times(FRAMES).to(part.device))
        # Light is moved, not stored values, so that the camera's response is met twice and not in every frame.
        light = integrate(warp(to_linear(part, response), back)[..., kept, :])
        photo = blurry[..., seen, :][..., kept, :].clone().to(part)
        left = from_linear(light.clamp(DARKEST, 1), response) - photo
        (slope,) = torch.autograd.grad(left.square().sum() / 2, part)
    return -slope


def consistency_steps(steps: int | None, default: int = STEPS) -> int:
    """The argument `data_consistency`: a number of steps, or None for the usual.

    Raises
    ------
    UsageError
        Below 0.
    """
    if steps is None:
        return default
    if steps < 0:
        raise UsageError("data_consistency", steps, "not a number of steps", "use 0 or more")
    return steps
