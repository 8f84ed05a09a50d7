"""The recurrent model: a blurry picture and its sharp middle frame to the motion towards every other frame.

Purohit, Shah, Rajagopalan: Bringing Alive Blurred Moments (CVPR 2019), as HyperCUT's authors built it. An encoder reads
both pictures into the first hidden state of a convolutional LSTM, which then goes through the exposure step by step:
from the motion of the step before to that of this one. A frame is the middle frame, moved. The middle frame is an
argument: it comes from a network that sharpens, never from the ground truth where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.padding import crop, pad_to_multiple
from unblur.layers.paths import warp
from unblur.layers.resample import in_between, shrink
from unblur.networks.kinds import FilmNetwork

SLOPE = 0.1
LEVELS = 3
"""Halvings between the pictures and the hidden state."""
UNIT = 2.0**LEVELS
"""Pixels of motion that the flow encoder takes as 1."""
COVERED = 0.9999
"""How much of a sampled pixel must lie in the picture for the released network to show it."""


class Moved(NamedTuple):
    """What a recurrent network finds, at 1/8, 1/4, 1/2 and 1 of the size of the pictures, padded to multiples of 8.

    Attributes
    ----------
    frames : list of Tensor
        (B, T, 3, h, w) each.
    flows : list of Tensor
        (B, T, 2, h, w) each, in pixels (x, y) of their own size: where in the middle frame each pixel is found.
    """

    frames: list[Tensor]
    flows: list[Tensor]


class PictureEncoder(nn.Sequential):
    """Pictures (B, C, H, W) to features at an eighth, each convolution with a leaky ReLU after it."""

    def __init__(self, inputs: int, width: int, hidden: int) -> None:
        widths = (inputs, width, width, width, hidden, hidden, hidden, hidden)
        strides = (1, 1, 2, 1, 1, 2, 2)
        layers: list[nn.Module] = []
        for (a, b), stride in zip(pairwise(widths), strides, strict=True):
            layers += [nn.Conv2d(a, b, 5, stride, padding=2), nn.LeakyReLU(SLOPE, inplace=True)]
        super().__init__(*layers)


class FlowLevel(nn.Module):
    """A convolution that may halve, and a residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.first = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        features = self.entry(features)
        return F.leaky_relu(features + self.second(F.leaky_relu(self.first(features), SLOPE)), SLOPE)


class ConvLSTM(nn.Module):
    """A long short-term memory whose maps are convolutions (Shi et al. 2015), without peepholes."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1)

    def forward(self, features: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden state and cell, both (B, hidden, h, w)."""
        write, keep, show, value = self.gates(torch.cat((features, hidden), 1)).chunk(4, 1)
        cell = keep.sigmoid() * cell + write.sigmoid() * value.tanh()
        return show.sigmoid() * cell.tanh(), cell


class FlowDecoder(nn.Module):
    """A hidden state, and the features of the last flow, to the next flow from coarse to fine.

    Parameters
    ----------
    widths : sequence of int
        Of the flow encoder from fine to coarse, the last that of the hidden state.
    magnify : float
        What a flow is multiplied by where it is enlarged twice.
    """

    def __init__(self, widths: Sequence[int], magnify: float) -> None:
        super().__init__()
        self.magnify = magnify
        up = list(widths)[::-1]
        self.enlarge = nn.ModuleList(nn.Conv2d(a, b, 5, padding=2) for a, b in pairwise(up))
        self.heads = nn.ModuleList(
            nn.Conv2d(2 * width + (2 if level else 0), 2, 3, padding=1) for level, width in enumerate(up)
        )

    def forward(self, levels: Sequence[Tensor], hidden: Tensor) -> list[Tensor]:
        """Features of the flow before, from fine to coarse, and the hidden state to flows from coarse to fine."""
        *finer, coarsest = levels
        flows = [self.heads[0](torch.cat((coarsest, hidden), 1))]
        features = hidden
        for convolution, head, level in zip(self.enlarge, self.heads[1:], reversed(finer), strict=True):
            features = F.leaky_relu(convolution(_doubled(features)), SLOPE)
            flows.append(head(torch.cat((level, features, self.magnify * _doubled(flows[-1])), 1)))
        return flows


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


class Purohit(nn.Module, FilmNetwork):
    """A blurry picture and its sharp middle frame to the frames of the exposure: 4,553,708 parameters as released.

    Parameters
    ----------
    width, hidden : int
        Of the picture encoder: fine, and coarse; the latter also of the hidden state.
    flow_widths : sequence of int
        Of the flow encoder at 1, 1/2 and 1/4.
    steps : int
        Frames that the network is trained for, at i / (steps - 1); those between follow from the motion on both sides.
    released : bool
        As released: every step takes no motion for what came before it; a flow keeps its numbers where it is enlarged,
        though they are pixels; pictures are shrunk by leaving pixels out, sampled half a pixel aside, and black where
        they end; and the middle frame is moved too.

    Attributes
    ----------
    steps : int
        Frames that it makes; those at times between are drawn along mixed flows.
    """

    is_sequence = has_displacements = True
    starts_from = "sharp"
    has_map = True
    is_local = True
    multiple = 2**LEVELS
    tile_overlap = 16 * multiple

    def __init__(
        self,
        width: int = 64,
        hidden: int = 128,
        flow_widths: Sequence[int] = (16, 32, 164),
        steps: int = 7,
        released: bool = False,
    ) -> None:
        super().__init__()
        if len(flow_widths) != LEVELS or min(width, hidden, *flow_widths) < 1 or steps < 2:
            raise ValueError(f"flow_widths must be {LEVELS} numbers above 0, and steps 2 or more")
        self.arguments: dict[str, object] = {
            "width": width,
            "hidden": hidden,
            "flow_widths": list(flow_widths),
            "steps": steps,
            "released": released,
        }
        self.steps, self.released = steps, released
        widths = (*flow_widths, hidden)
        self.pictures = PictureEncoder(6, width, hidden)
        self.flow_levels = nn.ModuleList(
            FlowLevel(a, b, 2 if level else 1) for level, (a, b) in enumerate(pairwise((2, *widths)))
        )
        self.memory = ConvLSTM(hidden, hidden)
        self.decoder = FlowDecoder(widths, magnify=1.0 if released else 2.0)

    @classmethod
    def small(cls, steps: int = 7) -> Purohit:
        """For CPUs: 936,420 parameters."""
        return cls(width=32, hidden=64, flow_widths=(8, 16, 40), steps=steps)

    def forward(self, blurry: Tensor, middle: Tensor, times: Tensor | None = None) -> Tensor:
        """Frames of blurry pictures.

        Parameters
        ----------
        blurry, middle : Tensor
            (B, 3, H, W) in [0, 1], any size: what the camera took, and the scene in the middle of the exposure.
        times : Tensor, optional
            (T,) in [0, 1]; those of the network's steps if left out.

        Returns
        -------
        Tensor
            (B, T, 3, H, W), in the order of time, which may run either way.
        """
        if times is None and self.released:
            return crop(self.moved(blurry, middle).frames[-1], _size(blurry))
        times = torch.arange(self.steps, device=blurry.device) / (self.steps - 1) if times is None else times
        return self.decode(self.estimate_motion(blurry, middle), times)

    def moved(self, blurry: Tensor, middle: Tensor) -> Moved:
        """Frames and flows of all steps at four sizes, see `Moved`; the arguments as of `forward`."""
        flows, middle = self._flows(blurry, middle)
        frames = []
        for level, flow in zip(range(LEVELS, -1, -1), flows, strict=True):
            factor = 2**level
            small = middle[..., ::factor, ::factor] if self.released else shrink(middle, factor)
            frames.append(self._drawn(small, flow))
        return Moved(frames, flows)

    def _flows(self, blurry: Tensor, middle: Tensor) -> tuple[list[Tensor], Tensor]:
        """The flows of `Moved`, and the middle frame in their size."""
        if blurry.shape != middle.shape:
            raise ValueError(f"shapes differ: {tuple(blurry.shape)} and {tuple(middle.shape)}")
        pair, _ = pad_to_multiple(torch.cat((blurry, middle), 1), self.multiple)
        hidden = self.pictures(pair)
        cell, last = torch.zeros_like(hidden), torch.zeros_like(pair[:, :2])
        found: list[list[Tensor]] = []
        levels: list[Tensor] = []
        for step in range(self.steps):
            if not (levels and self.released):
                levels = self._look(last)
            hidden, cell = self.memory(levels[-1], hidden, cell)
            # In float32, as positions must be.
            flows = [flow.float() for flow in self.decoder(levels, hidden)]
            if not self.released and 2 * step == self.steps - 1:
                flows = [torch.zeros_like(flow) for flow in flows]
            last = flows[-1]
            found.append(flows)
        return [torch.stack(scale, 1) for scale in zip(*found, strict=True)], pair[:, 3:].float()

    def _look(self, flow: Tensor) -> list[Tensor]:
        features, levels = flow / UNIT, []
        for level in self.flow_levels:
            features = level(features)
            levels.append(features)
        return levels

    def _drawn(self, middle: Tensor, flows: Tensor) -> Tensor:
        if not self.released:
            return warp(middle, flows)
        return warp(middle, _aside(flows)) * _covered(flows)[:, :, None]

    def estimate_motion(self, blurry: Tensor, sharp: Tensor, context: Tensor | None = None) -> Tensor:
        """What all frames are made of, as a map of the picture's size: (B, 3 + 2 * steps, H, W), for `decode`.

        The middle frame, then for every step where its pixels are found in it, (x, y) in pixels.
        """
        flows = self._flows(blurry, sharp)[0][-1]
        flows = _aside(flows) if self.released else flows
        return torch.cat((sharp.float(), crop(flows, _size(blurry)).flatten(1, 2)), 1)

    @staticmethod
    def displacements(state: Tensor, times: Tensor) -> Tensor:
        """Where the frames at `times` (T,) or (B, T) find their pixels, (B, T, 2, H, W), linear between steps."""
        return in_between(state[:, 3:].unflatten(1, (-1, 2)), times)

    @staticmethod
    def decode(state: Tensor, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) at `times` (T,) or (B, T), from what `estimate_motion` returned."""
        return warp(state[:, :3], Purohit.displacements(state, times))

    @staticmethod
    def align(state: Tensor, reference: Tensor) -> Tensor:
        """Turn the time of a tile's flows to run as in `reference`; see `networks.path_film.PathFilm.align`."""
        own, other = (each[:, 3:].unflatten(1, (-1, 2)) for each in (state, reference.to(state)))
        turned = own.flip(1)
        agreement = ((own - turned) * (other - other.flip(1))).sum((1, 2, 3, 4), keepdim=True)
        return torch.cat((state[:, :3], torch.where(agreement < 0, turned, own).flatten(1, 2)), 1)

    @staticmethod
    def reach(state: Tensor) -> Tensor:
        """How many pixels away a frame looks for its content, in what `estimate_motion` returned."""
        return state[:, 3:].abs().amax()


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[-2], picture.shape[-1]


def _positions(flows: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Where flows (B, T, 2, H, W) point, along x and then along y, and how many pixels there are."""
    for axis, count in enumerate((flows.shape[-1], flows.shape[-2])):
        own = torch.arange(count, device=flows.device, dtype=flows.dtype)
        yield flows[:, :, axis] + (own[:, None] if axis else own), count


def _aside(flows: Tensor) -> Tensor:
    """The displacements that flows come to whose pixels are laid out corner to corner, but read edge to edge."""
    # A pixel p goes to p * count / (count - 1) - 1 / 2.
    more = [place / max(count - 1, 1) - 0.5 for place, count in _positions(flows)]
    return flows + torch.stack(more, 2)


def _covered(flows: Tensor) -> Tensor:
    """1 where what is sampled lies in the picture, else 0: (B, T, H, W)."""
    covered = flows.new_ones(())
    for place, count in _positions(_aside(flows)):
        outside = F.relu(-place) + F.relu(place - (count - 1))
        covered = covered * (1 - outside).clamp_min(0)
    return (covered >= COVERED).to(flows)
