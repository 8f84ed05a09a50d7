from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from loaded_networks import SimpleFilm
from torch import Tensor, nn

from unblur.training.checkpoint import LAST, Keeper
from unblur.training.datamodule import ExposureData
from unblur.training.ema import MovingAverage
from unblur.training.film_training import FilmTraining, Optimizer
from unblur.training.metrics_log import Journal
from unblur.training.schedule import Schedule


class TinyFilm(SimpleFilm):
    """A film network that has everything that could spoil a resumed training: buffers, and dropout."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.arguments = {"width": width}
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Conv2d(width, 6, 1)

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        still, moving = self.last(self.drop(self.norm(self.first(blurry)).relu())).chunk(2, 1)
        times = times.expand(len(blurry), -1) if times.ndim == 1 else times
        tau = (2 * times - 1)[..., None, None, None]
        return (blurry + still)[:, None] + tau * moving[:, None]


class TinySource:
    """Noise, as a function of the step."""

    def batch(self, step: int, device: torch.device) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step)
        frames = torch.rand(2, 3, 3, 8, 8, generator=generator)
        batch = {"blurry": frames.mean(1), "frames": frames, "times": torch.rand(2, 3, generator=generator)}
        return {name: value.to(device) for name, value in batch.items()}


def heldout() -> list[dict[str, Tensor]]:
    batch = TinySource().batch(10**6, torch.device("cpu"))
    return [batch | {"times": torch.tensor([0.0, 0.5, 1.0])}]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        yield


@pytest.fixture
def tiny() -> type[TinyFilm]:
    return TinyFilm


@pytest.fixture
def source() -> TinySource:
    return TinySource()


@pytest.fixture
def fit() -> Callable[..., tuple[Trainer, FilmTraining]]:
    """Train the tiny network for some steps: ``fit(folder, steps=8, ckpt_path=..., callbacks=[...])``.

    `build` makes another system of it, which gathers `gather` batches for a step by itself.
    """

    def run(
        folder: Path,
        *,
        steps: int = 8,
        ckpt_path: Path | None = None,
        callbacks: list[Any] | None = None,
        keeper: dict[str, Any] | None = None,
        validate_every: int = 2,
        prefetch: bool = False,
        build: Callable[..., FilmTraining] | None = None,
        gather: int | None = None,
        **machine: Any,
    ) -> tuple[Trainer, FilmTraining]:
        torch.manual_seed(0)
        how: dict[str, Any] = {"optimizer": Optimizer(lr=1e-2), "schedule": Schedule(warmup=2), "seed": 3}
        module = build(TinyFilm(), **how) if build else FilmTraining(TinyFilm(), **how)
        average = MovingAverage(0.9)

        def save(module: LightningModule, steps: int, name: str) -> None:
            torch.save(module.network.state_dict(), folder / ("weights.pt" if name == LAST else f"{name}.pt"))

        journal = Journal(folder, 1)
        keeper = {"score": lambda: journal.score} | (keeper or {})
        trainer = Trainer(
            max_steps=steps,
            max_epochs=-1,
            val_check_interval=validate_every * (gather or machine.get("accumulate_grad_batches", 1)),
            check_val_every_n_epoch=None,
            accelerator="cpu",
            callbacks=[
                *(callbacks or []),
                average,
                journal,
                Keeper(folder, save, average, **keeper),
            ],
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **machine,
        )
        data = ExposureData(TinySource(), heldout(), prefetch=prefetch, accumulate=gather)
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=False)
        return trainer, module

    return run
