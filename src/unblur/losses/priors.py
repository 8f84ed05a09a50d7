"""What true frames must satisfy, whatever they show."""

from __future__ import annotations

from torch import Tensor

from unblur.exposure.average import reblur_residual
from unblur.exposure.response import Response
from unblur.losses.pixel import charbonnier


def reblur_consistency(blurry: Tensor, frames: Tensor, response: Response = "srgb", eps: float = 1e-3) -> Tensor:
    """The mean of the frames, in linear light, must be the input: Charbonnier mean of the reblur residual.

    Purohit et al. (2019) and Jin et al. (2018) use the plain mean of stored values, which is ``response="linear"``.

    Parameters
    ----------
    blurry : Tensor
        (B, 3, H, W) in [0, 1].
    frames : Tensor
        (B, T, 3, H, W), equally spaced over the whole exposure. The fewer, the larger the part of the residual that is
        the sum's own error.

    Returns
    -------
    Tensor
        A scalar, at least `eps`.
    """
    residual = reblur_residual(blurry, frames, response)
    return charbonnier(residual, residual.new_zeros(()).expand_as(residual), eps)


def path_error(displacements: Tensor, paths: Tensor) -> Tensor:
    """Mean absolute difference, in pixels, of displacement fields (B, T, 2, H, W) from the true ones."""
    if displacements.shape != paths.shape:
        raise ValueError(f"shapes differ: {tuple(displacements.shape)} and {tuple(paths.shape)}")
    return (displacements - paths).abs().mean()
