"""Training of networks that turn one blurry picture into the frames of its exposure."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.exposure.average import times_of
from unblur.exposure.response import Response
from unblur.losses.film import Part, part_terms
from unblur.losses.pixel import multi_scale, pyramid
from unblur.losses.priors import path_error, reblur_consistency
from unblur.networks.paths import FilmNet
from unblur.training.muon import Muon, split
from unblur.training.schedule import Schedule


class Exposure(TypedDict, total=False):
    """A training batch: what the camera took, and what was there.

    blurry (B, 3, H, W) and frames (B, T, 3, H, W) in [0, 1]; times (T,) or (B, T); optional paths (B, T, 2, H, W), the
    true displacements in pixels.
    """

    blurry: Tensor
    frames: Tensor
    times: Tensor
    paths: Tensor


@dataclass(frozen=True)
class Loss:
    """What a film network is trained for.

    Attributes
    ----------
    scales : int
        Charbonnier at this many scales, each half the next (eq. 16 of the CFMD-GAN paper has 3).
    eps : float
        Of the Charbonnier distance.
    reblur : float
        Weight of the reblur consistency: the mean of the frames in linear light is the input. 0 leaves it out.
    reblur_frames : int
        Frames over the exposure for that mean.
    response : {"srgb", "gamma", "linear"}
        Camera response of the pictures, for that mean.
    paths : float
        Weight of the error of predicted displacements, for networks that have ``displacements(state, times)``.
    parts : {"off", "both", "restorer", "paths", "guess", "detail"}
        Train the restorer and the paths of a `networks.paths.FilmNet` apart, or one of them alone; see
        `losses.film.part_terms`.
    """

    scales: int = 3
    eps: float = 1e-3
    reblur: float = 0.0
    reblur_frames: int = 7
    response: Response = "srgb"
    paths: float = 0.0
    parts: Literal["off"] | Part = "off"


@dataclass(frozen=True)
class Optimizer:
    """Adam's settings; `weight_decay` is decoupled (AdamW), and touches only weights with two or more dimensions.

    With `muon` above 0 the convolutions inside the network are trained by Muon, at `muon` times the learning rate (and
    without decay), the rest by Adam; see `muon.Muon`.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    eps: float = 1e-8
    muon: float = 0.0


class Film(LightningModule):
    """Trains a film network on exposures whose every moment is known.

    Parameters
    ----------
    network : Module
        ``network(blurry, times) -> frames``; if it has ``scales(blurry, times)``, that list of frames at three sizes is
        supervised instead. Or ``network(blurry) -> sharp``, which is trained as a film that stands still.
    loss, optimizer, schedule
        What to train for, and how.
    seed : int
        Whatever a network draws at random in a step depends on this, the step and the process alone.
    compile : {"off", "default", "max-autotune"}
        Use ``torch.compile`` for network and loss; pays on a GPU after about a minute of compiling.
    channels_last : bool
        Memory format of weights and pictures; pays on GPUs with bf16, and for some networks on CPUs.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        compile: Literal["off", "default", "max-autotune"] = "off",
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        loss = loss or Loss()
        _check(network, loss)
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network  # type: ignore[call-overload]
        self.timed = "times" in inspect.signature(network.forward).parameters
        self.loss, self.optimizer, self.schedule = loss, optimizer or Optimizer(), schedule or Schedule()
        self.seed, self.channels_last = seed, channels_last
        self._terms = self.losses
        if compile != "off":
            self._terms = torch.compile(self.losses, mode=None if compile == "default" else compile)

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) of `blurry` (B, 3, H, W) at `times` (T,) or (B, T)."""
        if self.timed:
            return self.network(blurry, times)
        return _still(self.network(blurry), times)

    def losses(self, batch: Exposure) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        blurry, frames, times = batch["blurry"], batch["frames"], batch["times"]
        if self.channels_last:
            blurry = blurry.contiguous(memory_format=torch.channels_last)
        network: Any = self.network
        if self.loss.parts != "off":
            paths = batch.get("paths")
            part: Part = self.loss.parts
            terms = part_terms(network, blurry, frames, times, paths, self.loss.paths, self.loss.eps, part)
        else:
            outputs = [output.float() for output in self._outputs(blurry, times)]
            terms = {"pixel": multi_scale(outputs, frames, self.loss.eps)}
            if self.loss.paths and "paths" in batch:
                displacements = network.displacements(network.encode(blurry), times).float()
                terms["paths"] = self.loss.paths * path_error(displacements, batch["paths"])
        if self.loss.reblur:
            film = self(blurry, times_of(self.loss.reblur_frames).to(blurry)).float()
            residual = reblur_consistency(blurry, film, self.loss.response, self.loss.eps)
            terms["reblur"] = self.loss.reblur * residual
        return terms

    def _outputs(self, blurry: Tensor, times: Tensor) -> list[Tensor]:
        network: Any = self.network
        if self.loss.scales == 1 or not hasattr(network, "scales"):
            return pyramid(self(blurry, times), self.loss.scales)
        if self.timed:
            return list(network.scales(blurry, times))
        return [_still(picture, times) for picture in network.scales(blurry)]

    def on_train_batch_start(self, batch: Exposure, batch_idx: int) -> None:
        """Make what is drawn at random in this step the same when the training is resumed."""
        torch.manual_seed(hash((self.seed, self.trainer.global_step, batch_idx, self.global_rank)) % 2**63)

    def training_step(self, batch: Exposure, batch_idx: int) -> dict[str, Tensor]:
        """One step; the terms go to the callbacks."""
        terms = self._terms(batch)
        return {"loss": torch.stack(list(terms.values())).sum()} | {k: v.detach() for k, v in terms.items()}

    def validation_step(self, batch: Exposure, batch_idx: int) -> dict[str, Tensor]:
        """The frames of a held-out exposure; the callbacks measure them."""
        return {"frames": self(batch["blurry"], batch["times"]).float()}

    def configure_optimizers(self) -> Any:
        """AdamW, and the schedule per step."""
        if self.optimizer.muon:
            return self._scheduled(
                Muon(
                    *split(self.network),
                    lr=self.optimizer.lr,
                    ratio=self.optimizer.muon,
                    betas=self.optimizer.betas,
                    eps=self.optimizer.eps,
                )
            )
        weights = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in weights if p.ndim >= 2], "weight_decay": self.optimizer.weight_decay},
            {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
        ]
        adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.optimizer.lr,
            betas=self.optimizer.betas,
            eps=self.optimizer.eps,
        )
        return self._scheduled(adam)

    def _scheduled(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        steps = self.trainer.max_steps
        follow = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule.factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": follow, "interval": "step"}}


def _still(picture: Tensor, times: Tensor) -> Tensor:
    """A picture (B, 3, H, W) as the frame of every time."""
    return picture[:, None].expand(-1, times.shape[-1], -1, -1, -1)


def _check(network: nn.Module, loss: Loss) -> None:
    """Refuse terms of the loss that the network has nothing for."""
    kind = type(network).__name__
    if loss.parts != "off" and not isinstance(network, FilmNet):
        raise UnblurError("loss.parts", f"{kind} has no restorer and paths", "set it to off")
    if isinstance(network, FilmNet):
        wanted = {
            "guess": ("evidence", "set network.arguments.paths.evidence"),
            "detail": ("unet", "leave it corrected"),
        }
        part, remedy = wanted.get(loss.parts, ("", ""))
        if part and getattr(network.paths, part) is None:
            raise UnblurError(f"loss.parts {loss.parts}", "is a part that this network has not", remedy)
    if loss.paths and loss.parts == "off" and not hasattr(network, "displacements"):
        raise UnblurError("loss.paths", f"{kind} predicts no displacements", "set it to 0")
