"""The journal of a training: numbers for machines and for plots, a line and a picture for people."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from unblur.errors import UnblurError
from unblur.training.contact_sheets import contact_sheet, write_sheet

log = logging.getLogger(__name__)


class Journal(Callback):
    """Writes ``journal.jsonl`` and contact sheets into the run's folder.

    A training line holds the means of the loss and its terms since the last line, the learning rate and the seconds per
    step. A validation line holds the means of what the system measures. A logger of
    the trainer is given the same lines.

    Parameters
    ----------
    folder : Path
        The run's folder; the journal of a resumed run goes on after the step that is resumed.
    every : int
        Steps between lines.
    pictures : int
        Exposures on each contact sheet.

    Attributes
    ----------
    score : dict
        The last validation.
    """

    def __init__(self, folder: Path, every: int = 50, pictures: int = 4) -> None:
        self.folder, self.every, self.pictures = Path(folder), every, pictures
        self.score: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        self._steps = self._seen = 0
        self._since = 0.0
        self._scores: dict[str, list[Tensor]] = {}
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def path(self) -> Path:
        """The file of lines."""
        return self.folder / "journal.jsonl"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what was written after the step that is resumed."""
        self._since, self._seen = time.perf_counter(), trainer.global_step
        if trainer.is_global_zero and self.path.exists():
            # A killed run may have left its last line half written.
            whole = [line for line in self.path.read_text().splitlines() if line.endswith("}")]
            lines = [json.loads(line) for line in whole]
            lines = [line for line in lines if line["step"] <= trainer.global_step]
            if isinstance(trainer.logger, CSVLogger):
                # It begins its file anew.
                for line in lines:
                    _log(trainer, line)
            self.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            scores = [line for line in lines if "loss" not in line]
            self.score = {name: value for name, value in (scores or [{}])[-1].items() if name != "step"}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Add up the loss; write a line when it is due."""
        for name, value in outputs.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self._steps += 1
        if trainer.global_step == self._seen or trainer.global_step % self.every:
            return
        self._seen = trainer.global_step
        line: dict[str, Any] = {"step": trainer.global_step}
        line |= {name: float(value) / self._steps for name, value in self._sums.items()}
        line["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        # Reading the loss above has waited for the device, so that the clock is right on a GPU too.
        line["seconds_per_step"] = (time.perf_counter() - self._since) / self._steps
        self._sums, self._steps, self._since = {}, 0, time.perf_counter()
        self._write(trainer, line)
        if not math.isfinite(line["loss"]):
            raise UnblurError(
                f"step {trainer.global_step}", "the loss is not a number", "lower optimizer.lr and resume"
            )

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep what was measured on one batch (see `system.Measurement`), and the first pictures of one size."""
        for name, value in outputs["scores"].items():
            self._scores.setdefault(name, []).append(value.detach().cpu())
        room = max(0, self.pictures - sum(len(row[0]) for row in self._rows))
        if room and (not self._rows or self._rows[0][0].shape[1:] == outputs["sheet"][0].shape[1:]):
            given, predicted, true = (pictures[:room].cpu() for pictures in outputs["sheet"])
            self._rows.append((given, predicted, true))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line and the contact sheet."""
        if self._scores:
            self.score = {name: float(torch.cat(values).mean()) for name, values in self._scores.items()}
            self._write(trainer, {"step": trainer.global_step} | self.score)
            if trainer.is_global_zero:
                given, predicted, true = (torch.cat(column) for column in zip(*self._rows, strict=True))
                sheet = contact_sheet(given, predicted, true)
                write_sheet(self.folder / f"sheet-{trainer.global_step:07d}.png", sheet)
        self._scores, self._rows = {}, []
        # Validation is not training time.
        self._since, self._steps, self._sums = time.perf_counter(), 0, {}

    def _write(self, trainer: Trainer, line: dict[str, Any]) -> None:
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({k: round(v, 8) if isinstance(v, float) else v for k, v in line.items()}) + "\n")
        _log(trainer, line)
        log.info("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items()))


def _log(trainer: Trainer, line: dict[str, Any]) -> None:
    """Give a line to the trainer's logger."""
    if trainer.logger is not None:
        trainer.logger.log_metrics({name: value for name, value in line.items() if name != "step"}, line["step"])
        trainer.logger.save()
