"""How good a model is, by a named protocol or on exposures of your own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unblur.data.exposure_metadata import find_metadata
from unblur.data.metadata_exposures import MetadataExposures, load_exposures
from unblur.errors import UnblurError, UsageError
from unblur.evaluation.film_table import (
    ALL,
    COLUMNS,
    INPUT,
    ORDER_COLUMNS,
    FrameRow,
    Report,
    Row,
    frames_over_all,
    over_all,
    rows_of,
)
from unblur.evaluation.frechet_table import SetMeter, SetRow
from unblur.evaluation.options import Asked, Measures
from unblur.evaluation.protocols import Film, score, score_blurry
from unblur.evaluation.val1 import Exposures, load_val1
from unblur.pipeline.consistency import consistency_steps
from unblur.pipeline.frame_order import OrderScorer, load_order_scorer
from unblur.pipeline.restore import Pipeline, load

__all__ = ["ALL", "COLUMNS", "INPUT", "PROTOCOLS", "Asked", "Report", "Row", "evaluate"]

PROTOCOLS = {"val-1": load_val1}
Progress = Callable[[str, int, int], None]
OfAClass = Exposures | MetadataExposures


def evaluate(
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    protocol: str = "val-1",
    data: str | PathLike[str] = ".",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    refine: bool = False,
    data_consistency: int | None = None,
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    asked: Asked | None = None,
    batch_size: int = 4,
    progress: Progress | None = None,
) -> Report:
    """Measure a model by a protocol, or on exposures of your own, beside the blurry input itself.

    Parameters
    ----------
    model, device, dtype
        See `unblur.load`; also any network with ``forward(blurry, times)``. Of a network for single pictures the films
        that follow from them are measured.
    protocol : str
        ``"val-1"``; see `unblur.evaluation.val1` for the exposures, `unblur.evaluation.protocols` for the numbers. Or
        the path of a metadata.json, or of a folder with one.
    data : path
        Folder with the protocol's pictures and clips.
    refine : bool
        Refine the paths of each film; see `unblur.pipeline.refine`.
    data_consistency : int, optional
        Steps that bring the photo's light back into each sharp frame, as in `unblur.frames`.
    limit : int, optional
        Measure this many exposures per class only: the first ones of a protocol, of others evenly spread ones.
    cache : path, optional
        Where exposures that were built are kept.
    asked : Asked, optional
        What is measured beyond the usual.
    batch_size : int
        Exposures per pass.
    progress : callable, optional
        Called with (stage, steps done, steps in all).

    Raises
    ------
    UnblurError
        No such protocol, model or device; data that are missing or cannot be read.

    Examples
    --------
    >>> print(evaluate("film-small", data="val").markdown())         # doctest: +SKIP
    """
    begun = time.perf_counter()
    asked = (asked or Asked()).checked()
    tell = progress or (lambda stage, done, total: None)
    pipeline = load(model, device, dtype)
    steps = consistency_steps(data_consistency)
    if refine:
        pipeline.check_paths("refine")
    film = partial(pipeline.frames, refine=refine, data_consistency=steps)
    place = pipeline.runner.device
    order_scorer = None if asked.order is None else load_order_scorer(asked.order, place, "order")
    measures = asked.measures(place, cache)
    meter = None if measures.observer is None else SetMeter(measures.observer)
    classes = _classes(protocol, data, asked, limit, cache, tell)
    for exposures in classes.values():
        pipeline.check_times(exposures.times.tolist(), "protocol", protocol)
    measured = _Measured(pipeline, measures, order_scorer, meter)
    for name, exposures in classes.items():
        measured.add(name, exposures, film, batch_size, tell)
    about = {**pipeline.as_dict(), "refined": refine, "data_consistency": steps}
    return Report(
        protocol=str(protocol),
        model=about | ({"order": order_scorer.as_dict()} if order_scorer else {}),
        limit=limit,
        seconds=time.perf_counter() - begun,
        verified={name: str(e.verified) for name, e in classes.items() if isinstance(e, Exposures)},
        rows=measured.rows(),
        frames=measured.frames(),
        sets=measured.sets(),
        times=tuple(next(iter(classes.values())).times.tolist()),
        notes=(*measures.notes, *(meter.notes() if meter else ())),
    )


class _Measured:
    """What is measured of a model, and beside it of the blurry input, class by class."""

    def __init__(
        self, pipeline: Pipeline, measures: Measures, order_scorer: OrderScorer | None, meter: SetMeter | None
    ) -> None:
        self.pipeline, self.measures, self.order_scorer, self.meter = pipeline, measures, order_scorer, meter
        self._before: list[tuple[Row, list[FrameRow]]] = []
        self._own: list[tuple[Row, list[FrameRow]]] = []

    def add(self, name: str, exposures: OfAClass, film: Film, batch_size: int, tell: Progress) -> None:
        """Measure a class."""
        runner, metrics, names = self.pipeline.runner, self.measures.metrics, self.measures.names
        watch = self.meter.watch(name, INPUT, still=True) if self.meter else None
        still = score_blurry(exposures, device=runner.device, metrics=metrics, on_frames=watch)
        unknown = {"reblur", "forward"} | (set(ORDER_COLUMNS) if self.order_scorer else set())
        self._before.append(rows_of(name, INPUT, still, names, without=unknown))
        watch = self.meter.watch(name, self.pipeline.name) if self.meter else None
        done = 0

        def on_batch(count: int) -> None:
            nonlocal done
            done += count
            tell(f"measuring {name}", done, len(exposures))

        scores = score(
            film,
            exposures,
            device=runner.device,
            batch_size=batch_size,
            metrics=metrics,
            scorer=None if self.order_scorer is None else self.order_scorer.network,
            on_batch=on_batch,
            on_frames=watch,
        )
        self._own.append(rows_of(name, self.pipeline.name, scores, names))

    def rows(self) -> tuple[Row, ...]:
        """Of each class the input before the model, then of all."""
        rows = [row for pair in zip(self._before, self._own, strict=True) for row, _ in pair]
        return (*rows, *(over_all([row for row, _ in each]) for each in (self._before, self._own)))

    def frames(self) -> tuple[FrameRow, ...]:
        """The same of every frame."""
        frames = [row for pair in zip(self._before, self._own, strict=True) for _, several in pair for row in several]
        for each in (self._before, self._own):
            frames += frames_over_all([row for _, several in each for row in several])
        return tuple(frames)

    def sets(self) -> tuple[SetRow, ...]:
        """Class by class, the input before the model."""
        if self.meter is None:
            return ()
        pairs = zip(self.meter.rows(INPUT, ALL), self.meter.rows(self.pipeline.name, ALL), strict=True)
        return tuple(row for pair in pairs for row in pair)


def _classes(
    protocol: str, data: str | PathLike[str], asked: Asked, limit: int | None, cache: Any, tell: Progress
) -> Mapping[str, OfAClass]:
    """What is measured on."""
    if protocol not in PROTOCOLS:
        if find_metadata(protocol) is None:
            known = f"use {', '.join(PROTOCOLS)}, blur-1 or order-1, or name a metadata.json"
            raise UnblurError(protocol, "no such protocol", known)
        root = Path(asked.root) if asked.root is not None else None
        return load_exposures(Path(protocol), root=root, split=asked.split, limit=limit)
    if asked.split is not None or asked.root is not None:
        argument = "split" if asked.split is not None else "root"
        raise UsageError(argument, None, f"means nothing to {protocol}", "leave it out, or name a metadata.json")
    building = lambda done, total: tell(f"building {protocol}", done, total)  # noqa: E731
    return PROTOCOLS[protocol](Path(data), Path(cache) if cache else None, limit=limit, progress=building)
