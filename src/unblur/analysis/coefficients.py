"""The fitted coefficients of the analysis, in one file with a card that says how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from unblur.media.atomic import atomic_path

FILE = Path(__file__).with_name("coefficients.safetensors")


@cache
def coefficients() -> Mapping[str, Tensor]:
    """All of them by name, float32; see `unblur.analysis.blur_type` and `unblur.analysis.blur_length`."""
    with safe_open(FILE, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def card() -> dict[str, dict[str, str]]:
    """For each of the parts: the data it was fitted on, the command and the date."""
    with safe_open(FILE, framework="pt") as file:
        return json.loads(file.metadata()["card"])


def write_coefficients(part: str, tensors: Mapping[str, Tensor], details: Mapping[str, str]) -> None:
    """Replace the coefficients of one part, and what the card says of it.

    Parameters
    ----------
    part : str
        "blur_type" or "blur_length"; the names of its tensors begin with it.
    tensors : mapping of str to Tensor
        By their names within the part.
    details : mapping of str to str
        Data, command, date.
    """
    others = {name: tensor for name, tensor in coefficients().items() if not name.startswith(f"{part}.")}
    named = {f"{part}.{name}": tensor.float().contiguous() for name, tensor in tensors.items()}
    told = json.dumps({**card(), part: dict(details)}, sort_keys=True)
    with atomic_path(FILE) as temporary:
        temporary.write_bytes(save({**others, **named}, {"card": told}))
    coefficients.cache_clear()
