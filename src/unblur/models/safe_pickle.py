"""Arrays in a pickle: read as data, never run as the program that a pickle is."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_arrays(data: bytes, kinds: Collection[str] = ("f4",), *, skip_unknown: bool = False) -> Any:
    """What a pickle holds: lists, dictionaries, numbers, texts, and arrays as `Array`; nothing else.

    Arrays may stand in the pickle, as numpy writes them, or their numbers behind it, as joblib does.

    Parameters
    ----------
    kinds : collection of str
        The types of numbers that arrays may have: "f4", "f8", "i4" and "i8" as numpy calls them.
    skip_unknown : bool
        Put an `Unknown` in the place of anything else, which is not run either way, and read on.

    Raises
    ------
    Exception
        The pickle asks for anything else, or is damaged: then it raises whatever it likes.
    """
    return _Reader(io.BytesIO(data), kinds, skip_unknown).load()


class Array:
    """In place of a `numpy.ndarray`.

    Attributes
    ----------
    tensor : Tensor
        Its numbers, of their own type.
    """

    tensor: Tensor

    def fill(self, numbers: bytes, shape: tuple[int, ...], kind: str) -> None:
        """Take the numbers, the last index changing fastest."""
        values = np.frombuffer(numbers, f"<{kind}").reshape(shape)
        self.tensor = torch.from_numpy(values.astype(kind))


class Unknown:
    """In place of what is not known; it takes everything and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...
    def __setstate__(self, state: object) -> None: ...
    def __setitem__(self, key: object, value: object) -> None: ...
    def append(self, item: object) -> None:
        """Forget an item."""


class _Inner(Array):
    """Whose numbers stand in the pickle."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_columns, numbers = state
        if by_columns:
            raise ValueError("not a plain array")
        self.fill(numbers, shape, kind.name)


class _Outer(Array):
    """Whose numbers stand behind their description: a byte that says how many of padding follow, these, the numbers.

    The file is read at that place when the description is complete, which is why it must be one that the unpickler does
    not read ahead of.
    """

    file: io.BytesIO

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if state["order"] != "C":
            raise ValueError("not a plain array")
        self.file.read(self.file.read(1)[0])
        kind = state["dtype"].name
        size = np.dtype(kind).itemsize * math.prod(state["shape"])
        self.fill(self.file.read(size), state["shape"], kind)


class _Kind:
    """In place of a `numpy.dtype`."""

    known: Collection[str]

    def __init__(self, name: str, *_: object) -> None:
        if name not in self.known:
            raise ValueError(f"numbers of type {name}")
        self.name = name

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] != "<":
            raise ValueError(f"byte order {state[1]}")


class _Reader(pickle._Unpickler):
    """Knows arrays by their names, and refuses every other.

    Python's own, not that in C, which makes room for as many things as four bytes of a damaged pickle may number.
    """

    def __init__(self, file: io.BytesIO, kinds: Collection[str], skip_unknown: bool) -> None:
        super().__init__(file)
        self._skip_unknown = skip_unknown
        kind = type("Kind", (_Kind,), {"known": kinds})
        outer = type("Bound", (_Outer,), {"file": file})
        self._known: dict[tuple[str, str], Any] = {
            ("numpy", "dtype"): kind,
            ("numpy", "ndarray"): _Inner,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy.core.numeric", "_frombuffer"): _frombuffer,
            ("numpy._core.numeric", "_frombuffer"): _frombuffer,
            ("_codecs", "encode"): _encode,
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): outer,
        }

        if skip_unknown:
            self._known |= {(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            if self._skip_unknown:
                return Unknown
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return self._known[module, name]


def _reconstruct(*_: object) -> _Inner:
    return _Inner()


def _frombuffer(numbers: bytes, kind: _Kind, shape: tuple[int, ...], order: str) -> Array:
    if order != "C":
        raise ValueError("not a plain array")
    array = Array()
    array.fill(numbers, shape, kind.name)
    return array


def _scalar(kind: _Kind, number: bytes) -> float:
    return float(np.frombuffer(number, f"<{kind.name}")[0])


def _encode(text: str, encoding: str) -> bytes:
    """Bytes in pickles of protocols that know none."""
    if encoding != "latin1":
        raise ValueError(f"bytes as {encoding}")
    return text.encode("latin1")
