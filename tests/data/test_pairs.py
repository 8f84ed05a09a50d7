from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unblur.data.manifest import Record, write_manifest
from unblur.data.pairs import Pairs, open_pairs, open_sharp
from unblur.datasets.lmdb import store_pictures
from unblur.errors import UnblurError
from unblur.run_report import Silent

Write = Callable[..., Path]


def halves(pairs: Pairs) -> list[bool]:
    return [np.array_equal(255 - sharp, blurry) for sharp, blurry in map(pairs.read, range(len(pairs)))]


def test_a_folder_and_an_lmdb_of_it_are_the_same(root: Path) -> None:
    store_pictures(root, root.parent / "a.lmdb", Silent())
    folder, store = open_pairs(str(root)), open_pairs(str(root.parent / "a.lmdb"))
    assert folder.names == store.names
    assert halves(folder) == halves(store) == [True] * 4
    assert [folder.size(i) for i in range(4)] == [store.size(i) for i in range(4)] == [(20 + i, 30) for i in range(4)]


def test_two_places(root: Path) -> None:
    for half in ("blur", "sharp"):
        store_pictures(root / f"{half}_imgs", root.parent / f"{half}.lmdb", Silent())
    places = f"{root.parent / 'sharp.lmdb'},{root.parent / 'blur.lmdb'}"
    assert halves(open_pairs(places)) == [True] * 4
    assert halves(open_pairs(f"{root / 'sharp_imgs'}, {root / 'blur_imgs'}")) == [True] * 4
    with pytest.raises(UnblurError, match="has no validation split"):
        open_pairs(places, split="val")
    shutil.rmtree(root / "blur_imgs" / "s")
    with pytest.raises(UnblurError, match="holds no picture"):
        open_pairs(f"{root / 'sharp_imgs'},{root / 'blur_imgs'}")


def test_a_manifest_gives_the_middle(tmp_path: Path, picture: Write) -> None:
    files = ["blurry/a.png", *(f"sharp/a/{i:02d}.png" for i in range(3))]
    for file in files:
        picture(tmp_path / file)
    record = Record(files[0], tuple(files[1:]), (0.0, 0.5, 1.0), "a", "srgb", "as_stored", (20, 24))
    manifest = write_manifest(tmp_path / "manifest.jsonl", [record])
    for place in (tmp_path, manifest):
        assert open_pairs(str(place)).names == [("sharp/a/01.png", "blurry/a.png")]
        assert open_sharp(str(place))[1] == ["sharp/a/01.png"]
    store_pictures(tmp_path, tmp_path / "a.lmdb", Silent())
    assert open_pairs(str(tmp_path / "a.lmdb")).names == [("sharp/a/01.png", "blurry/a.png")]
    (tmp_path / "sharp/a/01.png").unlink()
    with pytest.raises(UnblurError, match=r"line 1: names sharp/a/01\.png, which is not there"):
        open_pairs(str(tmp_path))
    write_manifest(manifest, [Record(files[0], (files[1],), (0.0,), "a", "srgb", "unknown", (20, 24))])
    with pytest.raises(UnblurError, match="no sharp frame of the middle"):
        open_pairs(str(tmp_path))


def test_sharp_pictures_of_anything(root: Path, tmp_path: Path, picture: Write) -> None:
    assert open_sharp(str(root))[1] == [f"sharp_imgs/s/{i}.png" for i in range(4)]
    picture(tmp_path / "plain" / "deep" / "b.png")
    picture(tmp_path / "plain" / "a.jpg")
    assert open_sharp(str(tmp_path / "plain"))[1] == ["a.jpg", "deep/b.png"]


def test_excluded(root: Path) -> None:
    assert len(open_pairs(str(root), exclude=["*/0.png", "*/1*"])) == 2
    with pytest.raises(UnblurError, match="no pair that is not excluded"):
        open_pairs(str(root), exclude=["*"])
