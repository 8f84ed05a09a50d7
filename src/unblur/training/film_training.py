"""Training of networks that turn one blurry picture into the frames of its exposure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.exposure.average import frame_times
from unblur.exposure.response import Response
from unblur.losses.film_loss import Part, part_terms
from unblur.losses.pixel import multi_scale, pyramid
from unblur.losses.priors import path_error, reblur_consistency
from unblur.metrics.fidelity import psnr
from unblur.metrics.sequence import best_direction, directed
from unblur.models.feature_networks import LPIPS_FETCH, load_lpips
from unblur.training.base import Compile, Measurement, Optimizer, System
from unblur.training.film_direction import Rule, order_error, order_network, runs_forward
from unblur.training.schedule import Schedule

log = logging.getLogger(__name__)


class Exposure(TypedDict, total=False):
    """A training batch: what the camera took, and what was there.

    blurry (B, 3, H, W) and frames (B, T, 3, H, W) in [0, 1]; times (T,) or (B, T); optional paths (B, T, 2, H, W), the
    true displacements in pixels, and estimates (B, T, 2, 3, H, W), what another network made of the blurry picture at
    the times and at 1 minus them.
    """

    blurry: Tensor
    frames: Tensor
    times: Tensor
    paths: Tensor
    estimates: Tensor


@dataclass(frozen=True)
class Loss:
    """What a film network is trained for.

    Attributes
    ----------
    scales : int
        Charbonnier at this many scales, each half the next (eq. 16 of the CFMD-GAN paper has 3).
    eps : float
        Of the Charbonnier distance.
    perceptual : float
        Weight of LPIPS between frames, which needs `lpips`.
    lpips : str, optional
        Its weights, see `models.feature_networks.load_lpips`. Where there is no such file it is left out, and that is
        told. Validation measures it, also with a weight of 0.
    reblur : float
        Weight of the reblur consistency: the mean of the frames in linear light is the input. 0 leaves it out.
    reblur_frames : int
        Frames over the exposure for that mean.
    response : {"srgb", "gamma", "linear"}
        Camera response of the pictures, for that mean.
    paths : float
        Weight of the error of predicted displacements, for networks that have ``displacements(state, times)``.
    direction : {"stored", "random", "motion", "learned", "nearest"}
        Which way the true frames are made to run, clip by clip; see `direction.Rule`. A reversed clip is learned at
        1 - t.
    order : float
        Weight of the score of the predictions' order, s(V(b, t1), V(b, t2)) > 0 for t1 < t2; 0 leaves it out.
    order_network : str, optional
        A name of the zoo, or a file: what scores order. It stays as it is.
    parts : {"off", "both", "restorer", "paths", "guess", "detail"}
        Train the restorer and the paths of a `networks.path_film.PathFilm` apart, or one of them alone; see
        `losses.film_loss.part_terms`.
    """

    scales: int = 3
    eps: float = 1e-3
    perceptual: float = 0.0
    lpips: str | None = None
    reblur: float = 0.0
    reblur_frames: int = 7
    response: Response = "srgb"
    paths: float = 0.0
    direction: Rule = "stored"
    order: float = 0.0
    order_network: str | None = None
    parts: Literal["off"] | Part = "off"


class FilmTraining(System):
    """Trains a film network on exposures whose every moment is known.

    Parameters
    ----------
    network : Module
        ``network(blurry, times) -> frames``; if it has ``scales(blurry, times)``, that list of frames at three sizes is
        supervised instead. Or ``network(blurry) -> sharp``, which is trained as a film that stands still.
    loss, optimizer, schedule
        What to train for, and how.
    seed, compile, channels_last
        See `system.System`.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        compile: Compile = "off",
        channels_last: bool = False,
    ) -> None:
        super().__init__(network, optimizer, schedule, seed=seed, compile=compile, channels_last=channels_last)
        self.loss = loss or Loss()
        _check(network, self.loss)
        self.timed = network.kind != "restorer"
        if self.loss.order_network is not None:
            self._frozen["order"] = order_network(self.loss.order_network)
        self._perceptual = 0.0
        if self.loss.perceptual or self.loss.lpips is not None:
            self._look(self.loss.perceptual, self.loss.lpips, "loss")

    def forward(self, blurry: Tensor, times: Tensor, *estimates: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) of `blurry` (B, 3, H, W) at `times` (T,) or (B, T)."""
        if self.timed:
            return self.network(blurry, times, *estimates)
        return _still(self.network(blurry), times)

    def losses(self, batch: Exposure) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        blurry, frames, paths = self._laid_out(batch["blurry"]), batch["frames"], batch.get("paths")
        times = self._directed(batch)
        if self.loss.parts == "off":
            return self._compared(batch, self._outputs(blurry, times, *drafts_of(batch)), times)
        network: Any = self.network
        part: Part = self.loss.parts
        terms = part_terms(network, blurry, frames, times, paths, self.loss.paths, self.loss.eps, part)
        return terms | self._reblurred(blurry, times)

    def _compared(self, batch: Exposure, outputs: list[Tensor], times: Tensor) -> dict[str, Tensor]:
        """The terms of frames that were made, at every scale."""
        network: Any = self.network
        blurry, paths = self._laid_out(batch["blurry"]), batch.get("paths")
        terms = {"pixel": self._pixel(outputs, batch["frames"])}
        if self.loss.paths and paths is not None:
            displacements = network.displacements(network.encode(blurry), times).float()
            terms["paths"] = self.loss.paths * path_error(displacements, paths)
        if self.loss.order:
            order: Any = self._frozen["order"]
            terms["order"] = self.loss.order * order_error(order, outputs[-1], times.expand(len(blurry), -1))
        if self._perceptual:
            terms["perceptual"] = self._perceptual * self._frozen["lpips"](outputs[-1], batch["frames"]).mean()
        return terms | self._reblurred(blurry, times)

    def _look(self, weight: float, weights: str | None, group: str) -> None:
        """Take LPIPS, if it is there."""
        if weights is None or not Path(weights).exists():
            what = f"{group}.lpips names no file" if weights is None else f"{weights}: no such file"
            log.warning("%s: LPIPS is left out of the loss; to have it: %s", what, LPIPS_FETCH)
            return
        self._frozen["lpips"], self._perceptual = load_lpips(weights), weight

    def _pixel(self, outputs: list[Tensor], frames: Tensor) -> Tensor:
        return multi_scale(outputs, frames, self.loss.eps)

    def _reblurred(self, blurry: Tensor, times: Tensor) -> dict[str, Tensor]:
        if not self.loss.reblur:
            return {}
        film = self(blurry, frame_times(self.loss.reblur_frames).to(blurry)).float()
        return {"reblur": self.loss.reblur * reblur_consistency(blurry, film, self.loss.response, self.loss.eps)}

    @torch.no_grad()
    def _directed(self, batch: Exposure) -> Tensor:
        """When the frames of a batch were, (B, T) or (T,), each clip in the direction that it is to be learned in."""
        frames, times, rule = batch["frames"], batch["times"], self.loss.direction
        if rule == "stored":
            return times
        times = times.expand(len(frames), -1)
        if rule == "nearest":
            there, back = (self(batch["blurry"], when).float() for when in (times, 1 - times))
            errors = [(film - frames).abs().flatten(1).mean(1) for film in (there, back)]
            forward = errors[0] <= errors[1]
        else:
            network: Any = self._frozen.get("order")
            forward = runs_forward(rule, frames, times, paths=batch.get("paths"), network=network)
        return torch.where(forward[:, None], times, 1 - times)

    def _outputs(self, blurry: Tensor, times: Tensor, *estimates: Tensor) -> list[Tensor]:
        network: Any = self.network
        if self.loss.scales == 1 or not network.has_scales:
            outputs = pyramid(self(blurry, times, *estimates), self.loss.scales)
        elif self.timed:
            outputs = list(network.scales(blurry, times, *estimates))
        else:
            outputs = [_still(picture, times) for picture in network.scales(blurry)]
        return [output.float() for output in outputs]

    def measure(self, batch: Exposure) -> Measurement:
        """PSNR at every time, of the frames and of the blurry input, each clip in its better direction of time.

        The blur does not tell the direction. Where there is LPIPS, that of the frames too.
        """
        frames = self(batch["blurry"], batch["times"], *drafts_of(batch)).float()
        return measured(batch, frames, self._frozen.get("lpips"))


def drafts_of(batch: Exposure) -> tuple[Tensor, ...]:
    """What a network that sees estimates is given beside picture and times."""
    return (batch["estimates"],) if "estimates" in batch else ()


def measured(batch: Exposure, predicted: Tensor, lpips: nn.Module | None = None) -> Measurement:
    """What frames (B, T, 3, H, W) at the times of a batch are worth; see `FilmTraining.measure`."""
    blurry, frames = batch["blurry"], batch["frames"]
    unmoved = blurry[:, None].expand_as(frames)
    predicted = directed(predicted, best_direction(predicted, frames))
    ours, input_ = psnr(predicted, frames), psnr(unmoved, frames)
    scores: dict[str, Tensor] = {}
    likeness = None if lpips is None else lpips(predicted, frames)
    for i, moment in enumerate(batch["times"].reshape(-1, frames.shape[1])[0].tolist()):
        scores |= {f"psnr@{moment:g}": ours[:, i], f"input@{moment:g}": input_[:, i]}
        if likeness is not None:
            scores[f"lpips@{moment:g}"] = likeness[:, i]
    return Measurement(scores, (blurry, predicted, frames))


def _still(picture: Tensor, times: Tensor) -> Tensor:
    """A picture (B, 3, H, W) as the frame of every time."""
    return picture[:, None].expand(-1, times.shape[-1], -1, -1, -1)


def _check(network: Any, loss: Loss) -> None:
    """Refuse terms of the loss that the network has nothing for."""
    kind = type(network).__name__
    if loss.parts != "off" and not network.has_paths:
        raise UnblurError("loss.parts", f"{kind} has no restorer and paths", "set it to off")
    if network.has_paths:
        wanted = {
            "guess": ("spectral", "set network.arguments.motion.spectral"),
            "detail": ("unet", "set network.arguments.motion.with_unet"),
        }
        part, remedy = wanted.get(loss.parts, ("", ""))
        if part and getattr(network.motion, part) is None:
            raise UnblurError(f"loss.parts {loss.parts}", "is a part that this network has not", remedy)
    if (loss.order or loss.direction == "learned") and loss.order_network is None:
        asked = "loss.order" if loss.order else "loss.direction learned"
        raise UnblurError(asked, "needs a network that scores order", "name one in loss.order_network")
    for name in ("order", "perceptual"):
        if getattr(loss, name) and loss.parts != "off":
            raise UnblurError(f"loss.{name}", "needs frames, and the parts of a film are trained apart", "set it to 0")
    if network.kind == "refiner" and (loss.reblur or loss.order or loss.direction != "stored"):
        raise UnblurError(
            "loss", "asks for frames at times that have no estimates", "set reblur and order to 0, direction to stored"
        )
    if loss.paths and loss.direction != "stored":
        raise UnblurError("loss.paths", "runs as the frames are stored", "set loss.direction to stored")
    if loss.paths and loss.parts == "off" and not network.has_displacements:
        raise UnblurError("loss.paths", f"{kind} predicts no displacements", "set it to 0")
