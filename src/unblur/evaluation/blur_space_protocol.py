"""How good a blur space is, by the protocol blur-1: how well it reads a blur, and carries it to another picture.

Two things are measured:

* *reading*: the sharp middle frames and the blurry pictures of `unblur.evaluation.val1`, all four classes;
* *transfer*: the 24 Kodak pictures in each of val-1's classes of length, exposed as there but with nothing moving in
  front, and a second picture along the very same path. A code is read from the first pair and put on the second sharp
  picture, whose true blurry one is known.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unblur.data.npz_cache import store_arrays, stored_arrays
from unblur.evaluation.report import ALL, EvaluationReport, ScoreTable, class_rows, read_published
from unblur.evaluation.val1 import KODAK, LENGTHS, Exposures, default_cache, kodak_middles, load_val1, photo_exposure
from unblur.metrics.fidelity import psnr
from unblur.pipeline.blur_transfer import BlurSpace, Model, load_blur_space
from unblur.pipeline.restore import Progress

NAME, VERSION = "blur-1", 1
APART = 7
"""How far behind the picture that a blur is read from stands the one that it is put on."""
SEEDS = 10_000


@dataclass(frozen=True)
class Transfers:
    """Pairs that share a blur.

    Attributes
    ----------
    sharp, blurry : Tensor
        (N, 3, H, W) uint8; a code is read from them.
    other, truth : Tensor
        (N, 3, H, W) uint8; another sharp picture, and the same with the blur of the same motion.
    """

    sharp: Tensor
    blurry: Tensor
    other: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.sharp)

    def head(self, count: int | None) -> Transfers:
        """The first `count`."""
        return Transfers(*(part[:count] for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four, in order."""
        return self.sharp, self.blurry, self.other, self.truth


def load_transfers(
    root: Path,
    cache: Path | None = None,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Transfers]:
    """The transfers of blur-1 by their classes of length, built on first use and cached.

    Parameters
    ----------
    root, cache, limit, progress
        See `unblur.evaluation.val1.load_val1`.

    Raises
    ------
    UnblurError
        If pictures are missing or cannot be read, or the cache cannot be written.
    """
    stills, digest = kodak_middles(Path(root))
    name = hashlib.sha256(f"{NAME} {VERSION} {digest}".encode()).hexdigest()[:16]
    entry = Path(cache or default_cache()) / f"{NAME}-{name}.npz"
    classes = _stored(entry)
    if classes is None:
        classes = {}
        for number, (kind, length) in enumerate(LENGTHS.items()):
            exposures = []
            for i in range(len(KODAK)):
                if progress:
                    progress(number * len(KODAK) + i, len(LENGTHS) * len(KODAK))
                exposures.append(_transfer(stills, i, length, SEEDS * (number + 1) + i))
            classes[kind] = Transfers(*(torch.stack(parts) for parts in zip(*exposures, strict=True)))
        parts = {kind: enumerate(transfers.parts()) for kind, transfers in classes.items()}
        store_arrays(entry, {f"{kind}.{i}": part.numpy() for kind, each in parts.items() for i, part in each})
    return {kind: transfers.head(limit) for kind, transfers in classes.items()}


def _transfer(stills: list[np.ndarray], i: int, length: tuple[float, float], seed: int) -> tuple[Tensor, ...]:
    pair = []
    for still in (stills[i], stills[(i + APART) % len(stills)]):
        # With no layer, what is drawn at random does not depend on the picture: the path is the same.
        blurry, frames = photo_exposure(still, still, length, False, seed)
        pair += [frames[len(frames) // 2], blurry]
    return tuple(pair)


def _stored(entry: Path) -> dict[str, Transfers] | None:
    arrays = stored_arrays(entry) or {}
    try:
        return {kind: Transfers(*(torch.from_numpy(arrays[f"{kind}.{i}"]) for i in range(4))) for kind in LENGTHS}
    except KeyError:
        return None


GOOD = 36.0
"""PSNR in dB that a good reading reaches."""
COLUMNS = {
    **{"task": "task", "exposures": "exposures", "count": "n"},
    **{"psnr_sharp": "sharp as it is", "psnr": "with the code", "gain": "gain", "reached_36": f"at least {GOOD:g} dB"},
}


def evaluate_space(
    model: Model = None,
    data: str | PathLike[str] = ".",
    *,
    device: str = "auto",
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    published: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure a blur space by blur-1; see `unblur.evaluation.blur_space_protocol`.

    Parameters
    ----------
    model, device
        See `unblur.encode_blur`.
    data, limit, cache, published, progress
        See `unblur.evaluation.film_protocol.evaluate`.

    Returns
    -------
    EvaluationReport
        With the table ``results``: rows of the tasks "reading" and "transfer", of each class and of all.

    Raises
    ------
    UnblurError
        The model is no blur space; data that are missing or cannot be read.
    """
    begun = time.perf_counter()
    tables = read_published(published)
    space = load_blur_space(model, device)
    progress = progress or (lambda stage, done, total: None)
    folder, place = Path(data), Path(cache) if cache else None
    building = lambda done, total: progress(f"building {NAME}", done, total)  # noqa: E731
    readings = load_val1(folder, place, limit=limit, progress=building)
    transfers = load_transfers(folder, place, limit=limit, progress=building)
    read = {name: _readings(exposures) for name, exposures in readings.items()}
    carried = {name: list(zip(*several.parts(), strict=True)) for name, several in transfers.items()}
    measure = partial(_measure, space)
    rows = [
        *class_rows(read, measure, progress, task="reading"),
        *class_rows(carried, measure, progress, task="transfer"),
    ]
    counts = {row.labels["task"]: row.count for row in rows if row.labels["exposures"] == ALL}
    return EvaluationReport(
        protocol=NAME,
        model=space.as_dict(),
        limit=limit,
        begun=begun,
        ended=time.perf_counter(),
        counted=f"{counts['reading']} readings, {counts['transfer']} transfers",
        # Only the rows of all exposures stand apart.
        scores={"results": ScoreTable(COLUMNS, tuple(rows), group=lambda row: row.labels["exposures"] == ALL)},
        published=tables,
    )


def _readings(exposures: Exposures) -> list[tuple[Tensor, ...]]:
    """Of every exposure the sharp middle frame and the blurry picture, which is to be made of it again."""
    middle, blurry = exposures.frames[:, exposures.frames.shape[1] // 2], exposures.blurry
    return list(zip(middle, blurry, middle, blurry, strict=True))


def _measure(space: BlurSpace, case: tuple[Tensor, ...]) -> dict[str, float]:
    """PSNR against the true blurry picture: of another sharp picture as it is, and with the blur of a pair."""
    sharp, blurry, other, truth = (image.float() / 255 for image in case)
    before = float(psnr(other, truth))
    after = float(psnr(space.apply(other, space.encode(sharp, blurry)), truth))
    return {"psnr_sharp": before, "psnr": after, "gain": after - before, "reached_36": float(after >= GOOD)}
