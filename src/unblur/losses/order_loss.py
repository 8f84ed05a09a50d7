"""Losses about the order of frames: which way time runs, films that keep to it, and frames in one order or in any.

HyperCUT (Pham et al., CVPR 2023), after Jin, Meishvili, Favaro (CVPR 2018). Blur is the same whichever way time ran, so
a network of a fixed number of frames that learns one order of every clip learns the mean of both. Comparing the sum
and the absolute difference of the two frames at equal distance from the middle asks for no order; but it asks that of
each pixel by itself, so frames may be pieced together of both directions. What keeps a whole clip to one is a score of
its order, as a regulariser.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.losses.pixel import charbonnier


def contrast(forward: Tensor, backward: Tensor) -> Tensor:
    """A pair and its reverse belong on opposite sides: the mean of softplus(u v) over pairs.

    Parameters
    ----------
    forward, backward : Tensor
        (B, P), the scores of pairs and of the reversed pairs.
    """
    return F.softplus(forward * backward).mean()


def agreement(scores: Tensor) -> Tensor:
    """All pairs of a clip belong on the same side: the mean of softplus(-u_p u_q) over two pairs p < q of (B, P)."""
    first, second = torch.combinations(torch.arange(scores.shape[-1], device=scores.device)).unbind(-1)
    return F.softplus(-scores[:, first] * scores[:, second]).mean()


def order_loss(forward: Tensor, backward: Tensor) -> Tensor:
    """Half of `contrast` and half of `agreement`, as in the released program, which has three pairs for a clip."""
    return (contrast(forward, backward) + agreement(forward)) / 2


def one_sided(scores: Tensor) -> Tensor:
    """How unlikely it is that all pairs of a clip lie on one side, whichever.

    With the logistic function g, each pair lies on the upper side with probability g(s). The likelihood of a clip is
    then that of all its pairs above, or all below:

        -log(prod g(s_p) + prod g(-s_p)) / P, the mean over clips.

    Where `agreement` counts how many couples of pairs agree, one pair that disagrees with the others is pulled by all
    of them here, and a clip that has made up its mind is left alone.

    Parameters
    ----------
    scores : Tensor
        (B, P) of antisymmetric scores; reversing a clip changes nothing.
    """
    above, below = F.logsigmoid(scores).sum(-1), F.logsigmoid(-scores).sum(-1)
    return -torch.logaddexp(above, below).mean() / scores.shape[-1]


def in_order(scores: Tensor) -> Tensor:
    """Frames of a film belong in the canonical order: the mean of softplus(-s(V(b, t1), V(b, t2))) for t1 < t2.

    There is one convention of sign: what comes first is scored above what comes later. The released program labels its
    clips that way, and pushes its predictions the other way.

    Parameters
    ----------
    scores : Tensor
        Any shape, the scores of pairs of predicted frames, the earlier one first.
    """
    return F.softplus(-scores).mean()


Distance = Literal["l1", "mse"]


def naive(predicted: Tensor, frames: Tensor, eps: float = 1e-3) -> Tensor:
    """Frames (B, T, 3, H, W) in the order that they are given in: the Charbonnier distance, the mean over frames."""
    return charbonnier(predicted, frames, eps)


def order_invariant(predicted: Tensor, frames: Tensor, *, distance: Distance = "l1", released: bool = False) -> Tensor:
    """Frames up to the direction of time, pixel by pixel.

    With pairs x_i, x_j at equal distance from the middle x_m and d the mean over pixels,

        (sum over pairs of d(y_i + y_j, x_i + x_j) + d(|y_i - y_j|, |x_i - x_j|), plus d(2 y_m, 2 x_m) / 2) / T:

    the middle frame counts as half a pair of its own. Jin et al. write absolute values, HyperCUT's program squares.

    Parameters
    ----------
    predicted, frames : Tensor
        (B, T, 3, H, W), T at least 2.
    distance : {"l1", "mse"}
    released : bool
        As released: of the sum too the absolute value is compared, so that with a pair its negative is right; and the
        middle frame is left to itself.

    Returns
    -------
    Tensor
        A scalar. Swapping the frames of a pair in `predicted`, in any part of the pixels, does not change it.
    """
    if predicted.shape != frames.shape or frames.shape[1] < 2:
        raise ValueError(f"no such frames to compare: {tuple(predicted.shape)} and {tuple(frames.shape)}")
    count = frames.shape[1]
    half = count // 2
    # From the outside inwards, as their partners are when they are flipped.
    first, last = predicted[:, :half], predicted[:, count - half :].flip(1)
    true_first, true_last = frames[:, :half], frames[:, count - half :].flip(1)
    total, true_total = first + last, true_first + true_last
    if released:
        total, true_total = total.abs(), true_total.abs()
    apart = _distance((first - last).abs(), (true_first - true_last).abs(), distance)
    loss = half * (_distance(total, true_total, distance) + apart)
    if count % 2 and not released:
        loss = loss + _distance(2 * predicted[:, half], 2 * frames[:, half], distance) / 2
    return loss / count


def order_regulariser(scores: Tensor, *, released: bool = False) -> Tensor:
    """Predicted frames belong in the canonical order.

    Parameters
    ----------
    scores : Tensor
        (B, P), of the pairs of predicted frames, the earlier one first; above 0 in the canonical order.
    released : bool
        As released: the sum over the pairs, and pushed below 0, against the order that the clips are labelled with.

    Returns
    -------
    Tensor
        A scalar: the mean over pairs of softplus(-score), see `ordering.in_order`.
    """
    return F.softplus(scores).sum(1).mean() if released else in_order(scores)


def _distance(a: Tensor, b: Tensor, distance: Distance) -> Tensor:
    return F.l1_loss(a, b) if distance == "l1" else F.mse_loss(a, b)
