"""Sizes: halving and enlarging, 1x1 convolutions that see through them, smooth shrinking; and steps of time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.dense import dense


def halve(image: Tensor) -> Tensor:
    """Every second pixel of every second row: (..., H, W) to (..., ceil(H / 2), ceil(W / 2)), a view."""
    return image[..., ::2, ::2]


def enlarge(image: Tensor, factor: int) -> Tensor:
    """Repeat every pixel of (B, C, H, W) `factor` times along both sides."""
    return image if factor == 1 else F.interpolate(image, scale_factor=factor, mode="nearest")


def mix_channels(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution of (B, C, H, W) by (C', C), fast where channels come last."""
    return dense(features.movedim(1, -1), weight, bias).movedim(-1, 1)


def pointwise(convolution: nn.Conv2d, *parts: Tensor) -> Tensor:
    """A 1x1 convolution of several features side by side, without laying them side by side.

    The same numbers as ``convolution(torch.cat([enlarge(part, ...) for part in parts], 1))``, but each part is
    convolved by its share of the weights at its own size and only the result is enlarged: the two commute.

    Parameters
    ----------
    convolution : nn.Conv2d
        1x1, for as many channels as `parts` have together.
    *parts : Tensor (B, C_i, H_i, W_i)
        H_i, W_i whole fractions of the first part's. Any batch may be 1 where another is not.
    """
    shares = convolution.weight[..., 0, 0].split([part.shape[1] for part in parts], dim=1)
    out = mix_channels(parts[0], shares[0], convolution.bias)
    for part, share in zip(parts[1:], shares[1:], strict=True):
        more = enlarge(mix_channels(part, share), int(out.shape[-1] // part.shape[-1]))
        out = out.add_(more) if out.shape == more.shape else out + more
    return out


def stretched(features: Tensor, size: tuple[int, int], scale: tuple[float, float], cell: int) -> Tensor:
    """Features of the cells of one picture for those of another, over which they are stretched.

    Linear between the middles of cells; beyond the outermost as they are.

    Parameters
    ----------
    features : Tensor
        (B, C, h, w), one for every `cell` x `cell` pixels of a picture, the last of which it may not fill.
    size : (int, int)
        Cells of the other picture.
    scale : (float, float)
        Height and width of the first picture by those of the other.
    cell : int
        Pixels.
    """
    lines = []
    for count, wanted, ratio in zip(features.shape[-2:], size, scale, strict=True):
        middles = (torch.arange(wanted, device=features.device) + 0.5) * cell
        place = (middles * ratio / cell - 0.5).clamp(0, count - 1)
        lines.append((1 - (place[:, None] - torch.arange(count, device=features.device)).abs()).clamp_min(0))
    return torch.einsum("ij,bcjk,lk->bcil", lines[0].to(features), features, lines[1].to(features))


def in_between(steps: Tensor, times: Tensor) -> Tensor:
    """What stands at i / (N - 1), at any times: linear between the two steps around each.

    Parameters
    ----------
    steps : Tensor
        (B, N, C, H, W), N at least 2.
    times : Tensor
        (T,) or (B, T) in [0, 1].

    Returns
    -------
    Tensor
        (B, T, C, H, W).
    """
    last = steps.shape[1] - 1
    place = (times.to(steps) * last).expand(len(steps), times.shape[-1])
    before = place.floor().clamp(0, last - 1).long()
    share = (place - before)[..., None, None, None]
    each = torch.arange(len(steps), device=steps.device)[:, None]
    return torch.lerp(steps[each, before], steps[each, before + 1], share)


def shrink(image: Tensor, factor: int) -> Tensor:
    """Bilinear shrinking without aliasing: (B, C, H, W) to (B, C, H / factor, W / factor).

    A pixel is the mean of its surroundings with weights that fall linearly to zero at `factor` pixels from its centre;
    what lies outside the picture does not count. The same as ``F.interpolate(..., antialias=True)``, but fast where
    channels come last.

    Parameters
    ----------
    image : Tensor
        H, W multiples of `factor`.
    factor : int
        Even, or 1.
    """
    if factor == 1:
        return image
    distance = torch.arange(2 * factor, device=image.device, dtype=torch.float32) - (factor - 0.5)
    weight = 1 - distance.abs() / factor
    kernel = (weight[:, None] * weight).to(image.dtype)[None, None]

    def sums(maps: Tensor) -> Tensor:
        channels = maps.shape[1]
        return F.conv2d(maps, kernel.expand(channels, -1, -1, -1), stride=factor, padding=factor // 2, groups=channels)

    return sums(image) / sums(image.new_ones(1, 1, *image.shape[-2:]))
