"""A model as a function of blurry pictures and times: what is measured of it, and kept for others to learn from.

What makes other frames of the same weights makes other estimates: then `pipeline.refiner_film.METHOD` is to be raised.
"""

from __future__ import annotations

import inspect
from itertools import chain

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.evaluation.protocols import Film
from unblur.exposure.response import to_linear
from unblur.pipeline.consistency import consistent
from unblur.pipeline.edges import propagated
from unblur.pipeline.refine import refine as refined
from unblur.pipeline.refiner_film import ends_of
from unblur.pipeline.residual import INSTANTS, film_residual, with_residual
from unblur.pipeline.restore import Pipeline
from unblur.tasks.blur_check import check_has_paths, has_paths


def film_function(pipeline: Pipeline, refine: bool, steps: int) -> Film:
    """The model as a function of blurry pictures and times.

    Raises
    ------
    UnblurError
        The films have no paths to refine; and when it is called, frames or paths that are no numbers.
    """
    film = _film(pipeline, refine, steps)
    return lambda blurry, times: _checked(pipeline, "frames", film(blurry, times))


def _checked(pipeline: Pipeline, kind: str, made: Tensor) -> Tensor:
    if not torch.isfinite(made).all():
        problem = f"makes {kind} with values that are not numbers"
        raise UnblurError(f"--model {pipeline.name}", problem, "use --dtype float32, or another model")
    return made


def _film(pipeline: Pipeline, refine: bool, steps: int) -> Film:
    if pipeline.estimator is not None:
        if refine:
            check_has_paths(pipeline.runner, pipeline.name, "--refine")
        return _corrected(pipeline.runner.network, _film(pipeline.estimator, False, steps))
    network = pipeline.runner.network
    wanted = [p for p in inspect.signature(network.forward).parameters.values() if p.default is p.empty]
    makes_films = pipeline.is_film or len(wanted) > 1
    if refine:
        check_has_paths(pipeline.runner if makes_films else pipeline.film, pipeline.name, "--refine")
    elif makes_films and not has_paths(pipeline.runner):
        return _mapped(pipeline) if pipeline.runner.maps else network
    paths = pipeline.film.network
    restorer = network.restorer if pipeline.is_film else network

    def following(blurry: Tensor, times: Tensor) -> Tensor:
        sharp = restorer(blurry)
        sharp = sharp if isinstance(sharp, Tensor) else sharp[-1]
        state = paths.orient(paths.estimate_motion(blurry, sharp.float()))
        _checked(pipeline, "paths", state[:, 3:])
        state = refined(blurry, state) if refine else state
        if not steps:
            return paths.decode(state, times)
        moved = propagated(blurry, state[:, :3], state[:, 3:])
        state = torch.cat((consistent(blurry, state[:, :3], moved, steps=steps), moved), 1)
        frames = paths.decode(state, times)
        light = to_linear(paths.decode(state, torch.tensor(INSTANTS).to(times)).clamp(0, 1))
        return with_residual(frames, film_residual(blurry, light.mean(1)), times)

    return following


def _corrected(network: nn.Module, general: Film) -> Film:
    """A network that sees estimates, on those of a general film, each of which is made once."""

    def film(blurry: Tensor, times: Tensor) -> Tensor:
        pairs, both_ends = ends_of(times.tolist()), torch.stack((times, 1 - times), 1)
        moments = dict(zip(chain(*pairs), both_ends.flatten().tolist(), strict=True))
        estimates = general(blurry, torch.tensor(list(moments.values())).to(times)).clamp(0, 1)
        places = {key: number for number, key in enumerate(moments)}
        both = estimates[:, [[places[key] for key in pair] for pair in pairs]]
        frames: Tensor = network(blurry, times, both)
        return frames

    return film


def _mapped(pipeline: Pipeline) -> Film:
    """A network without paths whose films are made of a map: of the picture alone, or of a sharp frame too."""
    network, restorer = pipeline.runner.network, pipeline.restorer

    def film(blurry: Tensor, times: Tensor) -> Tensor:
        if restorer is None:
            return network.decode(network.estimate_motion(blurry), times)
        sharp = restorer.network(blurry)
        sharp = sharp if isinstance(sharp, Tensor) else sharp[-1]
        return network.decode(network.estimate_motion(blurry, sharp.float()), times)

    return film
