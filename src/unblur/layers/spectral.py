"""What the spectra of a picture's patches tell about its blur.

Within a patch, a blurry picture is nearly the sharp one convolved with one kernel, so the ratio of their spectra is
the kernel's: it draws the path of that patch. And where there is no sharp picture, the spectrum of the blurry one has
zeros at regular distances, which its cepstrum gathers into marks at the ends of the path.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patches_of(light: Tensor, window: int, stride: int) -> Tensor:
    """Patches (B, C, H / stride, W / stride, window, window) of (B, C, H, W), as a view that takes no memory.

    H and W are multiples of `stride`; each patch has one cell of stride x stride pixels in its middle.
    """
    rim = (window - stride) // 2
    light = F.pad(light, (rim, rim, rim, rim), mode="replicate")
    return light.unfold(2, window, stride).unfold(3, window, stride)


def faded(patches: Tensor) -> Tensor:
    """Patches (..., n, n) free of their mean, under Hann's window."""
    window = torch.hann_window(patches.shape[-1], periodic=False, device=patches.device, dtype=patches.dtype)
    return (patches - patches.mean((-1, -2), keepdim=True)) * window[:, None] * window


def blur_kernels(blurry: Tensor, sharp: Tensor, reach: int, noise: float = 1e-2) -> Tensor:
    """The convolution kernels that lead from sharp patches to blurry ones, by Wiener's filter.

    K = B conj(S) / (|S|^2 + lambda), with lambda the power of the noise in the window and a thousandth of the patch's.

    Parameters
    ----------
    blurry, sharp : Tensor
        (..., n, n) patches, `faded`.
    reach : int
        How far from the middle the kernels are cut, in pixels; less than n / 2.
    noise : float
        Standard deviation of what is not blur, in the units of the patches.

    Returns
    -------
    Tensor
        (..., 2 reach + 1, 2 reach + 1), y and x; a patch that was not blurred gives a point in the middle, one without
        detail nearly nothing.
    """
    n = blurry.shape[-1]
    b, s = torch.fft.rfft2(blurry), torch.fft.rfft2(sharp)
    power = s.abs().square()
    window = (3 * n / 8) ** 2  # the sum of the squared Hann window
    damping = noise**2 * window + 1e-3 * power.mean((-1, -2), keepdim=True)
    return _middle(torch.fft.irfft2(b * s.conj() / (power + damping), s=(n, n)), reach)


def cepstra(patches: Tensor, reach: int, noise: float = 1e-2) -> Tensor:
    """The power cepstra of (..., n, n) patches: the inverse transform of the logarithm of |B|^2 + lambda.

    Cut as `blur_kernels` are; a cepstrum is symmetric, so only the lower half is returned, (..., reach + 1,
    2 reach + 1), the origin's row first.
    """
    n = patches.shape[-1]
    power = torch.fft.rfft2(patches).abs().square()
    damping = noise**2 * (3 * n / 8) ** 2
    cepstrum = torch.fft.irfft2(torch.log(power + damping), s=(n, n))
    return _middle(cepstrum, reach)[..., reach:, :]


def _middle(image: Tensor, reach: int) -> Tensor:
    """The pixels around the origin of (..., n, n), whose origin is its first pixel."""
    around = slice(image.shape[-1] // 2 - reach, image.shape[-1] // 2 + reach + 1)
    return torch.fft.fftshift(image, dim=(-2, -1))[..., around, around]
