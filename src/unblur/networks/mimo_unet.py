"""MIMO-UNet (Cho et al., ICCV 2021): one U-Net that sees the picture at three sizes and answers at three.

`MimoSkeleton` is all of it but the six stages of blocks, which `cfmd.CFMD` replaces with blocks that are conditioned on
the time. The paper's SCM is `ShallowFeatures`, FAM `FeatureAttention`, AFF `ScaleFusion`, EB and DB are the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.padding import crop, pad_to_multiple
from unblur.layers.resample import halve, pointwise
from unblur.layers.strided import ResidualBlock
from unblur.networks.kinds import RestorerNetwork

SCALES = (4, 2, 1)
STAGE_WIDTHS = (1, 2, 4, 4, 2, 1)


class Views(NamedTuple):
    """A picture at three sizes, padded and folded, and what is read from each before the first stage."""

    full: Tensor
    half: Tensor
    quarter: Tensor
    feature: Tensor
    half_feature: Tensor
    quarter_feature: Tensor


class ShallowFeatures(nn.Module):
    """Features of a shrunken picture, beside the picture itself."""

    def __init__(self, channels: int, slope: float, inputs: int = 3) -> None:
        super().__init__()
        self.slope = slope
        self.convolutions = nn.ModuleList(
            (
                nn.Conv2d(inputs, channels // 4, 3, padding=1),
                nn.Conv2d(channels // 4, channels // 2, 1),
                nn.Conv2d(channels // 2, channels // 2, 3, padding=1),
                nn.Conv2d(channels // 2, channels - inputs, 1),
            )
        )
        self.merge = nn.Conv2d(channels, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, channels, h, w)."""
        features = image
        for convolution in self.convolutions:
            features = F.leaky_relu(convolution(features), self.slope, inplace=True)
        return pointwise(self.merge, image, features)


class FeatureAttention(nn.Module):
    """What the larger size found, corrected where the smaller picture agrees."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.merge = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor, shallow: Tensor) -> Tensor:
        """Two (B, C, h, w) to one."""
        return features + self.merge(features * shallow)


class ScaleFusion(nn.Module):
    """The features of all three encoder stages at one size."""

    def __init__(self, inputs: int, channels: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.narrow = nn.Conv2d(inputs, channels, 1)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, *features: Tensor) -> Tensor:
        """Features (B, C_i, h_i, w_i), the first at the wanted size and none larger, to (B, channels, h, w)."""
        return self.smooth(F.leaky_relu(pointwise(self.narrow, *features), self.slope, inplace=True))


class MimoSkeleton(nn.Module):
    """What joins the stages: convolutions between sizes, shallow features, fusions and the three answers.

    Parameters
    ----------
    channels : int
        At full size; twice and four times as many below. Even.
    slope : float
        Of the leaky ReLUs; 0 for ReLU.
    pictures : int
        RGB pictures of one size, side by side in the channels; the answers are corrections of the first.
    fold : int
        Squares of so many pixels a side are laid into channels before all else, and back at the end.
    """

    def __init__(self, channels: int, slope: float, pictures: int = 1, fold: int = 1) -> None:
        super().__init__()
        full, half, quarter = channels, 2 * channels, 4 * channels
        answer = 3 * fold**2
        seen = pictures * answer
        if fold < 1:
            raise ValueError(f"fold must be 1 or more, got {fold}")
        if half <= seen:
            raise ValueError(f"{channels} channels are too few for a pixel's {seen} numbers: use more than {seen // 2}")
        self.slope, self.fold = slope, fold
        self.entry = nn.Conv2d(seen, full, 3, padding=1)
        self.down_half = nn.Conv2d(full, half, 3, stride=2, padding=1)
        self.down_quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.shallow_half = ShallowFeatures(half, slope, seen)
        self.shallow_quarter = ShallowFeatures(quarter, slope, seen)
        self.attend_half = FeatureAttention(half)
        self.attend_quarter = FeatureAttention(quarter)
        self.fuse_half = ScaleFusion(full + half + quarter, half, slope)
        self.fuse_full = ScaleFusion(full + half + quarter, full, slope)
        self.up_half = nn.ConvTranspose2d(quarter, half, 4, stride=2, padding=1)
        self.up_full = nn.ConvTranspose2d(half, full, 4, stride=2, padding=1)
        self.merge_half = nn.Conv2d(2 * half, half, 1)
        self.merge_full = nn.Conv2d(2 * full, full, 1)
        self.head_quarter = nn.Conv2d(quarter, answer, 3, padding=1)
        self.head_half = nn.Conv2d(half, answer, 3, padding=1)
        self.head_full = nn.Conv2d(full, answer, 3, padding=1)

    def views(self, pictures: Tensor) -> Views:
        """All that comes before the first stage, of (B, 3 * pictures, H, W) in [0, 1], any size."""
        full = pad_to_multiple(pictures, 4 * self.fold)[0]
        half = halve(full)
        quarter = halve(half)
        full, half, quarter = (self._folded(view) for view in (full, half, quarter))
        feature = self._active(self.entry(full))
        return Views(full, half, quarter, feature, self.shallow_half(half), self.shallow_quarter(quarter))

    def run(self, views: Views, stage: Callable[[int, Tensor], Tensor], *, every_scale: bool = False) -> list[Tensor]:
        """Answers (B, 3, h, w), unclamped, at 1/4, 1/2, 1 of the padded size, or only the last.

        Parameters
        ----------
        views : Views
        stage : callable
            The number of a stage, 0 to 2 downwards and 3 to 5 upwards, and its input, to its output of the same shape;
            where the input's batch is 1 the output's may be larger.
        every_scale : bool
        """
        full = stage(0, views.feature)
        half = stage(1, self.attend_half(self._active(self.down_half(full)), views.half_feature))
        quarter = stage(2, self.attend_quarter(self._active(self.down_quarter(half)), views.quarter_feature))
        beside_half = self.fuse_half(halve(full), half, quarter)
        beside_full = self.fuse_full(full, half, quarter)
        answers = []
        features = stage(3, quarter)
        if every_scale:
            answers.append(self._answer(self.head_quarter(features), views.quarter))
        features = self._active(self.up_half(features))
        features = stage(4, self._active(pointwise(self.merge_half, features, beside_half)))
        if every_scale:
            answers.append(self._answer(self.head_half(features), views.half))
        features = self._active(self.up_full(features))
        features = stage(5, self._active(pointwise(self.merge_full, features, beside_full)))
        return [*answers, self._answer(self.head_full(features), views.full)]

    def _folded(self, view: Tensor) -> Tensor:
        view = view if self.fold == 1 else F.pixel_unshuffle(view, self.fold)
        return view.contiguous(memory_format=torch.channels_last)

    def _answer(self, correction: Tensor, view: Tensor) -> Tensor:
        # Folding keeps the channels of one picture together, those of the first in front.
        answer = correction + view[:, : correction.shape[1]]
        return answer if self.fold == 1 else F.pixel_shuffle(answer, self.fold)

    def _active(self, features: Tensor) -> Tensor:
        return F.leaky_relu(features, self.slope, inplace=True)


class MimoUNet(nn.Module, RestorerNetwork):
    """MIMO-UNet (8 blocks, 6,807,171 parameters) and MIMO-UNet+ (20 blocks, 16,107,651): blurry to sharp.

    Parameters
    ----------
    channels : int
        At full size, even.
    blocks : int
        Residual blocks in each of the six stages.
    """

    has_scales = True
    exports = ("restorer",)
    is_local = True
    multiple = 4
    # The receptive field reaches some 250 pixels far, but in trained networks it has faded long before.
    tile_overlap = 64

    def __init__(self, channels: int = 32, blocks: int = 8) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {"channels": channels, "blocks": blocks}
        self.skeleton = MimoSkeleton(channels, slope=0.0)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width * channels) for _ in range(blocks))) for width in STAGE_WIDTHS
        )

    def forward(self, blurry: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], any size, to sharp (B, 3, H, W), unclamped."""
        sharp = self.skeleton.run(self.skeleton.views(blurry), self._stage)[-1]
        return crop(sharp, (blurry.shape[-2], blurry.shape[-1]))

    def scales(self, blurry: Tensor) -> list[Tensor]:
        """Sharp (B, 3, ceil(H / s), ceil(W / s)) for s = 4, 2, 1, unclamped: what training compares at every size."""
        answers = self.skeleton.run(self.skeleton.views(blurry), self._stage, every_scale=True)
        return [crop(answer, scaled(blurry, scale)) for answer, scale in zip(answers, SCALES, strict=True)]

    def _stage(self, number: int, features: Tensor) -> Tensor:
        return self.stages[number](features)


def scaled(image: Tensor, scale: int) -> tuple[int, int]:
    """(H, W) of `image` after shrinking by `scale`, rounded up."""
    return -(-image.shape[-2] // scale), -(-image.shape[-1] // scale)
