"""Losses that teach which way time runs, and that keep films to it (HyperCUT, Pham et al. 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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

    Where `agreement` counts how many couples of pairs agree, one pair that disagrees with the others is told so by all
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
