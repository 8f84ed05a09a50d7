"""Which way the true frames of an exposure are made to run, so that a network can learn them.

A blur has two explanations, a film and its reverse. A network that is shown either one at random learns their mean.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.exposure.camera import is_canonical
from unblur.losses.order_loss import in_order
from unblur.metrics.ordering import all_pairs
from unblur.models.weights import load_weights
from unblur.networks.hypercut import HyperCUT

Rule = Literal["stored", "random", "motion", "learned", "nearest"]
"""As they are; by a coin for each clip; so that the motion of the whole picture is canonical, see
`exposure.camera.is_canonical`; as an order network says; or as is nearer to the prediction."""


def order_network(name: str) -> HyperCUT:
    """An order network of the zoo, or of a file, that stays as it is.

    Raises
    ------
    UnblurError
        If it is another network.
    """
    network = load_weights(name).network
    if network.kind != "order":
        problem = f"is a {type(network).__name__}, which scores no order"
        raise UnblurError(f"loss.order_network {name}", problem, "name an order network")
    return network.eval().requires_grad_(False)


def runs_forward(
    rule: Literal["stored", "random", "motion", "learned"],
    frames: Tensor,
    times: Tensor,
    *,
    paths: Tensor | None = None,
    network: HyperCUT | None = None,
) -> Tensor:
    """Which exposures run in the direction of `rule` as they are: (B,) bool.

    Parameters
    ----------
    rule
        See `Rule`.
    frames : Tensor
        (B, T, 3, H, W).
    times : Tensor
        (B, T), when each of them was; in any order.
    paths : Tensor, optional
        (B, T, 2, H, W), the true displacements in pixels, for ``motion``.
    network : HyperCUT, optional
        For ``learned``.

    Raises
    ------
    UnblurError
        ``motion`` without `paths`.
    """
    rows = torch.arange(len(frames), device=frames.device)
    if rule == "stored":
        return torch.ones_like(rows, dtype=torch.bool)
    if rule == "random":
        return torch.rand(len(frames), device=frames.device) < 0.5
    if rule == "motion":
        if paths is None:
            raise UnblurError("loss.direction motion", "needs paths that are known", "set it to learned")
        # Content moves against where it is found.
        net = (paths[rows, times.argmin(1)] - paths[rows, times.argmax(1)]).mean((-2, -1))
        return is_canonical(net[:, 0], net[:, 1])
    assert network is not None
    with torch.no_grad():
        return (ordered_scores(network, frames, times) * _apart(times).abs()).sum(1) >= 0


def ordered_scores(network: HyperCUT, frames: Tensor, times: Tensor) -> Tensor:
    """The scores (B, P) of all pairs of frames (B, T, 3, H, W), the earlier by `times` (B, T) first."""
    pairs = all_pairs(frames.shape[1]).to(frames.device)
    forward, backward = network.both_ways(frames, pairs)
    return torch.where(_apart(times) >= 0, forward, backward)


def order_error(network: HyperCUT, frames: Tensor, times: Tensor) -> Tensor:
    """How far predicted frames (B, T, 3, H, W) at `times` (B, T) are from the canonical order; see `in_order`."""
    return in_order(ordered_scores(network, frames.clamp(0, 1), times)[_apart(times) != 0])


def _apart(times: Tensor) -> Tensor:
    first, second = all_pairs(times.shape[1]).to(times.device).unbind(-1)
    return times[:, second] - times[:, first]
