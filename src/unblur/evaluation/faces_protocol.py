"""How good models are on faces, by the protocol faces-1: CFMD-GAN's tables 2 to 5 on exposures of `unblur data fmr`.

The frames of an exposure have two orders, that of FMR and that of time (see `datasets.face_windows`), and in half of
the exposures another frame is in the middle. So whatever depends on it is measured for both: the frame of t = 0.5
against either middle, and films at t = i / (N - 1) against either order, as they were made and each in its better
direction.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.data.metadata_exposures import FaceExposures, Order, load_faces
from unblur.data.pictures import Pixels
from unblur.data.stills import to_uint8
from unblur.evaluation.film_scores import DISTANCES, FilmFunction, still_film
from unblur.evaluation.html_report import Page, Section, Strip, check_page, write_page
from unblur.evaluation.options import FRECHET, EvaluationOptions, MetricSet, small_set_notes
from unblur.evaluation.report import INPUT, EvaluationReport, ScoreRow, ScoreTable, over_all, read_published
from unblur.exposure.average import frame_times
from unblur.metrics.fidelity import psnr
from unblur.metrics.frechet import FilmMoments, Moments, file_features, frechet_distance
from unblur.metrics.sequence import centre_scores, compare_pairs, film_scores, wanted_pairs
from unblur.pipeline.consistency import consistency_steps
from unblur.pipeline.restore import Pipeline, Progress, load
from unblur.runtime.device import resolve_device

NAME = "faces-1"
MIDDLE = [0.5]
EXAMPLE_TIMES = (0.0, 0.5, 1.0)
"""Of the frames that a page shows."""
ORDERS: dict[Order, str] = {"rank": "FMR", "time": "time"}
POOLED = "frechet_pooled"
BETTER = "p_"
"""What stands before a metric's name where each film runs in its better direction."""
CENTRES, FILMS = "centres", "films"
TITLES = {CENTRES: "Centre frames, t = 0.5 (as tables 2, 3 and 5)", FILMS: "Films (as table 4)"}
TEXTS = {
    CENTRES: (
        "The frame of t = 0.5 against the one of middle rank by FMR, the paper's target, and against the one in the "
        "middle of time. Means over all exposures of all lengths.",
    ),
    FILMS: (
        "Frames at t = i / (N - 1), in the order of FMR (the paper's) and in that of time; as they were made, and with "
        "a p before the metric each film in the direction that is better by it: blur does not tell which way time ran, "
        "and models that were not trained on sorted frames cannot know.",
        "ALL is weighted by the number of frames; of a Frechet distance it is the plain mean over the lengths, as in "
        "the paper, and pooled that of all frames together.",
    ),
}
EXAMPLES = (
    "Frames at t = 0, 0.5 and 1, as they were made, and how near they are to the truth in either order.",
    "Chosen by the PSNR of the centre frame of {} against that of FMR.",
)
Model = str | PathLike[str] | nn.Module | Pipeline | None


@dataclass
class Example:
    """An exposure to look at.

    Attributes
    ----------
    chosen : {"worst", "median", "best"}
        By the PSNR of the first model's centre frame against that of FMR.
    name : str
    batch : dict
        The exposure; see `FaceExposures.one`.
    strips : list of Strip
        The blurry picture, the truth in both orders, and every model.
    """

    chosen: str
    name: str
    batch: dict[str, Tensor]
    strips: list[Strip] = field(default_factory=list)

    @classmethod
    def of(cls, chosen: str, exposures: FaceExposures, index: int) -> Example:
        """With the blurry picture and the truth."""
        example = cls(chosen, exposures.names[index], exposures.one(index))
        example.strips.append(Strip(_pixels(example.batch["blurry"]), INPUT))
        for order, name in ORDERS.items():
            example.strips.append(Strip(_pixels(example._truth(order)), f"truth by {name}"))
        return example

    @property
    def frames(self) -> int:
        """Of the exposure."""
        return self.batch["frames"].shape[1]

    def _truth(self, order: Order) -> Tensor:
        """The true frames (3, 3, H, W) at `EXAMPLE_TIMES`."""
        return self.batch["frames"][0, self.batch[order][0][[0, self.frames // 2, -1]]]

    def add(self, model: str, frames: Tensor) -> None:
        """The frames (3, 3, H, W) of a model at `EXAMPLE_TIMES`."""
        frames = frames.cpu()
        numbers = []
        for order, name in ORDERS.items():
            each = ", ".join(f"{value:.1f}" for value in psnr(frames, self._truth(order)).tolist())
            numbers.append(f"by {name} {each}")
        self.strips.append(Strip(_pixels(frames), model, f"PSNR in dB {'; '.join(numbers)}"))


def _pixels(pictures: Iterable[Tensor]) -> tuple[Pixels, ...]:
    return tuple(to_uint8(picture) for picture in pictures)


@dataclass(kw_only=True)
class FacesReport(EvaluationReport):
    """What faces-1 measured, in the tables ``centres`` and ``films``.

    The rows of ``centres`` have the labels ``of`` (the model, or the blurry input) and ``order`` ("rank" or "time", the
    true frame that they are compared with); those of ``films`` also ``frames``, the length of the films, or None for
    all lengths. The blurry input is the same in either order: there ``order`` is None.

    Attributes
    ----------
    examples : sequence of Example
        What a page shows.
    written : tuple of str
        The files of the page.
    """

    examples: Sequence[Example] = ()
    written: tuple[str, ...] = ()

    def centre(self, of: str = INPUT, order: Order = "rank") -> ScoreRow:
        """One row of the centre frames."""
        return self.scores[CENTRES].row(of=of, order=order)

    def film(self, of: str = INPUT, frames: int | None = None, order: Order | None = None) -> ScoreRow:
        """One row of the films."""
        return self.scores[FILMS].row(of=of, frames=frames, order=order)

    def summary(self) -> str:
        """One line."""
        return super().summary() + (f" -> {', '.join(self.written)}" if self.written else "")

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return super().as_dict() | {"written": list(self.written)}

    def page(self) -> Page:
        """All of it, with pictures."""
        sections = []
        for name, score in self.scores.items():
            beside = [published.table for published in self.published if published.beside == name]
            sections.append(Section(TITLES[name], TEXTS[name], [score.table()]))
            sections += [Section(table.title, tables=[table]) for table in beside]
        others = [published.table for published in self.published if published.beside not in self.scores]
        sections += [Section(table.title, tables=[table]) for table in others]
        models: Any = self.metadata["models"]
        if self.examples:
            sections.append(Section("Examples", [text.format(models[0]["name"]) for text in EXAMPLES]))
        for one in self.examples:
            heading = f"{one.chosen.capitalize()}: {one.name}, {one.frames} frames"
            sections.append(Section(heading, strips=one.strips))
        about = f"{self.counted} from {self.metadata['data']}, up to {self.metadata['size']} pixels a side"
        if self.limit:
            about += f", {self.limit} of each length only, evenly spread"
        return Page(self.title, [f"{about}.", *map(_about, models), *self.notes], sections)


def _about(model: Mapping[str, object]) -> str:
    first = model.get("sharpener") or model.get("estimator")
    behind = f" behind {first}" if first else ""
    return f"{model['name']}: {model['network']}{behind} on {model['device']} in {model['dtype']}"


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
    options: EvaluationOptions | None = None,
    published: str | PathLike[str] | None = None,
    page: str | PathLike[str] | None = None,
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
    device, dtype, refine, data_consistency, published, batch_size, progress
        See `unblur.evaluation.film_protocol.evaluate`.
    limit : int, optional
        Exposures of each length, evenly spread.
    cache : path, optional
        Where weights of metrics are looked for.
    options : EvaluationOptions, optional
        Metrics and their weights; where none is named PSNR, SSIM, and those whose weights are. And the split, by
        default "test" if there is one.
    page : path, optional
        Where to write a page with the tables, and with pictures of the exposures on which the first model is worst, in
        the middle and best; see `unblur.evaluation.html_report.write_page`.

    Returns
    -------
    FacesReport

    Raises
    ------
    UnblurError
        No such model or device; data that are missing, cannot be read, or do not tell the order by FMR; a page that
        cannot be written.

    Examples
    --------
    >>> print(evaluate_faces(["film-small", "mine.safetensors"], "faces").markdown())    # doctest: +SKIP
    """
    begun = time.perf_counter()
    options = _with_metrics(options or EvaluationOptions()).checked()
    progress = progress or (lambda stage, done, total: None)
    steps = consistency_steps(data_consistency)
    if page is not None:
        check_page(page)
    classes, notes = load_faces(Path(data), split=options.split, limit=limit)
    size = max(max(one.one(0)["blurry"].shape[-2:]) for one in classes)
    tables = read_published(published, size)
    # All of them first: what cannot be measured is refused before anything is.
    several = [models] if isinstance(models, str) or not isinstance(models, Sequence) else models
    pipelines = [load(model, device, dtype) for model in several]
    if refine:
        for pipeline in pipelines:
            pipeline.check_paths("refine")

    place = resolve_device(device)
    evaluator = FaceEvaluator.of(classes, options.load(place, cache), place)
    centres, films = evaluator.rows(INPUT, [evaluator.measure(still_film, one, MIDDLE, batch_size) for one in classes])
    about: list[dict[str, object]] = []
    examples: list[Example] = []
    for pipeline in pipelines:
        film = partial(pipeline.frames, refine=refine, data_consistency=steps)
        name = _unlike(pipeline.name, [INPUT, *(str(one["name"]) for one in about)])
        about.append({**pipeline.as_dict(), "name": name, "refined": refine, "data_consistency": steps})
        measured = []
        for one in classes:
            times = frame_times(one.frames).tolist() if pipeline.count in (None, one.frames) else MIDDLE
            on_batch = partial(_progress, progress, f"measuring {name}, {one.frames} frames", len(one))
            measured.append(evaluator.measure(film, one, times, batch_size, on_batch))
        more = evaluator.rows(name, measured)
        centres, films = [*centres, *more[0]], [*films, *more[1]]
        if page is not None:
            examples = examples or _choose(classes, evaluator.centres(measured, "psnr", "rank"))
            for example in examples:
                example.add(name, evaluator.run(film, example.batch, EXAMPLE_TIMES)[0])

    names = evaluator.metrics.names
    report = FacesReport(
        protocol=NAME,
        model={"name": ", ".join(str(one["name"]) for one in about)},
        limit=limit,
        begun=begun,
        counted=f"{centres[0].count} exposures of faces",
        metadata={"data": str(data), "models": about, "size": size, "metrics": names},
        scores={CENTRES: _centre_table(centres, names), FILMS: _film_table(films, names)},
        notes=(*notes, *evaluator.metrics.notes, *evaluator.notes()),
        published=tables,
        examples=examples,
    )
    if page is not None:
        report.written = tuple(map(str, write_page(report.page(), page)))
    report.ended = time.perf_counter()
    return report


def _with_metrics(options: EvaluationOptions) -> EvaluationOptions:
    """The usual metrics where none is named: PSNR and SSIM, and those whose weights are."""
    if options.metrics:
        named = options.metrics if "psnr" in options.metrics else ("psnr", *options.metrics)
        return replace(options, metrics=named)
    has = {
        "lpips": options.lpips is not None,
        "identity": options.identity is not None,
        FRECHET: options.lpips is not None or options.features is not None,
    }
    return replace(options, metrics=("psnr", "ssim", *(name for name, known in has.items() if known)))


def _progress(progress: Progress, stage: str, total: int, done: int) -> None:
    progress(stage, done, total)


def _unlike(name: str, taken: Sequence[str]) -> str:
    """A name that nothing else has."""
    names = [name, *(f"{name} ({number})" for number in range(2, len(taken) + 2))]
    return next(each for each in names if each not in taken)


def _choose(classes: Sequence[FaceExposures], scores: Sequence[Tensor]) -> list[Example]:
    """The exposures with the least, the middle and the highest of the scores (W,) of each class."""
    ranked = sorted((value, n, i) for n, one in enumerate(scores) for i, value in enumerate(one.tolist()))
    places = {"worst": 0, "median": (len(ranked) - 1) // 2, "best": len(ranked) - 1}
    return [Example.of(chosen, classes[ranked[place][1]], ranked[place][2]) for chosen, place in places.items()]


def _order_text(row: ScoreRow) -> str:
    return ORDERS.get(row.labels["order"], "any")


def _centre_table(rows: Sequence[ScoreRow], names: Mapping[str, str]) -> ScoreTable:
    columns: dict[str, str] = {"of": "of", "order": "order", "count": "n", **names}
    return ScoreTable(columns, tuple(rows), lambda row: row.labels["of"], {"order": _order_text}, TITLES[CENTRES])


def _film_table(rows: Sequence[ScoreRow], names: Mapping[str, str]) -> ScoreTable:
    columns: dict[str, str] = {"of": "of", "order": "order", "frames": "frames", "count": "n"}
    for name, heading in names.items():
        columns[name] = heading
        columns |= {POOLED: "pooled"} if name == FRECHET else {f"{BETTER}{name}": f"p{heading}"}
    texts = {"order": _order_text, "frames": lambda row: str(row.labels["frames"] or "ALL")}
    return ScoreTable(columns, tuple(rows), lambda row: (row.labels["of"], row.labels["order"]), texts, TITLES[FILMS])


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of the films of one class of W exposures of N frames, of which T were made each.

    Attributes
    ----------
    compared : dict of str to Tensor
        (W, T, N), see `metrics.sequence.compare_pairs`; T is N or 1.
    moments : FilmMoments or None
        Features of all frames, and of those of t = 0.5, where Frechet distances are measured.
    """

    compared: dict[str, Tensor]
    moments: FilmMoments | None

    @property
    def whole(self) -> bool:
        """Whether all frames were made."""
        return all(table.shape[1] == table.shape[2] for table in self.compared.values())


@dataclass(frozen=True)
class FaceEvaluator:
    """Measures films of faces.

    Attributes
    ----------
    classes : list of FaceExposures
    metrics : MetricSet
    device : torch.device
    truths : list of dict
        For each class the moments of its true frames in each order. Empty without Frechet distances.
    """

    classes: list[FaceExposures]
    metrics: MetricSet
    device: torch.device
    truths: list[dict[Order, FilmMoments]]

    @classmethod
    def of(cls, classes: list[FaceExposures], metrics: MetricSet, device: torch.device) -> FaceEvaluator:
        """With the moments of the true frames."""
        evaluator = cls(classes, metrics, device, [])
        evaluator.truths.extend(evaluator._truth(one) for one in classes if metrics.extractor is not None)
        return evaluator

    @torch.inference_mode()
    def _truth(self, exposures: FaceExposures) -> dict[Order, FilmMoments]:
        truth = {order: self._no_moments() for order in ORDERS}
        for batch in exposures.batches():
            features = self._features(batch["frames"].to(self.device))
            films = torch.arange(len(features))[:, None]
            for order, moments in truth.items():
                moments.add(features[films, batch[order]])
        return truth

    def _no_moments(self) -> FilmMoments:
        assert self.metrics.extractor is not None
        return FilmMoments(self.metrics.extractor.length)

    def _features(self, frames: Tensor) -> Tensor:
        assert self.metrics.extractor is not None
        return file_features(self.metrics.extractor.network, frames).cpu()

    @torch.inference_mode()
    def run(self, film: FilmFunction, batch: Mapping[str, Tensor], times: Sequence[float]) -> Tensor:
        """Frames (B, T, 3, H, W) in [0, 1]."""
        return film(batch["blurry"].to(self.device), torch.tensor(times, device=self.device)).float().clamp(0, 1)

    @torch.inference_mode()
    def measure(
        self,
        film: FilmFunction,
        exposures: FaceExposures,
        times: Sequence[float],
        batch_size: int = 4,
        on_batch: Callable[[int], None] | None = None,
    ) -> ClassMetrics:
        """Compare the frames of a film at `times`, all of them or 0.5 alone, with the true ones of a class.

        Parameters
        ----------
        on_batch : callable, optional
            Called with the number of exposures done.
        """
        parts: defaultdict[str, list[Tensor]] = defaultdict(list)
        moments = None if self.metrics.extractor is None else self._no_moments()
        done = 0
        for batch in exposures.batches(batch_size):
            frames = self.run(film, batch, times)
            truth = batch["frames"].to(self.device)
            wanted = wanted_pairs(len(times), batch["rank"], batch["time"]).to(self.device)
            for name, metric in self.metrics.metrics.items():
                parts[name].append(compare_pairs(frames, truth, wanted, metric).cpu())
            if moments is not None:
                # One picture that stands for all frames counts as often as there are.
                moments.add(self._features(frames).expand(-1, exposures.frames, -1))
            done += len(frames)
            if on_batch:
                on_batch(done)
        return ClassMetrics({name: torch.cat(tables) for name, tables in parts.items()}, moments)

    def centres(self, measured: Sequence[ClassMetrics], metric: str, order: Order) -> list[Tensor]:
        """The scores (W,) of the frames of t = 0.5 of each class."""
        pairs = zip(self.classes, measured, strict=True)
        return [centre_scores(one.compared[metric], getattr(exposures, order)) for exposures, one in pairs]

    def rows(self, name: str, measured: Sequence[ClassMetrics]) -> tuple[list[ScoreRow], list[ScoreRow]]:
        """The rows of a model, or of the blurry input: of centre frames, and of films."""
        centres = [self._centre_row(name, order, measured) for order in ORDERS]
        films: list[ScoreRow] = []
        orders: Iterable[Order | None] = (None,) if name == INPUT else ORDERS
        places = [place for place, one in enumerate(measured) if one.whole or name == INPUT]
        for order in orders:
            rows = [self._film_row(name, order, measured[place], place) for place in places]
            films += rows
            if len(rows) > 1:
                films.append(self._over_all(rows, [measured[place] for place in places], places))
        return centres, films

    def _centre_row(self, name: str, order: Order, measured: Sequence[ClassMetrics]) -> ScoreRow:
        values = {
            metric: float(torch.cat(self.centres(measured, metric, order)).mean()) for metric in self.metrics.metrics
        }
        middles = [one.moments.middle for one in measured if one.moments is not None]
        values |= _distance(FRECHET, middles, [truth[order].middle for truth in self.truths])
        return ScoreRow({"of": name, "order": order}, sum(map(len, self.classes)), values)

    def _film_row(self, name: str, order: Order | None, measured: ClassMetrics, place: int) -> ScoreRow:
        exposures, values = self.classes[place], dict[str, float]()
        for metric, compared in measured.compared.items():
            both = film_scores(compared, getattr(exposures, order or "rank"), lower_is_better=metric in DISTANCES)
            values[metric] = float(both.forward.mean())
            if order is not None:
                values[f"{BETTER}{metric}"] = float(both.best().mean())
        every = [measured.moments.every] if measured.moments is not None else []
        values |= _distance(FRECHET, every, [truth["rank"].every for truth in self.truths[place : place + 1]])
        return ScoreRow({"of": name, "order": order, "frames": exposures.frames}, len(exposures), values)

    def _over_all(self, rows: Sequence[ScoreRow], measured: Sequence[ClassMetrics], places: Sequence[int]) -> ScoreRow:
        """All lengths together, as in the paper: every frame counts alike, but of Frechet distances every length."""
        whole = over_all(rows, [row.count * row.labels["frames"] for row in rows], frames=None)
        plain = over_all(rows, [1] * len(rows))
        means = {**whole.values} | ({FRECHET: plain.values[FRECHET]} if FRECHET in whole.values else {})
        values = {name: value for name, value in means.items() if value is not None}
        every = [one.moments.every for one in measured if one.moments is not None]
        true = [self.truths[place]["rank"].every for place in places] if self.truths else []
        return replace(whole, values={**values, **_distance(POOLED, every, true)})

    def notes(self) -> list[str]:
        """What must be known of the numbers."""
        moments = [one for truth in self.truths for films in truth.values() for one in (films.every, films.middle)]
        return [] if self.metrics.extractor is None else small_set_notes(self.metrics.extractor, moments, "a row")


def _distance(name: str, frames: Sequence[Moments], truth: Sequence[Moments]) -> dict[str, float]:
    """The Frechet distance of two sets, if there is one."""
    distance = frechet_distance(Moments.over(frames), Moments.over(truth)) if frames else None
    return {} if distance is None else {name: distance}
