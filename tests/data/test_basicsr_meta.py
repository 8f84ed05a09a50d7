from __future__ import annotations

import os
import pickle
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.data.basicsr_meta import read_meta_info
from unblur.errors import UnblurError


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize(
    "about",
    [
        {"keys": [Evil()], "resolution": "3_4_6"},
        {"keys": ["a"], "resolution": "3_4_6", "more": np.float64(1)},
        {"keys": ["a"], "resolution": "3_4"},
        {"keys": ["a", "b", "c"], "resolution": ["3_4_6", "3_4_6"]},
        {"keys": 3, "resolution": "3_4_6"},
        {"resolution": "3_4_6"},
        ["a"],
        None,
    ],
)
def test_a_pickle_is_read_and_never_run(tmp_path: Path, about: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta_info.pkl").write_bytes(pickle.dumps(about))
    with pytest.raises(UnblurError) as error:
        read_meta_info(tmp_path / "meta_info.pkl")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "owned").exists()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_pickle_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "meta_info.pkl"
        path.write_bytes(data)
        with pytest.raises(UnblurError):
            read_meta_info(path)


@pytest.mark.parametrize("data", [b"Np10000000\n.", b"\x80\x04Nr\x80\x96\x98\x00."])
def test_a_number_takes_no_memory(tmp_path: Path, data: bytes) -> None:
    """What a pickle numbers, up to four bytes' worth, is not made room for: that took all of a machine's memory."""
    path = tmp_path / "meta_info.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(UnblurError):
            read_meta_info(path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("resolution", ["3_4_6", ["3_4_6"], ["3_4_6", "1_9_8"]])
def test_resolutions(tmp_path: Path, resolution: Any) -> None:
    about = {"name": "x", "keys": ["a", b"b"], "resolution": resolution}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(about))
    found = read_meta_info(tmp_path / "m.pkl")
    assert found["a"] == (4, 6, 3)
    assert found["b"] == ((9, 8, 1) if len(resolution) == 2 else (4, 6, 3))
