"""What a film leaves unexplained of its photo, given back to its frames.

All frames are one picture, moved. What comes out from behind something, turns or lights up is in none of them, but the
photo has its light. With r the photo less the mean of the frames, in linear light, the frame at t is given |2 t - 1| r.
That is the smallest change, where a frame is trusted the less the farther it is from the middle one: it minimises

    (r - mean of d(t))^2 + mean of d(t)^2 / |2 t - 1| / 2,

and leaves the middle frame as it is. No pixel loses more than half of its light: where the photo is darker than the
frames can explain, the estimate is of something else's light, and would leave a hole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.exposure.response import Response, from_linear, to_linear

INSTANTS = tuple((i + 0.5) / 16 for i in range(16))
"""Of the mean: the midpoint rule."""

MOST_TAKEN = 0.5
"""Of a pixel's light."""


def film_residual(blurry: Tensor, mean: Tensor, response: Response = "srgb") -> Tensor:
    """The photo (..., 3, H, W) in [0, 1] less the mean of a film, in linear light, the same shape."""
    return to_linear(blurry, response) - mean


def with_residual(frames: Tensor, left: Tensor, times: Tensor, response: Response = "srgb") -> Tensor:
    """Frames with their share of what was left.

    Parameters
    ----------
    frames : Tensor
        (..., T, 3, H, W).
    left : Tensor
        (..., 3, H, W), of `film_residual`.
    times : Tensor
        (T,) in [0, 1].

    Returns
    -------
    Tensor
        The shape of `frames`, in [0, 1].
    """
    share = (2 * times - 1).abs().to(frames)[:, None, None, None]
    light = to_linear(frames.clamp(0, 1), response)
    given = torch.maximum(share * left[..., None, :, :, :].to(frames), light * -MOST_TAKEN)
    return from_linear((light + given).clamp_max(1), response)
