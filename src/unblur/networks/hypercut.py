"""Which of two frames comes first: HyperCUT's encoder of pairs and its hyperplane.

A blurry picture is explained as well by the film of its exposure as by the same film run backwards. HyperCUT (Pham et
al. 2023) learns one direction for each scene, without labels: pairs of frames are mapped to vectors, and a hyperplane
that never changes cuts their space in two. A film and its reverse shall lie on opposite sides, and all pairs of a film
on the same side; which side is which is free, so that the network may choose what can be learned.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.padding import pad_to_size, reflect_pad
from unblur.layers.strided import LEVELS, StridedEncoder
from unblur.networks.kinds import OrderNetwork

Form = Literal["antisymmetric", "offset", "released"]

LEAST_SIDE = 64


class HyperCUT(nn.Module, OrderNetwork):
    """Scores the order of two frames.

    A score above 0 says that the first frame comes before the second in the scene's direction of time. Its size is how
    far the pair lies from the hyperplane: there is no unit, and no bound.

    Parameters
    ----------
    width : int
        Channels of the first convolution.
    channels : int
        Dimensions of the space that is cut.
    blocks : int
        Residual blocks.
    fold : {1, 2}
        Sides of the squares of pixels that become channels before the first convolution. 2 saves two thirds of the
        time on a CPU, and is what ships; the paper's network has 1.
    form : {"antisymmetric", "offset", "released"}
        antisymmetric: half of the difference between the pair's score and that of the reversed pair, so that reversing
        a film changes nothing but the sign. offset: the pair alone, before a hyperplane that need not cross the origin.
        released: as in the authors' program, where the activations of the encoder's stem pass everything on, and the
        hyperplane's offset is added to each of its coefficients, so that it crosses the origin.
    """

    exports = ("score",)

    def __init__(
        self, width: int = 32, channels: int = 128, blocks: int = 6, fold: int = 1, form: Form = "antisymmetric"
    ) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}, got {form}")
        if fold not in (1, 2):
            raise ValueError(f"fold must be 1 or 2, got {fold}")
        self.arguments: dict[str, Any] = {
            "width": width,
            "channels": channels,
            "blocks": blocks,
            "fold": fold,
            "form": form,
        }
        self.fold, self.form = fold, form
        slope = 1.0 if form == "released" else 0.2
        self.encoder = StridedEncoder(
            6 * fold**2, width, channels, blocks, bias=True, slope=slope, levels=LEVELS - fold + 1
        )
        self.hyperplane: Tensor
        self.register_buffer("hyperplane", torch.rand(channels + 1) * 2 - 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """`score`."""
        return self.score(first, second)

    def encode(self, first: Tensor, second: Tensor) -> Tensor:
        """The vectors (B, channels) of pairs of frames, two (B, 3, H, W) in [0, 1]."""
        frames = torch.stack((first, second), 1)
        return self._vectors(frames, torch.tensor([[0, 1]], device=frames.device)).mean((-2, -1))

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        """The scores (B,) of pairs of frames, two (B, 3, H, W) in [0, 1] of any size."""
        return self.score_map(first, second).mean((-2, -1))

    def score_map(self, first: Tensor, second: Tensor) -> Tensor:
        """The score of every place: (B, h, w), one for 32 x 32 pixels, whose mean is `score`.

        Only the mean is trained: a single place says where the score comes from, not which way it moves.
        """
        frames = torch.stack((first, second), 1)
        return self._maps(frames, torch.tensor([[0, 1]], device=frames.device))[:, 0]

    def pairs(self, frames: Tensor, pairs: Tensor) -> Tensor:
        """The scores of several pairs of frames of each clip.

        Parameters
        ----------
        frames : Tensor
            (B, T, 3, H, W) in [0, 1].
        pairs : Tensor
            (P, 2), indices of the first and the second frame of each pair.

        Returns
        -------
        Tensor
            (B, P).
        """
        return self._maps(frames, pairs).mean((-2, -1))

    def both_ways(self, frames: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """`pairs` of the pairs and of the reversed pairs, in float32; antisymmetric scores are not computed twice."""
        forward = self.pairs(frames, pairs).float()
        return forward, -forward if self.form == "antisymmetric" else self.pairs(frames, pairs.flip(-1)).float()

    def _maps(self, frames: Tensor, pairs: Tensor) -> Tensor:
        if self.form != "antisymmetric":
            return self._heights(self._vectors(frames, pairs)).unflatten(0, (-1, len(pairs)))
        both = torch.cat((pairs, pairs.flip(-1)))
        forward, backward = self._heights(self._vectors(frames, both)).unflatten(0, (-1, 2, len(pairs))).unbind(1)
        return (forward - backward) / 2

    def _heights(self, vectors: Tensor) -> Tensor:
        """(N, channels, h, w) to the heights (N, h, w) over the hyperplane, the released form in no unit of length."""
        normal, offset = self.hyperplane[:-1].float(), self.hyperplane[-1].float()
        if self.form == "released":
            normal, offset = normal + offset, torch.zeros_like(offset)
        else:
            length = normal.norm()
            normal, offset = normal / length, offset / length
        # Not as a product of matrices, which autocast would round: what matters is the sign of a difference.
        return (vectors.float() * normal[:, None, None]).sum(1) + offset

    def _vectors(self, frames: Tensor, pairs: Tensor) -> Tensor:
        """(B, T, 3, H, W) and (P, 2) to (B * P, channels, h, w).

        The first convolution of a pair is the sum of one for each frame, and these are shared by all its pairs.
        """
        batch, count = frames.shape[:2]
        height, width = (max(side, LEAST_SIDE) + -max(side, LEAST_SIDE) % self.fold for side in frames.shape[-2:])
        flat = F.pixel_unshuffle(pad_to_size(frames.flatten(0, 1), height, width), self.fold)
        entry = self.encoder.entry
        flat = reflect_pad(flat, entry.kernel_size[0] // 2)
        before, after = entry.weight.chunk(2, 1)
        first, second = F.conv2d(flat, before, entry.bias), F.conv2d(flat, after)
        rows = torch.arange(batch, device=frames.device)[:, None] * count + pairs.T[:, None]
        both = first.index_select(0, rows[0].flatten()) + second.index_select(0, rows[1].flatten())
        return self.encoder.beyond(both)
