"""A contact sheet: what went in, what came out, what was there."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def contact_sheet(blurry: Tensor, predicted: Tensor, frames: Tensor, gap: int = 4) -> Tensor:
    """One row per exposure: blurry | predicted frames | true frames.

    Parameters
    ----------
    blurry : Tensor
        (B, 3, H, W) in [0, 1].
    predicted, frames : Tensor
        (B, T, 3, H, W); clamped to [0, 1].

    Returns
    -------
    Tensor
        (3, B * (H + gap) - gap, W') in [0, 1], white between the pictures, wider between the three groups.
    """
    rows = []
    for photo, guess, truth in zip(blurry, predicted, frames, strict=True):
        groups = [_join([photo], gap, 2), _join(list(guess), gap, 2), _join(list(truth), gap, 2)]
        rows.append(_join(groups, 3 * gap, 2))
    return _join(rows, gap, 1)


def write_sheet(path: Path, sheet: Tensor) -> Path:
    """Write a sheet (3, H, W) in [0, 1] as a PNG, under a temporary name until it is complete."""
    pixels = (sheet.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    temporary = path.with_name(f".{path.name}.part")
    Image.fromarray(pixels).save(temporary, format="PNG")
    return temporary.replace(path)


def _join(pictures: list[Tensor], gap: int, dim: int) -> Tensor:
    size = list(pictures[0].shape)
    size[dim] = gap
    white = pictures[0].new_ones(size)
    parts = [part for picture in pictures for part in (white, picture.clamp(0, 1))]
    return torch.cat(parts[1:], dim)
