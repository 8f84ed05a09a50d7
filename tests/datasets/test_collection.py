from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unblur.data.lmdb_store import LmdbPictures
from unblur.datasets.collection import Collection
from unblur.errors import UnblurError
from unblur.media.encode import encode

PNG = encode(np.zeros((3, 4, 3), np.uint8), "png", 95, None, None)


def fill(out: Path, *indices: int, finished: bool = True) -> Collection:
    collection = Collection(out, {"seed": 1, "unblur": "x"}, free=("unblur",))
    for index in indices:
        names = {half: f"{half}/{index}.png" for half in ("blurry", "sharp")}
        collection.add({"index": index, **names}, dict.fromkeys(names.values(), PNG))
    collection.close(finished=finished)
    return collection


@pytest.mark.parametrize("name", ["out", "out.lmdb"])
def test_entries_come_back_in_order(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, 4, 1)
    assert list(fill(tmp_path / name, 0).entries) == [1, 4, 0]
    assert list(fill(tmp_path / name).entries) == [0, 1, 4]


def test_an_lmdb_that_is_not_finished_is_not_read(tmp_path: Path) -> None:
    out = tmp_path / "out.lmdb"
    fill(out, 0, finished=False)
    with pytest.raises(UnblurError, match="was not finished"):
        LmdbPictures(out)
    fill(out)
    assert LmdbPictures(out).names == ["blurry/0.png", "sharp/0.png"]


def test_what_speaks_of_other_options_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "out", 0)
    Collection(tmp_path / "out", {"seed": 1, "unblur": "y"}, free=("unblur",)).close(finished=True)
    with pytest.raises(UnblurError, match=r"made with another seed \(1\)"):
        Collection(tmp_path / "out", {"seed": 2})
    for text in ("{", "[]", "null"):
        (tmp_path / "out" / "augment.json").write_text(text)
        with pytest.raises(UnblurError, match="cannot be read"):
            Collection(tmp_path / "out", {"seed": 1})


@pytest.mark.parametrize("line", ["null", "[1]", '{"index": 1}', '{"index": "x", "blurry": 1, "sharp": 2}', "\x00"])
def test_lines_of_anything_else_are_dropped(tmp_path: Path, line: str) -> None:
    out = tmp_path / "out"
    fill(out, 0)
    with (out / "augment.jsonl").open("a") as file:
        file.write(line + "\n")
    assert list(fill(out).entries) == [0]
    assert len((out / "augment.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", ["out", "out.lmdb"])
def test_two_runs_cannot_write_at_once(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    one = Collection(out, {"seed": 1})
    unfinished = out / "blurry" / ".0123456789abcdef.png"
    unfinished.parent.mkdir(exist_ok=True)
    unfinished.write_bytes(b"of the one that is running")
    with pytest.raises(UnblurError, match="is being written by another run"):
        Collection(out, {"seed": 1})
    assert unfinished.exists()
    unfinished.unlink()
    names = {half: f"{half}/0.png" for half in ("blurry", "sharp")}
    one.add({"index": 0, **names}, dict.fromkeys(names.values(), PNG))
    one.close(finished=True)
    again = Collection(out, {"seed": 1})
    assert list(again.entries) == [0]
    again.close(finished=True)
