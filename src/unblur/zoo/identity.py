"""Networks that tell faces apart, from files that the user names: each measure has its network's name."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from unblur.errors import UnblurError
from unblur.networks.arcface import ArcFaceNet
from unblur.zoo.backbone import read_tensors
from unblur.zoo.features import Observer, refuse_programs, with_counts
from unblur.zoo.weights import fill

SOURCES = "arcface_resnet18.pth, which comes with GFPGAN 0.1.0"


def load_identity(path: str | PathLike[str]) -> Observer:
    """A network for identity distances: `unblur.metrics.identity.IdentityDistance` of its `network`.

    Parameters
    ----------
    path : str or path
        ``arcface_resnet18.pth`` of GFPGAN, or its tensors in ``.safetensors``.

    Raises
    ------
    UnblurError
        The file is missing, damaged, or something else.
    """
    path = Path(path)
    refuse_programs(path, SOURCES)
    tensors = read_tensors(path)
    if "fc5.weight" not in tensors or "layer1.0.prelu.weight" not in tensors:
        raise UnblurError(path, "holds no network of faces that is known here", f"name {SOURCES}")
    network = ArcFaceNet()
    fill(network, with_counts(network, tensors), path)
    return Observer(network.eval().requires_grad_(False), "ArcFace distance (ResNet18, gray 128)")
