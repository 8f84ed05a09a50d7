"""The three networks that find faces together (MTCNN; Zhang, Zhang, Li, Qiao, IEEE Signal Processing Letters 2016).

`PNet` looks at every place of a small picture, `RNet` at what it proposed, `ONet` at what is left: it tells
five landmarks too. All take RGB in [-1, 1] and answer with the share of a face and with how far the sides of the box
are off, in sides of the box.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LANDMARKS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")
"""As seen in the picture: the left eye is the one farther left."""


class PNet(nn.Module):
    """P-Net: cells of 12 x 12 pixels, 2 apart."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _features((10, 16, 32), (3, 3, 3), (2, 0, 0))
        self.offsets = nn.Conv2d(32, 4, 1)
        self.classes = nn.Conv2d(32, 2, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), each side 12 or more, to faces (B, h, w) in [0, 1] and offsets (B, 4, h, w)."""
        features = self.features(pictures)
        return self.classes(features).softmax(1)[:, 1], self.offsets(features)


class RNet(nn.Module):
    """R-Net: patches of 24 x 24 pixels."""

    size = 24

    def __init__(self) -> None:
        super().__init__()
        self.features = _features((28, 48, 64), (3, 3, 2), (3, 3, 0))
        self.body = _body(64 * 9, 128)
        self.offsets = nn.Linear(128, 4)
        self.classes = nn.Linear(128, 2)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 24, 24) to faces (N,) in [0, 1] and offsets (N, 4)."""
        features = self.body(self.features(patches).flatten(1))
        return self.classes(features).softmax(1)[:, 1], self.offsets(features)


class ONet(nn.Module):
    """O-Net: patches of 48 x 48 pixels."""

    size = 48

    def __init__(self) -> None:
        super().__init__()
        self.features = _features((32, 64, 64, 128), (3, 3, 3, 2), (3, 3, 2, 0))
        self.body = _body(128 * 9, 256)
        self.offsets = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)
        self.classes = nn.Linear(256, 2)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, 48, 48) to faces (N,) in [0, 1], offsets (N, 4) and `LANDMARKS` (N, 5, 2) as shares of the sides."""
        features = self.body(self.features(patches).flatten(1))
        landmarks = self.landmarks(features).unflatten(1, (2, 5)).transpose(1, 2)
        return self.classes(features).softmax(1)[:, 1], self.offsets(features), landmarks


class MTCNN(nn.Module):
    """All three, to be loaded together."""

    def __init__(self) -> None:
        super().__init__()
        self.proposer, self.refiner, self.describer = PNet(), RNet(), ONet()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """As `PNet`: the others look at patches; see `unblur.pipeline.face_detection`."""
        faces: tuple[Tensor, Tensor] = self.proposer(pictures)
        return faces


def _features(widths: Sequence[int], kernels: Sequence[int], pools: Sequence[int]) -> nn.Sequential:
    """Convolutions without padding, each with a PReLU, and where `pools` is not 0 a maximum over so many pixels."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before = 3
    for number, (width, kernel, pool) in enumerate(zip(widths, kernels, pools, strict=True), 1):
        layers[f"convolution{number}"] = nn.Conv2d(before, width, kernel)
        layers[f"activation{number}"] = nn.PReLU(width)
        if pool:
            layers[f"pool{number}"] = nn.MaxPool2d(pool, 2, ceil_mode=True)
        before = width
    return nn.Sequential(layers)


def _body(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(dense=nn.Linear(inputs, outputs), activation=nn.PReLU(outputs)))


def normalised(picture: Tensor) -> Tensor:
    """RGB in [0, 1] as the networks want it: (v - 127.5) / 128 for v from 0 to 255."""
    return torch.add(picture.float() * (255 / 128), -127.5 / 128)
