"""Inception v3, as far as what it sees in a picture (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, CVPR 2016).

There are two that matter. The one of 2015, trained with TensorFlow, is that of FID: its averages leave out what
lies beyond the border, the last of its pools takes maxima, and pictures were enlarged for it as TensorFlow 1 did. The
other is what torchvision has. Their weights have the same names and shapes, and see different things.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pool = Literal["mean inside", "mean", "maximum"]
SIDE = 299
ONE, THREE, FIVE, ROW, COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


class Step(NamedTuple):
    """A convolution; of stride 1 it leaves the size as it is, of stride 2 nothing is padded."""

    width: int
    kernel: tuple[int, int]
    stride: int = 1


class Fork(NamedTuple):
    """Two convolutions of the same features, side by side."""

    a: Step
    b: Step


Branches = Mapping[str, Sequence[Step | Fork]]

CROSS = Fork(Step(384, (1, 3)), Step(384, (3, 1)))
LAST: Branches = {
    "branch1x1": (Step(320, ONE),),
    "branch3x3": (Step(384, ONE), CROSS),
    "branch3x3dbl": (Step(448, ONE), Step(384, THREE), CROSS),
}
SHRINK: Branches = {
    "branch3x3": (Step(384, THREE, 2),),
    "branch3x3dbl": (Step(64, ONE), Step(96, THREE), Step(96, THREE, 2)),
}
SHRINK_AGAIN: Branches = {
    "branch3x3": (Step(192, ONE), Step(320, THREE, 2)),
    "branch7x7x3": (Step(192, ONE), Step(192, ROW), Step(192, COLUMN), Step(192, THREE, 2)),
}
EARLY: Branches = {
    "branch1x1": (Step(64, ONE),),
    "branch5x5": (Step(48, ONE), Step(64, FIVE)),
    "branch3x3dbl": (Step(64, ONE), Step(96, THREE), Step(96, THREE)),
}


def _middle(width: int) -> Branches:
    along = (Step(width, ROW), Step(width, COLUMN))
    return {
        "branch1x1": (Step(192, ONE),),
        "branch7x7": (Step(width, ONE), Step(width, ROW), Step(192, COLUMN)),
        "branch7x7dbl": (Step(width, ONE), along[1], *along, Step(192, ROW)),
    }


class Convolution(nn.Module):
    """A convolution without bias, normalised, and ReLU."""

    def __init__(self, inputs: int, step: Step, padding: tuple[int, int] | None = None) -> None:
        super().__init__()
        if padding is None:
            padding = (0, 0) if step.stride > 1 else (step.kernel[0] // 2, step.kernel[1] // 2)
        self.conv = nn.Conv2d(inputs, step.width, step.kernel, step.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(step.width, eps=1e-3)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, h, w)."""
        return F.relu(self.bn(self.conv(features)))


class Mixed(nn.Module):
    """Branches of convolutions side by side, and a pool beside them.

    Parameters
    ----------
    inputs : int
        Channels.
    branches : mapping of str to sequence of Step or Fork
        By the names that torchvision gives them.
    pooled : int
        Channels of the convolution behind the pool; 0 for a maximum by which the size is halved, and no convolution.
    pool : {"mean inside", "mean", "maximum"}
        Over 3 x 3 positions; "mean" counts what is beyond the border as 0.
    """

    def __init__(self, inputs: int, branches: Branches, pooled: int, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.branches: list[list[list[str]]] = []
        self.outputs = pooled or inputs
        for name, stages in branches.items():
            self.branches.append([])
            width = inputs
            for number, stage in enumerate(stages, 1):
                steps = {"": stage} if isinstance(stage, Step) else stage._asdict()
                start = name if len(stages) == 1 else f"{name}_{number}"
                for letter, step in steps.items():
                    self.add_module(start + letter, Convolution(width, step))
                self.branches[-1].append([start + letter for letter in steps])
                width = sum(step.width for step in steps.values())
            self.outputs += width
        self.branch_pool = Convolution(inputs, Step(pooled, ONE)) if pooled else None

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, h, w)."""
        sides = []
        for stages in self.branches:
            side = features
            for names in stages:
                made = [self.get_submodule(name)(side) for name in names]
                side = made[0] if len(made) == 1 else torch.cat(made, 1)
            sides.append(side)
        return torch.cat((*sides, self._pooled(features)), 1)

    def _pooled(self, features: Tensor) -> Tensor:
        if self.branch_pool is None:
            return F.max_pool2d(features, 3, 2)
        if self.pool == "maximum":
            return self.branch_pool(F.max_pool2d(features, 3, 1, 1))
        inside = self.pool == "mean inside"
        return self.branch_pool(F.avg_pool2d(features, 3, 1, 1, count_include_pad=not inside))


class Inception(nn.Module):
    """What Inception v3 sees: 2048 numbers for a picture, means over the positions of its last layer.

    Parameters
    ----------
    of : {"fid", "torchvision"}
        Whose pools it has.
    resize : {"corners", "centres"}
        How pictures become 299 x 299: as in TensorFlow 1, where the first pixels lie on each other, and values v from 0
        to 255 as (v - 128) / 128, which is FID as it was first measured and as torch-fidelity measures it. Or by the
        centres of pixels, and values as 2 v / 255 - 1, as pytorch-fid does. Both are bilinear, and shrink without
        smoothing.
    """

    length = 2048

    def __init__(
        self, of: Literal["fid", "torchvision"] = "fid", resize: Literal["corners", "centres"] = "corners"
    ) -> None:
        super().__init__()
        if of not in ("fid", "torchvision") or resize not in ("corners", "centres"):
            raise ValueError(f"no such Inception: {of}, {resize}")
        self.arguments = {"of": of, "resize": resize}
        self.resize = resize
        self.body = nn.Sequential(_layers("mean inside", "maximum") if of == "fid" else _layers("mean", "mean"))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 2048)."""
        if self.resize == "corners":
            return self.features(by_corners(pictures * 255, SIDE) / 128 - 1)
        return self.features(2 * F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1)

    def features(self, pictures: Tensor) -> Tensor:
        """Of pictures as the network wants them, in [-1, 1], 75 pixels a side or more."""
        features: Tensor = self.body(pictures)
        return features.mean((-2, -1))


def _layers(pool: Pool, last: Pool) -> OrderedDict[str, nn.Module]:
    """By the names that torchvision gives them."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["Conv2d_1a_3x3"] = Convolution(3, Step(32, THREE, 2))
    layers["Conv2d_2a_3x3"] = Convolution(32, Step(32, THREE), (0, 0))
    layers["Conv2d_2b_3x3"] = Convolution(32, Step(64, THREE))
    layers["pool1"] = nn.MaxPool2d(3, 2)
    layers["Conv2d_3b_1x1"] = Convolution(64, Step(80, ONE))
    layers["Conv2d_4a_3x3"] = Convolution(80, Step(192, THREE), (0, 0))
    layers["pool2"] = nn.MaxPool2d(3, 2)
    early = (("5b", EARLY, 32), ("5c", EARLY, 64), ("5d", EARLY, 64), ("6a", SHRINK, 0))
    middle = [(f"6{x}", _middle(width), 192) for x, width in zip("bcde", (128, 160, 160, 192), strict=True)]
    width = 192
    for name, branches, pooled in (*early, *middle, ("7a", SHRINK_AGAIN, 0), ("7b", LAST, 192), ("7c", LAST, 192)):
        block = Mixed(width, branches, pooled, last if name == "7c" else pool)
        layers[f"Mixed_{name}"], width = block, block.outputs
    return layers


def by_corners(pictures: Tensor, side: int) -> Tensor:
    """Bilinear resizing as in TensorFlow 1: pixel i of the result stands at i H / side, and past the last at the last.

    Parameters
    ----------
    pictures : Tensor
        (N, C, H, W).

    Returns
    -------
    Tensor
        (N, C, side, side).
    """
    lines = []
    for count in pictures.shape[-2:]:
        place = (torch.arange(side, device=pictures.device) * (count / side)).clamp_max(count - 1)
        nodes = torch.arange(count, device=pictures.device)
        lines.append((1 - (place[:, None] - nodes).abs()).clamp_min(0).to(pictures))
    return lines[0] @ pictures @ lines[1].mT
