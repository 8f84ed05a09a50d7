"""An exposure is the average of what was there while the shutter was open."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.exposure.response import Response, from_linear, to_linear


def frame_times(n: int) -> Tensor:
    """The `n` times i / (n - 1) of an exposure, float32; one frame is the middle one, at 0.5."""
    return torch.linspace(0, 1, n) if n > 1 else torch.full((1,), 0.5)


def trapezoid_weights(n: int) -> Tensor:
    """What each of `n` >= 2 instants, ends among them, counts in the integral over the exposure: the trapezoid rule."""
    shares = torch.full((n,), 1 / (n - 1))
    shares[0] = shares[-1] = 0.5 / (n - 1)
    return shares


def integrate(light: Tensor) -> Tensor:
    """The integral over the exposure of light (B, T, C, H, W) at T >= 2 instants, ends among them: (B, C, H, W)."""
    return (light.sum(1) - (light[:, 0] + light[:, -1]) / 2) / (light.shape[1] - 1)


def average(frames: Tensor, response: Response = "srgb", levels: int | None = None) -> Tensor:
    """Expose `frames`: their mean in linear light, stored again through the camera response.

    b = g(1/T * sum_i g^-1(s_i)), the image formation of Nah et al. (2017), eq. 2.

    Parameters
    ----------
    frames : Tensor
        (B, T, 3, H, W) in [0, 1], equally spaced in time.
    response : {"srgb", "gamma", "linear"}
        The camera response g of the stored frames and of the result.
    levels : int, optional
        Round to this many steps, half to even (255 for an 8-bit file). Without it nothing is rounded. A static 8-bit
        clip comes back exactly with ``levels=255``.

    Returns
    -------
    Tensor
        (B, 3, H, W) in [0, 1].
    """
    if frames.ndim != 5 or frames.shape[1] == 0:
        raise ValueError(f"frames must be (B, T >= 1, 3, H, W), got {tuple(frames.shape)}")
    blurry = from_linear(to_linear(frames, response).mean(dim=1), response)
    return quantise(blurry, levels) if levels else blurry


def quantise(image: Tensor, levels: int = 255) -> Tensor:
    """Round values in [0, 1] to multiples of 1 / `levels`, half to even, clamped."""
    return (image.clamp(0, 1) * levels).round() / levels


def reblur_residual(blurry: Tensor, frames: Tensor, response: Response = "srgb") -> Tensor:
    """The blurry image minus the mean of `frames`, in the linear light of `response`.

    The check that needs no ground truth (Purohit et al., 2019; Jin et al., 2018): it must vanish for the true
    frames. It is necessary, not sufficient: copies of the blurry image satisfy it too.

    Parameters
    ----------
    blurry : Tensor
        (B, 3, H, W) in [0, 1].
    frames : Tensor
        (B, T, 3, H, W) in [0, 1], equally spaced over the whole exposure.

    Returns
    -------
    Tensor
        (B, 3, H, W) in [-1, 1], linear light.
    """
    return to_linear(blurry, response) - to_linear(frames, response).mean(dim=1)
