"""Training of blur spaces: networks that read the blur between two pictures, and put it on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.layers.paths import path_at
from unblur.losses.pixel import charbonnier
from unblur.losses.priors import divergence, released_divergence, reversible_path_error
from unblur.metrics.fidelity import psnr
from unblur.networks.kinds import Code
from unblur.networks.path_blur_space import canonical
from unblur.training.base import Measurement, Optimizer, System, Way
from unblur.training.schedule import Schedule


class Pair(TypedDict, total=False):
    """A training batch: sharp and blurry (B, 3, H, W) in [0, 1]; of synthetic ones also how everything moved.

    times (B, T); paths (B, T, 2, H, W), the true displacements in pixels. Or, without any picture, a field of paths and
    what is seen of it, (B, 2 * degree, h, w) in pixels; see `data.synthetic_batches.SyntheticFields`.
    """

    sharp: Tensor
    blurry: Tensor
    times: Tensor
    paths: Tensor
    field: Tensor
    seen: Tensor


FIELD_TIMES = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
FIELD_EPS = 0.05
"""Pixels: errors below count less."""


@dataclass(frozen=True)
class CodeLoss:
    """What a blur space is trained for: reblur(sharp, encode(sharp, blurry)) = blurry.

    A `networks.path_blur_space.PathBlurSpace` can also learn its space from fields of paths alone (``learn: fields``):
    the code of a field is to give the field again. That takes no pictures, and a thousandth of the time.

    The Charbonnier distance is a mean over pixels and channels. The released programs take the sum, which is
    3 * H * W * B times as much, and makes no difference to Adam; `kl` in its released form is divided likewise, so that
    the released weight, 10, means what it meant there.

    Attributes
    ----------
    eps : float
        Of the Charbonnier distance.
    kl : float
        Weight of the divergence of the codes from the standard normal distribution, for variational networks.
    kl_form : {"standard", "released"}
        See `losses.priors.divergence` and `losses.priors.released_divergence`.
    kl_warmup : int
        Steps over which that weight rises from 0.
    paths : float
        Weight of the error of displacements in pixels, up to the direction of time, for networks that have
        ``displacements(code, times, size)`` and synthetic exposures, which know the truth.
    learn : {"pictures", "fields"}
        What to learn from. Of fields the error of the paths is minimised, a Charbonnier distance in pixels.
    """

    eps: float = 1e-3
    kl: float = 0.0
    kl_form: Literal["standard", "released"] = "standard"
    kl_warmup: int = 0
    paths: float = 0.0
    learn: Literal["pictures", "fields"] = "pictures"


class BlurSpaceSystem(System):
    """Trains any blur space on pairs of sharp and blurry pictures.

    Parameters
    ----------
    network : Module
        With ``encode(sharp, blurry) -> Code`` and ``reblur(sharp, code) -> blurry``.
    loss, optimizer, schedule
        What to train for, and how.
    **way
        ``seed``, ``compile`` and ``channels_last``, see `system.System`.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: CodeLoss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        **way: Unpack[Way],
    ) -> None:
        super().__init__(network, optimizer, schedule, **way)
        self.loss = loss or CodeLoss()
        _check(network, self.loss)

    def losses(self, batch: Pair) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        network: Any = self.network
        if "field" in batch:
            return self._field_losses(batch["field"], batch["seen"])
        sharp, blurry = self._laid_out(batch["sharp"]), self._laid_out(batch["blurry"])
        code: Code = network.encode(sharp, blurry)
        drawn = code.sample()
        again = network.reblur(sharp, drawn).float()
        terms = {"pixel": charbonnier(again, blurry, self.loss.eps)}
        if self.loss.kl:
            terms["kl"] = self._risen() * self.loss.kl * self._divergence(code, blurry)
        if self.loss.paths and "paths" in batch:
            times, size = batch["times"], blurry.shape[-2:]
            forward, backward = (network.displacements(drawn, when, size).float() for when in (times, 1 - times))
            terms["paths"] = self.loss.paths * reversible_path_error(forward, backward, batch["paths"])
        return terms

    def _field_losses(self, field: Tensor, seen: Tensor) -> dict[str, Tensor]:
        network: Any = self.network
        code: Code = network.encode_paths(seen)
        missed = network.paths(code.sample()).float() - canonical(field)
        distance = (path_at(missed, FIELD_TIMES.to(missed)).square().sum(2) + FIELD_EPS**2).sqrt()
        terms = {"field": distance.mean()}
        if self.loss.kl:
            terms["kl"] = self._risen() * self.loss.kl * divergence(Code(code.mean.float(), code.log_variance))
        return terms

    def measure(self, batch: Pair) -> Measurement:
        """PSNR of the reconstruction, from the mean of the code, beside that of the sharp picture itself."""
        network: Any = self.network
        sharp, blurry = batch["sharp"], batch["blurry"]
        again = network.reblur(sharp, network.encode(sharp, blurry).mean).float()
        scores = {"reconstruction": psnr(again, blurry), "input": psnr(sharp, blurry)}
        return Measurement(scores, (sharp, again[:, None], blurry[:, None]))

    def _divergence(self, code: Code, blurry: Tensor) -> Tensor:
        code = Code(code.mean.float(), None if code.log_variance is None else code.log_variance.float())
        if self.loss.kl_form == "standard":
            return divergence(code)
        return released_divergence(code) / blurry.numel()

    def _risen(self) -> float:
        """How much of the weight of the divergence counts at this step."""
        return min(1.0, (self.global_step + 1) / (self.loss.kl_warmup + 1))


def _check(network: Any, loss: CodeLoss) -> None:
    """Refuse terms of the loss that the network has nothing for."""
    kind = type(network).__name__
    if loss.kl and not network.variational:
        raise UnblurError("loss.kl", f"this {kind} is not variational", "set it to 0, or make the network variational")
    if loss.learn == "fields" and not network.has_paths:
        raise UnblurError("loss.learn fields", f"a {kind} has no paths", "set it to pictures")
    if loss.paths and not network.has_paths:
        raise UnblurError("loss.paths", f"a {kind} knows no displacements", "set it to 0")
