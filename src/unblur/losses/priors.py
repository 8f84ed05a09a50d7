"""What true frames must satisfy, whatever they show."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.average import reblur_residual
from unblur.exposure.response import Response
from unblur.losses.pixel import charbonnier
from unblur.networks.kinds import Code


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


def reversible_path_error(forward: Tensor, backward: Tensor, paths: Tensor) -> Tensor:
    """`path_error` in the direction of time that is nearer, chosen for each exposure: a blur does not tell it.

    Parameters
    ----------
    forward, backward : Tensor
        (B, T, 2, H, W), displacements at the times t of `paths`, and at 1 - t.
    """
    if not forward.shape == backward.shape == paths.shape:
        raise ValueError(f"shapes differ: {tuple(forward.shape)}, {tuple(backward.shape)} and {tuple(paths.shape)}")
    errors = [(way - paths).abs().flatten(1).mean(1) for way in (forward, backward)]
    return torch.minimum(*errors).mean()


def divergence(code: Code) -> Tensor:
    """How far codes lie from the standard normal distribution: the Kullback-Leibler divergence, mean over all entries.

    Kingma and Welling (2014), appendix B: (mu^2 + sigma^2 - log sigma^2 - 1) / 2.

    Parameters
    ----------
    code : Code
        With a log variance.

    Returns
    -------
    Tensor
        A scalar, 0 for the standard normal distribution.
    """
    log_variance = _spread(code)
    return 0.5 * (code.mean.square() + log_variance.exp() - log_variance - 1).mean()


def released_divergence(code: Code) -> Tensor:
    """The same as Blur Kernel Space computes it: without the half, summed over batch and entries.

    sum(mu^2 + sigma^2 - log(1e-8 + sigma^2) - 1), which its recipe multiplies by 10.
    """
    variance = _spread(code).exp()
    return (code.mean.square() + variance - (1e-8 + variance).log() - 1).sum()


def _spread(code: Code) -> Tensor:
    if code.log_variance is None:
        raise ValueError("a code without a log variance has no divergence")
    return code.log_variance


def hyper_laplacian(picture: Tensor, power: float = 0.66) -> Tensor:
    """Few edges, and those steep: the mean over pixels of |gradient|^power.

    Krishnan and Fergus (2009), with the filters of Blur Kernel Space: Sobel's, summed over the colours to one map, and
    (gx^2 + gy^2 + 1e-6)^(power / 2), whose slope is finite where the picture is flat.

    Parameters
    ----------
    picture : Tensor
        (B, C, H, W), any size.
    power : float
        Below 1 a steep edge costs less than the same rise in many steps.

    Returns
    -------
    Tensor
        A scalar.
    """
    line, rise = picture.new_tensor([1.0, 2.0, 1.0]), picture.new_tensor([-1.0, 0.0, 1.0])
    filters = torch.stack((line[:, None] * rise, rise[:, None] * line))[:, None]
    # Sums and filters commute. What lies beyond the rim is like the rim: a frame would be an edge.
    grey = F.pad(picture.sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return (F.conv2d(grey, filters).square().sum(1) + 1e-6).pow(power / 2).mean()


def code_norm(code: Tensor) -> Tensor:
    """The length of a code, (B, C, h, w): the root of the sum of all squares, not squared; mean over the batch."""
    return torch.linalg.vector_norm(code.flatten(1), dim=1).mean()
