"""How good models are on faces, by the protocol faces-1: CFMD-GAN's tables 2 to 5 on exposures of `unblur data fmr`.

The frames of an exposure have two orders, that of FMR and that of time (see `datasets.face_windows`), and in half of
the exposures another frame is in the middle. So whatever depends on it is told for both: the frame of t = 0.5 against
either middle, and films at t = i / (N - 1) against either order, as they were made and each in its better direction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from unblur.data.metadata_exposures import load_faces
from unblur.evaluation.evaluator import Found, Judge
from unblur.evaluation.faces_examples import TIMES, Shown, choose
from unblur.evaluation.faces_table import FacesReport
from unblur.evaluation.film_table import INPUT
from unblur.evaluation.html_report import check_page, write_page
from unblur.evaluation.options import FRECHET, Asked
from unblur.evaluation.protocols import Film
from unblur.exposure.average import frame_times
from unblur.pipeline.consistency import consistency_steps
from unblur.pipeline.restore import Pipeline, load
from unblur.runtime.device import resolve_device

NAME = "faces-1"
MIDDLE = [0.5]
Model = str | PathLike[str] | nn.Module | Pipeline | None
Progress = Callable[[str, int, int], None]


def evaluate_faces(
    models: Model | Sequence[Model] = None,
    data: str | PathLike[str] = ".",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    refine: bool = False,
    data_consistency: int | None = None,
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    asked: Asked | None = None,
    report: str | PathLike[str] | None = None,
    batch_size: int = 4,
    progress: Progress | None = None,
) -> FacesReport:
    """Measure models by faces-1, beside the blurry input itself.

    Parameters
    ----------
    models : model or sequence of models
        Each as for `unblur.evaluation.film_protocol.evaluate`. A network of a fixed number of frames is measured on
        films of that length alone, and on all centre frames.
    data : path
        A folder that `unblur data fmr` made: ``frames-05`` to ``frames-13``, any of them.
    device, dtype, refine, consistency, batch_size, progress
        See `unblur.evaluation.film_protocol.evaluate`.
    limit : int, optional
        Exposures of each length, evenly spread.
    cache : path, optional
        Where weights of metrics are looked for.
    asked : Asked, optional
        Metrics and their weights; where none is named PSNR, SSIM, and those whose weights are. And the split, by
        default "test" if there is one.
    report : path, optional
        Where to write a page with the tables, and with pictures of the exposures on which the first model is worst, in
        the middle and best; see `unblur.evaluation.html_report.write_page`.

    Raises
    ------
    UnblurError
        No such model or device; data that are missing, cannot be read, or do not tell the order by FMR; a report that
        cannot be written.

    Examples
    --------
    >>> print(evaluate_faces(["film-small", "mine.safetensors"], "faces").markdown())    # doctest: +SKIP
    """
    begun = time.perf_counter()
    asked = _with_metrics(asked or Asked()).checked()
    tell = progress or (lambda stage, done, total: None)
    steps = consistency_steps(data_consistency)
    if report is not None:
        check_page(report)
    classes, notes = load_faces(Path(data), split=asked.split, limit=limit)
    # All of them first: what cannot be measured is told before anything is.
    several = [models] if isinstance(models, str) or not isinstance(models, Sequence) else models
    pipelines = [load(model, device, dtype) for model in several]
    if refine:
        for pipeline in pipelines:
            pipeline.check_paths("refine")
    made = [partial(pipeline.frames, refine=refine, data_consistency=steps) for pipeline in pipelines]
    judge = Judge.of(classes, asked.measures(resolve_device(device), cache), resolve_device(device))
    centres, films = judge.rows(INPUT, [judge.measure(_still, one, MIDDLE, batch_size) for one in classes])
    about: list[dict[str, object]] = []
    shown: list[Shown] = []
    for pipeline, film in zip(pipelines, made, strict=True):
        name = _unlike(pipeline.name, [INPUT, *(str(one["name"]) for one in about)])
        about.append({**pipeline.as_dict(), "name": name, "refined": refine, "data_consistency": steps})
        found = _measured(film, pipeline, judge, batch_size, name, tell)
        more = judge.rows(name, found)
        centres += more[0]
        films += more[1]
        if report is not None:
            shown = shown or choose(classes, judge.centres(found, "psnr", "rank"))
            for example in shown:
                example.add(name, judge.run(film, example.batch, TIMES)[0])
    told = FacesReport(
        protocol=NAME,
        model={"name": ", ".join(str(one["name"]) for one in about)},
        limit=limit,
        seconds=time.perf_counter() - begun,
        data=str(data),
        models=tuple(about),
        size=judge.size,
        metrics=judge.measures.names,
        centres=tuple(centres),
        films=tuple(films),
        examples=tuple(example.example() for example in shown),
        notes=(*notes, *judge.measures.notes, *judge.notes()),
    )
    return told if report is None else replace(told, written=tuple(map(str, write_page(told.page(), report))))


def _with_metrics(asked: Asked) -> Asked:
    """The usual metrics where none is named: PSNR and SSIM, and those whose weights are."""
    if asked.metrics:
        return asked if "psnr" in asked.metrics else replace(asked, metrics=("psnr", *asked.metrics))
    has = {
        "lpips": asked.lpips is not None,
        "identity": asked.identity is not None,
        FRECHET: asked.lpips is not None or asked.features is not None,
    }
    return replace(asked, metrics=("psnr", "ssim", *(name for name, known in has.items() if known)))


def _still(blurry: Tensor, times: Tensor) -> Tensor:
    """The blurry picture at all times."""
    return blurry[:, None].expand(-1, len(times), -1, -1, -1)


def _measured(film: Film, pipeline: Pipeline, judge: Judge, batch_size: int, name: str, tell: Progress) -> list[Found]:
    """What the judge says of a model, class by class."""
    found = []
    for one in judge.classes:
        times = frame_times(one.frames).tolist() if pipeline.count in (None, one.frames) else MIDDLE
        on_batch = partial(_tell, tell, f"measuring {name}, {one.frames} frames", len(one))
        found.append(judge.measure(film, one, times, batch_size, on_batch))
    return found


def _tell(tell: Progress, stage: str, total: int, done: int) -> None:
    tell(stage, done, total)


def _unlike(name: str, taken: Sequence[str]) -> str:
    """A name that nothing else has."""
    names = [name, *(f"{name} ({number})" for number in range(2, len(taken) + 2))]
    return next(each for each in names if each not in taken)
