"""CFMD: one blurry picture and a time to the sharp frame at that time.

The generator of CFMD-GAN (Lee, Han, Heo, IEEE Access 2022): MIMO-UNet whose blocks are conditioned on the time. In the
paper's symbols, the control factor u is the time, the mapping network is `Control`, and ContAda, which is CADC then
CACA, is `TimedBlock`.

The paper enlarges the mapping network's answer to a map and lays it beside the features before 1x1 convolutions. As the
time is one number per frame, that map is constant, and the convolution of both is that of the features plus one number
per channel: ``W [F; c] = W_F F + W_c c``. So the mapping network runs on vectors, nothing is laid side by side, and

* the first stage up to the first such sum does not depend on the time: `encode` does it once for all frames;
* the second such sum of a block follows a linear operator: its weights are multiplied into that operator's (`Folded`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.attention import ChannelGate
from unblur.layers.deformable import Steering, steered_conv2d
from unblur.layers.padding import crop
from unblur.layers.resample import mix_channels
from unblur.networks.kinds import FilmNetwork, RefinerNetwork
from unblur.networks.mimo_unet import SCALES, STAGE_WIDTHS, MimoSkeleton, Views

SLOPE = 0.2
TAPS = 9
SHARED_LAYERS = 8
CPU_PIXELS = 2**16
CUDA_PIXELS = 2**22


class Control(nn.Module):
    """Mapping network: a time to one vector for each of the six stages.

    Parameters
    ----------
    channels : int
        Of the shared layers; the stages' vectors have 1, 2, 4, 4, 2, 1 times as many numbers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [1] + SHARED_LAYERS * [channels]
        self.shared = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(nn.Linear(channels, width * channels) for width in STAGE_WIDTHS)
        for layer in (*self.shared, *self.stages):
            # Nine layers as torch makes them would shrink the time a thousandfold, and what can be learnt of it.
            nn.init.kaiming_uniform_(cast(nn.Linear, layer).weight, SLOPE)

    def forward(self, times: Tensor) -> list[Tensor]:
        """Times (N,) to six (N, width * channels)."""
        # The first layers must tell 51 times apart, which eight bits cannot.
        with torch.autocast(times.device.type, enabled=False):
            control = times[:, None].to(next(self.parameters()).dtype)
            for layer in self.shared:
                control = F.leaky_relu(layer(control), SLOPE)
            return [F.leaky_relu(layer(control), SLOPE) for layer in self.stages]


class Folded(NamedTuple):
    """What a `TimedBlock` applies, with all that needs no picture worked out. Shifts are (N or 1, C), or None."""

    fuse: Tensor | None
    steering: Steering | None
    shift: Tensor | None
    second: Tensor
    second_shift: Tensor | None

    def of(self, frames: slice) -> Folded:
        """The same for some of the frames."""
        return self._replace(shift=_some(self.shift, frames), second_shift=_some(self.second_shift, frames))


class TimedBlock(nn.Module):
    """Convolution, deformable convolution, channel attention, both conditioned on the time; plus the input (ContAda).

    Parameters
    ----------
    channels : int
        A multiple of 4.
    deformable : bool
        CADC; else a plain convolution in its place.
    attention : bool
        CACA; else channel attention that does not depend on the time.
    mask_range : float
        Samples are multiplied by 0 to `mask_range`, half of it at first: 2 as released, 1 in the paper.
    shared_fusion : bool
        Paper: the attention reads the features that the deformable convolution reads and multiplies its output. As
        released: it fuses that output with the time once more, reads the result and multiplies that.
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

    def fold(self, control: Tensor) -> Folded:
        """Weights, and shifts for control vectors (N, C)."""
        fuse = steering = shift = None
        second, bias = self.second.weight, self.second.bias
        second_shift = None if bias is None else bias[None]
        if self.attention and not self.shared_fusion:
            # What follows a linear operator can be multiplied into it: R (W x + b) = (R W) x + R b.
            mix, of_control = self.refuse.weight[..., 0, 0].chunk(2, dim=1)
            second = (mix @ second.flatten(1)).view_as(second)
            second_shift = F.linear(control, of_control, None if bias is None else mix @ bias)
        if self.deformable:
            fuse, of_control = self.fuse.weight[..., 0, 0].chunk(2, dim=1)
            shift = F.linear(control, of_control)
            second = second * self.mask_range
            steering = Steering.of(self.offset, self.mask)
        return Folded(fuse, steering, shift, second, second_shift)

    def begin(self, features: Tensor, folded: Folded) -> Tensor:
        """What does not depend on the time: (B, C, H, W) to the same shape, for `forward`."""
        return self._begin(features, folded._replace(shift=None, second_shift=None))

    def forward(self, features: Tensor, folded: Folded, begun: Tensor | None = None) -> Tensor:
        """Features (N or 1, C, H, W) to (N, C, H, W); `begun` is what `begin` made of them, if that is at hand."""
        if begun is None:
            first = self._begin(features, folded)
        else:
            first = _plus(begun, folded.shift if self.deformable else folded.second_shift)
        seen = self._deform(first, folded) if self.deformable else first
        means = (first if self.shared_fusion else seen).mean((2, 3))
        gate = self.gate(means)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or seen is begun:
            return torch.addcmul(features, seen, gate)
        # Into memory that is at hand and in the cache.
        return torch.addcmul(features, seen, gate, out=seen)

    def _begin(self, features: Tensor, folded: Folded) -> Tensor:
        active = F.leaky_relu(self.first(features), SLOPE, inplace=True)
        if folded.fuse is not None:
            fused = mix_channels(active, folded.fuse, _bias(folded.shift))
            return _plus(fused, folded.shift, beyond=1)
        out = F.conv2d(active, folded.second, _bias(folded.second_shift), padding=1)
        return _plus(out, folded.second_shift, beyond=1)

    def _deform(self, fused: Tensor, folded: Folded) -> Tensor:
        seen = steered_conv2d(fused, cast(Steering, folded.steering), folded.second, _bias(folded.second_shift))
        return _plus(seen, folded.second_shift, beyond=1)


def _bias(shift: Tensor | None) -> Tensor | None:
    """A shift as a convolution's bias, if it is the same for all frames."""
    return shift[0] if shift is not None and len(shift) == 1 else None


def _plus(features: Tensor, shift: Tensor | None, beyond: int = 0) -> Tensor:
    """Features plus a shift of more than `beyond` rows; fewer are in already."""
    if shift is None or len(shift) <= beyond:
        return features
    return features + shift[:, :, None, None].to(features.dtype)


def _some(shift: Tensor | None, frames: slice) -> Tensor | None:
    return shift if shift is None or len(shift) == 1 else shift[frames]


class State(NamedTuple):
    """What `CFMD` computes of a picture, whatever the time."""

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

    def repeated(self, count: int) -> State:
        """Every picture so many times."""
        each = lambda view: view[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)  # noqa: E731
        return State(Views(*map(each, self.views)), each(self.begun), self.height, self.width)

    def to(self, dtype: torch.dtype) -> State:
        """The same state as numbers of another type."""
        views = Views(*(view.to(dtype) for view in self.views))
        return State(views, self.begun.to(dtype), self.height, self.width)


class _Generator(nn.Module):
    """The generator of CFMD-GAN, for one picture or for three beside each other.

    Parameters
    ----------
    channels : int
        At full size; a multiple of 4.
    blocks : int
        In each of the six stages.
    fold : int
        Squares of so many pixels a side are laid into channels at first: as much to see for a CPU, in fewer places.
    deformable, attention, mask_range, shared_fusion
        See `TimedBlock`. The defaults are the released network, of 9,246,323 parameters; the paper's equations are
        ``mask_range=1.0, shared_fusion=True``.

    Attributes
    ----------
    pixels_at_once : int, optional
        Without gradients, frames are made in groups of at most this many pixels, but of one frame at least. None for
        what suits the device: on a CPU few, so that features stay in its caches.
    """

    pictures = 1
    """RGB pictures, side by side in the channels; the answers are corrections of the first."""
    # Channel attention averages over the whole picture.
    is_local = False
    tile_overlap = 64

    def __init__(
        self,
        channels: int = 32,
        blocks: int = 8,
        deformable: bool = True,
        attention: bool = True,
        mask_range: float = 2.0,
        shared_fusion: bool = False,
        fold: int = 1,
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
            "fold": fold,
        }
        self.multiple = 4 * fold
        self.pixels_at_once: int | None = None
        self.control = Control(channels)
        self.skeleton = MimoSkeleton(channels, SLOPE, pictures=self.pictures, fold=fold)
        if self.pictures > 1:
            for head in (self.skeleton.head_quarter, self.skeleton.head_half, self.skeleton.head_full):
                for parameter in head.parameters():
                    nn.init.zeros_(parameter)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                TimedBlock(width * channels, deformable, attention, mask_range, shared_fusion) for _ in range(blocks)
            )
            for width in STAGE_WIDTHS
        )

    def encode(self, blurry: Tensor) -> State:
        """All that does not depend on the time."""
        views = self.skeleton.views(blurry)
        block = self._blocks(0)[0]
        begun = block.begin(views.feature, block.fold(self.control(blurry.new_zeros(1))[0]))
        return State(views, begun, blurry.shape[-2], blurry.shape[-1])

    def decode(self, state: State, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) at `times` from what `encode` returned."""
        return self._decode(state, times, every_scale=False)[-1]

    def _decode(self, state: State, times: Tensor, every_scale: bool) -> list[Tensor]:
        batch = state.begun.shape[0]
        times = times.expand(batch, -1) if times.ndim == 1 else times
        if not torch.is_autocast_enabled(state.begun.device.type):
            # Encoded under autocast, perhaps, to be decoded more exactly.
            state = state.to(self.skeleton.entry.weight.dtype)
        controls = self.control(times.flatten())
        plan = [[block.fold(control) for block in self._blocks(i)] for i, control in enumerate(controls)]
        answers = self._grouped(state, times.shape[1], plan, every_scale)
        scales = SCALES if every_scale else SCALES[-1:]
        sizes = [(-(-state.height // scale), -(-state.width // scale)) for scale in scales]
        return [crop(a.unflatten(0, (batch, -1)), size) for a, size in zip(answers, sizes, strict=True)]

    def _grouped(self, state: State, count: int, plan: list[list[Folded]], every_scale: bool) -> list[Tensor]:
        """`count` frames of each picture, (B * count, 3, h, w) of every size, as many at once as suits the device."""
        if torch.compiler.is_exporting():
            # How many there are is known only when the graph runs.
            return self._frames(state if count == 1 else state.repeated(count), plan, every_scale)
        pictures = [picture for picture in range(state.begun.shape[0]) for _ in range(count)]
        at_once = self._at_once(state, len(pictures))
        groups = []
        for start in range(0, len(pictures), at_once):
            frames = slice(start, start + at_once)
            folded = [[block.of(frames) for block in stage] for stage in plan]
            group = self._frames(state.of(pictures[frames]), folded, every_scale)
            # A network that does not depend on the time makes one frame for all.
            groups.append([answer.expand(len(pictures[frames]), -1, -1, -1) for answer in group])
        return [torch.cat(group) if len(groups) > 1 else group[0] for group in zip(*groups, strict=True)]

    def _frames(self, state: State, plan: list[list[Folded]], every_scale: bool) -> list[Tensor]:
        def stage(number: int, features: Tensor) -> Tensor:
            begun = state.begun if number == 0 else None
            for block, folded in zip(self._blocks(number), plan[number], strict=True):
                features = block(features, folded, begun)
                begun = None
            return features

        return self.skeleton.run(state.views, stage, every_scale=every_scale)

    def _at_once(self, state: State, frames: int) -> int:
        if torch.is_grad_enabled():
            return frames
        pixels = self.pixels_at_once or (CUDA_PIXELS if state.begun.is_cuda else CPU_PIXELS)
        return max(1, pixels // state.views.full[0, 0].numel())

    def _blocks(self, stage: int) -> list[TimedBlock]:
        return list(cast(nn.ModuleList, self.stages[stage]))  # type: ignore[arg-type]


class CFMD(_Generator, FilmNetwork):
    """One blurry picture and times to frames; its parameters are those of `_Generator`."""

    has_scales = True
    exports = ("film",)

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], times (T,) or (B, T) in [0, 1], to frames (B, T, 3, H, W), unclamped."""
        return self.decode(self.encode(blurry), times)

    def scales(self, blurry: Tensor, times: Tensor) -> list[Tensor]:
        """Frames (B, T, 3, ceil(H / s), ceil(W / s)) for s = 4, 2, 1, unclamped: what training compares."""
        return self._decode(self.encode(blurry), times, every_scale=True)


class CFMDRefiner(_Generator, RefinerNetwork):
    """The same generator as a refiner: it corrects another model's frames at t, its initial estimates.

    It sees the estimate at t, the blurry picture, and the estimate at 1 - t: which way time ran nobody could know. As
    long as it has learned nothing it leaves the estimate at t as it is. Its parameters are those of `_Generator`.
    """

    has_scales = True
    exports = ("film",)
    pictures = 3

    def forward(self, blurry: Tensor, times: Tensor, estimates: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W), unclamped.

        Parameters
        ----------
        blurry : Tensor
            (B, 3, H, W) in [0, 1].
        times : Tensor
            (T,) or (B, T) in [0, 1].
        estimates : Tensor
            (B, T, 2, 3, H, W) in [0, 1]: the frames of another model at each time, and at 1 minus it.
        """
        return self._corrected(blurry, times, estimates, every_scale=False)[-1]

    def scales(self, blurry: Tensor, times: Tensor, estimates: Tensor) -> list[Tensor]:
        """Frames (B, T, 3, ceil(H / s), ceil(W / s)) for s = 4, 2, 1, unclamped: what training compares."""
        return self._corrected(blurry, times, estimates, every_scale=True)

    def _corrected(self, blurry: Tensor, times: Tensor, estimates: Tensor, every_scale: bool) -> list[Tensor]:
        batch, count = estimates.shape[:2]
        repeated = blurry[:, None].expand(-1, count, -1, -1, -1)
        pictures = torch.cat((estimates[:, :, 0], repeated, estimates[:, :, 1]), dim=2)
        state = self.encode(pictures.flatten(0, 1))
        answers = self._decode(state, times.expand(batch, -1).reshape(-1, 1), every_scale)
        return [answer[:, 0].unflatten(0, (batch, count)) for answer in answers]
