"""The camera response: how light on the sensor becomes a number in the file, and back.

Averaging over the exposure happens in linear light, before the response is applied. A *response* is named by a
string:

* ``"srgb"``: the sRGB transfer curve of IEC 61966-2-1;
* ``"gamma"``: the power 1 / 2.2, which the GoPro data set uses;
* ``"linear"``: none, for data whose makers averaged the stored numbers themselves (300VW, REDS, most of the field).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Response = Literal["srgb", "gamma", "linear"]
GAMMA = 2.2


def to_linear(image: Tensor, response: Response = "srgb") -> Tensor:
    """Stored values in [0, 1], any shape, to linear light in [0, 1]."""
    if response == "srgb":
        low = image / 12.92
        high = ((image.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
        return torch.where(image <= 0.04045, low, high)
    if response == "gamma":
        return image.clamp_min(0.0) ** GAMMA
    if response == "linear":
        return image
    raise ValueError(f"unknown camera response {response!r}; use 'srgb', 'gamma' or 'linear'")


def from_linear(light: Tensor, response: Response = "srgb") -> Tensor:
    """Linear light in [0, 1], any shape, to stored values in [0, 1]; the inverse of `to_linear`."""
    if response == "srgb":
        low = light * 12.92
        high = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
        return torch.where(light <= 0.0031308, low, high)
    if response == "gamma":
        # The slope at zero is infinite; the floor keeps gradients finite and is far below half an 8-bit step.
        return light.clamp_min(1e-8) ** (1 / GAMMA)
    if response == "linear":
        return light
    raise ValueError(f"unknown camera response {response!r}; use 'srgb', 'gamma' or 'linear'")
