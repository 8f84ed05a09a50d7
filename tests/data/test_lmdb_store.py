from __future__ import annotations

import os
import pickle
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.data import lmdb_store as module
from unblur.data.lmdb_store import LmdbPictures, LmdbWriter, key_of, read_meta_info
from unblur.errors import UnblurError
from unblur.media.encode import encode

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
PNG = encode(PIXELS, "png", 95, None, None)


def released(path: Path, keys: list[str], /, height: int = 4, width: int = 6, **meta: Any) -> dict[str, np.ndarray]:
    """An LMDB as the authors' script writes it."""
    rng = np.random.default_rng(1)
    stored = {key: rng.integers(0, 256, (height, width, 3), np.uint8) for key in keys}
    with lmdb.open(str(path), map_size=1 << 20) as env, env.begin(write=True) as change:
        for key, pixels in stored.items():
            change.put(key.encode(), pixels.tobytes())
    about = {"name": "x", "resolution": f"3_{height}_{width}", "keys": keys} | meta
    (path / "meta_info.pkl").write_bytes(pickle.dumps(about))
    return stored


def write(path: Path, count: int = 3, **texts: str) -> Path:
    with LmdbWriter(path) as writer:
        names = [f"a/{i}.png" for i in range(count)]
        writer.add(dict.fromkeys(names, PNG))
        writer.finish(dict.fromkeys(names, (5, 7)), texts)
    return path


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lmdb", **{"manifest.jsonl": "é\n"})
    pictures = LmdbPictures(path)
    assert pictures.names == ["a/0.png", "a/1.png", "a/2.png"]
    assert pictures.size("a/1.png") == (5, 7)
    assert np.array_equal(pictures.read("a/1.png"), PIXELS)
    assert pictures.contents("a/2.png") == PNG
    assert pictures.text("manifest.jsonl") == "é\n"
    assert pictures.text("other") is None


def test_one_file_may_be_opened_many_times(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lmdb")
    first, second = LmdbPictures(path), LmdbPictures(str(path))
    assert np.array_equal(first.read("a/0.png"), second.read("a/0.png"))
    del first, second
    LmdbWriter(path).close()  # which would be refused if they still held it


def test_the_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_SIZE", 1 << 16)
    data = {f"{i}.png": os.urandom(50_000) for i in range(12)}
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        for name, content in data.items():
            writer.add({name: content})
        writer.finish(dict.fromkeys(data, (1, 1)))
    pictures = LmdbPictures(tmp_path / "a.lmdb")
    assert {name: pictures.contents(name) for name in pictures.names} == data


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=300), unique=True, max_size=20))
def test_keys_cannot_collide(names: list[str]) -> None:
    keys = {key_of(name) for name in names}
    assert len(keys) == len(names)
    assert all(0 < len(key) <= 511 for key in keys)


def test_long_names_are_kept(tmp_path: Path) -> None:
    names = ["x/" * 400 + "1.png", "x/" * 400 + "2.png"]
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        writer.add({names[0]: PNG, names[1]: b"other"})
        assert len(writer.keys()) == 2
        writer.finish(dict.fromkeys(names, (5, 7)))
    pictures = LmdbPictures(tmp_path / "a.lmdb")
    assert pictures.names == names
    assert pictures.contents(names[1]) == b"other"


def test_what_is_not_finished_is_not_read(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        writer.add({"a.png": PNG})
        assert writer.measure("a.png") == (5, 7)
    with pytest.raises(UnblurError, match="was not finished"):
        LmdbPictures(tmp_path / "a.lmdb")
    write(tmp_path / "b.lmdb")
    with LmdbWriter(tmp_path / "b.lmdb") as writer:
        writer.add({"a/9.png": PNG})
    with pytest.raises(UnblurError, match="was not finished"):
        LmdbPictures(tmp_path / "b.lmdb")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_cut_short(tmp_path: Path, share: float) -> None:
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        writer.add({f"{i}.png": os.urandom(10_000) for i in range(20)})
        writer.finish({f"{i}.png": (1, 1) for i in range(20)})
    data = tmp_path / "a.lmdb" / "data.mdb"
    os.truncate(data, int(share * data.stat().st_size))
    for open_it in (LmdbPictures, *([LmdbWriter] if share else [])):
        with pytest.raises(UnblurError) as error:
            open_it(tmp_path / "a.lmdb")
        assert str(tmp_path / "a.lmdb") in str(error.value)
        assert "copy it again" in str(error.value)
        assert "\n" not in str(error.value)
    if share == 0.9:
        assert "is cut short" in str(error.value)


def test_a_picture_that_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lmdb")
    with lmdb.open(str(path)) as env, env.begin(write=True) as change:
        change.delete(b"a/1.png")
    with pytest.raises(UnblurError, match=r"lacks a/1\.png, which its index names"):
        LmdbPictures(path)


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file.lmdb").write_text("x")
    (tmp_path / "folder.lmdb").mkdir()
    (tmp_path / "folder.lmdb" / "mine.txt").write_text("x")
    released(tmp_path / "theirs.lmdb", ["a_0"])
    for name in ("file", "folder", "theirs"):
        with pytest.raises(UnblurError):
            LmdbWriter(tmp_path / f"{name}.lmdb")
    with pytest.raises(UnblurError, match=r"does not exist|cannot be read"):
        LmdbPictures(tmp_path / "none.lmdb")
    with pytest.raises(UnblurError, match=r"holds no data\.mdb"):
        LmdbPictures(tmp_path / "folder.lmdb")
    with pytest.raises(UnblurError, match="cannot be read as an LMDB"):
        LmdbPictures(tmp_path / "file.lmdb")


def test_the_released_format(tmp_path: Path) -> None:
    stored = released(tmp_path / "a.lmdb", ["000_00000001", "000_00000000"])
    pictures = LmdbPictures(tmp_path / "a.lmdb")
    assert pictures.names == ["000_00000000", "000_00000001"]
    assert pictures.size("000_00000000") == (4, 6)
    for key, pixels in stored.items():
        assert np.array_equal(pictures.read(key), pixels[:, :, ::-1])


def test_released_faults(tmp_path: Path) -> None:
    released(tmp_path / "a.lmdb", ["a_0", "a_1"], keys=["a_0", "a_1", "a_2", "a_3"])
    with pytest.raises(UnblurError, match="lacks a_2 and 1 more"):
        LmdbPictures(tmp_path / "a.lmdb")
    released(tmp_path / "b.lmdb", ["a_0"], resolution="3_40_6")
    with pytest.raises(UnblurError, match="holds 72 bytes, not 40 x 6 x 3"):
        LmdbPictures(tmp_path / "b.lmdb").read("a_0")
    (tmp_path / "b.lmdb" / "meta_info.pkl").unlink()
    with pytest.raises(UnblurError, match=r"no meta_info\.pkl"):
        LmdbPictures(tmp_path / "b.lmdb")


def test_it_has_one_writer(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "a.lmdb"), pytest.raises(UnblurError, match="is being written by another run"):
        LmdbWriter(tmp_path / "a.lmdb")
    LmdbWriter(tmp_path / "a.lmdb").close()


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


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.lmdb")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    for use in (LmdbPictures, LmdbWriter):
        with pytest.raises(UnblurError, match=r"lmdb: is not installed; needs pip install 'unblur\[train\]'"):
            use(tmp_path / "new.lmdb" if use is LmdbWriter else path)
    assert not (tmp_path / "new.lmdb").exists()
