"""Training of film networks against a critic (CFMD-GAN, Lee, Han, Heo, IEEE Access 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.losses.gan_loss import Form, critic_terms, network_terms, released_pixel
from unblur.networks.cfmd_critic import CFMDCritic, Judged
from unblur.training.base import Compile, Optimizer, made
from unblur.training.film_training import Exposure, FilmTraining, Loss, drafts_of
from unblur.training.schedule import Schedule

NETWORK, CRITIC = 0, 1


@dataclass(frozen=True)
class AdversarialLoss:
    """What is added to the loss of a film network that is trained against a critic; the paper's numbers.

    Attributes
    ----------
    weight : float
        Of the critic's verdicts on frames; 0 for no critic at all. The paper has 0.1, the released program 0.01.
    regression : float
        Weight of the critic's error on the times of made frames, which the network is to help.
    critic_regression : float
        Weight of its error on times in what the critic itself is trained for; 1 as released.
    form : {"paper", "released"}
        See `losses.gan_loss`. Released, likeness is the absolute difference, too.
    perceptual : float
        Weight of LPIPS between frames, which needs `lpips`. 0 where `film.Loss.perceptual` asks for the same.
    lpips : str, optional
        Its weights, see `models.feature_networks.load_lpips`. Where there is no such file it is left out, and that is
        told.
    """

    weight: float = 0.0
    regression: float = 0.05
    critic_regression: float = 0.05
    form: Form = "paper"
    perceptual: float = 0.01
    lpips: str | None = None


class GanTraining(FilmTraining):
    """Trains a film network and the critic that judges its frames, in turns: a step of each for every batch.

    Steps are counted by those of the network. Averaged, validated and exported is the network.

    Parameters
    ----------
    network : Module
        See `film.FilmTraining`.
    critic : CFMDCritic
    loss, optimizer, schedule
        What to train the network for beside the critic, and how.
    adversarial : AdversarialLoss
    critic_optimizer, critic_schedule
        How to train the critic; as the network by default.
    clip : float, optional
        The largest norm of the gradients of either.
    accumulate : int
        Batches that make a step; the critic that judges the last of them is a step ahead of the one that judged the
        others.
    seed, compile, channels_last
        See `system.System`.
    """

    def __init__(
        self,
        network: nn.Module,
        critic: CFMDCritic,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        *,
        adversarial: AdversarialLoss | None = None,
        critic_optimizer: Optimizer | None = None,
        critic_schedule: Schedule | None = None,
        clip: float | None = 1.0,
        accumulate: int = 1,
        seed: int = 0,
        compile: Compile = "off",
        channels_last: bool = False,
    ) -> None:
        super().__init__(network, loss, optimizer, schedule, seed=seed, channels_last=channels_last)
        # There are two optimizers, and Lightning leaves their turns to us.
        self.automatic_optimization = False
        self.critic = critic.to(memory_format=torch.channels_last) if channels_last else critic  # type: ignore[call-overload]
        self.adversarial = adversarial or AdversarialLoss(weight=0.1)
        self.critic_optimizer = critic_optimizer or self.optimizer
        self.critic_schedule = critic_schedule or self.schedule
        self.clip, self.accumulate = clip, accumulate
        self._gathered = 0
        if self.loss.parts != "off":
            raise UnblurError("adversarial", "needs whole frames, and loss.parts trains parts", "set loss.parts to off")
        if not self.timed:
            problem = f"needs frames at many times, and a {type(network).__name__} makes one"
            raise UnblurError("adversarial", problem, "set adversarial.weight to 0")
        if self.adversarial.perceptual:
            if self.loss.perceptual:
                problem = f"is {self.adversarial.perceptual:g}, but loss.perceptual has LPIPS in the loss already"
                raise UnblurError("adversarial.perceptual", problem, "set one of the two to 0")
            self._look(self.adversarial.perceptual, self.adversarial.lpips, "adversarial")
        self._make: Any = self._outputs
        self._judge: Any = self.critic.forward
        if compile != "off":
            mode = None if compile == "default" else compile
            self._make, self._judge = (torch.compile(run, mode=mode) for run in (self._make, self._judge))

    def losses(self, batch: Exposure) -> dict[str, Tensor]:
        """What the network is trained for, with the critic as it is."""
        batch = self._timed(batch)
        outputs = self._make(self._laid_out(batch["blurry"]), batch["times"], *drafts_of(batch))
        return self._network_terms(batch, outputs)

    def training_step(self, batch: Exposure, batch_idx: int) -> dict[str, Tensor]:
        """A step of the critic, then one of the network, on the same frames."""
        batch = self._timed(batch)
        outputs = self._make(self._laid_out(batch["blurry"]), batch["times"], *drafts_of(batch))
        judged = self._critic_terms(batch, outputs[-1].detach())
        self._gathered += 1
        whole = self._gathered == self.accumulate
        self._learn(CRITIC, judged, step=whole)
        with _still(self.critic):
            terms = self._network_terms(batch, outputs)
            self._learn(NETWORK, terms, step=whole)
        self._gathered = 0 if whole else self._gathered
        loss = torch.stack(list(terms.values())).sum().detach()
        return {"loss": loss} | {name: value.detach() for name, value in (terms | judged).items()}

    def configure_optimizers(self) -> Any:
        """The network's and the critic's."""
        own = self._scheduled(made(self.optimizer, self.network), self.schedule)
        return [own, self._scheduled(made(self.critic_optimizer, self.critic), self.critic_schedule)]

    def _critic_terms(self, batch: Exposure, frames: Tensor) -> dict[str, Tensor]:
        """What the critic is trained for."""
        both = torch.cat((batch["frames"], frames))
        true, made = self._judged(both, batch["blurry"].repeat(2, 1, 1, 1)).split(frames.shape[:2].numel())
        times, wanted = batch["times"].flatten(), self.adversarial
        return critic_terms(true, made, times, wanted.critic_regression, wanted.form)

    def _network_terms(self, batch: Exposure, outputs: list[Tensor]) -> dict[str, Tensor]:
        """What the network is trained for."""
        times, frames, wanted = batch["times"], outputs[-1], self.adversarial
        terms = self._compared(batch, outputs, times)
        made = self._judged(frames, batch["blurry"])
        return terms | network_terms(made, times.flatten(), wanted.weight, wanted.regression, wanted.form)

    def _judged(self, frames: Tensor, blurry: Tensor) -> Judged:
        """Verdicts on all frames (B, T, 3, H, W), one after the other."""
        pictures = blurry[:, None].expand_as(frames).flatten(0, 1)
        return self._judge(self._laid_out(frames.flatten(0, 1)), self._laid_out(pictures))

    def _learn(self, which: int, terms: dict[str, Tensor], *, step: bool) -> None:
        """Gather gradients; with `step`, take a step along them."""
        self.manual_backward(torch.stack(list(terms.values())).sum() / self.accumulate)
        if not step:
            return
        optimizers: Any = self.optimizers()
        schedules: Any = self.lr_schedulers()
        # Lightning counts the steps of its own optimizers, and not those of a bare one: steps are the network's.
        optimizer = optimizers[which] if which == NETWORK else optimizers[which].optimizer
        if self.clip is not None:
            self.clip_gradients(optimizers[which], self.clip, "norm")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedules[which].step()

    def _pixel(self, outputs: list[Tensor], frames: Tensor) -> Tensor:
        if self.adversarial.form == "released":
            return released_pixel(outputs, frames)
        return super()._pixel(outputs, frames)

    def _timed(self, batch: Exposure) -> Exposure:
        """The batch with the times (B, T) at which its frames are to be learned."""
        times = self._directed(batch).expand(len(batch["frames"]), -1)
        return batch | {"times": times}  # type: ignore[return-value]


def no_half(precision: str) -> None:
    """Refuse what needs its gradients scaled.

    Raises
    ------
    UnblurError
        16-mixed.
    """
    if precision == "16-mixed":
        raise UnblurError("trainer.precision 16-mixed", "is too narrow for a critic's gradients", "use bf16-mixed")


@contextmanager
def _still(network: nn.Module) -> Iterator[None]:
    """Within, no gradients of these weights are asked for."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
