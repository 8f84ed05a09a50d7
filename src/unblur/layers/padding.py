"""Any picture size through networks that want multiples of something."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pad_to_multiple(image: Tensor, multiple: int) -> tuple[Tensor, tuple[int, int]]:
    """Pad (B, C, H, W) at the right and at the bottom to multiples of `multiple`, by reflection.

    A picture too small to be reflected is reflected as far as it goes and then repeated at the rim.

    Returns
    -------
    (Tensor, (int, int))
        The padded image and the original (H, W), for `crop`.
    """
    height, width = image.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if down or right:
        image = F.pad(image, (0, min(right, width - 1), 0, min(down, height - 1)), mode="reflect")
        down, right = -image.shape[-2] % multiple, -image.shape[-1] % multiple
    if down or right:
        image = F.pad(image, (0, right, 0, down), mode="replicate")
    return image, (height, width)


def crop(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The top left `size` (H, W) of an image (..., H', W')."""
    return image[..., : size[0], : size[1]]


def pad_around(image: Tensor, multiple: int) -> tuple[Tensor, tuple[int, int]]:
    """Pad (B, C, H, W) to multiples of `multiple`, half on either side, by reflection as often as it takes.

    Returns
    -------
    (Tensor, (int, int))
        The padded image, and the row and column of it at which the original begins.
    """
    height, width = image.shape[-2:]
    top, left = (-height % multiple) // 2, (-width % multiple) // 2
    if height % multiple:
        image = image.index_select(-2, _mirror(height, -height % multiple, image.device))
    if width % multiple:
        image = image.index_select(-1, _mirror(width, -width % multiple, image.device))
    return image, (top, left)


def pad_to_size(image: Tensor, height: int, width: int) -> Tensor:
    """Pad (..., H, W) at the right and at the bottom to (..., height, width), by reflection as often as it takes."""
    for axis, length in ((-2, height), (-1, width)):
        more = length - image.shape[axis]
        if more:
            image = image.index_select(axis, _mirror(image.shape[axis], more, image.device, before=0))
    return image


def reflect_pad(image: Tensor, rim: int) -> Tensor:
    """(B, C, H, W) with `rim` more pixels on every side, by reflection as often as it takes."""
    if min(image.shape[-2:]) > rim:
        return F.pad(image, (rim, rim, rim, rim), mode="reflect")
    for axis in (-2, -1):
        image = image.index_select(axis, _mirror(image.shape[axis], 2 * rim, image.device))
    return image


class MirroredConv2d(nn.Conv2d):
    """A convolution that sees its input mirrored at the rim, of any size; padded by half of its odd kernel."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        return super().forward(reflect_pad(features, self.kernel_size[0] // 2))


def _mirror(length: int, more: int, device: torch.device, before: int | None = None) -> Tensor:
    """Positions in a line of `length` that a line longer by `more` shows: a mirror at each end, the end seen once.

    `before` of them are in front, half if left out.
    """
    period = max(2 * length - 2, 1)
    positions = (torch.arange(length + more, device=device) - (more // 2 if before is None else before)) % period
    return torch.minimum(positions, period - positions) if length > 1 else torch.zeros_like(positions)
