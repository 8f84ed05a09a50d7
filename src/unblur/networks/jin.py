"""The cascade: one blurry picture to seven frames, the middle one first, then outwards pair by pair.

Jin, Meishvili, Favaro: Learning to Extract a Video Sequence from a Single Motion-Blurred Image (CVPR 2018). Blur does
not tell which way time ran, so the pairs at equal distance from the middle are made together, from the middle outwards,
and the frames on one side follow those already there.

Colours are first worked on one by one with the same weights, then together. Each network sees blocks of pixels laid
into channels, so that its fields of view are wide; instance norm makes every pixel depend on the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.padding import crop, pad_to_multiple
from unblur.layers.resample import in_between
from unblur.networks.kinds import FilmNetwork

FRAMES = 7
MIDDLE_BLOCK, SIDE_BLOCK = 4, 5
"""Sides of the blocks of pixels that are laid into channels."""
FAINT = 1e-3
Dilations = tuple[tuple[int, int], ...]
PLAIN: Dilations = ((1, 1),)


class Branches(nn.Module):
    """The sum of a 1x1 and a 3x3 convolution, each of its own norm of the features (TwoConvBlock of the release)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.point_norm = nn.InstanceNorm2d(inputs, affine=True)
        self.point = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.wide_norm = nn.InstanceNorm2d(inputs, affine=True)
        self.wide = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return _normed(self.point, self.point_norm, features) + _normed(self.wide, self.wide_norm, features)


class DilatedResidual(nn.Module):
    """Features plus a 1x1 convolution plus two dilated 3x3 ones, each after norm and ReLU (FourConvRes)."""

    def __init__(self, channels: int, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        near, far = dilations
        self.point_norm = nn.InstanceNorm2d(channels, affine=True)
        self.point = nn.Conv2d(channels, channels, 1, bias=False)
        self.near_norm = nn.InstanceNorm2d(channels, affine=True)
        self.near = nn.Conv2d(channels, channels, 3, padding=near, dilation=near, bias=False)
        self.far_norm = nn.InstanceNorm2d(channels, affine=True)
        self.far = nn.Conv2d(channels, channels, 3, padding=far, dilation=far, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        twice = _normed(self.far, self.far_norm, _normed(self.near, self.near_norm, features))
        return features + _normed(self.point, self.point_norm, features) + twice


def _normed(convolution: nn.Conv2d, norm: nn.InstanceNorm2d, features: Tensor) -> Tensor:
    return convolution(F.relu(norm(features), inplace=True))


class Stages(nn.Module):
    """Stages of residuals one after the other; what each of them found is brought down to a block of pixels and summed.

    Parameters
    ----------
    channels : int
    pixels : int
        In a block.
    stages : sequence
        For every stage its residuals' dilations.
    """

    def __init__(self, channels: int, pixels: int, stages: Sequence[Dilations]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(*(DilatedResidual(channels, dilations) for dilations in stage)) for stage in stages
        )
        self.heads = nn.ModuleList(Branches(channels, pixels) for _ in stages)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, pixels, h, w)."""
        found: Tensor | None = None
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = stage(features)
            found = head(features) if found is None else found + head(features)
        assert found is not None
        return found


class Refinement(nn.Module):
    """Three colours to what is to be added to them, now together."""

    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.block = DilatedResidual(width) if residual else Branches(width, width)
        self.norm = nn.InstanceNorm2d(width, affine=True)
        self.exit = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        # A new network all but repeats what it is given, and learns from there.
        nn.init.normal_(self.exit.weight, std=FAINT)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) to the same shape."""
        return _normed(self.exit, self.norm, self.block(self.entry(picture)))


class MiddleNet(nn.Module):
    """The middle frame.

    Parameters
    ----------
    width, refine_width : int
        Channels of each colour's features, and of those of all three.
    """

    DILATIONS = (PLAIN * 3, ((1, 2), (2, 4), (4, 8)), ((8, 4), (4, 2), (2, 1)), PLAIN * 3)

    def __init__(self, width: int, refine_width: int) -> None:
        super().__init__()
        pixels = MIDDLE_BLOCK**2
        self.entry = nn.Conv2d(pixels, width, 5, padding=2, bias=False)
        self.stages = Stages(width, pixels, self.DILATIONS)
        self.refinement = Refinement(refine_width, residual=True)

    def forward(self, blurry: Tensor) -> Tensor:
        """(B, 3, H, W), H and W multiples of 4, to the same shape."""
        blocks = _to_blocks(blurry, MIDDLE_BLOCK)
        blocks = blocks + self.stages(self.entry(blocks))
        return blurry + self.refinement(_from_blocks(blocks, MIDDLE_BLOCK))


class NeighbourNet(nn.Module):
    """The frame on one side of another.

    Parameters
    ----------
    width, refine_width : int
        As of `MiddleNet`; `width` a multiple of 4: half of it looks at the blurry picture, a quarter at each frame.
    plain : int
        Residuals in the first stage, and as many in the last; the one between has dilated ones.
    """

    DILATIONS = ((1, 2), (4, 8), (8, 4), (2, 1))

    def __init__(self, width: int, refine_width: int, plain: int) -> None:
        super().__init__()
        pixels = SIDE_BLOCK**2
        self.entry_blurry = nn.Conv2d(pixels, width // 2, 5, padding=2, bias=False)
        self.entry_inner = nn.Conv2d(pixels, width // 4, 5, padding=2, bias=False)
        self.entry_near = nn.Conv2d(pixels, width // 4, 5, padding=2, bias=False)
        self.stages = Stages(width, pixels, (PLAIN * plain, self.DILATIONS, PLAIN * plain))
        self.refinement = Refinement(refine_width, residual=False)

    def forward(self, blurry: Tensor, inner: Tensor, near: Tensor) -> Tensor:
        """The frame beyond `near`, (B, 3, H, W), sides multiples of 5; `inner` is another one, further inwards."""
        blocks = [_to_blocks(picture, SIDE_BLOCK) for picture in (blurry, inner, near)]
        entries = (self.entry_blurry, self.entry_inner, self.entry_near)
        features = torch.cat([entry(block) for entry, block in zip(entries, blocks, strict=True)], 1)
        change = blocks[-1] + self.stages(features)
        return near + self.refinement(_from_blocks(change, SIDE_BLOCK))


def _to_blocks(picture: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) to (3 B, side^2, H / side, W / side): every colour by itself."""
    return F.pixel_unshuffle(picture.flatten(0, 1)[:, None], side)


def _from_blocks(blocks: Tensor, side: int) -> Tensor:
    return F.pixel_shuffle(blocks, side)[:, 0].unflatten(0, (-1, 3))


class Jin(nn.Module, FilmNetwork):
    """One blurry picture to the seven frames of its exposure: 18,213,376 parameters as released.

    Parameters
    ----------
    middle_width, middle_refine : int
        See `MiddleNet`.
    side_width, side_refine : int
        See `NeighbourNet`.

    Attributes
    ----------
    count : int
        Frames, at times i / 6.
    """

    is_sequence = True
    has_map = True
    count = steps = FRAMES
    is_local = False
    multiple = MIDDLE_BLOCK * SIDE_BLOCK
    tile_overlap = 8 * multiple

    def __init__(
        self, middle_width: int = 144, middle_refine: int = 64, side_width: int = 128, side_refine: int = 32
    ) -> None:
        super().__init__()
        if side_width % 4 or min(middle_width, middle_refine, side_width, side_refine) < 1:
            raise ValueError(f"side_width must be a multiple of 4, and all widths above 0; got {side_width}")
        self.arguments: dict[str, object] = {
            "middle_width": middle_width,
            "middle_refine": middle_refine,
            "side_width": side_width,
            "side_refine": side_refine,
        }
        self.middle = MiddleNet(middle_width, middle_refine)
        self.before = NeighbourNet(side_width, side_refine, 4)
        self.after = NeighbourNet(side_width, side_refine, 4)
        # These are the same to both sides.
        self.second = NeighbourNet(side_width, side_refine, 2)
        self.outermost = NeighbourNet(side_width, side_refine, 2)

    @classmethod
    def small(cls) -> Jin:
        """For CPUs: 1,562,848 parameters, in widths that convolutions are quick at."""
        return cls(middle_width=48, middle_refine=16, side_width=32, side_refine=16)

    def forward(self, blurry: Tensor) -> Tensor:
        """Seven frames of blurry pictures.

        Parameters
        ----------
        blurry : Tensor
            (B, 3, H, W) in [0, 1], any size; padded by reflection to multiples of 20.

        Returns
        -------
        Tensor
            (B, 7, 3, H, W), unclamped, in the order of time, which may run either way.
        """
        blurry, size = pad_to_multiple(blurry, self.multiple)
        middle = self.middle(blurry)
        third = self.before(blurry, middle, middle)
        fifth = self.after(blurry, third, middle)
        second, sixth = self.second(blurry, middle, third), self.second(blurry, middle, fifth)
        first, seventh = self.outermost(blurry, third, second), self.outermost(blurry, fifth, sixth)
        return crop(torch.stack((first, second, third, middle, fifth, sixth, seventh), 1), size)

    def encode(self, blurry: Tensor) -> Tensor:
        """All frames as a map of the picture's size, (B, 21, H, W), for `decode`."""
        return self(blurry).float().flatten(1, 2)

    @staticmethod
    def decode(state: Tensor, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) at `times` (T,) or (B, T), from what `encode` returned.

        Only those at i / 6 are the network's. Between two of them stands their mixture: no frame to look at, but right
        for means over the exposure.
        """
        return in_between(state.unflatten(1, (FRAMES, 3)), times)

    @staticmethod
    def align(state: Tensor, reference: Tensor) -> Tensor:
        """Turn the time of a tile's frames to run as in `reference`; see `networks.path_film.PathFilm.align`."""
        own, other = (each.unflatten(1, (FRAMES, 3)) for each in (state, reference.to(state)))
        turned = own.flip(1)
        agreement = ((own - turned) * (other - other.flip(1))).sum((1, 2, 3, 4), keepdim=True)
        return torch.where(agreement < 0, turned, own).flatten(1, 2)

    @staticmethod
    def reach(state: Tensor) -> Tensor:
        """How far a frame looks in the state: nowhere but at its own pixel."""
        return state.new_zeros(())
