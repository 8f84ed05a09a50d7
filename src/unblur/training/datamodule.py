"""Data that depends on the seed, the step and the process alone: nothing to shuffle, load or restore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader


class Source(Protocol):
    """Makes training batches out of nothing but a number."""

    def batch(self, step: int, device: torch.device) -> dict[str, Tensor]:
        """The batch of `step`: a `film.Exposure`, or for blur spaces a `blur_space.Pair`."""
        ...


class Mixture:
    """Batches of several sources in turns, as a function of (seed, step) alone.

    Parameters
    ----------
    sources : sequence of (Source, float)
        Each with its share of the batches, above 0.
    seed : int
        Two mixtures of one seed take turns alike.
    """

    def __init__(self, sources: Sequence[tuple[Source, float]], seed: int = 0) -> None:
        self.sources = [source for source, _ in sources]
        shares = np.array([share for _, share in sources])
        self.shares, self.seed = shares / shares.sum(), seed

    def batch(self, step: int, device: torch.device) -> dict[str, Tensor]:
        """The batch of `step` of one of the sources."""
        turn = int(np.random.default_rng((self.seed, step)).choice(len(self.sources), p=self.shares))
        return self.sources[turn].batch(step, device)


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
    prefetch : bool
        Render the next batch in a thread while the network trains on this one. For CPUs with a core to spare.
    echo, pool : int
        Train on each batch `echo` times: on `pool` batches one after the other, on the same ones again, then on the
        next `pool` (data echoing, Choi et al. 2019). For networks that train faster than batches are rendered.
    accumulate : int, optional
        Batches that make a step, where the system and not the trainer gathers them.
    """

    def __init__(
        self,
        source: Source,
        heldout: Sequence[dict[str, Tensor]] = (),
        *,
        prefetch: bool = False,
        echo: int = 1,
        pool: int = 32,
        accumulate: int | None = None,
    ) -> None:
        super().__init__()
        if echo < 1 or pool < 1:
            raise ValueError(f"echo and pool must be 1 or more, got {echo} and {pool}")
        self.source, self.heldout = source, list(heldout)
        self.echo, self.pool, self.accumulate = echo, pool, accumulate
        self._kept: dict[int, dict[str, Tensor] | Future[dict[str, Tensor]]] = {}
        self._thread = ThreadPoolExecutor(1) if prefetch else None

    def train_dataloader(self) -> Steps:
        """Step numbers from where the training stands."""
        assert self.trainer is not None
        return Steps(self.trainer.global_step * (self.accumulate or self.trainer.accumulate_grad_batches))

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The validation batches."""
        return DataLoader(self.heldout, batch_size=None)  # type: ignore[arg-type]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn a step number into the batch; leave other batches alone."""
        if not isinstance(batch, int):
            return batch
        assert self.trainer is not None
        world, rank = self.trainer.world_size, self.trainer.global_rank
        device = self.trainer.strategy.root_device
        number, following = (self.number(step) * world + rank for step in (batch, batch + 1))
        kept = self._kept
        if number not in kept:
            kept[number] = self.source.batch(number, device)
        if self._thread is not None and following not in kept:
            kept[following] = self._thread.submit(self.source.batch, following, device)
        rendered = kept[number]
        rendered = kept[number] = rendered.result() if isinstance(rendered, Future) else rendered
        last = (batch + 1) % (self.pool * self.echo) == 0 or self.echo == 1
        if last:
            self._kept = {following: kept[following]} if following in kept else {}
        return rendered

    def number(self, step: int) -> int:
        """Which batch of the source a step trains on, in a single process."""
        block, within = divmod(step, self.pool * self.echo)
        return block * self.pool + within % self.pool

    def teardown(self, stage: str) -> None:
        """Stop the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
