"""Which way time runs in a clip: frames in, a direction out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor

from unblur.pipeline.frame_order import (
    SIDE,
    Direction,
    Model,
    OrderScorer,
    Scored,
    at_least_two,
    gathered,
    load_order_scorer,
    score_clip,
    spread,
)
from unblur.tasks.inputs import Source, open_picture


def order(
    frames: str | PathLike[str] | Tensor | Sequence[Source],
    model: Model = None,
    *,
    device: str | torch.device = "auto",
    side: int = SIDE,
) -> Direction:
    """Tell which way time runs in a clip, in the direction that a network has learned for such scenes.

    Nobody knows whether that is the direction in which it happened: a blurry picture is explained by both. But all
    clips of like scenes get the same one, which is what networks that make films are trained with.

    Parameters
    ----------
    frames : path, Tensor or sequence
        A clip (a video file, a GIF, a folder of pictures), a tensor (T, 3, H, W) in [0, 1], or pictures in order:
        paths, `Picture`, tensors (3, H, W). At least two; of more than 9 so many are taken, evenly.
    model : str, path, nn.Module or OrderScorer, optional
        "order-small" by default.
    side : int
        Larger frames are scored on copies whose shorter side has so many pixels; 0 for as they are.

    Returns
    -------
    Direction

    Raises
    ------
    UnblurError
        Something cannot be read, frames differ in size, there are fewer than two, or there is no such model.
    TypeError, ValueError
        Not such a thing; not of such a shape.

    Examples
    --------
    >>> from unblur.networks.hypercut import HyperCUT
    >>> network = HyperCUT(width=4, channels=4, blocks=1)
    >>> clip = torch.rand(5, 3, 64, 64)
    >>> order(clip, network).sign == -order(clip.flip(0), network).sign
    True
    """
    order_scorer = load_order_scorer(model, device)
    if isinstance(frames, str | PathLike):
        return score_clip(order_scorer, frames, side).direction
    if isinstance(frames, Tensor):
        if frames.ndim == 5 and frames.shape[0] == 1:
            frames = frames[0]
        if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
            raise ValueError(f"frames are (T, 3, H, W), floating point in [0, 1]; got {tuple(frames.shape)}")
        return score_frames(order_scorer, list(frames), side).direction
    return score_frames(order_scorer, list(frames), side).direction


def score_frames(
    order_scorer: OrderScorer, frames: Sequence[Source], side: int = SIDE, subject: str = "the clip"
) -> Scored:
    """The direction of pictures in order; only those that are scored are read."""
    indices = spread(at_least_two(len(frames), subject))
    pictures = (open_picture(frames[i]) for i in indices.tolist())
    taken = gathered(((str(p.path or subject), p.pixels) for p in pictures), side)
    return order_scorer.score(taken, indices, len(frames), subject)
