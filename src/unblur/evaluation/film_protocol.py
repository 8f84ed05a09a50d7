"""How good a model is, by a named protocol or on exposures of your own: films, beside the blurry input itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.data.exposure_metadata import find_metadata
from unblur.data.metadata_exposures import MetadataExposures, load_exposures
from unblur.errors import UnblurError, UsageError
from unblur.evaluation.film_scores import FilmFunction, FilmScores, score, score_blurry
from unblur.evaluation.options import FRECHET, EvaluationOptions, MetricSet, small_set_notes
from unblur.evaluation.report import (
    ALL,
    INPUT,
    EvaluationReport,
    ScoreRow,
    ScoreTable,
    over_all,
    read_published,
)
from unblur.evaluation.val1 import Exposures, load_val1
from unblur.metrics.frechet import FilmMoments, file_features, frechet_distance
from unblur.models.feature_networks import FeatureExtractor
from unblur.pipeline.consistency import consistency_steps
from unblur.pipeline.frame_order import OrderScorer, load_order_scorer
from unblur.pipeline.restore import Pipeline, Progress, load

PROTOCOLS = {"val-1": load_val1}
COLUMNS = ("psnr@0", "psnr@0.5", "psnr@1", "psnr", "ssim@0", "ssim@0.5", "ssim@1", "ssim", "reblur", "forward")
ORDER_COLUMNS = ("hit", "con@2", "con@3")
DIRECTIONS = {"made": ("", ""), "clip": ("p", ""), "pair": ("p", " of pairs")}
"""What stands before and after a metric's name, by the direction of time in which films are compared."""
LABELS = {"exposures": "exposures", "count": "n", "of": "of"}
SETS = {**LABELS, "name": "metric", "frames": "all frames", "middle": "middle frame"}
ExposureClass = Exposures | MetadataExposures


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
    options: EvaluationOptions | None = None,
    published: str | PathLike[str] | None = None,
    batch_size: int = 4,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure a model by a protocol, or on exposures of your own, beside the blurry input itself.

    Parameters
    ----------
    model, device, dtype
        See `unblur.load`. Of a network for single pictures the films that `unblur.frames` makes with it are measured.
    protocol : str
        ``"val-1"``; see `unblur.evaluation.val1` for the exposures, `unblur.evaluation.film_scores` for the numbers. Or
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
    options : EvaluationOptions, optional
        What is measured beyond the usual, and on which exposures.
    published : path, optional
        Numbers of others to show below; see `unblur.evaluation.report.read_published`.
    batch_size : int
        Exposures per pass.
    progress : callable, optional
        Called with (stage, steps done, steps in all).

    Returns
    -------
    EvaluationReport
        With the tables ``results`` (means), and where they are asked for ``frames`` (metrics of every frame) and
        ``sets`` (Frechet distances).

    Raises
    ------
    UnblurError
        No such protocol, model or device; data that are missing or cannot be read.

    Examples
    --------
    >>> print(evaluate("film-small", data="val").markdown())         # doctest: +SKIP
    """
    begun = time.perf_counter()
    options = (options or EvaluationOptions()).checked()
    progress = progress or (lambda stage, done, total: None)
    tables = read_published(published)
    pipeline = load(model, device, dtype)
    steps = consistency_steps(data_consistency)
    if refine:
        pipeline.check_paths("refine")
    film = partial(pipeline.frames, refine=refine, data_consistency=steps)
    place = pipeline.runner.device
    order_scorer = None if options.order is None else load_order_scorer(options.order, place, "order")
    metrics = options.load(place, cache)
    classes = _classes(protocol, data, options, limit, cache, progress)
    for exposures in classes.values():
        pipeline.check_times(exposures.times.tolist(), "protocol", protocol)
    evaluator = _FilmEvaluator(pipeline, metrics, order_scorer)
    for name, exposures in classes.items():
        evaluator.add(name, exposures, film, batch_size, progress)

    times = next(iter(classes.values())).times.tolist()
    scores = evaluator.tables(times)
    about = {**pipeline.as_dict(), "refined": refine, "data_consistency": steps}
    verified = {name: str(one.verified) for name, one in classes.items() if isinstance(one, Exposures)}
    foreign = ["not on the published data"] * ("no" in verified.values())
    return EvaluationReport(
        protocol=str(protocol),
        model=about | ({"order": order_scorer.as_dict()} if order_scorer else {}),
        limit=limit,
        begun=begun,
        ended=time.perf_counter(),
        counted=f"{scores['results'].row(exposures=ALL).count} exposures",
        metadata={"data": verified, "times": times},
        scores=scores,
        notes=(*foreign, *metrics.notes, *evaluator.notes()),
        published=tables,
    )


class _FilmEvaluator:
    """Measures a model, and beside it the blurry input, class by class."""

    def __init__(self, pipeline: Pipeline, metrics: MetricSet, order_scorer: OrderScorer | None) -> None:
        self.pipeline, self.metrics, self.order_scorer = pipeline, metrics, order_scorer
        self.distances = None if metrics.extractor is None else FrechetDistances(metrics.extractor)
        self.results: dict[str, list[ScoreRow]] = {INPUT: [], pipeline.name: []}
        self.frames: dict[str, list[list[ScoreRow]]] = {INPUT: [], pipeline.name: []}

    def add(
        self,
        name: str,
        exposures: Exposures | MetadataExposures,
        film: FilmFunction,
        batch_size: int,
        progress: Progress,
    ) -> None:
        """Measure a class."""
        device, metrics = self.pipeline.runner.device, self.metrics.metrics
        watch = self.distances.watch(name, INPUT, still=True) if self.distances else None
        still = score_blurry(exposures, device=device, metrics=metrics, on_frames=watch)
        self._add_rows(name, INPUT, still)
        watch = self.distances.watch(name, self.pipeline.name) if self.distances else None
        done = 0

        def on_batch(count: int) -> None:
            nonlocal done
            done += count
            progress(f"measuring {name}", done, len(exposures))

        scores = score(
            film,
            exposures,
            device=device,
            batch_size=batch_size,
            metrics=metrics,
            scorer=None if self.order_scorer is None else self.order_scorer.network,
            on_batch=on_batch,
            on_frames=watch,
        )
        self._add_rows(name, self.pipeline.name, scores)

    def _add_rows(self, name: str, of: str, scores: FilmScores) -> None:
        means, columns = scores.summary(), COLUMNS + (ORDER_COLUMNS if self.order_scorer else ())
        # The blurry input has no direction, and its mean is itself.
        empty = {"reblur", "forward", *ORDER_COLUMNS} if of == INPUT else set()
        values = {column: None if column in empty else means[column] for column in columns}
        self.results[of].append(ScoreRow({"exposures": name, "of": of}, len(scores.psnr), values))
        frames = []
        for metric, both in scores.both.items():
            directed = {"made": both.forward}
            if of != INPUT:
                directed |= {"clip": both.best(), "pair": both.best("pair")}
            for direction, tensor in directed.items():
                labels = {"exposures": name, "of": of, "metric": metric, "direction": direction}
                each = tensor.mean(0).tolist()
                labels["name"] = self.metrics.names[metric]
                frames.append(ScoreRow(labels, len(tensor), {**dict(enumerate(each)), "mean": sum(each) / len(each)}))
        self.frames[of].append(frames)

    def tables(self, times: Sequence[float]) -> dict[str, ScoreTable]:
        """Of each class the input before the model, then the same of all exposures."""
        rows = list(chain.from_iterable(zip(*self.results.values(), strict=True)))
        rows += [over_all(several, exposures=ALL) for several in self.results.values()]
        columns = dict(LABELS)
        for name in ("psnr", "ssim"):
            columns |= {f"{name}@0": f"{name.upper()} t=0", f"{name}@0.5": "t=0.5", f"{name}@1": "t=1"}
            columns[name] = f"{len(times)} frames"
        columns |= {name: name for name in ("reblur", *(ORDER_COLUMNS if self.order_scorer else ()))}

        frames = [row for pair in zip(*self.frames.values(), strict=True) for several in pair for row in several]
        for classes in self.frames.values():
            frames += [over_all(several, exposures=ALL) for several in zip(*classes, strict=True)]
        shown: dict[Any, str] = {number: "t=" + f"{at:.2f}".rstrip("0").rstrip(".") for number, at in enumerate(times)}
        return {
            "results": ScoreTable(columns, tuple(rows)),
            "frames": ScoreTable(
                {**LABELS, "name": "metric", **shown, "mean": "mean"},
                tuple(frames),
                group=lambda row: (row.labels["exposures"], row.labels["of"]),
                texts={"name": _metric_name},
            ),
            "sets": ScoreTable(SETS, self._sets()),
        }

    def _sets(self) -> tuple[ScoreRow, ...]:
        if self.distances is None:
            return ()
        return tuple(chain.from_iterable(zip(*(self.distances.rows(of) for of in self.results), strict=True)))

    def notes(self) -> list[str]:
        """What must be known of the numbers."""
        return self.distances.notes() if self.distances else []


class FrechetDistances:
    """Frechet distances between the frames of films and the true ones: of all frames, and of the middle ones.

    Parameters
    ----------
    extractor : FeatureExtractor
        Its network on the device of the frames.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        self.truths: dict[str, FilmMoments] = {}
        self.films: dict[tuple[str, str], FilmMoments] = {}

    def watch(self, exposures: str, of: str, *, still: bool = False) -> Callable[[Tensor, Tensor], None]:
        """A function that takes note of a film's frames (B, T, 3, H, W), and of the true ones.

        Parameters
        ----------
        exposures, of : str
            The class, and what made the frames. True frames are looked at for the first `of` a class alone.
        still : bool
            The frames are one picture T times.
        """
        network, length = self.extractor.network, self.extractor.length
        film = self.films[exposures, of] = FilmMoments(length)
        known = exposures in self.truths
        truth = self.truths.setdefault(exposures, FilmMoments(length))

        def look(frames: Tensor, true: Tensor) -> None:
            features = file_features(network, frames[:, :1] if still else frames)
            film.add(features.expand(-1, frames.shape[1], -1))
            if not known:
                truth.add(file_features(network, true))

        return look

    def rows(self, of: str) -> list[ScoreRow]:
        """One for each class, and one for all together."""
        classes = [name for name, maker in self.films if maker == of]
        rows = [self._row(name, of, self.films[name, of], self.truths[name]) for name in classes]
        if len(classes) == 1:
            return [*rows, ScoreRow({**rows[0].labels, "exposures": ALL}, rows[0].count, rows[0].values)]
        films = FilmMoments.over(self.films[name, of] for name in classes)
        return [*rows, self._row(ALL, of, films, FilmMoments.over(self.truths[name] for name in classes))]

    def _row(self, exposures: str, of: str, film: FilmMoments, truth: FilmMoments) -> ScoreRow:
        labels = {"exposures": exposures, "of": of, "metric": FRECHET, "name": self.extractor.measure}
        values = {
            "frames": frechet_distance(truth.every, film.every),
            "middle": frechet_distance(truth.middle, film.middle),
        }
        return ScoreRow(labels, film.films, values)

    def notes(self) -> list[str]:
        """What must be known of the numbers."""
        moments = [one for truth in self.truths.values() for one in (truth.every, truth.middle)]
        return small_set_notes(self.extractor, moments, "this table alone")


def _metric_name(row: ScoreRow) -> str:
    before, after = DIRECTIONS[row.labels["direction"]]
    name = row.labels["name"]
    return f"{before}{'-' if before and ' ' in name else ''}{name}{after}"


def _classes(
    protocol: str,
    data: str | PathLike[str],
    options: EvaluationOptions,
    limit: int | None,
    cache: str | PathLike[str] | None,
    progress: Progress,
) -> Mapping[str, ExposureClass]:
    """The exposures to measure on."""
    if protocol not in PROTOCOLS:
        if find_metadata(protocol) is None:
            known = f"use {', '.join(PROTOCOLS)}, faces-1, blur-1 or order-1, or name a metadata.json"
            raise UnblurError(protocol, "no such protocol", known)
        root = Path(options.root) if options.root is not None else None
        return load_exposures(Path(protocol), root=root, split=options.split, limit=limit)
    if options.split is not None or options.root is not None:
        argument = "split" if options.split is not None else "root"
        raise UsageError(argument, None, f"means nothing to {protocol}", "leave it out, or name a metadata.json")
    building = lambda done, total: progress(f"building {protocol}", done, total)  # noqa: E731
    return PROTOCOLS[protocol](Path(data), Path(cache) if cache else None, limit=limit, progress=building)
