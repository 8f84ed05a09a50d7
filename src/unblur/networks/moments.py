"""The network of moments: one blurry picture and a time to the sharp frame at that time.

The generator of CFMD-GAN (Lee, Han, Heo, IEEE Access 2022): MIMO-UNet whose blocks are told the time. In the paper's
symbols, the control factor u is the time, the mapping network is `Control`, and ContAda, which is CADC then CACA, is
`TimedBlock`.

The paper enlarges the mapping network's answer to a map and lays it beside the features before 1x1 convolutions. As the
time is one number per frame, that map is constant, and the convolution of both is that of the features plus one number
per channel: ``W [F; c] = W_F F + W_c c``. So the mapping network runs on vectors, nothing is laid side by side, and

* the first stage up to the first such sum does not depend on the time: `encode` does it once for all frames;
* the second 1x1 convolution of a block follows a linear operator, so its weights are multiplied into that operator's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.attention import ChannelGate
from unblur.layers.deformable import deformable_conv2d
from unblur.layers.padding import crop
from unblur.networks.mimo_unet import SCALES, STAGE_WIDTHS, MimoSkeleton, Views

SLOPE = 0.2
TAPS = 9


class Control(nn.Module):
    """Mapping network: a time to one vector for each of the six stages.

    Parameters
    ----------
    channels : int
        Of the shared layers; the stages' vectors have 1, 2, 4, 4, 2, 1 times as many numbers.
    depth : int
        Shared layers.
    """

    def __init__(self, channels: int, depth: int = 8) -> None:
        super().__init__()
        widths = [1] + depth * [channels]
        self.shared = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(nn.Linear(channels, width * channels) for width in STAGE_WIDTHS)

    def forward(self, times: Tensor) -> list[Tensor]:
        """Times (N,) to six (N, width * channels)."""
        # The first layers must tell 51 times apart, which eight bits cannot.
        with torch.autocast(times.device.type, enabled=False):
            control = times[:, None].to(next(self.parameters()).dtype)
            for layer in self.shared:
                control = F.leaky_relu(layer(control), SLOPE)
            return [F.leaky_relu(layer(control), SLOPE) for layer in self.stages]


class TimedBlock(nn.Module):
    """Convolution, deformable convolution, channel attention, the latter two told the time; plus the input (ContAda).

    Parameters
    ----------
    channels : int
        A multiple of 4.
    deformable : bool
        CADC; else a plain convolution in its place.
    attention : bool
        CACA; else channel attention that is not told the time.
    mask_range : float
        Samples are multiplied by 0 to `mask_range`, half of it at first: 2 as released, 1 in the paper.
    shared_fusion : bool
        Paper: the attention looks at the features that the deformable convolution reads and multiplies its output. As
        released: it fuses that output with the time once more, looks at the result and multiplies that.
    """

    def __init__(
        self, channels: int, deformable: bool, attention: bool, mask_range: float, shared_fusion: bool
    ) -> None:
        super().__init__()
        self.deformable, self.attention = deformable, attention
        self.mask_range, self.shared_fusion = mask_range, shared_fusion
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=not deformable)
        self.gate = ChannelGate(channels, slope=SLOPE)
        if deformable:
            self.fuse = nn.Conv2d(2 * channels, channels, 1, bias=False)
            self.offset = nn.Conv2d(channels, 2 * TAPS, 3, padding=1)
            self.mask = nn.Conv2d(channels, TAPS, 3, padding=1)
            for parameter in (*self.offset.parameters(), *self.mask.parameters()):
                nn.init.zeros_(parameter)
        if attention and not shared_fusion:
            self.refuse = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def begin(self, features: Tensor) -> Tensor:
        """What does not depend on the time: (B, C, H, W) to the same shape, for `forward`."""
        active = F.leaky_relu(self.first(features), SLOPE, inplace=True)
        if self.deformable:
            return F.conv2d(active, self.fuse.weight.chunk(2, dim=1)[0])
        return F.conv2d(active, self._second_weight(), self._second_bias(), padding=1)

    def forward(self, features: Tensor, control: Tensor, begun: Tensor | None = None) -> Tensor:
        """Features (N or 1, C, H, W) and control vectors (N, C) to (N, C, H, W).

        `begun` is ``begin(features)``, if that is at hand; it is kept.
        """
        begun = self.begin(features) if begun is None else begun
        if not self.deformable:
            mixed = _shifted(begun, control, self.refuse) if self.attention else begun
            return torch.addcmul(features, mixed, self.gate(mixed.mean((2, 3))))
        fused = _shifted(begun, control, self.fuse)
        seen = self._deform(fused)
        if self.attention and not self.shared_fusion:
            seen = _shifted(seen, control, self.refuse)
        means = (fused if self.shared_fusion else seen).mean((2, 3))
        return torch.addcmul(features, seen, self.gate(means))

    def _deform(self, fused: Tensor) -> Tensor:
        # One convolution for offsets and masks: alone, their few channels leave most of a processor idle.
        weight = torch.cat((self.offset.weight, self.mask.weight))
        offset, mask = F.conv2d(fused, weight, torch.cat((self.offset.bias, self.mask.bias)), padding=1).split(
            (2 * TAPS, TAPS), dim=1
        )
        return deformable_conv2d(fused, offset, self.mask_range * mask.sigmoid(), self._second_weight())

    def _second_weight(self) -> Tensor:
        """The second convolution's weights, with the fusion that follows multiplied in: R (W x) = (R W) x."""
        if not self.attention or self.shared_fusion:
            return self.second.weight
        return torch.einsum("oc,ciyx->oiyx", self.refuse.weight.chunk(2, dim=1)[0][..., 0, 0], self.second.weight)

    def _second_bias(self) -> Tensor | None:
        if not self.attention or self.second.bias is None:
            return self.second.bias
        return self.refuse.weight.chunk(2, dim=1)[0][..., 0, 0] @ self.second.bias


def _shifted(features: Tensor, control: Tensor, fuse: nn.Conv2d) -> Tensor:
    """Features plus what the second half of a fusion's weights makes of the control vectors."""
    shift = F.linear(control, fuse.weight.chunk(2, dim=1)[1][..., 0, 0])
    return features + shift[:, :, None, None].to(features.dtype)


class State(NamedTuple):
    """What `MomentNet` knows of a picture before it is told a time."""

    views: Views
    begun: Tensor
    height: int
    width: int

    def of(self, pictures: list[int]) -> State:
        """The state of each of these pictures; of a single one, whatever their number, if they are all the same."""
        if pictures == list(range(self.begun.shape[0])):
            return self
        first, last = pictures[0], pictures[-1]
        rows = slice(first, first + 1) if first == last else pictures
        return State(Views(*(view[rows] for view in self.views)), self.begun[rows], self.height, self.width)


class MomentNet(nn.Module):
    """The generator of CFMD-GAN: a blurry picture and times to frames.

    Parameters
    ----------
    channels : int
        At full size; a multiple of 4.
    blocks : int
        In each of the six stages.
    deformable, attention, mask_range, shared_fusion
        See `TimedBlock`. The defaults are the released network, of 9,246,323 parameters; the paper's equations are
        ``mask_range=1.0, shared_fusion=True``.

    Attributes
    ----------
    pixels_at_once : int
        Frames are made in groups of about this many pixels, at least one frame, when no gradients are wanted.
    """

    # Channel attention averages over the whole picture.
    is_local = False
    multiple = 4
    tile_overlap = 64

    def __init__(
        self,
        channels: int = 32,
        blocks: int = 8,
        deformable: bool = True,
        attention: bool = True,
        mask_range: float = 2.0,
        shared_fusion: bool = False,
    ) -> None:
        super().__init__()
        if shared_fusion and not (deformable and attention):
            raise ValueError("shared_fusion needs deformable and attention: it is what the two share")
        self.arguments: dict[str, object] = {
            "channels": channels,
            "blocks": blocks,
            "deformable": deformable,
            "attention": attention,
            "mask_range": mask_range,
            "shared_fusion": shared_fusion,
        }
        self.pixels_at_once = 2**17
        self.control = Control(channels)
        self.skeleton = MimoSkeleton(channels, SLOPE)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                TimedBlock(width * channels, deformable, attention, mask_range, shared_fusion) for _ in range(blocks)
            )
            for width in STAGE_WIDTHS
        )

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], times (T,) or (B, T) in [0, 1], to frames (B, T, 3, H, W), unclamped."""
        return self.decode(self.encode(blurry), times)

    def scales(self, blurry: Tensor, times: Tensor) -> list[Tensor]:
        """Frames (B, T, 3, ceil(H / s), ceil(W / s)) for s = 4, 2, 1, unclamped: what training compares."""
        return self._decode(self.encode(blurry), times, every_scale=True)

    def encode(self, blurry: Tensor) -> State:
        """All that does not depend on the time."""
        views = self.skeleton.look(blurry)
        return State(views, self._blocks(0)[0].begin(views.feature), blurry.shape[-2], blurry.shape[-1])

    def decode(self, state: State, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) at `times` from what `encode` returned."""
        return self._decode(state, times, every_scale=False)[-1]

    def _decode(self, state: State, times: Tensor, every_scale: bool) -> list[Tensor]:
        batch = state.begun.shape[0]
        times = times.expand(batch, -1) if times.ndim == 1 else times
        controls = self.control(times.flatten())
        pictures = [picture for picture in range(batch) for _ in range(times.shape[1])]
        at_once = max(1, self.pixels_at_once // state.views.full[0, 0].numel())
        if torch.is_grad_enabled() or torch.compiler.is_exporting():
            at_once = len(pictures)
        groups = []
        for start in range(0, len(pictures), at_once):
            rows = slice(start, start + at_once)
            groups.append(self._frames(state.of(pictures[rows]), [c[rows] for c in controls], every_scale))
        answers = [torch.cat(group) if len(groups) > 1 else group[0] for group in zip(*groups, strict=True)]
        scales = SCALES if every_scale else SCALES[-1:]
        sizes = [(-(-state.height // scale), -(-state.width // scale)) for scale in scales]
        return [crop(a.unflatten(0, (batch, -1)), size) for a, size in zip(answers, sizes, strict=True)]

    def _frames(self, state: State, controls: list[Tensor], every_scale: bool) -> list[Tensor]:
        def stage(number: int, features: Tensor) -> Tensor:
            begun = state.begun if number == 0 else None
            for block in self._blocks(number):
                features = block(features, controls[number], begun)
                begun = None
            return features

        return self.skeleton.run(state.views, stage, every_scale=every_scale)

    def _blocks(self, stage: int) -> list[TimedBlock]:
        return list(cast(nn.ModuleList, self.stages[stage]))  # type: ignore[arg-type]
