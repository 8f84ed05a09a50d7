"""Exposures that metadata or a manifest tells of, to be measured on as those of a protocol are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unblur.data.exposure_metadata import Entry, Metadata, Split
from unblur.data.manifest_metadata import open_exposures
from unblur.data.sequences import MetadataSequences
from unblur.errors import UnblurError
from unblur.exposure.average import frame_times
from unblur.exposure.response import Response

SMALLEST = 11
"""Pixels a side that the window of SSIM needs."""


@dataclass(frozen=True)
class RecordedExposures:
    """Exposures with the same number of frames; pictures are read when they are needed.

    Attributes
    ----------
    metadata : Metadata
        Of these alone; its orders are honoured.
    averaged : int or None
        How many frames were averaged, ends among them; None if light was gathered all the time.
    response : {"srgb", "gamma", "linear"}
        Of the camera.
    """

    metadata: Metadata
    averaged: int | None
    response: Response = "srgb"

    @property
    def times(self) -> Tensor:
        """(T,) when the frames were."""
        return frame_times(self.metadata.frame_count)

    def __len__(self) -> int:
        return len(self.metadata.entries)

    def batches(self, size: int = 4) -> Iterator[dict[str, Tensor]]:
        """``blurry`` (B, 3, H, W) and ``frames`` (B, T, 3, H, W) float32 in [0, 1]; at most `size`, of one size.

        Raises
        ------
        UnblurError
            A picture cannot be read, is too small, or has another size than its blurry one.
        """
        kept: list[Tensor] = []
        for pictures in self._read():
            if kept and (len(kept) == size or pictures.shape != kept[0].shape):
                yield self._batch(kept)
                kept = []
            kept.append(pictures)
        yield self._batch(kept)

    def _read(self) -> Iterator[Tensor]:
        """(1 + T, 3, H, W) uint8, one exposure after the other."""
        sequences = MetadataSequences(self.metadata, self.metadata.frame_count)
        for number, entry in enumerate(self.metadata.entries):
            pictures = sequences.read(number).pictures
            if min(pictures.shape[1:3]) < SMALLEST:
                problem = f"is smaller than {SMALLEST} x {SMALLEST} pixels"
                raise UnblurError(self.metadata.root / entry.blurry, problem, "remove its entry")
            yield torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def _batch(self, kept: list[Tensor]) -> dict[str, Tensor]:
        both = torch.stack(kept).float() / 255
        return {"blurry": both[:, 0], "frames": both[:, 1:], "times": self.times}


def load_recorded(
    source: Path, *, root: Path | None = None, split: Split | None = None, limit: int | None = None
) -> dict[str, RecordedExposures]:
    """The exposures of a ``metadata.json``, a manifest, or a folder with either, by their partitions.

    Exposures that were averaged in another way than others are a class of their own.

    Parameters
    ----------
    root : Path, optional
        Where the paths of metadata start.
    split : {"train", "val", "test"}, optional
        All by default.
    limit : int, optional
        At most so many exposures of each class; see `spread`.

    Raises
    ------
    UnblurError
        The file is damaged, pictures are missing, or there are no such exposures.
    """
    found = open_exposures(source, root, split or "test")
    if found is None:
        raise UnblurError(source, "is no metadata.json and no manifest.jsonl", "name one of these, or a folder with it")
    whole = found.part(split)
    kind = lambda entry: (entry.split, *_kind(entry, whole.frame_count))  # noqa: E731
    kinds = {key: tuple(entries) for key, entries in groupby(sorted(whole.entries, key=kind), key=kind)}
    classes = {}
    for (part, averaged, response), entries in kinds.items():
        alone = sum(key[0] == part for key in kinds) == 1
        name = part if alone else f"{part}, {f'{averaged} frames' if averaged else 'all the time'}, {response}"
        classes[name] = RecordedExposures(replace(whole, entries=spread(entries, limit)), averaged or None, response)
    return classes


def spread(entries: tuple[Entry, ...], count: int | None) -> tuple[Entry, ...]:
    """At most `count` of them, evenly spread: neighbours are of one clip, and much alike."""
    if count is None or count >= len(entries):
        return entries
    return tuple(entries[(2 * place + 1) * len(entries) // (2 * count)] for place in range(count))


def _kind(entry: Entry, frames: int) -> tuple[int, Any]:
    """How many frames were averaged, 0 for light gathered all the time, and through which response.

    Metadata do not tell: the blurry picture is then taken for the mean of the frames, as HyperCUT does.
    """
    span = entry.more.get("span")
    if "response" not in entry.more:
        return frames, "srgb"
    return (0 if span is None else span[1] - span[0] + 1), entry.more["response"]
