"""How close a picture is to the truth: PSNR and SSIM, one number per picture.

The protocol, the same for both and everywhere in this package: RGB, all three channels, no border cropped, both
pictures clamped to [0, 1], data range 1. With ``levels=255`` both are first rounded to the values an 8-bit file can
hold, as papers do that measure on saved files; the two variants differ by a few hundredths of a decibel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.average import quantise

MAX_PSNR = 100.0
"""What equal pictures score, in dB; it keeps means finite."""
C1, C2 = 0.01**2, 0.03**2  # (K1 L)^2, (K2 L)^2 of the SSIM with data range L = 1


def psnr(image: Tensor, truth: Tensor, *, levels: int | None = None) -> Tensor:
    """Peak signal-to-noise ratio, -10 log10 of the mean squared difference.

    Parameters
    ----------
    image, truth : Tensor
        (..., C, H, W), stored values with 0 black and 1 white; clamped to [0, 1].
    levels : int, optional
        Round both to multiples of 1 / `levels` first.

    Returns
    -------
    Tensor
        (...) in dB, at most `MAX_PSNR`.

    Examples
    --------
    >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
    tensor([20.])
    """
    image, truth = _prepare(image, truth, levels)
    return -10 * (image - truth).square().mean((-3, -2, -1)).clamp_min(10 ** (-MAX_PSNR / 10)).log10()


def ssim(image: Tensor, truth: Tensor, *, levels: int | None = None, mirrored: bool = False) -> Tensor:
    """Structural similarity (Wang et al., 2004): Gaussian window 11 x 11, sigma 1.5, K = (0.01, 0.03).

    The mean over channels and over all positions where the window lies inside the picture, as in the paper; other
    programs mirror the border, which moves the third decimal.

    Parameters
    ----------
    image, truth : Tensor
        (..., C, H, W) with H, W >= 11; clamped to [0, 1].
    levels : int, optional
        Round both to multiples of 1 / `levels` first.
    mirrored : bool
        Over all positions, with the picture mirrored at its border: as torchmetrics does.

    Returns
    -------
    Tensor
        (...) at most 1.
    """
    image, truth = _prepare(image, truth, levels)
    if min(image.shape[-2:]) < 11:
        raise ValueError(f"the SSIM window needs 11 x 11 pixels, got {tuple(image.shape[-2:])}")
    shape, image, truth = image.shape[:-3], image.flatten(0, -3)[:, None], truth.flatten(0, -3)[:, None]
    if mirrored:
        image, truth = (F.pad(each, (5, 5, 5, 5), mode="reflect") for each in (image, truth))
    moments = torch.cat((image, truth, image * image, truth * truth, image * truth), 1)
    mean_a, mean_b, square_a, square_b, product = _blur(moments).unbind(1)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    spread = (square_a - mean_a**2).clamp_min(0) + (square_b - mean_b**2).clamp_min(0)
    structure = (2 * (product - mean_a * mean_b) + C2) / (spread + C2)
    return (luminance * structure).mean((-2, -1)).reshape(*shape, -1).mean(-1)


def _blur(image: Tensor) -> Tensor:
    """(B, C, H, W) under the Gaussian window, where it fits: (B, C, H - 10, W - 10)."""
    offset = torch.arange(11, dtype=image.dtype, device=image.device) - 5
    line = torch.exp(-(offset**2) / (2 * 1.5**2))
    line = (line / line.sum()).expand(image.shape[1], 1, 1, -1)
    image = F.conv2d(image, line, groups=image.shape[1])
    return F.conv2d(image, line.mT, groups=image.shape[1])


def _prepare(image: Tensor, truth: Tensor, levels: int | None) -> tuple[Tensor, Tensor]:
    if image.shape != truth.shape or image.ndim < 3:
        raise ValueError(f"pictures must be (..., C, H, W) of one shape: {image.shape}, {truth.shape}")
    pair = [x.to(torch.promote_types(x.dtype, torch.float32)).clamp(0, 1) for x in (image, truth)]
    return (quantise(pair[0], levels), quantise(pair[1], levels)) if levels else (pair[0], pair[1])
