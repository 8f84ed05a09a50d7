"""What the training of every network has in common: optimizer, schedule, and chance that can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from unblur.training.muon import Muon, split
from unblur.training.schedule import Schedule

Compile = Literal["off", "default", "max-autotune"]


@dataclass(frozen=True)
class Optimizer:
    """Adam's settings; `weight_decay` is decoupled (AdamW), and touches only weights with two or more dimensions.

    With `kind` "adamax" it is Adam's variant by the largest gradient (Kingma and Ba, 2015); its decay is not decoupled.

    With `muon` above 0 the convolutions inside the network are trained by Muon, at `muon` times the learning rate (and
    without decay), the rest by Adam; see `muon.Muon`.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    eps: float = 1e-8
    muon: float = 0.0
    kind: Literal["adamw", "adamax"] = "adamw"


class Way(TypedDict, total=False):
    """What every `System` may be told by name; see there."""

    seed: int
    compile: Compile
    channels_last: bool


class Measurement(NamedTuple):
    """What a validation step makes of a batch.

    Attributes
    ----------
    scores : dict of str to Tensor
        (B,) each, in dB.
    sheet : (Tensor, Tensor, Tensor)
        For `sheet.contact_sheet`: what went in (B, 3, H, W), what came out and what was there, (B, T, 3, H, W).
    """

    scores: dict[str, Tensor]
    sheet: tuple[Tensor, Tensor, Tensor]


class System(LightningModule):
    """Trains a network; a system says what for, in `losses`, and how it is measured, in `measure`.

    Parameters
    ----------
    network : Module
    optimizer, schedule
        How to train.
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
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        compile: Compile = "off",
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network  # type: ignore[call-overload]
        self.optimizer, self.schedule = optimizer or Optimizer(), schedule or Schedule()
        self.seed, self.channels_last = seed, channels_last
        # Networks that only answer: in a dictionary, so that they are neither trained nor kept.
        self._frozen: dict[str, nn.Module] = {}
        self._terms: Any = self.losses
        if compile != "off":
            self._terms = torch.compile(self.losses, mode=None if compile == "default" else compile)

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""
        raise NotImplementedError

    def measure(self, batch: Any) -> Measurement:
        """How well the network does on a validation batch."""
        raise NotImplementedError

    def _laid_out(self, image: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in the memory format of the weights."""
        return image.contiguous(memory_format=torch.channels_last) if self.channels_last else image

    def on_fit_start(self) -> None:
        """Bring the networks that only answer to where this one is trained."""
        for network in self._frozen.values():
            network.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make what is drawn at random in this step the same when the training is resumed."""
        torch.manual_seed(hash((self.seed, self.trainer.global_step, batch_idx, self.global_rank)) % 2**63)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One step; the terms go to the callbacks."""
        terms = self._terms(batch)
        return {"loss": torch.stack(list(terms.values())).sum()} | {k: v.detach() for k, v in terms.items()}

    def validation_step(self, batch: Any, batch_idx: int) -> Mapping[str, Any]:
        """What `measure` says, for the callbacks."""
        return self.measure(batch)._asdict()

    def configure_optimizers(self) -> Any:
        """AdamW or its like, and the schedule per step."""
        return self._scheduled(made(self.optimizer, self.network), self.schedule)

    def _scheduled(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> dict[str, Any]:
        steps = self.trainer.max_steps
        follow = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": follow, "interval": "step"}}


def made(settings: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a network's weights that learn."""
    lr, betas, eps = settings.lr, settings.betas, settings.eps
    if settings.muon:
        return Muon(*split(network), lr=lr, ratio=settings.muon, betas=betas, eps=eps)
    weights = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if settings.kind == "adamw" else torch.optim.Adamax
    return kind([group for group in groups if group["params"]], lr=lr, betas=betas, eps=eps)
