"""Arrays in a pickle: read as data, never run as the program that a pickle is."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_arrays(data: bytes) -> Any:
    """What a pickle holds: lists, dictionaries, numbers, texts, and arrays of float32 as `Array`; nothing else.

    Arrays may stand in the pickle, as numpy writes them, or their numbers behind it, as joblib does.

    Raises
    ------
    Exception
        The pickle asks for anything else, or is damaged: then it raises whatever it likes.
    """
    return _Reader(io.BytesIO(data)).load()


class Array:
    """In place of a `numpy.ndarray`.

    Attributes
    ----------
    tensor : Tensor
        Its numbers, float32.
    """

    tensor: Tensor

    def fill(self, numbers: bytes, shape: tuple[int, ...]) -> None:
        """Take the numbers, the last index changing fastest."""
        values = np.frombuffer(numbers, "<f4").reshape(shape)
        self.tensor = torch.from_numpy(values.astype(np.float32))


class _Inner(Array):
    """Whose numbers stand in the pickle."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, _, by_columns, numbers = state
        if by_columns:
            raise ValueError("not a plain array")
        self.fill(numbers, shape)


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
        self.fill(self.file.read(4 * math.prod(state["shape"])), state["shape"])


class _Kind:
    """In place of a `numpy.dtype`."""

    def __init__(self, name: str, *_: object) -> None:
        if name != "f4":
            raise ValueError(f"numbers of type {name}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] != "<":
            raise ValueError(f"byte order {state[1]}")


class _Reader(pickle._Unpickler):
    """Knows arrays by their names, and refuses every other.

    Python's own, not that in C, which makes room for as many things as four bytes of a damaged pickle may number.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        outer = type("Bound", (_Outer,), {"file": file})
        self._known: dict[tuple[str, str], Any] = {
            ("numpy", "dtype"): _Kind,
            ("numpy", "ndarray"): _Inner,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): outer,
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return self._known[module, name]


def _reconstruct(*_: object) -> _Inner:
    return _Inner()
