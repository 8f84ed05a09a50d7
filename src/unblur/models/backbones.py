"""Weights of the networks that perceptual losses look through, from files that the user names."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unblur.errors import UnblurError
from unblur.losses.perceptual import Backbone, alexnet, vgg19
from unblur.models.convert.released import read_checkpoint
from unblur.models.weights import fill

KINDS: dict[tuple[int, ...], Callable[[], Backbone]] = {(64, 3, 3, 3): vgg19, (64, 3, 11, 11): alexnet}
"""By the shape of the first convolution."""


def load_backbone(path: str | PathLike[str]) -> Backbone:
    """A VGG-19 or an AlexNet with the weights of a torchvision checkpoint; which one is found from its shapes.

    Parameters
    ----------
    path : str or path
        ``.pth``, read with ``weights_only=True``, or ``.safetensors``. What comes after the convolutions that are
        looked at may be there or not.

    Raises
    ------
    UnblurError
        The file is missing, damaged, or neither of the two.
    """
    path = Path(path)
    tensors = read_tensors(path)
    first = tensors.get("features.0.weight", torch.empty(0))
    if tuple(first.shape) not in KINDS:
        problem = "holds neither a VGG-19 nor an AlexNet with the names of torchvision"
        raise UnblurError(path, problem, "name for instance vgg19-dcbb9e9d.pth")
    network = KINDS[tuple(first.shape)]()
    fill(network, {name: tensors[name].float() for name in network.state_dict() if name in tensors}, path)
    return network.eval().requires_grad_(False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a checkpoint as `unblur.models.convert.released.read_checkpoint`
    reads it.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return read_checkpoint(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError):
        raise UnblurError(path, "is damaged or not safetensors", "download it again") from None
