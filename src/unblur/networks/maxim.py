"""MAXIM (Tu et al., CVPR 2022, arXiv 2201.02973): a strong restorer made of perceptrons that mix positions.

Three U-Nets in a row, each with the paper's blocks: `MultiAxisMlp` (multi-axis gMLP block) mixes half of the channels
inside small blocks and the other half over a coarse grid laid on the whole picture; `ChannelAttention` (RCAB, in the
bottleneck `DenseAttention`, RDCAB) follows; `CrossGating` (CGB) joins two features; `SupervisedAttention` (SAM) passes
on what one U-Net found.

Features are (B, H, W, C): channels last, so that dense layers, norms and cuts into blocks need no transposition.

As the grid has a fixed number of cells, its meaning depends on the size of the picture: see `Maxim.tile_size`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.dense import Dense, Mix, MultiAxis, MultiAxisMlp, Norm, Part, by_bands, dense, part
from unblur.layers.padding import pad_around
from unblur.layers.resample import shrink
from unblur.networks.kinds import RestorerNetwork

SLOPE = 0.2


class Convolution(nn.Conv2d):
    """A convolution of (B, H, W, C)."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Entrance(nn.Conv2d):
    """A 3x3 convolution of the picture (B, H, W, 3), as part of what a dense layer sees."""

    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(3, channels, 3, padding=1)

    def forward(self, image: Tensor) -> Part:  # type: ignore[override]
        def mapped(weight: Tensor, bias: Tensor) -> Tensor:
            kernel, shift = torch.einsum("po,oiyx->piyx", weight, self.weight), bias + weight @ self.bias
            return F.conv2d(image.permute(0, 3, 1, 2), kernel, shift, padding=1).permute(0, 2, 3, 1)

        return Part(self.out_channels, mapped)


class Enlargement(nn.ConvTranspose2d):
    """A transposed convolution that makes four pixels of each: (B, H, W, C) to part of (B, 2 H, 2 W, ...)."""

    bias: Tensor

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(inputs, channels, 2, stride=2)

    def forward(self, features: Tensor) -> Part:  # type: ignore[override]
        def mapped(weight: Tensor, bias: Tensor) -> Tensor:
            kernel, shift = torch.einsum("po,ioyx->ipyx", weight, self.weight), bias + weight @ self.bias
            return F.conv_transpose2d(features.permute(0, 3, 1, 2), kernel, shift, stride=2).permute(0, 2, 3, 1)

        return Part(self.out_channels, mapped)


class Resized(nn.Module):
    """A 1x1 convolution of features as they are at another scale, ``2 ** steps`` times as large."""

    def __init__(self, inputs: int, channels: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.project = Dense(inputs, channels)

    def forward(self, features: Tensor) -> Part:
        """(B, H, W, C) to part of what a dense layer sees at the other scale."""

        def mapped(weight: Tensor, bias: Tensor) -> Tensor:
            # Dense layers and changes of scale commute; the former run where there are fewer pixels.
            project, shift = weight @ self.project.weight, bias + weight @ self.project.bias
            if self.steps <= 0:
                small = shrink(features.permute(0, 3, 1, 2), 1 << -self.steps).permute(0, 2, 3, 1)
                return dense(small, project, shift)
            small = dense(features, project, shift).permute(0, 3, 1, 2)
            return F.interpolate(small, scale_factor=1 << self.steps, mode="bilinear").permute(0, 2, 3, 1)

        return Part(self.project.out_features, mapped)


class Signals(nn.Module):
    """Multi-scale skip signals: features of all levels as they are at one of them.

    Parameters
    ----------
    channels : int
        That each is given.
    sources : list of (int, int)
        Of every level: its channels, and how many times it must be doubled to have the wanted size.
    """

    def __init__(self, channels: int, sources: list[tuple[int, int]]) -> None:
        super().__init__()
        self.resized = nn.ModuleList(Resized(inputs, channels, steps) for inputs, steps in sources)

    def forward(self, features: list[Tensor]) -> Iterator[Part]:
        """(B, h, w, c) of every level to as many parts of (B, H, W, len(features) * channels)."""
        return (resized(found) for resized, found in zip(self.resized, features, strict=True))


class ChannelWeights(nn.Module):
    """Squeeze and excitation: how much of each channel the picture as a whole calls for."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = Dense(channels, channels // reduction)
        self.excite = Dense(channels // reduction, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) to (B, 1, 1, C) in [0, 1]."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(features.mean((1, 2), keepdim=True)))))


class ChannelAttention(nn.Module):
    """Residual channel attention block (RCAB)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.first = Convolution(channels, channels, 3, padding=1)
        self.second = Convolution(channels, channels, 3, padding=1)
        self.weights = ChannelWeights(channels, reduction)

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        seen = self.second(F.leaky_relu(self.first(by_bands(self.norm, features)), SLOPE, inplace=True))
        return torch.addcmul(features, seen, self.weights(seen))


class DenseAttention(nn.Module):
    """Residual dense channel attention block (RDCAB), the bottleneck's."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.first = Dense(channels, channels)
        self.second = Dense(channels, channels)
        self.weights = ChannelWeights(channels, reduction)

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        seen = self.second(self.first.activated(self.norm(features)))
        return torch.addcmul(features, seen, self.weights(seen))


class Groups(nn.Module):
    """Multi-axis blocks and channel attentions in turn, with a residual around all."""

    def __init__(self, channels: int, size: int, groups: int, attention: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.mlps = nn.ModuleList(MultiAxisMlp(channels, size) for _ in range(groups))
        self.attentions = nn.ModuleList(attention() for _ in range(groups))

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        out = features
        for mlp, attention in zip(self.mlps, self.attentions, strict=True):
            out = attention(mlp(out))
        return out.add_(features)


class GatedSide(nn.Module):
    """One of the two features of a `CrossGating`: itself activated, and the weights it has for the other."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.widen = Dense(channels, channels)
        self.gate = MultiAxis(channels, size, lambda: Mix(size**2, size**2))
        self.narrow = Dense(channels, channels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) to two of the same shape."""
        active = by_bands(lambda pixels: self.widen.activated(self.norm(pixels)), features)
        return active, self.gate(active)

    def gated(self, features: Tensor, active: Tensor, weights: Tensor) -> Tensor:
        """The features and, gated by the other side's weights, what was made active of them; all (..., C)."""
        return self.narrow(active * weights).add_(features)


class CrossGating(nn.Module):
    """Cross-gating block (CGB): two features, each gated by weights made of the other.

    Parameters
    ----------
    inputs, others : int
        Channels of the features x and y.
    channels : int
        Of the results.
    size : int
        Of grid and blocks.
    enlarge : bool
        Whether y has half the size of x.
    """

    def __init__(self, inputs: int, others: int, channels: int, size: int, *, enlarge: bool = False) -> None:
        super().__init__()
        self.enlarge = Enlargement(others, channels) if enlarge else None
        self.project_x = Dense(inputs, channels)
        self.project_y = Dense(channels if enlarge else others, channels)
        self.x, self.y = GatedSide(channels, size), GatedSide(channels, size)

    def forward(self, parts: Iterable[Part], y: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of x, (B, H, W, inputs) in all, and y, (B, H', W', others).

        To their sum and the gated y, both (B, H, W, channels).
        """
        x = self.project_x.joined(parts)
        y = self.project_y.joined([self.enlarge(y) if self.enlarge else part(y)])
        active_x, weights_x = self.x(x)
        active_y, weights_y = self.y(y)
        y = by_bands(self.y.gated, y, active_y, weights_x, into=weights_x)
        return by_bands(self.x.gated, x, active_x, weights_y, into=weights_y).add_(y), y


class Encoder(nn.Module):
    """One level downwards: (features, the level's own input) to (half the size, what the level found)."""

    def __init__(self, inputs: int, channels: int, size: int, groups: int, reduction: int, *, gated: bool) -> None:
        super().__init__()
        self.entry = Dense(inputs, channels)
        self.groups = Groups(channels, size, groups, lambda: ChannelAttention(channels, reduction))
        self.cross = CrossGating(channels, channels, channels, size) if gated else None
        self.down = Convolution(channels, channels, 4, stride=2, padding=1)

    def forward(self, parts: Iterable[Part], before: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, H, W, inputs) and what the U-Net before found here, to (B, H / 2, W / 2, C) and (B, H, W, C)."""
        found = self.groups(self.entry.joined(parts))
        if self.cross is not None:
            assert before is not None
            found = self.cross([part(found)], before)[0]
        return self.down(found), found


class Bottleneck(nn.Module):
    """A block at the smallest size."""

    def __init__(self, channels: int, size: int, groups: int, reduction: int) -> None:
        super().__init__()
        self.entry = Dense(channels, channels)
        self.groups = Groups(channels, size, groups, lambda: DenseAttention(channels, reduction))

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        return self.groups(self.entry(features))


class Decoder(nn.Module):
    """One level upwards."""

    def __init__(self, inputs: int, skips: int, channels: int, size: int, groups: int, reduction: int) -> None:
        super().__init__()
        self.up = Enlargement(inputs, channels)
        self.entry = Dense(channels + skips, channels)
        self.groups = Groups(channels, size, groups, lambda: ChannelAttention(channels, reduction))

    def forward(self, features: Tensor, skips: Iterable[Part]) -> Tensor:
        """(B, H / 2, W / 2, inputs) and (B, H, W, skips) to (B, H, W, C)."""
        return self.groups(self.entry.joined(chain((self.up(features),), skips)))


class SupervisedAttention(nn.Module):
    """Supervised attention module (SAM): features, weighted by how they look as a picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = Convolution(channels, channels, 3, padding=1)
        self.to_image = Convolution(channels, 3, 3, padding=1)
        self.from_image = Convolution(3, channels, 3, padding=1)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """(B, H, W, C) and the blurry picture at this size (B, H, W, 3) to (B, H, W, C)."""
        weights = torch.sigmoid(self.from_image(self.to_image(features) + image))
        return torch.addcmul(features, self.features(features), weights)


class Found(NamedTuple):
    """What a U-Net found at every level, the largest first.

    Attributes
    ----------
    encoded : list of Tensor
        By its encoders and decoders, added; of the last U-Net by the decoders.
    attended : list of Tensor
        By its attentions; empty for the last U-Net.
    """

    encoded: list[Tensor]
    attended: list[Tensor]


class Stage(nn.Module):
    """One of the U-Nets.

    Parameters
    ----------
    widths, sizes : sequence of int
        Of every level from the largest down: its channels, and its grids' and blocks' size.
    groups, bottlenecks, reduction : int
        See `Maxim`.
    first, last : bool
        Whether no U-Net comes before or after.
    """

    def __init__(
        self,
        widths: Sequence[int],
        sizes: Sequence[int],
        groups: int,
        bottlenecks: int,
        reduction: int,
        *,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        levels, total = range(len(widths)), len(widths)
        pairs = list(zip(widths, sizes, strict=True))
        above, below = (0, *widths[:-1]), (*widths[1:], widths[-1])
        self.inputs = nn.ModuleList(Entrance(width) for width in widths)
        self.fuse = nn.ModuleList(CrossGating(w, w, w, size) for w, size in pairs if not first)
        self.encoders = nn.ModuleList(
            Encoder(above[i] + widths[i], widths[i], sizes[i], groups, reduction, gated=not first) for i in levels
        )
        self.bottlenecks = nn.Sequential(
            *(Bottleneck(widths[-1], sizes[-1], groups, reduction) for _ in range(bottlenecks))
        )
        self.signals = nn.ModuleList(Signals(widths[i], [(widths[j], j - i) for j in levels]) for i in levels)
        # The smallest first, as they are found.
        self.skips = nn.ModuleList(Signals(widths[i], [(widths[j], j - i) for j in levels[::-1]]) for i in levels)
        self.gates = nn.ModuleList(
            CrossGating(total * widths[i], below[i], widths[i], sizes[i], enlarge=True) for i in levels
        )
        self.decoders = nn.ModuleList(
            Decoder(below[i], total * widths[i], widths[i], sizes[i], groups, reduction) for i in levels
        )
        self.attend = nn.ModuleList(SupervisedAttention(width) for width in widths if not last)

    def encode(self, images: list[Tensor], before: Found | None) -> list[Tensor]:
        """The blurry picture at every level's size, (B, h, w, 3), to what encoders find, and last the bottlenecks."""
        encoded: list[Tensor] = []
        above: list[Part] = []
        for i, image in enumerate(images):
            seen, earlier = self.inputs[i](image), None
            if before is not None:
                seen = part(self.fuse[i]([seen], before.attended[i])[0])
                earlier = before.encoded[i]
            features, found = self.encoders[i]([*above, seen], earlier)
            encoded.append(found)
            above = [part(features)]
        return [*encoded, self.bottlenecks(features)]

    def decode(self, images: list[Tensor], encoded: list[Tensor]) -> Found:
        """The same picture, and what `encode` made of it."""
        *encoded, features = encoded
        levels = range(len(images) - 1, -1, -1)
        gated, context, decoded = [], features, list(encoded)
        for i in levels:
            found, context = self.gates[i](self.signals[i](encoded), context)
            gated.append(found)
        for i in levels:
            decoded[i] = features = self.decoders[i](features, self.skips[i](gated))
        if not self.attend:
            return Found(decoded, [])
        attended = [attend(*pair) for attend, *pair in zip(self.attend, decoded, images, strict=True)]
        return Found([one + other for one, other in zip(encoded, decoded, strict=True)], attended)


class Maxim(nn.Module, RestorerNetwork):
    """MAXIM: blurry to sharp; as released (MAXIM-3S) by default, 22.2 million parameters.

    Parameters
    ----------
    features : int
        Channels at full size; twice as many at half size, four times as many at a quarter, ...
    stages : int
        U-Nets in a row.
    sizes : sequence of int
        Of every level of a U-Net: the grid has ``size ** 2`` cells, a block as many pixels. The last one is the
        bottleneck's too.
    groups : int
        Multi-axis and attention blocks in every encoder, decoder and bottleneck.
    bottlenecks : int
        At the smallest size.
    reduction : int
        Of channels in the attentions' middle.
    """

    exports = ("restorer",)
    is_local = False
    tile_overlap = 64
    # Larger ones are no nearer to the truth: trained on 256x256 crops, it gains nothing from a wider grid.
    tile_size: int | None = 512

    def __init__(
        self,
        features: int = 32,
        stages: int = 3,
        sizes: Sequence[int] = (16, 16, 8),
        groups: int = 2,
        bottlenecks: int = 2,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {
            "features": features,
            "stages": stages,
            "sizes": list(sizes),
            "groups": groups,
            "bottlenecks": bottlenecks,
            "reduction": reduction,
        }
        self.depth = len(sizes)
        self.multiple = math.lcm(*(size << level for level, size in enumerate((*sizes, sizes[-1]))))
        widths = [features << level for level in range(self.depth)]
        self.stages = nn.ModuleList(
            Stage(widths, sizes, groups, bottlenecks, reduction, first=i == 0, last=i == stages - 1)
            for i in range(stages)
        )
        self.head = Convolution(features, 3, 3, padding=1)

    def forward(self, blurry: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], any size, to sharp (B, 3, H, W), unclamped."""
        padded, (top, left) = pad_around(blurry, self.multiple)
        image = padded.permute(0, 2, 3, 1).contiguous()
        # Nearest neighbours of the centres.
        images = [image, *(image[:, half::step, half::step] for half, step in self._steps())]
        found: Found | None = None
        stage: Any
        for stage in self.stages:
            encoded = stage.encode(images, found)
            # Much of the memory, and no longer needed.
            del found
            found = stage.decode(images, encoded)
            del encoded
        assert found is not None
        sharp = (self.head(found.encoded[0]) + image).permute(0, 3, 1, 2)
        return sharp[..., top : top + blurry.shape[-2], left : left + blurry.shape[-1]]

    def _steps(self) -> list[tuple[int, int]]:
        return [(1 << level - 1, 1 << level) for level in range(1, self.depth)]
