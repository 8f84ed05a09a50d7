"""A network with its card on a device, ready to be asked; and which model, where none is named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import nn

from unblur.errors import UnblurError
from unblur.models.registry import ALIASES
from unblur.models.weights import load_weights
from unblur.runtime.device import resolve_device
from unblur.runtime.tiling import is_out_of_memory


class LoadedNetwork:
    """A network with its card, on a device.

    Attributes
    ----------
    name : str
        Of the model.
    card : object or None
        What is known of its weights; see `unblur.models.card.Card`.
    network : nn.Module
    device : torch.device
    """

    def __init__(self, network: nn.Module, card: Any = None, *, device: str | torch.device = "auto") -> None:
        self.name, self.card = display_name(network, card), card
        self.device = resolve_device(device)
        self.network: Any = network.to(self.device).eval()
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Of the weights: of their file, or where there is none, of their numbers."""
        if self._fingerprint is None:
            self._fingerprint = getattr(self.card, "sha256", None) or weights_digest(self.network)
        return self._fingerprint


def display_name(network: nn.Module, card: Any = None) -> str:
    """What to call a network in messages."""
    return getattr(card, "name", None) or type(network).__name__


def resolve(model: str | PathLike[str] | nn.Module | None, default: str) -> tuple[nn.Module, Any]:
    """A network and its card, by its name or file, or as it is; `default` where none is named.

    Raises
    ------
    UnblurError
        No such model.
    """
    if isinstance(model, nn.Module):
        return model, None
    loaded = load_weights(default if model is None else model)
    return loaded.network, loaded.card


def weights_digest(network: nn.Module) -> str:
    """What tells a network's weights from others where they come from no file."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def fits_memory(subject: str) -> Iterator[None]:
    """Tell in one line that memory ran out."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UnblurError(subject, "is too large for the memory", "use a smaller picture, or `device=cpu`") from None


PATIENCE = 60.0
"""Seconds that a command may take before the fast model serves better."""

COST = {"maxim": {torch.float32: 65.0, torch.bfloat16: 50.0}, "film-small": {torch.float32: 13.0, torch.bfloat16: 11.0}}
"""Seconds of one core per megapixel, from reading to the reblur residual, in either number format; measured."""


@dataclass(frozen=True)
class Choice:
    """A model and why it was chosen.

    Attributes
    ----------
    model : str
        In `unblur.models.registry.SHIPPED`.
    reason : str
        For people, in half a line, with what to type for the other one.
    """

    model: str
    reason: str


def auto_select(sizes: Iterable[int], device: torch.device, dtype: torch.dtype, threads: int) -> Choice:
    """Choose between the best model and the fast one.

    Parameters
    ----------
    sizes : iterable of int
        Pixels of each picture; read only as far as the answer needs.
    device : torch.device
    dtype : torch.dtype
        Of the passes.
    threads : int
        Cores at work, on a CPU.

    Examples
    --------
    >>> auto_select([12_000_000], torch.device("cpu"), torch.float32, threads=2).model
    'film-small'
    """
    best, fast = ALIASES["best"], ALIASES["fast"]
    if device.type != "cpu":
        return Choice(best, "best")
    cost = COST[best].get(dtype, COST[best][torch.float32]) / 1e6 / threads
    seconds = 0.0
    for pixels in sizes:
        seconds += cost * pixels
        if seconds > PATIENCE:
            return Choice(fast, f"fast; `model=best` would take more than {PATIENCE:.0f} s")
    share = COST[best][torch.float32] / COST[fast][torch.float32]
    return Choice(best, f"best; `model=fast` takes 1/{share:.0f} of the time")
