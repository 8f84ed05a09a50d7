from pathlib import Path

import numpy as np
import pytest

from unblur.data.npz_cache import store_arrays, stored_arrays
from unblur.errors import UnblurError


def test_arrays_come_back_and_what_is_not_whole_is_nothing(tmp_path: Path) -> None:
    entry = tmp_path / "deep" / "kept.npz"
    assert stored_arrays(entry) is None
    store_arrays(entry, {"a.b": np.arange(6, dtype=np.uint8).reshape(2, 3), "names": np.array(["x", "yz"])})
    found = stored_arrays(entry)
    assert found is not None
    assert found["a.b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["names"].tolist() == ["x", "yz"]
    entry.write_bytes(entry.read_bytes()[:200])
    assert stored_arrays(entry) is None
    np.savez(entry, a=np.array([{}], dtype=object))  # would have to be unpickled
    assert stored_arrays(entry) is None
    with pytest.raises(UnblurError):
        store_arrays(entry / "below" / "a.npz", {})
