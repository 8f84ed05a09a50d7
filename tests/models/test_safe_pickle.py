import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from unblur.models.safe_pickle import read_arrays


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_among_plain_things(protocol: int) -> None:
    numbers = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    read = read_arrays(pickle.dumps({"a": [numbers, np.float32([])], "b": ("text", 1.5, None)}, protocol))
    assert torch.equal(read["a"][0].tensor, torch.arange(24.0).reshape(2, 3, 4))
    assert read["a"][1].tensor.shape == (0,)
    assert read["b"] == ("text", 1.5, None)


@pytest.mark.parametrize(
    "held",
    [
        Evil(),
        Path("a"),
        np.float32(1),
        np.zeros(2),
        np.zeros(2, np.int32),
        np.zeros(2, ">f4"),
        np.zeros((2, 3), np.float32, order="F"),
        np.array([None]),
    ],
    ids=lambda held: type(held).__name__,
)
def test_whatever_is_no_plain_array_is_refused_and_never_run(
    held: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        read_arrays(pickle.dumps([held], protocol=3))
    assert not list(tmp_path.iterdir())


def test_numbers_that_do_not_fill_the_shape() -> None:
    whole = pickle.dumps(np.zeros((3, 5), np.float32), protocol=3)
    with pytest.raises(ValueError, match="cannot reshape"):
        read_arrays(whole.replace(b"K\x03K\x05", b"K\x03K\x06"))


def test_a_number_takes_no_memory():
    tracemalloc.start()
    try:
        assert read_arrays(b"Np10000000\n.") is None
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
