"""Weights out of a training, and into one."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from pathlib import Path

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


def start_from(network: nn.Module, weights: str, *, partly: bool = False) -> None:
    """Put weights, a file or a name of the zoo, into `network`.

    Parameters
    ----------
    partly : bool
        Leave out what the network has not, or in another shape, and say so; else names and shapes must be the same.

    Raises
    ------
    UnblurError
        They are not the network's, or `partly`, none of them is.
    """
    tensors = load_weights(weights).network.state_dict()
    if partly:
        tensors = _fitting(network, tensors, weights)
    fill(network, tensors, weights)


def take_evidence(network: nn.Module, weights: str) -> None:
    """Put the evidence of a film network, a file or a name of the zoo, into a `PathBlurSpace`.

    Raises
    ------
    UnblurError
        There is none, or it is not the network's.
    """
    found = getattr(getattr(load_weights(weights).network, "paths", None), "evidence", None)
    own = getattr(network, "evidence", None)
    if own is None or found is None:
        lacks = weights if found is None else f"a {type(network).__name__}"
        raise UnblurError(f"evidence {weights}", f"{lacks} has no evidence", "leave it out, or name film-small")
    fill(own, found.state_dict(), weights)


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
