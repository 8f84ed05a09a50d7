"""Weights in safetensors files: written whole, read strictly.

A file's metadata says how to build its network and what is known of it: ``network`` (a name in the table),
``arguments`` (of the constructor, JSON) and ``card`` (JSON). Reading a file runs nothing that it says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.media.atomic import atomic_path
from unblur.models.card import Card
from unblur.models.registry import ALIASES, DEFAULT, NETWORKS, SHIPPED, choose_from, network_class, network_name

FILES = Path(__file__).parent / "files"
AGAIN = "get the file again"


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, in evaluation mode, and its card."""

    network: Any
    card: Card


def save_weights(path: str | PathLike[str], network: nn.Module, card: Card, *, half: bool = False) -> Path:
    """Write a network's weights, constructor arguments and card.

    Parameters
    ----------
    path : str or path
        Replaced as a whole or not at all.
    network : nn.Module
        Of a class in `unblur.models.registry.NETWORKS`, with its constructor arguments in ``network.arguments``.
    card : Card
        Its `network` is set from the network.
    half : bool
        Store float16, which halves the file; `load_weights` gives float32 again.

    Raises
    ------
    UnblurError
        If a weight is not finite (in float16, if `half`), or the file cannot be written.
    """
    name = network_name(network)
    tensors = {}
    for key, tensor in network.state_dict().items():
        stored = tensor.detach().cpu()
        stored = stored.half() if half and stored.is_floating_point() else stored
        # Its own memory, laid out plainly: the format holds neither shared nor strided tensors.
        tensors[key] = stored.clone(memory_format=torch.contiguous_format)
    _check_finite(path, tensors)
    metadata = {
        "network": name,
        "arguments": json.dumps(network.arguments, sort_keys=True),
        "card": replace(card, network=name, kind=NETWORKS[name].kind).to_json(),
    }
    with atomic_path(path) as temporary:
        # The library's own writer makes files that nobody else may read.
        temporary.write_bytes(save(tensors, metadata))
    return Path(path)


def load_weights(name_or_path: str | PathLike[str] = DEFAULT) -> Loaded:
    """Build a network with its weights, from a file or from the name of weights that ship with this package.

    Returns
    -------
    Loaded
        The network in evaluation mode, float32, on the CPU.

    Raises
    ------
    UnblurError
        If there is no such name or file, it is damaged, or it does not hold exactly the network's weights.
    """
    path, expected = _find(name_or_path)
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UnblurError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from None
    if expected is not None and sha256 != expected:
        raise UnblurError(path, "is not the file that was shipped (sha256 differs)", "install the package again")
    metadata, tensors = _read(path)
    card, network = _describe(path, metadata)
    fill(network, tensors, path)
    return Loaded(network.eval(), replace(card, sha256=sha256))


def fill(network: nn.Module, tensors: Mapping[str, Tensor], subject: str | PathLike[str]) -> None:
    """Put `tensors` into `network`, once `check_tensors` has found nothing wrong with them."""
    check_tensors(network, tensors, subject)
    network.load_state_dict(dict(tensors))


def check_tensors(network: nn.Module, tensors: Mapping[str, Tensor], subject: str | PathLike[str]) -> None:
    """Refuse tensors that are not exactly the network's: every name, no other, every shape right, every value finite.

    Raises
    ------
    UnblurError
        Naming the first tensor at fault.
    """
    wanted = network.state_dict()
    remedy = f"this is not a {type(network).__name__} with these arguments; convert or train it again"
    for problem, names in (("has no", wanted.keys() - tensors.keys()), ("holds", tensors.keys() - wanted.keys())):
        if names:
            first = min(names)
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            use = "" if problem == "has no" else ", which the network does not use"
            raise UnblurError(subject, f"{problem} {first}{more}{use}", remedy)
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            problem = f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            raise UnblurError(subject, problem, remedy)
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            raise UnblurError(subject, f"{name} holds {tensors[name].dtype}, not {tensor.dtype}", remedy)
    _check_finite(subject, tensors)


def _check_finite(subject: str | PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UnblurError(
                subject, f"{name} holds numbers that are not finite", "use weights from before they broke"
            )


def _find(name_or_path: str | PathLike[str]) -> tuple[Path, str | None]:
    """The file, and the sum that it must have if it is ours."""
    name = ALIASES.get(str(name_or_path), str(name_or_path))
    if name in SHIPPED:
        return FILES / SHIPPED[name].file, SHIPPED[name].sha256
    path = Path(name)
    if path.is_file():
        return path, None
    if path.exists():
        raise UnblurError(path, "is not a file", "name a .safetensors file")
    raise UnblurError(name, "is neither a model nor a file", choose_from(SHIPPED, name))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if path.stat().st_size == 0:
            problem = "is empty"
        elif path.suffix.lower() in {".pth", ".pt", ".pkl", ".ckpt", ".bin"}:
            raise UnblurError(path, "is not safetensors", "convert it first: unblur models convert") from None
        else:
            problem = f"is not safetensors, or is cut short ({error})"
        raise UnblurError(path, problem, AGAIN) from None


def _describe(path: Path, metadata: Mapping[str, str]) -> tuple[Card, nn.Module]:
    """The card and the network, without its weights, that a file's metadata tells of."""
    name = metadata.get("network")
    if name is None:
        raise UnblurError(path, "does not say which network it is for", "make it with unblur models convert")
    if name not in NETWORKS:
        raise UnblurError(path, f"is for a network {name!r} that is unknown", choose_from(NETWORKS, name))
    try:
        card = Card.from_json(metadata["card"])
        arguments = json.loads(metadata["arguments"])
        if card.network != name:
            raise ValueError(f"the card is for {card.network}")
        if card.kind not in ("", NETWORKS[name].kind):
            raise ValueError(f"the card is of a {card.kind}, but {name} is a {NETWORKS[name].kind}")
        card = replace(card, kind=NETWORKS[name].kind)
        return card, network_class(name)(**arguments)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UnblurError(path, f"its description is damaged ({error})", AGAIN) from None
