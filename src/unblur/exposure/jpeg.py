"""What JPEG does to a picture, as a batched tensor operation that runs where the picture is.

Baseline JPEG (ITU-T T.81) with the tables of its annex K and libjpeg's quality scale: YCbCr, chroma halved, 8x8 DCT,
quantisation. Entropy coding loses nothing and is left out.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress `image` (B, 3, H, W) in [0, 1] at `quality` (B,), integers from 1 to 100."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, -width % 16, 0, -height % 16), mode="replicate")
    matrix = padded.new_tensor(_TO_YCC)
    ycc = torch.einsum("ij,bjhw->bihw", matrix, padded * 255)
    luma = _quantise(ycc[:, :1] - 128, _table("luma", quality, padded)) + 128
    chroma = _quantise(F.avg_pool2d(ycc[:, 1:], 2), _table("chroma", quality, padded))
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), torch.cat((luma, chroma), 1))
    return (rgb[..., :height, :width].round() / 255).clamp(0, 1)


def _table(kind: str, quality: Tensor, like: Tensor) -> Tensor:
    base = like.new_tensor(_LUMA if kind == "luma" else _CHROMA)
    quality = quality.to(like.dtype).clamp(1, 100)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    return ((base * percent[:, None, None] + 50) / 100).floor().clamp(1, 255)[:, None, None, None]


def _quantise(plane: Tensor, table: Tensor) -> Tensor:
    b, c, height, width = plane.shape
    dct = _dct_matrix().to(plane)
    blocks = plane.reshape(b, c, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = (dct @ blocks @ dct.T / table).round() * table
    return (dct.T @ coefficients @ dct).transpose(3, 4).reshape(b, c, height, width)


@cache
def _dct_matrix() -> Tensor:
    """The orthonormal 8x8 DCT-II."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix
