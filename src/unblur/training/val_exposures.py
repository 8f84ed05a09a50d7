"""Exposures of stills that are never trained on, to watch a training by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.data.stills import Still
from unblur.exposure.average import frame_times
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import render


def val_exposures(
    stills: Sequence[Still],
    *,
    count: int = 24,
    size: int = 256,
    length: tuple[float, float] = (8.0, 14.0),
    batch_size: int = 4,
    seed: int = 2024,
    frames: int = 3,
) -> list[dict[str, Tensor]]:
    """Fixed exposures of the middles of `stills`, with their frames at i / (frames - 1).

    Parameters
    ----------
    count : int
        How many, over all stills in turn.
    size : int
        Height and width.
    length : (float, float)
        Pixels that a path runs over the exposure; the default is medium blur of the protocol val-1.
    frames : int
        Of each exposure, 2 or more.

    Returns
    -------
    list of dict
        Batches of ``blurry`` (B, 3, size, size), ``frames`` (B, T, 3, size, size), ``times`` (T,), on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    times, margin = frame_times(frames), round(length[1])
    batches = []
    for first in range(0, count, batch_size):
        chosen = [stills[i % len(stills)] for i in range(first, min(first + batch_size, count))]
        crops = torch.stack([_middle(still, size + 2 * margin) for still in chosen])
        made = render(crops, (size, size), times, MotionSpec(length=length), generator=generator)
        batches.append({"blurry": made.blurry, "frames": made.frames, "times": times})
    return batches


def _middle(still: Still, side: int) -> Tensor:
    """The middle (3, side, side) of a still in [0, 1], enlarged if it is smaller."""
    pixels = torch.from_numpy(still.pixels).permute(2, 0, 1)[None].float() / 255
    factor = side / min(pixels.shape[-2:])
    if factor > 1:
        enlarged = [max(side, round(n * factor)) for n in pixels.shape[-2:]]
        pixels = F.interpolate(pixels, enlarged, mode="bicubic", align_corners=False).clamp(0, 1)
    top, left = ((n - side) // 2 for n in pixels.shape[-2:])
    return pixels[0, :, top : top + side, left : left + side]
