"""Training of order networks: which way time runs in a clip, learned from clips that nobody has labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.losses.order_loss import one_sided, order_loss
from unblur.metrics.ordering import all_pairs, clip_order, consistent, hit, symmetric_pairs
from unblur.networks.hypercut import HyperCUT
from unblur.training.base import Measurement, Optimizer, System, Way
from unblur.training.schedule import Schedule


class Clip(TypedDict, total=False):
    """A training batch: frames (B, T, 3, H, W) in [0, 1], equally spaced in time; more is left alone.

    Where ``shared_motion`` is there, so many clips that follow each other show different pictures in the very same
    motion.
    """

    frames: Tensor
    shared_motion: Tensor


@dataclass(frozen=True)
class OrderLoss:
    """What an order network is trained for.

    Attributes
    ----------
    form : {"one_sided", "paper"}
        See `losses.order_loss.one_sided`, for antisymmetric networks, and `losses.order_loss.order_loss`.
    others : int or None
        How many other pairs of a clip join the symmetric ones in each step, drawn anew; None for all there are. The
        paper has 0.
    """

    form: Literal["one_sided", "paper"] = "one_sided"
    others: int | None = None


class Ordering(System):
    """Trains an `HyperCUT`.

    Parameters
    ----------
    network : HyperCUT
    loss, optimizer, schedule
        What to train for, and how.
    **way
        ``seed``, ``compile`` and ``channels_last``, see `system.System`.
    """

    def __init__(
        self,
        network: HyperCUT,
        loss: OrderLoss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        **way: Unpack[Way],
    ) -> None:
        super().__init__(network, optimizer, schedule, **way)
        self.loss = loss or OrderLoss()
        if self.loss.form == "one_sided" and network.form != "antisymmetric":
            problem = f"needs scores that turn with the pair, and those of form {network.form} do not"
            raise UnblurError("loss.form one_sided", problem, "set loss.form to paper")
        if self.loss.others is not None and self.loss.others < 0:
            raise UnblurError(f"loss.others {self.loss.others}", "is no number of pairs", "use 0 or more, or null")

    def losses(self, batch: Clip) -> dict[str, Tensor]:
        """The loss by name.

        Clips that move alike are one clip to it, so that they get one direction. Without such clips the direction may
        hang on what a picture shows; a network that only sees the blurry picture can learn one that hangs on motion.
        """
        forward, backward = self._both(batch["frames"], self._pairs(batch["frames"].shape[1]))
        alike = int(batch.get("shared_motion", 1))
        forward, backward = (scores.reshape(len(scores) // alike, -1) for scores in (forward, backward))
        if self.loss.form == "one_sided":
            return {"order": one_sided(forward)}
        return {"order": order_loss(forward, backward)}

    def measure(self, batch: Clip) -> Measurement:
        """Hit of the widest pair, con@2 and con@3 where there are as many pairs, and the confidence.

        On the sheet: the first frame; the film in the canonical direction; as it was stored.
        """
        frames = batch["frames"]
        pairs = symmetric_pairs(frames.shape[1]).to(frames.device)
        forward, backward = self._both(frames, pairs)
        order = clip_order(forward, backward, pairs)
        scores = {"hit": hit(forward, backward)[:, 0].float(), "confidence": order.confidence}
        scores |= {f"con@{k}": consistent(forward, k).float() for k in (2, 3) if k <= len(pairs)}
        runs = torch.where((order.score >= 0)[:, None, None, None, None], frames, frames.flip(1))
        return Measurement(scores, (frames[:, 0], runs, frames))

    def _both(self, frames: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        return network.both_ways(frames, pairs.to(frames.device))

    def _pairs(self, count: int) -> Tensor:
        """The symmetric pairs, widest first, then others."""
        symmetric, others = symmetric_pairs(count), all_pairs(count)
        others = others[others.sum(1) != count - 1]
        if self.loss.others is not None:
            others = others[torch.randperm(len(others))[: self.loss.others]]
        return torch.cat((symmetric, others))
