"""Large pictures through what looks only a few pixels far: band by band, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor


class Band(NamedTuple):
    """Some rows of a picture, and what must be seen to make them.

    Attributes
    ----------
    rows : slice
        Of the picture.
    seen : slice
        Of the picture, `rows` with a margin above and below as far as there is one.
    kept : slice
        Where `rows` are in what is seen.
    """

    rows: slice
    seen: slice
    kept: slice

    @classmethod
    def of(cls, rows: slice, margin: int, height: int) -> Band:
        """Of a picture of `height` rows."""
        seen = slice(max(rows.start - margin, 0), min(rows.stop + margin, height))
        return cls(rows, seen, slice(rows.start - seen.start, rows.stop - seen.start))


def bands_of(height: int, rows: int, margin: int) -> Iterator[Band]:
    """Bands of so many rows, from the top; the last has what is left."""
    for top in range(0, height, rows):
        yield Band.of(slice(top, min(top + rows, height)), margin, height)


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
    if torch.is_grad_enabled() or torch.compiler.is_exporting() or height <= rows + margin:
        return apply(features)
    parts = []
    for _, seen, kept in bands_of(height, rows, margin):
        part = apply(features[..., seen, :])
        scale = Fraction(part.shape[-2], seen.stop - seen.start)
        # Its own memory, so that the margins are given back.
        parts.append(part[..., int(kept.start * scale) : int(kept.stop * scale), :].clone())
    return torch.cat(parts, -2)
