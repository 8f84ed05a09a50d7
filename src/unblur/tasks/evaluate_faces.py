"""How good models are on faces, by the protocol faces-1: CFMD-GAN's tables 2 to 5 on exposures of `unblur data fmr`.

The frames of an exposure have two orders, that of FMR and that of time (see `data.fmr`), and in half of the exposures
another frame is in the middle. So whatever depends on it is told for both: the frame of t = 0.5 against either middle,
and films at t = i / (N - 1) against either order, as they were made and each in its better direction.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.data.face_exposures import FaceExposures, load_faces
from unblur.data.pictures import Pixels
from unblur.data.stills import to_uint8
from unblur.exposure.average import times_of
from unblur.metrics.fidelity import psnr
from unblur.metrics.frechet import Moments, described, frechet_distance
from unblur.metrics.protocols import DISTANCES, Film
from unblur.metrics.reordered import centre_scores, compare, film_scores, wanted_pairs
from unblur.runtime.precision import autocast
from unblur.tasks.engine import Engine, load
from unblur.tasks.evaluate import Asked, film_function
from unblur.tasks.faces_report import (
    BETTER,
    FRECHET,
    ORDERS,
    POOLED,
    CentreRow,
    Example,
    FacesReport,
    FilmRow,
    Order,
    Strip,
)
from unblur.tasks.film_report import INPUT
from unblur.tasks.frames import made_by
from unblur.tasks.source import steps_option

NAME = "faces-1"
METRICS = ("psnr", "ssim", "lpips", "identity", FRECHET)
SHOWN = (0.0, 0.5, 1.0)
Model = str | PathLike[str] | nn.Module | Engine | None
Progress = Callable[[str, int, int], None]


class _Judge:
    """What everything is measured with, and how to call it."""

    def __init__(self, asked: Asked, device: torch.device, cache: Any) -> None:
        self.metrics, self.notes = asked.named(device, cache)
        self.features: Any = None
        self.device = device
        self.headings = {name: name.upper() for name in self.metrics}


@dataclass
class _Found:
    """What was measured of one class of exposures.

    Attributes
    ----------
    compared : dict of str to Tensor
        (W, T, N), see `metrics.reordered.compare`.
    every, centre : Moments or None
        Of all frames that were made, and of those of t = 0.5.
    """

    compared: dict[str, Tensor]
    every: Moments | None = None
    centre: Moments | None = None


@dataclass
class _Truth:
    """Moments of the true frames of a class: of all, and of the middle ones of both orders."""

    every: Moments | None = None
    centres: dict[Order, Moments] | None = None


def evaluate_faces(
    models: Model | Sequence[Model] = None,
    data: str | PathLike[str] = ".",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    refine: bool = False,
    consistency: int | None = None,
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    asked: Asked | None = None,
    examples: bool = False,
    batch_size: int = 4,
    progress: Progress | None = None,
) -> FacesReport:
    """Measure models by faces-1, beside the blurry input itself.

    Parameters
    ----------
    models : model or sequence of models
        Each as for `unblur.tasks.evaluate.evaluate`. A network of a fixed number of frames is measured on films of that
        length alone, and on all centre frames.
    data : path
        A folder that `unblur data fmr` made: ``frames-05`` to ``frames-13``, any of them.
    device, dtype, refine, consistency, batch_size, progress
        See `unblur.tasks.evaluate.evaluate`.
    limit : int, optional
        Exposures of each length, the first ones.
    cache : path, optional
        Where weights of metrics are looked for.
    asked : Asked, optional
        The metrics, by default PSNR and SSIM, and their weights; and the partition, by default "test" if there is one.
    examples : bool
        Keep pictures of the exposures on which the first model is worst, in the middle, and best.

    Raises
    ------
    UnblurError
        No such model or device; data that are missing, cannot be read, or do not tell the order by FMR.
    """
    begun = time.perf_counter()
    asked = (asked or Asked(("psnr", "ssim"))).checked()
    tell = progress or (lambda stage, done, total: None)
    steps = steps_option(consistency)
    classes, notes = load_faces(Path(data), partition=asked.partition, limit=limit)
    chosen = list(models) if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    rows: tuple[list[CentreRow], list[FilmRow]] = ([], [])
    about: list[dict[str, object]] = []
    judge: _Judge | None = None
    truths: list[_Truth] = []
    show: list[_Shown] = []
    for model in chosen:
        engine = load(model, device, dtype)
        if judge is None:
            judge = _Judge(asked, engine.runner.device, cache)
            truths = [_truth(one, judge) for one in classes]
            still = [_measured(_still, one, judge, (0.5,)) for one in classes]
            _add(rows, INPUT, classes, still, truths, judge)
        name = _unlike(engine.name, [INPUT, *(str(one["name"]) for one in about)])
        about.append({**engine.as_dict(), "name": name, "refined": refine, "consistency": steps})
        film = film_function(engine, refine, steps)
        found = []
        for one in classes:
            times = times_of(one.frames).tolist() if made_by(engine) in (None, one.frames) else (0.5,)
            found.append(_measured(film, one, judge, times, engine, f"measuring {name}, {one.frames} frames", tell))
        _add(rows, name, classes, found, truths, judge)
        if examples:
            show = show or [_Shown.of(*one) for one in _chosen(classes, found)]
            for one in show:
                one.add(name, _run(film, one.batch, SHOWN, judge.device, engine)[0])
    assert judge is not None
    return FacesReport(
        NAME,
        {"name": ", ".join(str(one["name"]) for one in about)},
        limit,
        time.perf_counter() - begun,
        tuple(about),
        max(max(batch["blurry"].shape[-2:]) for batch in (one.one(0) for one in classes)),
        judge.headings,
        *map(tuple, rows),
        tuple(one.example() for one in show),
        (*notes, *judge.notes),
    )


def _still(blurry: Tensor, times: Tensor) -> Tensor:
    return blurry[:, None].expand(-1, len(times), -1, -1, -1)


def _unlike(name: str, taken: Sequence[str]) -> str:
    """A name that no other model has."""
    names = [name, *(f"{name} ({number})" for number in range(2, len(taken) + 2))]
    return next(each for each in names if each not in taken)


def _run(
    film: Film, batch: Mapping[str, Tensor], times: Sequence[float], device: torch.device, engine: Engine | None
) -> Tensor:
    """Frames (B, T, 3, H, W) in [0, 1] of a batch."""
    with torch.inference_mode(), autocast(device, torch.float32 if engine is None else engine.runner.dtype):
        return film(batch["blurry"].to(device), torch.tensor(times, device=device)).float().clamp(0, 1)


@torch.inference_mode()
def _measured(
    film: Film,
    exposures: FaceExposures,
    judge: _Judge,
    times: Sequence[float],
    engine: Engine | None = None,
    stage: str = "",
    tell: Progress | None = None,
    batch_size: int = 4,
) -> _Found:
    """Compare the frames that are made at `times` of all exposures of a class with the true ones."""
    parts: defaultdict[str, list[Tensor]] = defaultdict(list)
    found, done = _Found({}), 0
    for batch in exposures.batches(batch_size):
        made = _run(film, batch, times, judge.device, engine)
        truth = batch["frames"].to(judge.device)
        wanted = wanted_pairs(len(times), batch["rank"], batch["time"]).to(judge.device)
        for name, metric in judge.metrics.items():
            parts[name].append(compare(made, truth, wanted, metric).cpu())
        if judge.features is not None:
            seen = described(judge.features, made)
            found.every = _added(found.every, seen.flatten(0, 1))
            found.centre = _added(found.centre, seen[:, seen.shape[1] // 2])
        done += len(made)
        if tell is not None:
            tell(stage, done, len(exposures))
    found.compared = {name: torch.cat(tables) for name, tables in parts.items()}
    return found


@torch.inference_mode()
def _truth(exposures: FaceExposures, judge: _Judge) -> _Truth:
    """What the features are of what was there."""
    truth = _Truth()
    if judge.features is None:
        return truth
    centres: dict[Order, Moments | None] = dict.fromkeys(ORDERS)
    for batch in exposures.batches():
        seen = described(judge.features, batch["frames"].to(judge.device))
        truth.every = _added(truth.every, seen.flatten(0, 1))
        for order in ORDERS:
            middle = batch[order][:, exposures.frames // 2]
            centres[order] = _added(centres[order], seen[torch.arange(len(seen)), middle])
    truth.centres = {order: moments for order, moments in centres.items() if moments is not None}
    return truth


def _added(moments: Moments | None, vectors: Tensor) -> Moments:
    moments = moments or Moments(vectors.shape[1])
    moments.add(vectors)
    return moments


def _add(
    rows: tuple[list[CentreRow], list[FilmRow]],
    name: str,
    classes: Sequence[FaceExposures],
    found: Sequence[_Found],
    truths: Sequence[_Truth],
    judge: _Judge,
) -> None:
    """The rows of a model."""
    rows[0].extend(_centre_row(name, order, classes, found, truths) for order in ORDERS)
    whole = [
        triple
        for triple in zip(classes, found, truths, strict=True)
        if name == INPUT or next(iter(triple[1].compared.values())).shape[1] == triple[0].frames
    ]
    orders: Iterable[Order | None] = ORDERS if name != INPUT else (None,)
    for order in orders:
        own = [_film_row(name, order, *triple) for triple in whole]
        rows[1].extend(own)
        if len(own) > 1:
            rows[1].append(_over_all(own, [(one[1].every, one[2].every) for one in whole]))


def _centre_row(
    name: str, order: Order, classes: Sequence[FaceExposures], found: Sequence[_Found], truths: Sequence[_Truth]
) -> CentreRow:
    values = {}
    for metric in found[0].compared:
        pairs = zip(classes, found, strict=True)
        scores = torch.cat([centre_scores(own.compared[metric], getattr(one, order)) for one, own in pairs])
        values[metric] = float(scores.mean())
    made = [own.centre for own in found]
    true = [None if one.centres is None else one.centres[order] for one in truths]
    values |= _distance(FRECHET, made, true)
    return CentreRow(name, order, sum(map(len, classes)), values)


def _film_row(name: str, order: Order | None, exposures: FaceExposures, found: _Found, truth: _Truth) -> FilmRow:
    values = {}
    for metric, compared in found.compared.items():
        both = film_scores(compared, getattr(exposures, order or "rank"), lower_is_better=metric in DISTANCES)
        values[metric] = float(both.forward.mean())
        if order is not None:
            values[f"{BETTER}{metric}"] = float(both.best().mean())
    values |= _distance(FRECHET, [found.every], [truth.every])
    return FilmRow(name, order, exposures.frames, len(exposures), values)


def _over_all(rows: Sequence[FilmRow], moments: Sequence[tuple[Moments | None, Moments | None]]) -> FilmRow:
    """All lengths together, as the paper has it: every frame counts the same, but of Frechet distances every length."""
    weights = torch.tensor([float(row.count * (row.frames or 0)) for row in rows], dtype=torch.float64)
    values = {}
    for name in rows[0].values:
        each = torch.tensor([row.values.get(name, torch.nan) for row in rows], dtype=torch.float64)
        mean = each.mean() if name == FRECHET else (each * weights).sum() / weights.sum()
        if mean.isfinite():
            values[name] = float(mean)
    values |= _distance(POOLED, *zip(*moments, strict=True))
    return FilmRow(rows[0].of, rows[0].order, None, sum(row.count for row in rows), values)


def _distance(name: str, made: Sequence[Moments | None], true: Sequence[Moments | None]) -> dict[str, float]:
    """The Frechet distance of two sets, if there is one."""
    known = [[one for one in side if one is not None] for side in (made, true)]
    if not all(known) or min(sum(one.count for one in side) for side in known) < 2:
        return {}
    return {name: frechet_distance(*(Moments.over(side) for side in known))}


def _chosen(classes: Sequence[FaceExposures], found: Sequence[_Found]) -> list[tuple[str, FaceExposures, int]]:
    """The exposures on which a model is worst, in the middle and best, by its centre frame against that of FMR."""
    scores: list[tuple[float, int, int]] = []
    for number, (one, own) in enumerate(zip(classes, found, strict=True)):
        metric = own.compared.get("psnr")
        table = next(iter(own.compared.values())) if metric is None else metric
        scores += [(score, number, index) for index, score in enumerate(centre_scores(table, one.rank).tolist())]
    scores.sort()
    places = {"worst": 0, "median": (len(scores) - 1) // 2, "best": len(scores) - 1}
    return [(said, classes[scores[place][1]], scores[place][2]) for said, place in places.items()]


@dataclass
class _Shown:
    """An exposure whose pictures are kept, and what every model made of it."""

    said: str
    name: str
    batch: dict[str, Tensor]
    strips: list[Strip]

    @classmethod
    def of(cls, said: str, exposures: FaceExposures, index: int) -> _Shown:
        """With the blurry picture and the truth."""
        batch = exposures.one(index)
        name = exposures.names[index]
        shown = cls(said, name, batch, [Strip(INPUT, (_pixels(batch["blurry"][0]),), "")])
        for order, called in ORDERS.items():
            places = batch[order][0][[0, exposures.frames // 2, -1]]
            shown.strips.append(Strip(f"truth by {called}", _all_pixels(batch["frames"][0, places]), ""))
        return shown

    def add(self, name: str, frames: Tensor) -> None:
        """What a model made at `SHOWN`."""
        frames = frames.cpu()
        truth = self.batch["frames"][0]
        numbers = []
        for order, called in ORDERS.items():
            places = self.batch[order][0][[0, truth.shape[0] // 2, -1]]
            each = ", ".join(f"{value:.1f}" for value in psnr(frames, truth[places]).tolist())
            numbers.append(f"by {called} {each}")
        self.strips.append(Strip(name, _all_pixels(frames), f"PSNR in dB {'; '.join(numbers)}"))

    def example(self) -> Example:
        """For the report."""
        return Example(self.said, self.name, self.batch["frames"].shape[1], tuple(self.strips))


def _all_pixels(pictures: Iterable[Tensor]) -> tuple[Pixels, ...]:
    return tuple(_pixels(picture) for picture in pictures)


def _pixels(picture: Tensor) -> Pixels:
    return to_uint8(picture)
