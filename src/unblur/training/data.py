"""Data that depends on the seed, the step and the process alone: nothing to shuffle, load or restore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader


class Source(Protocol):
    """Makes training batches out of nothing but a number."""

    def batch(self, step: int, device: torch.device) -> dict[str, Tensor]:
        """The batch of `step`: ``blurry``, ``frames``, ``times``, perhaps ``paths``: a `film.Exposure`."""
        ...


class Steps:
    """The numbers `start`, `start` + 1, ... without end: a loader with nothing to load."""

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        step = self.start
        while True:
            yield step
            step += 1


class ExposureData(LightningDataModule):
    """Exposures rendered where the network trains, one batch per step.

    Process r of n gets the batches r, n + r, 2n + r, ... of the source, so that no two processes see the same.

    Parameters
    ----------
    source : Source
        Of training batches.
    heldout : sequence of dict
        Batches for validation, kept as they are; every process measures all of them.
    ahead : bool
        Render the next batch in a thread while the network trains on this one. For CPUs with a core to spare.
    """

    def __init__(self, source: Source, heldout: Sequence[dict[str, Tensor]] = (), *, ahead: bool = False) -> None:
        super().__init__()
        self.source, self.heldout = source, list(heldout)
        self._thread = ThreadPoolExecutor(1) if ahead else None
        self._next: tuple[int, Future[dict[str, Tensor]]] | None = None

    def train_dataloader(self) -> Steps:
        """Step numbers from where the training stands."""
        assert self.trainer is not None
        return Steps(self.trainer.global_step * self.trainer.accumulate_grad_batches)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The held-out batches."""
        return DataLoader(self.heldout, batch_size=None)  # type: ignore[arg-type]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn a step number into the batch; leave other batches alone."""
        if not isinstance(batch, int):
            return batch
        assert self.trainer is not None
        number = batch * self.trainer.world_size + self.trainer.global_rank
        device = self.trainer.strategy.root_device
        if self._thread is None:
            return self.source.batch(number, device)
        if self._next is not None and self._next[0] == number:
            rendered = self._next[1].result()
        else:
            rendered = self.source.batch(number, device)
        following = number + self.trainer.world_size
        self._next = (following, self._thread.submit(self.source.batch, following, device))
        return rendered

    def teardown(self, stage: str) -> None:
        """Stop the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
