"""A picture of a blur: what it makes of points of light across a picture."""

from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.pipeline.blur_transfer import BlurCode, BlurSpace

SPACING = 64
"""Pixels between points."""
LARGEST = 25
"""Points along the longer side, at most."""
LEAST = 800
"""Pixels of the drawing's longer side, at least."""
FAINTEST = 0.02
"""Stored value that is made white, at least: no point, however long its streak, is as dim; a square without one is."""
GREY, RULE = 0.06, 0.16


def draw_psf_grid(space: BlurSpace, code: BlurCode) -> Tensor:
    """Points of light on black, blurred as `code` says, each brightened by itself to be seen.

    Returns
    -------
    Tensor
        (3, h, w) in [0, 1], the code's picture with a point in the middle of every 64 x 64 pixels, large ones with
        fewer; the brightest pixel of each point's surroundings is white, and lines show them.
    """
    spacing = SPACING * max(ceil(max(code.height, code.width) / (SPACING * LARGEST)), 1)
    height, width = (ceil(side / spacing) * spacing for side in (code.height, code.width))
    points = torch.zeros(3, code.height, code.width)
    rows, columns = _middles(code.height, spacing), _middles(code.width, spacing)
    for row in (0, 1):
        for column in (0, 1):
            points[:, (rows - row).clamp_min(0)[:, None], (columns - column).clamp_min(0)] = 1.0
    light = space.apply(points, code).mean(0, keepdim=True)
    light = F.pad(light, (0, width - code.width, 0, height - code.height))
    scale = max(ceil(LEAST / max(height, width)), 1)
    return _framed(light, spacing, scale).expand(3, -1, -1)


def _middles(side: int, spacing: int) -> Tensor:
    """Of every square that is not cut off before its middle; of a smaller picture its own."""
    return torch.arange(min(spacing, side) // 2, max(side - 1, 1), spacing)


def _framed(light: Tensor, spacing: int, scale: int) -> Tensor:
    """Each square of (1, h, w) as bright as it gets, `scale` times as large, with lines between."""
    squares = light.unflatten(2, (-1, spacing)).unflatten(1, (-1, spacing))
    squares = squares / squares.amax((2, 4), keepdim=True).clamp_min(FAINTEST)
    drawn = squares.flatten(3).flatten(1, 2).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    drawn = GREY + (1 - GREY) * drawn.clamp(0, 1)
    for start in range(0, drawn.shape[1], spacing * scale):
        drawn[:, start] = RULE
    for start in range(0, drawn.shape[2], spacing * scale):
        drawn[:, :, start] = RULE
    return drawn
