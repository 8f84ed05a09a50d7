"""Weights out of a training, and into one."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.models.card import Card
from unblur.models.weights import fill, load_weights, save_weights

log = logging.getLogger(__name__)


def export_weights(
    path: Path,
    network: nn.Module,
    recipe: Namespace,
    steps: int,
    score: Mapping[str, float] | None = None,
    protocol: str = "",
) -> Path:
    """Write the weights of `network` after `steps` steps of `recipe`, with their card.

    Parameters
    ----------
    score : mapping, optional
        The last validation, in dB.
    protocol : str
        What it was measured with.
    """
    card = Card(
        name=recipe.name,
        network=recipe.network.name,
        summary=recipe.summary,
        data=recipe.sources,
        steps=steps,
        protocol=protocol if score else "",
        score={name: round(value, 3) for name, value in (score or {}).items()},
        licence=recipe.licence,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    return save_weights(path, network, card)


def start_from(network: nn.Module, weights: str, *, strict: bool = True) -> None:
    """Put weights, by their file or name, into `network`.

    Parameters
    ----------
    strict : bool
        Names and shapes must be the same; else what the network has not, or in another shape, is left out and told.

    Raises
    ------
    UnblurError
        They are not the network's, or without `strict`, none of them is.
    """
    tensors = load_weights(weights).network.state_dict()
    if not strict:
        tensors = _fitting(network, tensors, weights)
    fill(network, tensors, weights)


def init_motion_from(network: Any, weights: str) -> None:
    """Put the spectral motion network of a film network, by its file or name, into a blur space of paths.

    Raises
    ------
    UnblurError
        There is none, or it is not the network's.
    """
    source = load_weights(weights).network
    found = source.motion.spectral if source.kind == "film" and source.has_paths else None
    fits = network.kind == "blur_space" and network.has_paths
    if found is None or not fits:
        lacks = weights if found is None else f"a {type(network).__name__}"
        problem = f"{lacks} has no spectral motion network"
        raise UnblurError(f"init_motion_from {weights}", problem, "leave it out, or name film-small")
    fill(network.spectral, found.state_dict(), weights)


def _fitting(network: nn.Module, tensors: Mapping[str, Tensor], subject: str) -> dict[str, Tensor]:
    """The network's own tensors, replaced by those of its names and shapes in `tensors`."""
    own = network.state_dict()
    taken = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    if not taken:
        remedy = f"name weights of a {type(network).__name__}"
        raise UnblurError(subject, "holds nothing that the network has in the same shape", remedy)
    kept, left_out = sorted(own.keys() - taken.keys()), sorted(tensors.keys() - taken.keys())
    if kept or left_out:
        log.info(
            "%s: %d of the network's %d tensors are taken from it; anew begin %s; left out are %s",
            *(subject, len(taken), len(own), ", ".join(kept) or "none", ", ".join(left_out) or "none"),
        )
    return {**own, **taken}
