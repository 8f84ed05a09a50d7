"""Weights out of a training, and into one."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from jsonargparse import Namespace
from torch import nn

from unblur.zoo.card import Card
from unblur.zoo.weights import fill, load_weights, save_weights


def export_weights(
    path: Path, network: nn.Module, recipe: Namespace, steps: int, score: Mapping[str, float] | None = None
) -> Path:
    """Write the weights of `network` after `steps` steps of `recipe`, with their card.

    Parameters
    ----------
    score : mapping, optional
        The last validation, in dB.
    """
    card = Card(
        name=recipe.name,
        network=recipe.network.name,
        summary=recipe.summary,
        data=recipe.sources,
        steps=steps,
        protocol=f"{recipe.data.heldout} held-out synthetic exposures, medium blur" if score else "",
        score={name: round(value, 3) for name, value in (score or {}).items()},
        licence=recipe.licence,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    return save_weights(path, network, card)


def start_from(network: nn.Module, weights: str) -> None:
    """Put weights, a file or a name of the zoo, into `network`; names and shapes must be the same."""
    fill(network, load_weights(weights).network.state_dict(), weights)
