"""A model, ready to run: what `load` returns and the tasks share."""

from __future__ import annotations

from os import PathLike
from typing import Any

import torch
from torch import nn

from unblur.errors import UnblurError
from unblur.runtime.device import resolve_device
from unblur.runtime.precision import resolve_dtype
from unblur.runtime.runner import Runner
from unblur.tasks.source import tile_option
from unblur.zoo.weights import load_weights


class Engine:
    """A network with its card, on a device, in a number format, with a size of tiles.

    Pass it as ``model`` to `unblur.deblur` and `unblur.frames` to load once for many pictures.

    Attributes
    ----------
    name : str
        Of the model.
    card : object or None
        What is known of its weights; see `unblur.zoo.weights.Card`.
    runner : Runner
    tile : int or "auto"
    """

    def __init__(
        self,
        network: nn.Module,
        card: Any = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        tile: int | str = "auto",
    ) -> None:
        place = resolve_device(device)
        self.card = card
        self.name = getattr(card, "name", None) or type(network).__name__
        self.runner = Runner(network, place, resolve_dtype(dtype, place))
        self.tile = tile_option(tile)
        self.runner.check_tile(self.tile)

    @property
    def is_film(self) -> bool:
        """Whether it makes frames at any time, or a single sharp picture."""
        return self.runner.is_film

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {
            "name": self.name,
            "network": type(self.runner.network).__name__,
            "makes": "film" if self.is_film else "picture",
            "device": str(self.runner.device),
            "dtype": str(self.runner.dtype).removeprefix("torch."),
        }

    def __str__(self) -> str:
        about = self.as_dict()
        return f"{about['name']} on {about['device']} in {about['dtype']}"


def load(
    model: str | PathLike[str] | nn.Module | Engine | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
) -> Engine:
    """Load a model once, to use it on many pictures.

    Parameters
    ----------
    model : str, path, nn.Module or Engine, optional
        A name from ``unblur models list``, a .safetensors file, a network; the default model if left out. An `Engine`
        is returned as it is, the other arguments unheeded.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...
    dtype : str
        ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    tile : int or "auto"
        Side of the tiles that large pictures are cut into.

    Raises
    ------
    UnblurError
        No such model, device, number format or tile.

    Examples
    --------
    >>> engine = load(device="cpu")                                  # doctest: +SKIP
    >>> for photo in photos:                                         # doctest: +SKIP
    ...     unblur.deblur(photo, model=engine).save(out / photo.name)
    """
    if isinstance(model, Engine):
        return model
    if isinstance(model, nn.Module):
        return Engine(model, device=device, dtype=dtype, tile=tile)
    # Options are checked before a file is read.
    resolve_dtype(dtype, resolve_device(device))
    loaded = load_weights(model) if model is not None else load_weights()
    return Engine(loaded.network, loaded.card, device=device, dtype=dtype, tile=tile)


def film_engine(engine: Engine) -> Engine:
    """Refuse a model for single pictures where a film is asked for."""
    if not engine.is_film:
        remedy = "choose another with --model; `unblur models list` shows them"
        raise UnblurError(f"--model {engine.name}", "makes one sharp picture, not a film", remedy)
    return engine
