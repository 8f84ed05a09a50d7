"""Deep priors (Ulyanov, Vedaldi, Lempitsky, CVPR 2018): networks that make one picture, or one code, out of noise.

Their weights are fitted to that one picture; what such a network finds hard to make is hardly ever in a photo. Blur
Kernel Space searches pictures and codes through them, with a non-local block (Wang et al., CVPR 2018) at the three
coarsest scales of the picture's.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.padding import MirroredConv2d, crop, pad_to_size
from unblur.layers.strided import STRIDE, StridedEncoder
from unblur.networks.kinds import PriorNetwork

SLOPE = 0.2
Padding = Literal["reflect", "zeros"]


class NonLocal(nn.Module):
    """What all places say to each, weighted by how alike they are; at first nothing.

    Parameters
    ----------
    channels : int
        Half as many are compared.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.queries = nn.Conv2d(channels, channels // 2, 1)
        self.keys = nn.Conv2d(channels, channels // 2, 1)
        self.values = nn.Conv2d(channels, channels // 2, 1)
        self.back = nn.Conv2d(channels // 2, channels, 1)
        self.gate = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.gate.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        # Keys and values of every 2 x 2 places are one; a single row or column is left whole.
        window = tuple(min(2, side) for side in features.shape[-2:])
        keys, values = (F.max_pool2d(each(features), window).flatten(2) for each in (self.keys, self.values))
        # By the product of keys and values first: its cost grows with the places, not with their square.
        found = keys @ values.transpose(1, 2) / keys.shape[-1]
        said = (self.queries(features).flatten(2).transpose(1, 2) @ found).transpose(1, 2)
        return features + self.gate(self.back(said.unflatten(2, features.shape[-2:])))


class Scale(nn.Module):
    """One scale of the hourglass: a few channels aside, the others down and back up, then both together."""

    def __init__(self, inputs: int, width: int, skip: int, attended: bool, padding: Padding) -> None:
        super().__init__()
        self.aside, self.aside_norm = nn.Conv2d(inputs, skip, 1), nn.BatchNorm2d(skip)
        self.shrink, self.shrink_norm = _convolution(inputs, width, padding, 2), nn.BatchNorm2d(width)
        self.attend = NonLocal(width) if attended else nn.Identity()
        self.deepen, self.deepen_norm = _convolution(width, width, padding), nn.BatchNorm2d(width)
        self.both_norm = nn.BatchNorm2d(skip + width)
        self.merge, self.merge_norm = _convolution(skip + width, width, padding), nn.BatchNorm2d(width)
        self.mix, self.mix_norm = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)

    def fine(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, skip, H, W)."""
        return _active(self.aside_norm(self.aside(features)))

    def coarse(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, H / 2, W / 2)."""
        features = self.attend(_active(self.shrink_norm(self.shrink(features))))
        return _active(self.deepen_norm(self.deepen(features)))

    def together(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """What `fine` and `coarse` gave to (B, width, H, W)."""
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        features = self.both_norm(torch.cat((fine, enlarged), 1))
        features = _active(self.merge_norm(self.merge(features)))
        return _active(self.mix_norm(self.mix(features)))


class DeepImagePrior(nn.Module, PriorNetwork):
    """The deep prior of a picture: an hourglass with batch normalisation, 2,365,779 parameters as released.

    Parameters
    ----------
    inputs : int
        Channels of the noise.
    width, skip : int
        Channels that go down, and aside, at every scale.
    scales : int
    attended : int
        How many of them, from the coarsest on, have a non-local block.
    padding : {"reflect", "zeros"}
        What 3x3 convolutions see beyond the rim; "zeros" is what the released program does, though it says "reflect".
    """

    def __init__(
        self,
        inputs: int = 8,
        width: int = 128,
        skip: int = 16,
        scales: int = 5,
        attended: int = 3,
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        if padding not in ("reflect", "zeros"):
            raise ValueError(f"no such padding: {padding!r}")
        self.arguments: dict[str, object] = {
            "inputs": inputs,
            "width": width,
            "skip": skip,
            "scales": scales,
            "attended": attended,
            "padding": padding,
        }
        self.inputs, self.multiple = inputs, 2**scales
        self.scales = nn.ModuleList(
            Scale(width if level else inputs, width, skip, level >= scales - attended, padding)
            for level in range(scales)
        )
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """(B, inputs, H, W), any size, to a picture (B, 3, H, W) in [0, 1]."""
        height, width = noise.shape[-2:]
        # Batch normalisation wants more than one pixel also at the coarsest scale.
        padded = (max(-(-side // self.multiple), 2) * self.multiple for side in (height, width))
        scales = cast(list[Scale], list(self.scales))
        features, asides = pad_to_size(noise, *padded), []
        for scale in scales:
            asides.append(scale.fine(features))
            features = scale.coarse(features)
        for scale in reversed(scales):
            features = scale.together(asides.pop(), features)
        return crop(torch.sigmoid(self.head(features)), (height, width))


class DeepCodePrior(nn.Module, PriorNetwork):
    """The deep prior of a code: 34,787,264 parameters as released.

    Parameters
    ----------
    inputs : int
        Channels of the noise.
    width : int
        Of the first convolution.
    channels : int
        Of the code.
    blocks : int
        Residual blocks.

    Attributes
    ----------
    stride : int
        Places of noise for a cell of the code, along each side.
    """

    stride = STRIDE

    def __init__(self, inputs: int = 64, width: int = 64, channels: int = 512, blocks: int = 6) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {"inputs": inputs, "width": width, "channels": channels, "blocks": blocks}
        self.inputs = inputs
        self.encoder = StridedEncoder(inputs, width, channels, blocks, bias=True)

    def forward(self, noise: Tensor) -> Tensor:
        """(B, inputs, 32 h, 32 w) to a code (B, channels, h, w)."""
        return self.encoder(noise)


def _active(features: Tensor) -> Tensor:
    return F.leaky_relu(features, SLOPE, inplace=True)


def _convolution(inputs: int, outputs: int, padding: Padding, stride: int = 1) -> nn.Conv2d:
    if padding == "reflect":
        return MirroredConv2d(inputs, outputs, 3, stride=stride)
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
