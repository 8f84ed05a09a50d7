"""How good a model is, by a named protocol: a table, for people and for machines."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.data.val1 import Exposures, load_val1
from unblur.errors import UnblurError
from unblur.exposure.response import to_linear
from unblur.metrics.protocols import Film, Scores, score, score_blurry
from unblur.runtime.consistency import consistent
from unblur.runtime.refine import refine as refined
from unblur.runtime.remainder import INSTANTS, given_back, remainder
from unblur.tasks.check import check_has_paths, has_paths
from unblur.tasks.engine import Engine, load
from unblur.tasks.measured import Measured, Sheet
from unblur.tasks.source import steps_option

PROTOCOLS = {"val-1": load_val1}
COLUMNS = ("psnr@0", "psnr@0.5", "psnr@1", "psnr", "ssim@0", "ssim@0.5", "ssim@1", "ssim", "reblur", "forward")
HEADINGS = {
    "psnr@0": "PSNR t=0",
    "psnr@0.5": "t=0.5",
    "psnr@1": "t=1",
    "psnr": "7 frames",
    "ssim@0": "SSIM t=0",
    "ssim@0.5": "t=0.5",
    "ssim@1": "t=1",
    "ssim": "7 frames",
    "reblur": "reblur",
}
INPUT = "blurry input"
ALL = "all"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """Means over the exposures of one class.

    Attributes
    ----------
    exposures : str
        The class, or "all".
    of : str
        The model, or the blurry input taken for every frame.
    count : int
        Exposures.
    values : dict
        `COLUMNS` to numbers: PSNR in dB, SSIM, the PSNR in dB of the averaged film against the input in linear light
        (``reblur``), and the share of films that run in the canonical direction of time (``forward``). None where there
        is nothing to measure.
    """

    exposures: str
    of: str
    count: int
    values: dict[str, float | None]


@dataclass(frozen=True)
class Report(Measured):
    """What a protocol measured.

    Attributes
    ----------
    verified : dict
        Class of exposures to "exact", "close" or "no": whether the data are those of published scores.
    rows : tuple of Row
        For each class, and for all exposures alike, the input and the model.
    """

    verified: dict[str, str]
    rows: tuple[Row, ...]

    def row(self, exposures: str = ALL, *, of_input: bool = False) -> Row:
        """One row."""
        return next(r for r in self.rows if r.exposures == exposures and (r.of == INPUT) == of_input)

    def counted(self) -> str:
        """What was measured, and how many."""
        return f"{self.row().count} exposures"

    def summary(self) -> str:
        """One line."""
        foreign = min(self.verified.values(), key=_trust) == "no"
        return super().summary() + (", not on the published data" if foreign else "")

    def results(self) -> dict[str, object]:
        """The numbers, for a machine-readable report."""
        rows = [{"exposures": row.exposures, "of": row.of, "count": row.count, **row.values} for row in self.rows]
        return {"data": self.verified, "results": rows}

    def sheets(self) -> list[Sheet]:
        """The table."""
        lines = [
            [r.exposures, str(r.count), r.of, *(_text(r.values[name], name) for name in HEADINGS)] for r in self.rows
        ]
        return [Sheet(["exposures", "n", "of", *HEADINGS.values()], lines, [r.of != INPUT for r in self.rows])]


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
    batch_size: int = 4,
    progress: Progress | None = None,
) -> Report:
    """Measure a model by a protocol, beside the blurry input itself.

    Parameters
    ----------
    model, device, dtype
        See `unblur.load`; also any network with ``forward(blurry, times)``. Of a network for single pictures the films
        that follow from them are measured.
    protocol : str
        ``"val-1"``; see `unblur.data.val1` for the exposures, `unblur.metrics.protocols` for the numbers.
    data : path
        Folder with the protocol's pictures and clips.
    refine : bool
        Refine the paths of each film; see `unblur.runtime.refine`.
    consistency : int, optional
        Steps that bring the photo's light back into each sharp frame, as in `unblur.frames`.
    limit : int, optional
        Measure this many exposures per class only, the first ones.
    cache : path, optional
        Where exposures that were built are kept.
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
    if protocol not in PROTOCOLS:
        raise UnblurError(protocol, "no such protocol", f"use {', '.join(PROTOCOLS)}, blur-1 or order-1")
    tell = progress or (lambda stage, done, total: None)
    engine = load(model, device, dtype)
    steps = steps_option(consistency)
    film = _film_of(engine, refine, steps)
    classes = PROTOCOLS[protocol](
        Path(data),
        Path(cache) if cache else None,
        limit=limit,
        progress=lambda done, total: tell(f"building {protocol}", done, total),
    )
    rows: list[Row] = []
    for name, exposures in classes.items():
        before = score_blurry(exposures, device=engine.runner.device)
        rows.append(_row(name, INPUT, before, without={"reblur", "forward"}))
        made = _measured(film, exposures, engine, batch_size, name, tell)
        rows.append(_row(name, engine.name, made))
    verified = {name: str(exposures.verified) for name, exposures in classes.items()}
    everything = [_over_all([r for r in rows if r.of == of]) for of in (INPUT, engine.name)]
    seconds = time.perf_counter() - begun
    about = {**engine.as_dict(), "refined": refine, "consistency": steps}
    return Report(protocol, about, limit, seconds, verified, (*rows, *everything))


def _film_of(engine: Engine, refine: bool, steps: int) -> Film:
    """The model as a function of blurry pictures and times."""
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


def _measured(film: Film, exposures: Exposures, engine: Engine, batch_size: int, name: str, tell: Progress) -> Scores:
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        tell(f"measuring {name}", done, len(exposures))

    runner = engine.runner
    return score(film, exposures, device=runner.device, dtype=runner.dtype, batch_size=batch_size, on_batch=on_batch)


def _row(name: str, of: str, scores: Scores, without: Set[str] = frozenset()) -> Row:
    means = scores.summary()
    return Row(name, of, len(scores.psnr), {key: None if key in without else means[key] for key in COLUMNS})


def _over_all(rows: list[Row]) -> Row:
    """The mean over all exposures: each counts the same, whatever its class."""
    total = sum(row.count for row in rows)
    values: dict[str, float | None] = {}
    for key in COLUMNS:
        known = [(row.values[key], row.count) for row in rows]
        values[key] = sum(v * n for v, n in known if v is not None) / total if known[0][0] is not None else None
    return Row(ALL, rows[0].of, total, values)


def _text(value: Any, name: str) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if name.startswith("ssim") else f"{value:.2f}"


def _trust(verified: str) -> int:
    return ("no", "close", "exact").index(verified)
