"""A model as a function of blurry pictures and times: what is measured of it, and kept for others to learn from.

What makes other frames of the same weights makes other drafts: then `pipeline.refiner_film.METHOD` is to be raised.
"""

from __future__ import annotations

import inspect
from itertools import chain

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.exposure.response import to_linear
from unblur.evaluation.protocols import Film
from unblur.pipeline.consistency import consistent
from unblur.pipeline.refiner_film import ends_of
from unblur.pipeline.edges import propagated
from unblur.pipeline.refine import refine as refined
from unblur.pipeline.residual import INSTANTS, given_back, remainder
from unblur.tasks.blur_check import check_has_paths, has_paths
from unblur.pipeline.restore import Engine


def film_function(engine: Engine, refine: bool, steps: int) -> Film:
    """The model as a function of blurry pictures and times.

    Raises
    ------
    UnblurError
        The films have no paths to refine; and when it is called, frames or paths that are no numbers.
    """
    film = _film(engine, refine, steps)
    return lambda blurry, times: _checked(engine, "frames", film(blurry, times))


def _checked(engine: Engine, kind: str, made: Tensor) -> Tensor:
    if not torch.isfinite(made).all():
        problem = f"makes {kind} with values that are not numbers"
        raise UnblurError(f"--model {engine.name}", problem, "use --dtype float32, or another model")
    return made


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
        _checked(engine, "paths", state[:, 3:])
        state = refined(blurry, state) if refine else state
        if not steps:
            return paths.decode(state, times)
        moved = propagated(blurry, state[:, :3], state[:, 3:])
        state = torch.cat((consistent(blurry, state[:, :3], moved, steps=steps), moved), 1)
        frames = paths.decode(state, times)
        light = to_linear(paths.decode(state, torch.tensor(INSTANTS).to(times)).clamp(0, 1))
        return given_back(frames, remainder(blurry, light.mean(1)), times)

    return following


def _corrected(network: nn.Module, general: Film) -> Film:
    """A network that sees drafts, on those of a general film, each of which is made once."""

    def film(blurry: Tensor, times: Tensor) -> Tensor:
        pairs, both_ends = ends_of(times.tolist()), torch.stack((times, 1 - times), 1)
        moments = dict(zip(chain(*pairs), both_ends.flatten().tolist(), strict=True))
        drafts = general(blurry, torch.tensor(list(moments.values())).to(times)).clamp(0, 1)
        places = {key: number for number, key in enumerate(moments)}
        both = drafts[:, [[places[key] for key in pair] for pair in pairs]]
        frames: Tensor = network(blurry, times, both)
        return frames

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
