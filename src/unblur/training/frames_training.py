"""Training of networks that turn one blurry picture into a fixed number of frames of its exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.layers.padding import crop, pad_to_multiple
from unblur.losses.order_loss import Distance, naive, order_invariant, order_regulariser
from unblur.losses.pixel import shrink
from unblur.metrics.ordering import symmetric_pairs
from unblur.metrics.sequence import best_direction, directed
from unblur.models.weights import load_weights
from unblur.training.base import Measurement, Optimizer, System, Way
from unblur.training.film_direction import Rule, order_network, runs_forward
from unblur.training.film_training import Exposure, measured
from unblur.training.schedule import Schedule


@dataclass(frozen=True)
class FrameLoss:
    """What a network of a fixed number of frames is trained for; see `losses.order_loss`.

    HyperCUT's three: ``compare: frames``; ``compare: pairs``; the latter with ``order: 0.2`` and an order network.

    Attributes
    ----------
    compare : {"frames", "pairs"}
        Frames with those of their own time (naive), or pairs in any order (order-invariant).
    direction : {"stored", "random", "motion", "learned", "nearest"}
        Which way the true frames are made to run, clip by clip; see `direction.Rule`. Pairs do not see it.
    distance : {"l1", "mse"}
        Of pairs.
    eps : float
        Of the Charbonnier distance of frames.
    order : float
        Weight of the score of the predictions' order (the paper's alpha is 0.2); 0 leaves it out.
    order_network : str, optional
        A name of the zoo, or a file: what scores order. It stays as it is.
    released : bool
        Pairs and order as in the released program, see `losses.order_loss`.
    flow : float
        Weight of the length of flows in pixels (the paper's mu is 0.02), of recurrent networks.
    middle : {"truth", "network"}
        Where a recurrent network's middle frame comes from while it is trained; when it is measured it is the network.
    sharpener : str
        That network: a name of the zoo, or a file.
    """

    compare: Literal["frames", "pairs"] = "frames"
    direction: Rule = "stored"
    distance: Distance = "l1"
    eps: float = 1e-3
    order: float = 0.0
    order_network: str | None = None
    released: bool = False
    flow: float = 0.0
    middle: Literal["truth", "network"] = "truth"
    sharpener: str = "fast"


class Frames(System):
    """Trains a `Jin` or a `Purohit` on exposures whose frames stand at i / (T - 1).

    The loss of the cascade is the mean over frames, that of the recurrent network the sum, averaged over its four
    sizes: the paper's weights of the other terms are meant beside these.

    Parameters
    ----------
    network : Module
    loss, optimizer, schedule
        What to train for, and how.
    **way
        ``seed``, ``compile`` and ``channels_last``, see `system.System`.
    """

    def __init__(
        self,
        network: Any,
        loss: FrameLoss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        **way: Unpack[Way],
    ) -> None:
        super().__init__(network, optimizer, schedule, **way)
        self.loss = loss or FrameLoss()
        _check(network, self.loss)
        if self.loss.order_network is not None:
            self._frozen["order"] = order_network(self.loss.order_network)
        if network.starts_from == "sharp":
            self._frozen["sharpener"] = _sharpener(self.loss.sharpener)

    def forward(self, blurry: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) of (B, 3, H, W); the middle frame is never the true one."""
        network: Any = self.network
        if network.starts_from == "sharp":
            return network(blurry, self._sharp(blurry))
        return network(blurry)

    def losses(self, batch: Exposure) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        network: Any = self.network
        blurry, frames = self._laid_out(batch["blurry"]), batch["frames"]
        _check_frames(network, frames)
        terms: dict[str, Tensor] = {}
        if network.starts_from == "sharp":
            count = network.steps
            known = self.loss.middle == "truth"
            moved = network.moved(blurry, frames[:, count // 2] if known else self._sharp(blurry))
            predicted = crop(moved.frames[-1], (blurry.shape[-2], blurry.shape[-1]))
            truth = _padded(self._directed(frames, predicted, batch), network.multiple)
            scales = [self._pixel(scale, shrink(truth, scale.shape[-2:])) for scale in moved.frames]
            terms["pixel"] = count * torch.stack(scales).mean()
            if self.loss.flow:
                terms["flow"] = self.loss.flow * torch.stack([flow.abs().mean() for flow in moved.flows]).mean()
        else:
            predicted = network(blurry).float()
            terms["pixel"] = self._pixel(predicted, self._directed(frames, predicted, batch))
        if self.loss.order:
            scores = self._order(predicted)
            terms["order"] = self.loss.order * order_regulariser(scores, released=self.loss.released)
        return terms

    def _pixel(self, predicted: Tensor, frames: Tensor) -> Tensor:
        if self.loss.compare == "frames":
            return naive(predicted, frames, self.loss.eps)
        return order_invariant(predicted, frames, distance=self.loss.distance, released=self.loss.released)

    @torch.no_grad()
    def _directed(self, frames: Tensor, predicted: Tensor, batch: Exposure) -> Tensor:
        """The true frames (B, T, 3, H, W), each clip in the direction that it is to be learned in."""
        if self.loss.compare == "pairs" or self.loss.direction == "stored":
            return frames
        if self.loss.direction == "nearest":
            # Which way is better for the prediction is which way is better for the truth.
            return directed(frames, best_direction(frames, predicted))
        order: Any = self._frozen.get("order")
        times = batch["times"].expand(len(frames), -1)
        forward = runs_forward(self.loss.direction, frames, times, paths=batch.get("paths"), network=order)
        return torch.where(forward[:, None, None, None, None], frames, frames.flip(1))

    def _order(self, frames: Tensor) -> Tensor:
        network: Any = self._frozen["order"]
        return network.pairs(frames, symmetric_pairs(frames.shape[1]).to(frames.device)).float()

    @torch.no_grad()
    def _sharp(self, blurry: Tensor) -> Tensor:
        sharp = self._frozen["sharpener"](blurry)
        sharp = sharp if isinstance(sharp, Tensor) else sharp[-1]
        return sharp.float().clamp(0, 1)

    def measure(self, batch: Exposure) -> Measurement:
        """As `film.Film.measure`."""
        _check_frames(self.network, batch["frames"])
        return measured(batch, self(batch["blurry"]).float())


def _padded(frames: Tensor, multiple: int) -> Tensor:
    return pad_to_multiple(frames.flatten(0, 1), multiple)[0].unflatten(0, frames.shape[:2])


def _sharpener(name: str) -> nn.Module:
    """The network of that name, or the part of it, that makes single sharp pictures."""
    network = load_weights(name).network
    restorer = network if network.kind == "restorer" else network.own_restorer if network.kind == "film" else None
    if restorer is None:
        problem = f"is a {type(network).__name__}, which makes no single sharp picture"
        raise UnblurError(f"loss.sharpener {name}", problem, "use best or fast")
    return restorer.eval().requires_grad_(False)


def _check(network: Any, loss: FrameLoss) -> None:
    """Refuse terms of the loss that nothing is there for."""
    if (loss.order or (loss.direction == "learned" and loss.compare == "frames")) and loss.order_network is None:
        asked = "loss.order" if loss.order else "loss.direction learned"
        raise UnblurError(asked, "needs a network that scores order", "name one in loss.order_network")
    if loss.flow and not network.has_displacements:
        raise UnblurError("loss.flow", f"a {type(network).__name__} has no flows", "set it to 0")


def _check_frames(network: Any, frames: Tensor) -> None:
    wanted = network.steps
    if frames.shape[1] != wanted:
        problem = f"the data has {frames.shape[1]} frames of each exposure, but the network makes {wanted}"
        raise UnblurError("frames", problem, f"give {wanted}, as with exposures.times {wanted} and exposures.grid true")
