"""Keeps what a training has learned: at intervals, at its best, when time is up, and when it is asked to stop."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unblur.errors import UnblurError
from unblur.evaluation.film_scores import DISTANCES
from unblur.training.ema import MovingAverage

LAST = "last"
log = logging.getLogger(__name__)


class Keeper(Callback):
    """Writes ``last.ckpt``, the whole state, and the averaged weights; each is complete or not there.

    Put it last among the callbacks, so that what it keeps includes the step that has just ended.

    Parameters
    ----------
    folder : Path
        The run's folder.
    save_weights : callable
        ``save_weights(module, steps, name)`` writes the weights that are to be exported to ``NAME.safetensors``.
    average : MovingAverage, optional
        Whose weights are exported.
    every : float
        Minutes between two saves.
    budget : float, optional
        Minutes after which the training ends, as it does on SIGTERM or ctrl-C: saved and in order.
    numbered_every : int
        Steps between two files of weights that stay, ``step-0001000.safetensors``; 0 for none.
    best : sequence of str
        Metrics of the validation: whenever one is better than before, the weights go to ``best-METRIC.safetensors``. A
        name counts for the mean over all times, ``psnr``, or for one of them, ``psnr@0.5``.
    score : callable
        ``score()`` is the last validation, metrics to numbers.
    """

    def __init__(
        self,
        folder: Path,
        save_weights: Callable[[LightningModule, int, str], None],
        average: MovingAverage | None = None,
        *,
        every: float = 10.0,
        budget: float | None = None,
        numbered_every: int = 0,
        best: Sequence[str] = (),
        score: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.folder, self.save_weights, self.average = Path(folder), save_weights, average
        self.every, self.budget = every, budget
        self.numbered_every, self.score = numbered_every, score
        self.best: dict[str, float | None] = dict.fromkeys(best)
        self._asked, self._seen, self._kept = False, 0, -1
        self._started = self._saved = time.monotonic()
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def checkpoint(self) -> Path:
        """The file with the whole state."""
        return self.folder / "last.ckpt"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, make the folder, listen for requests to stop."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._started = self._saved = time.monotonic()
        self._asked, self._seen = False, trainer.global_step
        if threading.current_thread() is threading.main_thread():
            self._handlers = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, *_: Any) -> None:
        self._asked = True
        # Whoever asks twice means at once.
        self._restore()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save, and stop, when it is due; only between whole optimizer steps."""
        if trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        if self.numbered_every and trainer.global_step % self.numbered_every == 0:
            self._export(trainer, pl_module, f"step-{trainer.global_step:07d}")
        stop, save = self._due(trainer)
        if stop or save:
            self.save(trainer, pl_module)
        if stop:
            if trainer.is_global_zero:
                log.info("stopped in order at step %d", trainer.global_step)
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights that are better than any before."""
        for metric, best in self.best.items():
            value = mean_over_times(self.score(), metric)
            lower = metric.partition("@")[0] in DISTANCES
            if not math.isnan(value) and (best is None or (value < best if lower else value > best)):
                self.best[metric] = value
                self._export(trainer, pl_module, f"best-{metric.replace('@', '-')}")

    def state_dict(self) -> dict[str, Any]:
        """The best values so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best values of a checkpoint."""
        self.best |= {metric: value for metric, value in state_dict["best"].items() if metric in self.best}

    def _due(self, trainer: Trainer) -> tuple[bool, bool]:
        """Whether to stop and whether to save: the same answer in every process."""
        now = time.monotonic()
        over = self.budget is not None and now - self._started >= 60 * self.budget
        answers = [self._asked or over, now - self._saved >= 60 * self.every]
        if trainer.world_size > 1:
            votes = torch.tensor(answers, dtype=torch.float32, device=trainer.strategy.root_device)
            answers = [bool(vote) for vote in trainer.strategy.reduce(votes, reduce_op="sum").tolist()]
        return answers[0], answers[1]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the end, unless it has just been kept; hand the signals back before Lightning does."""
        self._restore()
        if trainer.global_step != self._kept:
            self.save(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Hand the signals back."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint and the weights."""
        temporary = self.folder / ".last.ckpt.part"
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            # Weights that are not finite are refused here, before they replace a checkpoint that is sound.
            self._export(trainer, pl_module, LAST)
            temporary.replace(self.checkpoint)
        self._saved, self._kept = time.monotonic(), trainer.global_step

    def _export(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        """Write the weights that are validated."""
        if not trainer.is_global_zero:
            return
        with self.average.applied(pl_module) if self.average else nullcontext():
            self.save_weights(pl_module, trainer.global_step, name)


def mean_over_times(score: Mapping[str, float], metric: str) -> float:
    """A metric of a validation, or its mean over the times at which it was measured.

    Raises
    ------
    UnblurError
        It was not measured.
    """
    values = [value for name, value in score.items() if metric in (name, name.partition("@")[0])]
    if not values:
        there = ", ".join(dict.fromkeys(name.partition("@")[0] for name in score))
        raise UnblurError(f"best {metric}", "is not measured in validation", f"choose of {there}")
    return sum(values) / len(values)
