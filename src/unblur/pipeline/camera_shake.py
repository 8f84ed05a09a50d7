"""Camera shake: the blur of a hand that moved, estimated from the photo alone, and undone.

The photo is y = k * x + noise, one kernel k for the whole picture. From coarse to fine, in turn,

* x with few edges:   min |k * x - y|^2 + weight |grad x|_0   (Xu, Lu, Xu and Jia, 2011; Xu, Zheng and Jia, 2013),
  which no longer has the blur's soft edges, and not yet the picture's fine detail;
* k from its edges:   min |k * grad x - grad y|^2 + smoothness |grad k|^2,  k >= 0,  sum k = 1.

Small disconnected parts of a kernel are noise, and go. Then the photo is restored with the kernel known: first with the
sparse gradients of natural pictures (Krishnan and Fergus, 2009), next with a denoiser as prior (Zhang et al., 2021,
"DPIR"), where what the frame cuts off and what is clipped counts as unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.analysis.blur_type import grey_of

EDGES, LEAST_EDGES, DECAY = 1e-2, 5e-4, 0.9
"""Weight of the number of edges: at first, at last, and what each round leaves of it."""
RATIO = math.sqrt(0.5)
"""Of one scale's sides to the next."""
ROUNDS = 5
SMOOTHNESS = 0.03
FAINT, SMALL = 0.05, 0.1
"""Parts of a kernel below this share of its maximum, and separate parts with less than this share of its sum, go."""
WINDOW = 35
"""Side of the kernel's window, pixels, at first."""
LARGEST_WINDOW = 141
LOOK = 640
"""Side of the part of the photo, pixels, that a kernel is estimated from."""
CLIPPED = 0.985
LEAST_NOISE = 0.002
"""Standard deviation: 8 bits have about half of it by rounding alone."""
POWER = 2 / 3
"""Of gradients, in the prior of natural pictures."""

Denoise = Callable[[Tensor, float], Tensor]
"""(3, H, W) with white noise of a standard deviation to the clean picture."""
fft, ifft = torch.fft.rfft2, torch.fft.irfft2


def estimate_kernel(blurry: Tensor, window: int = WINDOW) -> Tensor:
    """The kernel that blurred a photo, if one blurred it everywhere.

    Parameters
    ----------
    blurry : Tensor
        (3, H, W) in [0, 1].
    window : int
        Side of the window to begin with; a kernel that reaches its rim is estimated again in a larger one.

    Returns
    -------
    Tensor
        (n, n), n odd, at least 0, of sum 1, its centroid in the middle.
    """
    grey = _most_textured(grey_of(blurry), LOOK)
    while True:
        kernel = _coarse_to_fine(grey, window)
        larger = _odd(window * math.sqrt(2))
        if larger > min(LARGEST_WINDOW, min(grey.shape) // 2) or not _touches_rim(kernel):
            return kernel
        window = larger


def reblur_residual(blurry: Tensor, sharp: Tensor, kernel: Tensor) -> float:
    """Root mean square of what a picture, blurred by the kernel, leaves of the photo, away from its rim."""
    padded, _ = _periodic(sharp, kernel.shape[-1])
    size = padded.shape[-2:]
    again = ifft(_otf(kernel, size) * fft(padded), s=size)[..., : blurry.shape[-2], : blurry.shape[-1]]
    rim = min(kernel.shape[-1] // 2, min(blurry.shape[-2:]) // 4)
    inside = (slice(None), slice(rim, blurry.shape[-2] - rim), slice(rim, blurry.shape[-1] - rim))
    return float((again - blurry)[inside].square().mean().sqrt())


def extent(kernel: Tensor) -> float:
    """The longest way across the parts of a kernel that matter, pixels."""
    places = (kernel > FAINT * kernel.max()).nonzero().float()
    return float(torch.cdist(places, places).max())


def _coarse_to_fine(grey: Tensor, window: int) -> Tensor:
    scales = max(1, math.floor(math.log(5 / window) / math.log(RATIO)) + 1)
    weight, kernel = EDGES, None
    for scale in reversed(range(scales)):
        side = _odd(max(3, math.ceil(window * RATIO**scale)))
        size = [round(n * RATIO**scale) for n in grey.shape]
        image = _resized(grey, size) if scale else grey
        padded = _periodic(image[None], side)[0][0]
        if kernel is None:
            kernel = image.new_zeros(side, side)
            kernel[side // 2, side // 2 - 1 : side // 2 + 1] = 0.5
        else:
            kernel = _resized(kernel, [side, side]).clamp_min(0)
            kernel = _centred(kernel / kernel.sum())
        for last in [False] * ROUNDS + [True] * (scale == 0):
            edges = _with_few_edges(padded, kernel, weight)
            kernel = _kernel_between(edges, padded, side, padded < CLIPPED)
            kernel = _centred(_pruned(kernel, FAINT / 5, SMALL / 5) if last else _pruned(kernel, FAINT, SMALL))
            weight = max(weight * DECAY, LEAST_EDGES)
    assert kernel is not None
    return kernel


def _with_few_edges(blurry: Tensor, kernel: Tensor, weight: float) -> Tensor:
    """Min |k * x - y|^2 + weight |grad x|_0 by half-quadratic splitting, (H, W)."""
    size = blurry.shape
    otf, (right, down, steep) = _otf(kernel, size), _derivatives(size)
    power, explained = otf.abs().square(), otf.conj() * fft(blurry)
    image, beta = blurry, 2 * weight
    while beta < 1e5:
        across, along = _gradients(image)
        flat = across.square() + along.square() < weight / beta
        pull = right.conj() * fft(across.masked_fill(flat, 0)) + down.conj() * fft(along.masked_fill(flat, 0))
        image = ifft((explained + beta * pull) / (power + beta * steep), s=size)
        beta *= 2
    return image


def _kernel_between(sharp: Tensor, blurry: Tensor, side: int, known: Tensor, steps: int = 60) -> Tensor:
    """The kernel, at least 0, that leads from the gradients of one picture to those of another; FISTA."""
    size = sharp.shape
    known = known.to(sharp)
    power, cross = sharp.new_zeros(()), sharp.new_zeros(())
    for of_sharp, of_blurry in zip(_gradients(sharp), _gradients(blurry), strict=True):
        a, b = fft(of_sharp * known), fft(of_blurry * known)
        power, cross = power + a.abs().square(), cross + a.conj() * b
    # The normal equations need correlations up to the window only: a small picture from here on.
    lags = torch.roll(ifft(power, s=size), (side, side), (-2, -1))[: 2 * side + 1, : 2 * side + 1]
    scale = lags[side, side].clamp_min(1e-12)
    small = (3 * side, 3 * side)
    matrix = sharp.new_zeros(small)
    matrix[: 2 * side + 1, : 2 * side + 1] = lags / scale
    operator = fft(torch.roll(matrix, (-side, -side), (0, 1)))
    operator = operator + SMOOTHNESS * _derivatives(small)[2]
    target = torch.roll(ifft(cross, s=size), (side // 2, side // 2), (-2, -1))[:side, :side] / scale
    steepest = float(operator.real.max())

    kernel = sharp.new_full((side, side), 1 / side**2)
    ahead, momentum = kernel, 1.0
    for _ in range(steps):
        product = ifft(operator * fft(F.pad(ahead, (0, 2 * side, 0, 2 * side))), s=small)[:side, :side]
        following = (ahead - (product - target) / steepest).clamp_min(0)
        faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / faster * (following - kernel)
        kernel, momentum = following, faster
    return kernel


def deconvolve(blurry: Tensor, kernel: Tensor, noise: float, denoise: Denoise | None = None, steps: int = 8) -> Tensor:
    """Restore a picture whose kernel is known.

    Parameters
    ----------
    blurry : Tensor
        (3, H, W) in [0, 1].
    kernel : Tensor
        (n, n), of sum 1.
    noise : float
        Standard deviation of the photo's noise, at least `LEAST_NOISE`; see `noise_level`.
    denoise : callable, optional
        The prior of the second half; without it the first is all.
    steps : int
        Of the second half.

    Returns
    -------
    Tensor
        (3, H, W) in [0, 1].
    """
    height, width = blurry.shape[-2:]
    noise = max(noise, LEAST_NOISE)
    padded, known = _periodic(blurry, kernel.shape[-1])
    size = padded.shape[-2:]
    otf = _otf(kernel, size)
    image = _sparse(padded, known, otf, noise)
    if denoise is not None:
        for sigma in np.geomspace(max(0.1, 3 * noise), max(0.012, noise), steps):
            image = denoise(image.clamp(0, 1), float(sigma))
            weight = (noise / float(sigma)) ** 2
            filled = _filled(padded, known, otf, image)
            image = ifft((otf.conj() * fft(filled) + weight * fft(image)) / (otf.abs().square() + weight), s=size)
        image = denoise(image.clamp(0, 1), max(0.008, noise))
    return image[..., :height, :width].clamp(0, 1)


def _sparse(padded: Tensor, known: Tensor, otf: Tensor, noise: float) -> Tensor:
    """Min |k * x - y|^2 / (0.4 noise^2) + sum |grad x|^(2/3), by half-quadratic splitting."""
    size = padded.shape[-2:]
    (right, down, steep), power = _derivatives(size), otf.abs().square()
    image, fidelity = padded, 0.2 / noise**2
    for beta in (2 ** (1.5 * n) for n in range(6)):
        across, along = (_shrunk(gradient, beta) for gradient in _gradients(image))
        pull = right.conj() * fft(across) + down.conj() * fft(along)
        filled = padded if beta == 1 else _filled(padded, known, otf, image)
        weight = beta / fidelity
        image = ifft((otf.conj() * fft(filled) + weight * pull) / (power + weight * steep), s=size)
    return image


def _shrunk(gradient: Tensor, beta: float) -> Tensor:
    """Argmin over w of |w|^(2/3) + beta / 2 (w - v)^2, by Newton's steps from v."""
    size = gradient.abs()
    found = size.clone()
    for _ in range(4):
        found.clamp_min_(1e-6)
        slope = POWER * found ** (POWER - 1) + beta * (found - size)
        bend = POWER * (POWER - 1) * found ** (POWER - 2) + beta
        found = (found - slope / bend).clamp_min(0)
    better = found.pow(POWER) + beta / 2 * (found - size).square() < beta / 2 * size.square()
    return torch.where(better & found.isfinite(), found * gradient.sign(), 0)


def _filled(padded: Tensor, known: Tensor, otf: Tensor, image: Tensor) -> Tensor:
    """The photo where it is known; what a sharp picture says of it beyond its rim, and where light is clipped."""
    said = ifft(otf * fft(image), s=image.shape[-2:])
    return torch.where(known, torch.where(padded > CLIPPED, said.maximum(padded), padded), said)


def noise_level(image: Tensor) -> float:
    """Standard deviation of a picture's white noise, from its finest diagonal detail; (3, H, W) in [0, 1]."""
    detail = image[..., 1:, 1:] - image[..., 1:, :-1] - image[..., :-1, 1:] + image[..., :-1, :-1]
    inside = detail[(image[..., 1:, 1:] > 0.02) & (image[..., 1:, 1:] < CLIPPED)]
    return float(inside.abs().median() / 2 / 0.6745) if inside.numel() else 0.0


def _pruned(kernel: Tensor, faint: float, small: float) -> Tensor:
    """Without what is faint, or small and apart; of sum 1."""
    kernel = torch.where(kernel < kernel.max() * faint, 0, kernel.clamp_min(0))
    count, labels = cv2.connectedComponents((kernel > 0).numpy().astype(np.uint8), connectivity=8)
    parts = torch.from_numpy(labels).long()
    sums = kernel.new_zeros(count).index_add_(0, parts.flatten(), kernel.flatten())
    kept = kernel.masked_fill((sums < small * kernel.sum())[parts], 0)
    total = kept.sum()
    if not total > 0:
        kept = torch.zeros_like(kernel)
        kept[kernel.shape[0] // 2, kernel.shape[1] // 2] = total = kernel.new_ones(())
    return kept / total


def _centred(kernel: Tensor) -> Tensor:
    """Its centroid in the middle, to the nearest pixel."""
    places = torch.arange(kernel.shape[-1], dtype=kernel.dtype)
    shift = [round(float(kernel.shape[-1] // 2 - (kernel.sum(axis) * places).sum())) for axis in (1, 0)]
    return torch.roll(kernel, shift, (0, 1))


def _touches_rim(kernel: Tensor) -> bool:
    rim = max(1, kernel.shape[-1] // 10)
    return float(kernel[rim:-rim, rim:-rim].sum()) < 0.97


def _most_textured(grey: Tensor, side: int) -> Tensor:
    """The square of at most this side with most texture that is not clipped."""
    height, width = (min(side, n) for n in grey.shape)
    texture = sum(gradient.abs().clamp_max(0.1) for gradient in _gradients(grey)) * (grey < CLIPPED)
    step = max(1, side // 8)
    sums = F.avg_pool2d(texture[None, None], (height, width), step)[0, 0]
    top, left = (int(n) * step for n in divmod(int(sums.argmax()), sums.shape[1]))
    return grey[top : top + height, left : left + width]


def _periodic(image: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """A picture (C, H, W) continued so that its ends meet, and where (H', W') it is known."""
    height, width = image.shape[-2:]
    tall, wide = _fast_size(height + margin), _fast_size(width + margin)
    known = torch.zeros(tall, wide, dtype=torch.bool)
    known[:height, :width] = True
    out = F.pad(image, (0, wide - width, 0, tall - height))
    across = torch.linspace(0, 1, wide - width + 2)[1:-1]
    out[:, :height, width:] = image[..., -1:] * (1 - across) + image[..., :1] * across
    along = torch.linspace(0, 1, tall - height + 2)[1:-1, None]
    out[:, height:] = out[:, height - 1 : height] * (1 - along) + out[:, :1] * along
    rows, columns = torch.arange(tall), torch.arange(wide)
    for reach in (8, 4, 2, 1, 1, 1):
        for _ in range(4):
            right = _mean_around(out, rows[:height], columns[width:], reach)
            below = _mean_around(out, rows[height:], columns, reach)
            out[:, :height, width:], out[:, height:] = right, below
    return out, known


def _mean_around(image: Tensor, rows: Tensor, columns: Tensor, reach: int) -> Tensor:
    """The mean of the four pixels `reach` away from each of some rows and columns, the ends meeting."""
    tall, wide = image.shape[-2:]
    at = lambda down, right: image[:, ((rows + down) % tall)[:, None], (columns + right) % wide]  # noqa: E731
    return (at(-reach, 0) + at(reach, 0) + at(0, -reach) + at(0, reach)) / 4


def _otf(kernel: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """The kernel's spectrum on a picture of this size, its middle at the origin."""
    height, width = kernel.shape
    room = kernel.new_zeros(size)
    room[:height, :width] = kernel
    return fft(torch.roll(room, (-(height // 2), -(width // 2)), (0, 1)))


def _derivatives(size: torch.Size | tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Spectra of the differences to the right and down, and the sum of their powers."""
    right, down = torch.zeros(size), torch.zeros(size)
    right[0, 0] = down[0, 0] = -1
    right[0, -1] = down[-1, 0] = 1
    right, down = fft(right), fft(down)
    return right, down, right.abs().square() + down.abs().square()


def _gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right and down, the ends meeting."""
    return torch.roll(image, -1, -1) - image, torch.roll(image, -1, -2) - image


def _resized(image: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(image[None, None], size=size, mode="bilinear", antialias=True, align_corners=False)[0, 0]


def _odd(number: float) -> int:
    whole = math.ceil(number)
    return whole + 1 - whole % 2


def _fast_size(least: int) -> int:
    """The next even number without large factors, which transforms run fast on."""
    size = least + least % 2
    while _rest(size) > 1:
        size += 2
    return size


def _rest(number: int) -> int:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number
