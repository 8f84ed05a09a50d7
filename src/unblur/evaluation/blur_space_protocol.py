"""How good a blur space is, by the protocol blur-1: how well it reads a blur, and carries it to another picture."""

from __future__ import annotations

import time
from functools import partial
from os import PathLike
from pathlib import Path

from torch import Tensor

from unblur.evaluation.blur1 import NAME, load_transfers
from unblur.evaluation.report import ALL, EvaluationReport, ScoreTable, class_rows, read_published
from unblur.evaluation.val1 import Exposures, load_val1
from unblur.metrics.fidelity import psnr
from unblur.pipeline.blur_transfer import BlurSpace, Model, load_blur_space
from unblur.pipeline.restore import Progress

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
    """Measure a blur space by blur-1; see `unblur.evaluation.blur1`.

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
