"""How unlike two pictures are to a network that learned to tell things apart (Johnson, Alahi, Fei-Fei, ECCV 2016).

`Lpips` weighs the features of such a network as people judge pictures (Zhang, Isola, Efros et al., CVPR 2018).

The networks are VGG-19 (Simonyan, Zisserman, 2015) and AlexNet (Krizhevsky, Sutskever, Hinton, 2012), as far as their
convolutions go, with the names that torchvision gives to weights. No weights come with this package.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG19 = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512)
"""Channels of its 3x3 convolutions as far as the last tap; M halves the picture."""


class Backbone(nn.Module):
    """Convolutions, each followed by ReLU, with taps after some of them.

    Attributes
    ----------
    features : nn.Sequential
        Named as torchvision does.
    shares : tuple of float
        Weights in `distance` of the features after each of `taps`.
    smallest : int
        Side of the smallest picture that reaches the last of them.
    """

    def __init__(self, layers: Sequence[nn.Module], taps: Sequence[int], shares: Sequence[float]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps, self.shares = tuple(taps), tuple(shares)
        self.smallest = 32

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] to the features (B, C, h, w) after each tap."""
        short = [max(self.smallest - side, 0) for side in image.shape[-2:]]
        features = F.pad(image, (0, short[1], 0, short[0]), mode="replicate") if any(short) else image
        tapped = []
        for number, layer in enumerate(self.features):
            features = layer(features)
            if number in self.taps:
                tapped.append(features)
        return tapped

    def distance(self, image: Tensor, target: Sequence[Tensor]) -> Tensor:
        """Mean absolute differences to a picture's features, which are computed once, added up by `shares`.

        Parameters
        ----------
        image : Tensor
            (B, 3, H, W) in [0, 1].
        target : sequence of Tensor
            What `forward` says of the other picture.

        Returns
        -------
        Tensor
            A scalar.
        """
        pairs = zip(self.shares, self(image), target, strict=True)
        terms = [share * (own - other).abs().mean() for share, own, other in pairs]
        return sum(terms[1:], start=terms[0])


def vgg19() -> Backbone:
    """Tapped after the first ReLU of each of its five sizes, weighed as in Blur Kernel Space: the deep ones most.

    Blur Kernel Space gives it pictures in [0, 1] as they are, not normalised as it was trained on.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for width in VGG19:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
        inputs = width
    return Backbone(layers, (1, 6, 11, 20, 29), (0.2, 0.4, 0.8, 1.0, 3.0))


def alexnet() -> Backbone:
    """Tapped after each of its five convolutions, with equal weights."""
    layers = [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]
    return Backbone(layers, (1, 4, 7, 9, 11), (1.0,) * 5)


class Lpips(nn.Module):
    """LPIPS v0.1: the weighed distance of normed features (Zhang et al. 2018, equation 1), of an AlexNet.

    Parameters
    ----------
    backbone : Backbone
        An `alexnet`.

    Attributes
    ----------
    heads : nn.ParameterList
        (C,) for each tap: the weights of its channels, fitted to what people judge.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("centre", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        channels = [layer.out_channels for layer in backbone.features if isinstance(layer, nn.Conv2d)]
        self.heads = nn.ParameterList(torch.zeros(count) for count in channels)

    def forward(self, image: Tensor, truth: Tensor) -> Tensor:
        """Two (..., 3, H, W) in [0, 1] to distances (...), 0 for equal pictures."""
        if image.shape != truth.shape:
            raise ValueError(f"pictures must be of one shape: {image.shape}, {truth.shape}")
        both = torch.stack((image, truth)).flatten(0, -4)
        total = both.new_zeros(len(both) // 2)
        for head, seen in zip(self.heads, self.features(both), strict=True):
            first, second = (seen / (seen.norm(dim=1, keepdim=True) + 1e-10)).chunk(2)
            total = total + torch.einsum("nchw,c->nhw", (first - second).square(), head).mean((-2, -1))
        return total.view(image.shape[:-3])

    def features(self, pictures: Tensor) -> list[Tensor]:
        """The features (N, C, h, w) of each layer of pictures (N, 3, H, W) in [0, 1], which are normalised."""
        features: list[Tensor] = self.backbone((pictures - self.centre) / self.spread)
        return features


class LpipsFeatures(nn.Module):
    """The features of a whole picture by the AlexNet of LPIPS: means over the positions of its last layer.

    Parameters
    ----------
    lpips : Lpips

    Attributes
    ----------
    length : int
        256.
    """

    def __init__(self, lpips: Lpips) -> None:
        super().__init__()
        self.lpips = lpips
        self.length = len(lpips.heads[-1])

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 256)."""
        features: Tensor = self.lpips.features(pictures)[-1]
        return features.mean((-2, -1))
