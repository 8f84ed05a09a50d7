"""Exposures of faces as `unblur data fmr` writes them, whose frames have two orders: that of time, and that of FMR."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unblur.data.exposure_metadata import NAME, Entry, Metadata, Split
from unblur.data.manifest_metadata import open_exposures
from unblur.data.metadata_exposures import RecordedExposures, spread
from unblur.errors import UnblurError
from unblur.media.folder import is_folder

FOLDERS = "frames-*"
PARTITION: Split = "test"
Order = Literal["rank", "time"]
"""By facial-motion reordering, or in time."""
_MAKE = "name a folder that unblur data fmr made"


@dataclass(frozen=True)
class FaceExposures:
    """W exposures of N frames each, N odd.

    Attributes
    ----------
    recorded : RecordedExposures
    rank, time : Tensor
        (W, N) int64: which of the frames, as they are loaded, comes first, second, ... by facial-motion reordering and
        in time.
    """

    recorded: RecordedExposures
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
        """Batches of `RecordedExposures.batches`, with ``rank`` and ``time`` (B, N)."""
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
        There are none, the metadata is damaged or tells no order by FMR, pictures are missing.
    """
    if not is_folder(folder):
        raise UnblurError(folder, "is no folder", _MAKE)
    found = [one for path in sorted(folder.glob(FOLDERS)) if (one := open_exposures(path)) is not None]
    if not found:
        raise UnblurError(folder, f"has no {FOLDERS}/{NAME}", _MAKE)
    notes = [
        f"{one.name} left out: of {one.frame_count} frames none is the middle one"
        for one in found
        if one.frame_count % 2 == 0
    ]
    found = sorted((one for one in found if one.frame_count % 2), key=lambda one: one.frame_count)
    if split is None and any(entry.split == PARTITION for one in found for entry in one.entries):
        split = PARTITION
    elif split is None:
        notes.append(f"no exposure is of the split {PARTITION}: all are measured on")
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
    return FaceExposures(RecordedExposures(chosen, metadata.frame_count), rank, time)


def _places(metadata: Metadata, entry: Entry) -> tuple[list[int], list[int]]:
    """Where the frames by rank, and those in time, are found among those that are loaded."""
    count = metadata.frame_count
    fmr = entry.more.get("fmr")
    if not isinstance(fmr, list) or {type(moment) for moment in fmr} != {int} or sorted(fmr) != list(range(count)):
        raise UnblurError(metadata.root / NAME, f"does not tell the order by FMR of {entry.id}", _MAKE)
    # Of every frame as it is stored, which one it was in time.
    stored = fmr if entry.more.get("sort", "fmr") == "fmr" else list(range(count))
    if entry.direction() < 0:
        stored = stored[::-1]
    return [stored.index(moment) for moment in fmr], [stored.index(moment) for moment in range(count)]
