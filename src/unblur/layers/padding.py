"""Any picture size through networks that want multiples of something."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
