"""The published weights of the face detector MTCNN, out of the package mtcnn, for networks of ours.

The package's own program needs TensorFlow; its three files of weights need nothing but lz4. Each is a pickled list of
arrays.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.models.safe_pickle import read_arrays
from unblur.models.weights import fill
from unblur.networks.mtcnn import MTCNN

FILES = {"proposer": "pnet.lz4", "refiner": "rnet.lz4", "describer": "onet.lz4"}
INSTALL = "pip install 'unblur[faces]', or say where faces are"
LARGEST = 1 << 24


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
    for part, file in FILES.items():
        path = folder / file
        try:
            arrays = _read(path)
            named = _named(getattr(network, part), arrays)
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
        raise UnblurError("finding faces", "needs the extra faces, which is not installed", INSTALL)
    return Path(package.origin).parent / "assets" / "weights"


def _read(path: Path) -> list[Tensor]:
    from lz4.frame import decompress

    try:
        packed = path.read_bytes()
    except OSError as fault:
        problem = f"cannot be read ({fault.strerror})"
        raise UnblurError(path, problem, "pip install --force-reinstall 'mtcnn>=1.0,<2'") from fault
    if len(packed) > LARGEST:
        raise ValueError("too large")
    return [each.tensor for each in read_arrays(decompress(packed))]


def _named(network: nn.Module, arrays: list[Tensor]) -> dict[str, Tensor]:
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
