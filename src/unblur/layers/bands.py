"""Large pictures through what looks only a few pixels far: band by band, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor


def in_bands(apply: Callable[[Tensor], Tensor], features: Tensor, pixels: int, margin: int, step: int = 1) -> Tensor:
    """``apply(features)``, where no gradients are wanted in bands of rows.

    Parameters
    ----------
    apply : callable
        (B, C, h, W) to (B, C', r h, r' W) for a fixed r; every output row looks at most `margin` rows of the input far,
        and what lies outside the picture is padded by `apply` itself.
    features : Tensor
        (B, C, H, W).
    pixels : int
        About as many of `features` are worked on at once.
    margin, step : int
        Rows of `features`; bands begin at multiples of `step`, which must divide `margin` and H.

    Returns
    -------
    Tensor
        (B, C', r H, r' W).
    """
    height, width = features.shape[-2:]
    rows = max(pixels // (width * step), 1) * step
    if torch.is_grad_enabled() or height <= rows + margin:
        return apply(features)
    parts = []
    for top in range(0, height, rows):
        bottom, start = min(top + rows, height), max(top - margin, 0)
        seen = features[..., start : min(bottom + margin, height), :]
        part = apply(seen)
        scale = Fraction(part.shape[-2], seen.shape[-2])
        # Its own memory, so that the margins are given back.
        parts.append(part[..., int((top - start) * scale) : int((bottom - start) * scale), :].clone())
    return torch.cat(parts, -2)
