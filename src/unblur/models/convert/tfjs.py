"""Packages of TensorFlow.js, as npm gives them: the weights of a network that was written in Flax, or of any other.

A package is a folder or a ``.tgz`` with a ``model.json``, which lists weights and the graph that uses them, and shards
with the numbers. It is read in memory: nothing is unpacked to disk, no path in it is followed, and the graph is not run
but looked at, since it alone says which layer the kernels of dense layers belong to: their names are mere numbers.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from unblur.errors import UnblurError

MODEL = "model.json"
FOLDERS = ("", "models", "package/models")
GZIP = b"\x1f\x8b"
# The one known package has 117 MB in 64 files, the largest of 28 MB.
MOST_BYTES = 512 * 2**20
MOST_FILES = 4096
AGAIN = "get the package again, with npm pack"
TYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4")}
SMALL: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "uint16": np.dtype("<u2")}
# A module's parameters, as constants of the graph, and how Flax lays them out.
PARAMETERS = {
    "kernel": ("weight", (1, 0)),  # dense layer: in, out
    "transpose_3": ("weight", (3, 2, 0, 1)),  # convolution: height, width, in, out
    "transpose_4": ("weight", (3, 2, 0, 1)),  # transposed convolution: height, width, out, in
    "Reshape": ("bias", None),
    "Reshape_2": ("weight", None),  # norm
    "Reshape_3": ("bias", None),
}
KERNEL = re.compile(r"(^|/)jax2tf_arg_\d+/")
ROOT = "/backbone/"


def is_package(path: Path) -> bool:
    """Whether `path` is a folder or a gzip file; nothing else can be a package."""
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def read_package(path: Path) -> dict[str, Tensor]:
    """The parameters of the network in a package.

    Returns
    -------
    dict of str to Tensor
        Flax's module paths with dots, then ``weight`` or ``bias``; laid out as torch wants them, all float32.

    Raises
    ------
    UnblurError
        If the package is damaged, or its paths, sizes or shapes are not what they should be.
    """
    tensors, nodes = read_graph(path)
    with _damage(path, MODEL):
        return _named(path, tensors, nodes)


def read_graph(path: Path) -> tuple[dict[str, Tensor], list[Mapping[str, Any]]]:
    """The constants of a package's graph, by their names and as they are laid out there, and its nodes.

    Raises
    ------
    UnblurError
        As for `read_package`.
    """
    files = _files_of_folder(path) if path.is_dir() else _files_of_archive(path)
    with _damage(path, MODEL):
        model = json.loads(files[MODEL])
        groups, nodes = model["weightsManifest"], model["modelTopology"]["node"]
        return {name: tensor for group in groups for name, tensor in _weights(path, group, files)}, nodes


def read_manifest(path: Path, model: str) -> dict[str, Tensor]:
    """All weights of a model in a package, of which it is not told how they are used.

    Parameters
    ----------
    path : path
        A ``.tgz`` with ``MODEL-weights_manifest.json`` and shards whose names begin with MODEL.
    model : str

    Returns
    -------
    dict of str to Tensor
        By the names and in the order of dimensions of the package, float32. Those that were stored in 8 or 16 bits are
        what they stand for.

    Raises
    ------
    UnblurError
        As for `read_package`.
    """
    manifest = f"{model}-weights_manifest.json"
    files = _files_of_archive(path, manifest, lambda name: name.startswith(f"{model}-") or name == f"{model}.bin")
    with _damage(path, manifest):
        groups = json.loads(files[manifest])
        return {name: each for group in groups for name, each in _weights(path, group, files, quantised=True)}


@contextmanager
def _damage(path: Path, manifest: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        problem = f"its {manifest} is damaged ({type(error).__name__}: {error})"
        raise UnblurError(path, problem, AGAIN) from None


def _files_of_folder(path: Path) -> dict[str, bytes]:
    """The model and the files beside it."""
    folder = next((path / name for name in FOLDERS if (path / name / MODEL).is_file()), None)
    if folder is None:
        raise UnblurError(path, f"is not a file, and no package: it has no {MODEL}", "name a checkpoint or a package")
    beside = [file for file in folder.iterdir() if _is_wanted(file.name)]
    if strange := next((file for file in beside if file.is_symlink() or not file.is_file()), None):
        raise UnblurError(path, f"{strange.name} is not a plain file", AGAIN)
    if sum(file.stat().st_size for file in beside) > MOST_BYTES:
        raise UnblurError(path, f"holds more than {MOST_BYTES >> 20} MiB", AGAIN)
    try:
        return {file.name: file.read_bytes() for file in beside}
    except OSError as error:
        raise UnblurError(path, f"cannot be read ({error.strerror})", "check its permissions") from None


def _is_wanted(name: str) -> bool:
    return name == MODEL or name.endswith(".bin")


def _files_of_archive(
    path: Path, manifest: str = MODEL, is_wanted: Callable[[str], bool] = _is_wanted
) -> dict[str, bytes]:
    """The model and the shards, by their names without folders."""
    files: dict[str, bytes] = {}
    try:
        with gzip.open(path) as content, tarfile.open(mode="r|", fileobj=_Bounded(path, content)) as archive:  # type: ignore[call-overload]
            for count, member in enumerate(archive):
                name = _plain_name(path, member)
                if count >= MOST_FILES:
                    raise UnblurError(path, f"holds more than {MOST_FILES} files", AGAIN)
                if name in files:
                    raise UnblurError(path, f"holds {name} twice", AGAIN)
                if member.type != tarfile.DIRTYPE and is_wanted(name):
                    file = archive.extractfile(member)
                    assert file is not None
                    files[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise UnblurError(path, f"is cut short or damaged ({error})", AGAIN) from None
    if manifest not in files:
        raise UnblurError(path, f"has no {manifest}", "name a checkpoint or a package of TensorFlow.js")
    return files


def _plain_name(path: Path, member: tarfile.TarInfo) -> str:
    """A member's name without its folders; refused if it leads out of the package or is no file and no folder."""
    name = PurePosixPath(member.name.replace("\\", "/"))
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
    if name.is_absolute() or ".." in name.parts or not plain:
        raise UnblurError(path, f"{member.name!r} is no plain file inside the package", AGAIN)
    return name.name


class _Bounded:
    """A stream that refuses to become larger than a package may be."""

    def __init__(self, path: Path, content: BinaryIO | gzip.GzipFile) -> None:
        self.path, self.content, self.left = path, content, MOST_BYTES

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise UnblurError(self.path, f"unpacks to more than {MOST_BYTES >> 20} MiB", AGAIN)
        return self.content.read(size)


def _weights(
    path: Path, group: Mapping[str, Any], files: Mapping[str, bytes], *, quantised: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one group of shards, which follow each other without gaps."""
    for name in group["paths"]:
        if name not in files:
            raise UnblurError(path, f"has no {name}", AGAIN)
    content = b"".join(files[name] for name in group["paths"])
    scales = [entry.get("quantization") if quantised else None for entry in group["weights"]]
    kinds = [
        _type(path, entry) if scale is None else SMALL[scale["dtype"]]
        for entry, scale in zip(group["weights"], scales, strict=True)
    ]
    listed = [(entry["name"], _shape(path, entry)) for entry in group["weights"]]
    wanted = sum(math.prod(shape) * kind.itemsize for (_, shape), kind in zip(listed, kinds, strict=True))
    if wanted != len(content):
        raise UnblurError(path, f"it lists {wanted} bytes of weights, the shards hold {len(content)}", AGAIN)
    offset = 0
    for (name, shape), kind, scale in zip(listed, kinds, scales, strict=True):
        count = math.prod(shape)
        if not isinstance(name, str):
            raise TypeError(f"a weight is called {name!r}")
        stored = np.frombuffer(content, kind, count, offset).reshape(shape)
        offset += count * kind.itemsize
        # A copy in any case: what a buffer of bytes backs cannot be written to.
        meant = stored.copy() if scale is None else stored * float(scale["scale"]) + float(scale["min"])
        yield name, torch.from_numpy(meant if scale is None else meant.astype(np.float32))


def _shape(path: Path, entry: Mapping[str, Any]) -> tuple[int, ...]:
    shape = entry["shape"]
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise UnblurError(path, f"{entry['name']} has a shape {shape!r}", AGAIN)
    return tuple(shape)


def _type(path: Path, entry: Mapping[str, Any]) -> np.dtype:
    if "quantization" in entry or entry["dtype"] not in TYPES:
        raise UnblurError(path, f"{entry['name']} is quantised or not float32", "use the package with full weights")
    return TYPES[entry["dtype"]]


def _named(path: Path, tensors: Mapping[str, Tensor], nodes: list[Mapping[str, Any]]) -> dict[str, Tensor]:
    """What of the graph's constants is a parameter, under its module's name."""
    layers = _layers_of_kernels(nodes)
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or "/jit_" in name:
            continue
        module, _, leaf = layers.get(name, name).rpartition("/")
        _, root, module = module.partition(ROOT)
        if KERNEL.search(name) and name not in layers:
            raise UnblurError(path, f"no dense layer uses {name}", AGAIN)
        if not root or leaf not in PARAMETERS:
            continue
        parameter, order = PARAMETERS[leaf]
        if order is not None and tensor.ndim != len(order):
            raise UnblurError(path, f"{name} has shape {tuple(tensor.shape)}", AGAIN)
        key = f"{module}.{parameter}".replace("/", ".")
        if key in named:
            raise UnblurError(path, f"holds {key} twice", AGAIN)
        named[key] = (tensor.flatten() if order is None else tensor.permute(order)).contiguous()
    if not named:
        raise UnblurError(path, "holds no network that was written in Flax", "use the package of MAXIM")
    return named


def _layers_of_kernels(nodes: list[Mapping[str, Any]]) -> dict[str, str]:
    """Which layer multiplies by a kernel: ``.../in_project/einsum/Einsum`` has the kernel as its second input."""
    layers: dict[str, str] = {}
    for node in nodes:
        if node["op"] != "Einsum":
            continue
        for source in node["input"]:
            if KERNEL.search(source):
                if source in layers:
                    raise ValueError(f"two layers use {source}")
                layers[source] = node["name"].removesuffix("/einsum/Einsum") + "/kernel"
    return layers
