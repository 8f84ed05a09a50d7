"""Exposures that a ``metadata.json`` lists, to be measured on as those of a protocol are; those of faces among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unblur.data.exposure_metadata import NAME, Entry, Metadata, Split, open_metadata
from unblur.data.sequences import MetadataSequences
from unblur.errors import UnblurError
from unblur.exposure.average import frame_times
from unblur.exposure.response import Response
from unblur.media.folder import is_folder

SMALLEST = 11
"""Pixels a side that the window of SSIM needs."""


@dataclass(frozen=True)
class MetadataExposures:
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


def load_exposures(
    source: Path, *, root: Path | None = None, split: Split | None = None, limit: int | None = None
) -> dict[str, MetadataExposures]:
    """The exposures of a ``metadata.json``, or of a folder with one, by their splits.

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
    found = open_metadata(source, root)
    if found is None:
        raise UnblurError(source, f"is no {NAME}", "name one, or a folder with it")
    whole = found.of_split(split)
    kind = lambda entry: (entry.split, *_kind(entry, whole.frame_count))  # noqa: E731
    kinds = {key: tuple(entries) for key, entries in groupby(sorted(whole.entries, key=kind), key=kind)}
    classes = {}
    for (part, averaged, response), entries in kinds.items():
        alone = sum(key[0] == part for key in kinds) == 1
        name = part if alone else f"{part}, {f'{averaged} frames' if averaged else 'all the time'}, {response}"
        classes[name] = MetadataExposures(replace(whole, entries=spread(entries, limit)), averaged or None, response)
    return classes


def spread(entries: tuple[Entry, ...], count: int | None) -> tuple[Entry, ...]:
    """At most `count` of them, evenly spread: neighbours are of one clip, and much alike."""
    if count is None or count >= len(entries):
        return entries
    return tuple(entries[(2 * place + 1) * len(entries) // (2 * count)] for place in range(count))


def _kind(entry: Entry, frames: int) -> tuple[int, Any]:
    """How many frames were averaged, 0 for light gathered all the time, and through which response.

    Where metadata have no response, the blurry picture counts as the mean of the frames, as in HyperCUT.
    """
    if entry.response is None:
        return frames, "srgb"
    return (0 if entry.span is None else entry.span[1] - entry.span[0] + 1), entry.response


FOLDERS = "frames-*"
MEASURED: Split = "test"
"""The split that is measured, where there is one."""
Order = Literal["rank", "time"]
"""By facial-motion reordering, or in time."""
_MAKE = "name a folder that unblur data fmr made"


@dataclass(frozen=True)
class FaceExposures:
    """W exposures of N frames each, N odd.

    Attributes
    ----------
    recorded : MetadataExposures
    rank, time : Tensor
        (W, N) int64: which of the frames, as they are loaded, comes first, second, ... by facial-motion reordering and
        in time.
    """

    recorded: MetadataExposures
    rank: Tensor
    time: Tensor

    @property
    def frames(self) -> int:
        """Of each exposure."""
        return self.rank.shape[1]

    @property
    def names(self) -> list[str]:
        """Of the exposures."""
        return [entry.id for entry in self.recorded.metadata.entries]

    def __len__(self) -> int:
        return len(self.rank)

    def batches(self, size: int = 4) -> Iterator[dict[str, Tensor]]:
        """Batches of `MetadataExposures.batches`, with ``rank`` and ``time`` (B, N)."""
        done = 0
        for batch in self.recorded.batches(size):
            rows = slice(done, done + len(batch["blurry"]))
            yield batch | {"rank": self.rank[rows], "time": self.time[rows]}
            done = rows.stop

    def one(self, index: int) -> dict[str, Tensor]:
        """A batch of a single exposure."""
        return next(self.some(slice(index, index + 1)).batches(1))

    def some(self, rows: slice) -> FaceExposures:
        """Only those exposures."""
        metadata = replace(self.recorded.metadata, entries=self.recorded.metadata.entries[rows])
        return FaceExposures(replace(self.recorded, metadata=metadata), self.rank[rows], self.time[rows])

    def in_order(self, order: Order) -> Metadata:
        """The same exposures for training, with their frames in one of the two orders."""
        metadata = self.recorded.metadata
        entries = []
        for entry, places in zip(metadata.entries, getattr(self, order).tolist(), strict=True):
            loaded = entry.frames[:: entry.direction()]
            entries.append(replace(entry, order="keep", frames=tuple(loaded[place] for place in places)))
        return replace(metadata, entries=tuple(entries))


def load_faces(
    folder: Path, *, split: Split | None = None, limit: int | None = None
) -> tuple[list[FaceExposures], list[str]]:
    """The exposures of a folder with ``frames-05``, ``frames-07`` and so on, any of them; shortest first.

    Parameters
    ----------
    split : {"train", "val", "test"}, optional
        By default those for tests, or where there are none at all, all of them.
    limit : int, optional
        At most so many of each length; see `spread`.

    Returns
    -------
    (list of FaceExposures, list of str)
        And notes on what was taken or left out.

    Raises
    ------
    UnblurError
        There are none, the metadata are damaged or have no order by FMR, pictures are missing.
    """
    if not is_folder(folder):
        raise UnblurError(folder, "is no folder", _MAKE)
    found = [one for path in sorted(folder.glob(FOLDERS)) if (one := open_metadata(path)) is not None]
    if not found:
        raise UnblurError(folder, f"has no {FOLDERS}/{NAME}", _MAKE)
    notes = [
        f"{one.name} left out: of {one.frame_count} frames none is the middle one"
        for one in found
        if one.frame_count % 2 == 0
    ]
    found = sorted((one for one in found if one.frame_count % 2), key=lambda one: one.frame_count)
    if split is None and any(entry.split == MEASURED for one in found for entry in one.entries):
        split = MEASURED
    elif split is None:
        notes.append(f"no exposure is of the split {MEASURED}: all are measured on")
    classes = [_exposures(one, split, limit) for one in found]
    classes = [one for one in classes if len(one)]
    if not classes:
        what = "no exposures of an odd number of frames" if split is None else f"no exposure of {split}"
        raise UnblurError(folder, f"has {what}", _MAKE)
    return classes, notes


def _exposures(metadata: Metadata, split: Split | None, limit: int | None) -> FaceExposures:
    entries = spread(tuple(entry for entry in metadata.entries if split in (None, entry.split)), limit)
    chosen = replace(metadata, entries=entries)
    places = [_places(chosen, entry) for entry in entries]
    rank, time = (
        torch.tensor([both[i] for both in places], dtype=torch.int64).view(-1, metadata.frame_count) for i in (0, 1)
    )
    return FaceExposures(MetadataExposures(chosen, metadata.frame_count), rank, time)


def _places(metadata: Metadata, entry: Entry) -> tuple[list[int], list[int]]:
    """Where the frames by rank, and those in time, are found among those that are loaded."""
    count = metadata.frame_count
    fmr = entry.more.get("fmr")
    if not isinstance(fmr, list) or {type(moment) for moment in fmr} != {int} or sorted(fmr) != list(range(count)):
        raise UnblurError(metadata.root / NAME, f"has no order by FMR of {entry.id}", _MAKE)
    # Of every frame as it is stored, which one it was in time.
    stored = fmr if entry.more.get("sort", "fmr") == "fmr" else list(range(count))
    if entry.direction() < 0:
        stored = stored[::-1]
    return [stored.index(moment) for moment in fmr], [stored.index(moment) for moment in range(count)]
