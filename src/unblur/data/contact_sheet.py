"""Pictures in rows, with a title over each column: something to look at first."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from unblur.data.pictures import Pixels
from unblur.media.image import Picture

SIDE, GAP, HEAD = 256, 6, 26


def draw_grid(rows: Sequence[Sequence[Pixels]], titles: Sequence[str]) -> Picture:
    """Draw pictures in rows and columns.

    Parameters
    ----------
    rows : sequence of sequences of ndarray
        (H, W, 3) uint8 of any sizes; large ones are shrunk to 256 pixels a side.
    titles : sequence of str
        Of the columns.
    """
    cells = [[_small(picture) for picture in row] for row in rows]
    wide = [max(row[i].shape[1] for row in cells) for i in range(len(titles))]
    drawn = [_head(titles, wide)]
    for row in cells:
        tall = max(cell.shape[0] for cell in row)
        drawn.append(np.concatenate([_padded(cell, tall, width) for cell, width in zip(row, wide, strict=True)], 1))
    sheet = np.concatenate(drawn)
    return Picture(torch.from_numpy(sheet).permute(2, 0, 1).float() / 255)


def _small(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    if factor == 1:
        return picture
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA))


def _padded(cell: Pixels, height: int, width: int) -> Pixels:
    white = np.full((height + GAP, width + GAP, 3), 255, np.uint8)
    white[: cell.shape[0], : cell.shape[1]] = cell
    return white


def _head(titles: Sequence[str], wide: Sequence[int]) -> Pixels:
    parts = []
    for title, width in zip(titles, wide, strict=True):
        part = np.full((HEAD, width + GAP, 3), 255, np.uint8)
        cv2.putText(part, title, (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        parts.append(part)
    return np.concatenate(parts, 1)
