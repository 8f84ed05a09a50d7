"""Which way time runs in a clip: the order scores of its frames, put together."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.errors import UnblurError, UsageError
from unblur.media.video import read_clip
from unblur.metrics.ordering import all_pairs, clip_order, symmetric_pairs
from unblur.models.load import LoadedNetwork, display_name, fits_memory, resolve
from unblur.models.registry import ORDER

SIDE = 128
FEW = 9
"""Frames of which every pair is scored; of more, so many are taken."""
MOST = 1 << 20
"""Pixels of all pairs that are scored at a time."""


class Direction(NamedTuple):
    """Which way the canonical direction of time runs in a clip.

    Attributes
    ----------
    sign : int
        +1 as the frames are, -1 if they are to be reversed.
    score : float
        Above 0 for +1; there is no unit.
    confidence : float
        From 0, the pairs of frames outweigh each other, to 1, all of them say the same.
    """

    sign: int
    score: float
    confidence: float


class Scored(NamedTuple):
    """A clip's direction, and what its symmetric pairs say: the widest first, those of HyperCUT's measures.

    Attributes
    ----------
    direction : Direction
    forward, backward : Tensor
        (P,), the scores of the pairs and of the reversed pairs.
    frames : int
        How many the clip has.
    """

    direction: Direction
    forward: Tensor
    backward: Tensor
    frames: int

    @property
    def consistent(self) -> bool:
        """Whether all symmetric pairs lie on one side."""
        return bool((self.forward > 0).all() or (self.forward < 0).all())


class OrderScorer(LoadedNetwork):
    """A network that scores the order of frames, with its card, on a device.

    Pass it as ``model`` to `unblur.order` to load once for many clips. Attributes as of `LoadedNetwork`; the network
    is an `HyperCUT`.
    """

    def __init__(
        self, network: Any, card: Any = None, *, device: str | torch.device = "auto", argument: str = "model"
    ) -> None:
        if network.kind != "order":
            name = display_name(network, card)
            raise UsageError(argument, name, "does not score the order of frames", f"use {ORDER}")
        super().__init__(network, card, device=device)

    def as_dict(self) -> dict[str, str]:
        """Name and sum of the weights."""
        return {"name": self.name, "sha256": self.fingerprint}

    def score(self, frames: Tensor, indices: Tensor | None = None, count: int = 0, subject: str = "the clip") -> Scored:
        """The direction of a clip.

        Parameters
        ----------
        frames : Tensor
            (T, 3, H, W) in [0, 1], at least two.
        indices : Tensor, optional
            (T,) which frames these are of a clip of `count`.
        subject : str
            The clip, for messages.

        Raises
        ------
        UnblurError
            Memory ran out.
        """
        indices = torch.arange(len(frames)) if indices is None else indices
        pairs, symmetric = all_pairs(len(frames)), symmetric_pairs(len(frames))
        with torch.inference_mode(), fits_memory(subject):
            forward, backward = self._scores(frames, pairs)
        found = clip_order(forward[None], backward[None], indices[pairs])
        score, confidence = float(found.score), min(1.0, float(found.confidence))
        chosen = [int((pairs == pair).all(-1).nonzero()) for pair in symmetric]
        direction = Direction(-1 if score < 0 else 1, score, confidence)
        return Scored(direction, forward[chosen], backward[chosen], count or len(frames))

    def _scores(self, frames: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Twice (P,), of pairs of (T, 3, H, W) and of these reversed, a few at a time."""
        at_a_time = max(1, MOST // (frames.shape[-2] * frames.shape[-1]))
        parts = []
        for some in pairs.split(at_a_time):
            used, places = some.unique(return_inverse=True)
            batch = frames[used][None].to(self.device)
            forward, backward = self.network.both_ways(batch, places.to(self.device))
            parts.append(torch.cat((forward, backward)).cpu())
        forward, backward = torch.cat(parts, 1)
        return forward, backward


Model = str | PathLike[str] | nn.Module | OrderScorer | None


def load_order_scorer(model: Model = None, device: str | torch.device = "auto", argument: str = "model") -> OrderScorer:
    """An order network by its name or file, from a network, or as it is; `argument` is what named it, for messages.

    Raises
    ------
    UnblurError
        No such model, it does not score orders, or there is no such device.
    """
    return (
        model
        if isinstance(model, OrderScorer)
        else OrderScorer(*resolve(model, ORDER), device=device, argument=argument)
    )


def score_clip(order_scorer: OrderScorer, path: str | PathLike[str], side: int = SIDE) -> Scored:
    """The direction of a video file, a GIF or a folder of pictures."""
    frames, indices, count = clip_frames(path, side)
    return order_scorer.score(frames, indices, count, str(path))


def clip_frames(path: str | PathLike[str], side: int = SIDE) -> tuple[Tensor, Tensor, int]:
    """The frames (T, 3, h, w) of a clip that are scored, which they are (T,), and how many the clip has."""
    clip = read_clip(path)
    count = at_least_two(clip.count, str(path))
    indices = spread(count)
    wanted = set(indices.tolist())
    frames = gathered(((str(path), frame) for number, frame in enumerate(clip) if number in wanted), side)
    if len(frames) != len(indices):
        raise UnblurError(path, f"promises {count} frames and holds fewer", "get the file again")
    return frames, indices, count


def gathered(frames: Iterable[tuple[str, Tensor]], side: int) -> Tensor:
    """Frames (3, H, W) of one size, each with what to call it, shrunk and stacked."""
    kept: list[Tensor] = []
    first: tuple[int, ...] = ()
    for name, frame in frames:
        first = first or tuple(frame.shape)
        if tuple(frame.shape) != first:
            problem = f"is {frame.shape[2]} x {frame.shape[1]}, the first frame is {first[2]} x {first[1]}"
            raise UnblurError(name, problem, "give frames of one size")
        kept.append(shrunk(frame, side))
    return torch.stack(kept)


def shrunk(frame: Tensor, side: int) -> Tensor:
    """(3, H, W) with a shorter side of at most `side` pixels; 0 for as it is."""
    shorter = min(frame.shape[-2:])
    if side < 1 or shorter <= side:
        return frame
    size = [max(1, round(n * side / shorter)) for n in frame.shape[-2:]]
    small = F.interpolate(frame[None], size, mode="bilinear", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)


def spread(count: int, most: int = FEW) -> Tensor:
    """Which of `count` frames are scored: all, or about `most`, spread evenly and alike from both ends."""
    if count <= most:
        return torch.arange(count)
    # An even number of frames has no middle one.
    middle = torch.arange(count // 2, count // 2 + count % 2)
    half = torch.arange(most // 2) * (count - 1) // (most - 2 + count % 2)
    return torch.cat((half, middle, count - 1 - half.flip(0)))


def check_side(side: int) -> int:
    """Refuse sizes that a network cannot see anything at."""
    if side != 0 and side < 64:
        raise UsageError("side", side, "too small to see what moves", "use 64 or more, or 0 for as they are")
    return side


def at_least_two(count: int, subject: str) -> int:
    if count < 2:
        raise UnblurError(subject, "has fewer than two frames, so no order", "give two or more")
    return count
