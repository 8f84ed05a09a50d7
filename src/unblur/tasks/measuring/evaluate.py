"""How good a model is, by a named protocol or on exposures of your own."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.data.conversion import exposures_file
from unblur.data.recorded import RecordedExposures, load_recorded
from unblur.data.val1 import Exposures, load_val1
from unblur.errors import UnblurError
from unblur.exposure.response import to_linear
from unblur.metrics.protocols import Film, Scores, score, score_blurry
from unblur.metrics.sequence import Metric
from unblur.runtime.consistency import consistent
from unblur.runtime.refine import refine as refined
from unblur.runtime.remainder import INSTANTS, given_back, remainder
from unblur.tasks.check import check_has_paths, has_paths
from unblur.tasks.frames import check_makes
from unblur.tasks.measuring.asked import Asked
from unblur.tasks.measuring.film_report import (
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
from unblur.tasks.measuring.sets import SetMeter, SetRow
from unblur.tasks.models.engine import Engine, load
from unblur.tasks.order import Orderer, load_orderer
from unblur.tasks.source import steps_option

__all__ = ["ALL", "COLUMNS", "INPUT", "PROTOCOLS", "Asked", "Report", "Row", "evaluate"]

PROTOCOLS = {"val-1": load_val1}
Progress = Callable[[str, int, int], None]


def evaluate(
    model: str | PathLike[str] | nn.Module | Engine | None = None,
    protocol: str = "val-1",
    data: str | PathLike[str] = ".",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    refine: bool = False,
    consistency: int | None = None,
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
        ``"val-1"``; see `unblur.data.val1` for the exposures, `unblur.metrics.protocols` for the numbers. Or the path
        of a metadata.json or a manifest.jsonl, or of a folder with either.
    data : path
        Folder with the protocol's pictures and clips.
    refine : bool
        Refine the paths of each film; see `unblur.runtime.refine`.
    consistency : int, optional
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
    engine = load(model, device, dtype)
    steps = steps_option(consistency)
    film = film_function(engine, refine, steps)
    place = engine.runner.device
    orderer = None if asked.order is None else load_orderer(asked.order, place, "--order")
    measures = asked.measures(place, cache)
    meter = None if measures.observer is None else SetMeter(measures.observer)
    classes = _classes(protocol, data, asked, limit, cache, tell)
    for exposures in classes.values():
        check_makes(engine, exposures.times.tolist(), str(protocol), "measure it on exposures of as many frames")
    own: list[tuple[Row, list[FrameRow]]] = []
    before: list[tuple[Row, list[FrameRow]]] = []
    rows: list[Row] = []
    for name, exposures in classes.items():
        watch = meter.watch(name, INPUT, still=True) if meter else None
        still = score_blurry(exposures, device=place, metrics=measures.metrics, on_frames=watch)
        unknown = {"reblur", "forward"} | (set(ORDER_COLUMNS) if orderer else set())
        before.append(rows_of(name, INPUT, still, measures.names, without=unknown))
        watch = meter.watch(name, engine.name) if meter else None
        scores = _measured(film, exposures, engine, batch_size, name, tell, measures.metrics, orderer, watch)
        own.append(rows_of(name, engine.name, scores, measures.names))
        rows += [before[-1][0], own[-1][0]]
    rows += [over_all([row for row, _ in each]) for each in (before, own)]
    frames = [row for pair in zip(before, own, strict=True) for _, several in pair for row in several]
    for each in (before, own):
        frames += frames_over_all([row for _, several in each for row in several])
    verified = {name: str(e.verified) for name, e in classes.items() if isinstance(e, Exposures)}
    about = {**engine.as_dict(), "refined": refine, "consistency": steps}
    about |= {"order": orderer.as_dict()} if orderer else {}
    times = tuple(next(iter(classes.values())).times.tolist())
    seconds = time.perf_counter() - begun
    return Report(
        str(protocol),
        about,
        limit,
        seconds,
        verified,
        tuple(rows),
        tuple(frames),
        _sets(meter, engine.name),
        times,
        (*measures.notes, *(meter.notes() if meter else ())),
    )


def _sets(meter: SetMeter | None, name: str) -> tuple[SetRow, ...]:
    """Class by class, the input before the model."""
    if meter is None:
        return ()
    pairs = zip(meter.rows(INPUT, ALL), meter.rows(name, ALL), strict=True)
    return tuple(row for pair in pairs for row in pair)


def _classes(
    protocol: str, data: str | PathLike[str], asked: Asked, limit: int | None, cache: Any, tell: Progress
) -> Mapping[str, Exposures | RecordedExposures]:
    """What is measured on."""
    if protocol not in PROTOCOLS:
        if exposures_file(protocol) is None:
            known = f"use {', '.join(PROTOCOLS)}, blur-1 or order-1, or name a metadata.json or a manifest.jsonl"
            raise UnblurError(protocol, "no such protocol", known)
        root = Path(asked.root) if asked.root is not None else None
        return load_recorded(Path(protocol), root=root, partition=asked.partition, limit=limit)
    if asked.partition is not None or asked.root is not None:
        option = "--partition" if asked.partition is not None else "--root"
        raise UnblurError(option, f"means nothing to {protocol}", "leave it out, or name a metadata.json")
    building = lambda done, total: tell(f"building {protocol}", done, total)  # noqa: E731
    return PROTOCOLS[protocol](Path(data), Path(cache) if cache else None, limit=limit, progress=building)


def film_function(engine: Engine, refine: bool, steps: int) -> Film:
    """The model as a function of blurry pictures and times.

    Raises
    ------
    UnblurError
        The films have no paths to refine; and when it is called, frames that are no numbers.
    """
    film = _film(engine, refine, steps)

    def checked(blurry: Tensor, times: Tensor) -> Tensor:
        frames = film(blurry, times)
        if not torch.isfinite(frames).all():
            problem = "makes frames with values that are not numbers"
            raise UnblurError(f"--model {engine.name}", problem, "use --dtype float32, or another model")
        return frames

    return checked


def _film(engine: Engine, refine: bool, steps: int) -> Film:
    if engine.drafter is not None:
        if refine:
            check_has_paths(engine.runner, engine.name, "--refine")
        return _corrected(engine.runner.network, _film(engine.drafter, False, steps))
    network = engine.runner.network
    wanted = [p for p in inspect.signature(network.forward).parameters.values() if p.default is p.empty]
    makes_films = engine.is_film or len(wanted) > 1
    if refine:
        check_has_paths(engine.runner if makes_films else engine.film, engine.name, "--refine")
    elif makes_films and not has_paths(engine.runner):
        return _mapped(engine) if engine.runner.maps else network
    paths = engine.film.network
    restorer = network.restorer if engine.is_film else network

    def following(blurry: Tensor, times: Tensor) -> Tensor:
        sharp = restorer(blurry)
        sharp = sharp if isinstance(sharp, Tensor) else sharp[-1]
        state = paths.orient(paths.follow(blurry, sharp.float()))
        state = refined(blurry, state) if refine else state
        sharp = consistent(blurry, state[:, :3], state[:, 3:], steps=steps)
        state = torch.cat((sharp, state[:, 3:]), 1)
        frames = paths.decode(state, times)
        if not steps:
            return frames
        light = to_linear(paths.decode(state, torch.tensor(INSTANTS).to(times)).clamp(0, 1))
        return given_back(frames, remainder(blurry, light.mean(1)), times)

    return following


def _corrected(network: nn.Module, general: Film) -> Film:
    """A network that sees drafts, on those of a general film."""

    def film(blurry: Tensor, times: Tensor) -> Tensor:
        both = general(blurry, torch.cat((times, 1 - times))).clamp(0, 1)
        drafts: Tensor = network(blurry, times, both.unflatten(1, (2, len(times))).transpose(1, 2))
        return drafts

    return film


def _mapped(engine: Engine) -> Film:
    """A network without paths whose films are made of a map: of the picture alone, or of a sharp frame too."""
    network, restorer = engine.runner.network, engine.restorer

    def film(blurry: Tensor, times: Tensor) -> Tensor:
        if restorer is None:
            return network.decode(network.follow(blurry), times)
        sharp = restorer.network(blurry)
        sharp = sharp if isinstance(sharp, Tensor) else sharp[-1]
        return network.decode(network.follow(blurry, sharp.float()), times)

    return film


def _measured(
    film: Film,
    exposures: Exposures | RecordedExposures,
    engine: Engine,
    batch_size: int,
    name: str,
    tell: Progress,
    metrics: Mapping[str, Metric],
    orderer: Orderer | None,
    on_frames: Callable[[Tensor, Tensor], Any] | None,
) -> Scores:
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        tell(f"measuring {name}", done, len(exposures))

    runner = engine.runner
    return score(
        film,
        exposures,
        device=runner.device,
        dtype=runner.dtype,
        batch_size=batch_size,
        metrics=metrics,
        scorer=None if orderer is None else orderer.network,
        on_batch=on_batch,
        on_frames=on_frames,
    )
