from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unblur.data.exposure_metadata import Entry, Metadata, write_metadata
from unblur.data.pairs import ExposurePairs, PairBatches, Pairs, open_pairs, open_sharp, val_batches
from unblur.data.stills import Still
from unblur.data.synthetic_batches import SyntheticExposures
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
    with pytest.raises(UnblurError, match="has no split val"):
        open_pairs(places, split="val")
    shutil.rmtree(root / "blur_imgs" / "s")
    with pytest.raises(UnblurError, match="holds no picture"):
        open_pairs(f"{root / 'sharp_imgs'},{root / 'blur_imgs'}")


def test_metadata_give_the_middle(tmp_path: Path, picture: Write) -> None:
    files = ["blurry/a.png", *(f"sharp/a/{i:02d}.png" for i in range(3))]
    for file in files:
        picture(tmp_path / file)
    entry = Entry("a", "reverse", "train", files[0], tuple(files[1:]))
    metadata = write_metadata(tmp_path / "metadata.json", Metadata("toy", 3, (entry,)))
    for place in (tmp_path, metadata):
        assert open_pairs(str(place)).names == [("sharp/a/01.png", "blurry/a.png")]
        assert open_sharp(str(place))[1] == ["sharp/a/01.png"]
    with pytest.raises(UnblurError, match="split val: has no entry; there are: train"):
        open_pairs(str(tmp_path), split="val")
    assert len(open_pairs(str(tmp_path), split="all")) == 1
    store_pictures(tmp_path, tmp_path / "a.lmdb", Silent())
    assert open_pairs(str(tmp_path / "a.lmdb")).names == [("sharp/a/01.png", "blurry/a.png")]
    (tmp_path / "sharp/a/01.png").unlink()
    with pytest.raises(UnblurError, match=r"metadata.json, a: names sharp/a/01\.png, which is not there"):
        open_pairs(str(tmp_path))
    uneven = replace(entry, times=(0.0, 0.2, 0.5))
    write_metadata(metadata, Metadata("toy", 3, (uneven,)))
    assert open_pairs(str(tmp_path)).names == [("sharp/a/02.png", "blurry/a.png")]
    one = replace(entry, frames=entry.frames[:1])
    write_metadata(metadata, Metadata("toy", 1, (one,)))
    assert open_pairs(str(tmp_path)).names == [("sharp/a/00.png", "blurry/a.png")]
    write_metadata(metadata, Metadata("toy", 2, (replace(entry, frames=entry.frames[:2]),)))
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


def test_sizes_that_differ_are_told_at_once(root: Path, picture: Write) -> None:
    picture(root / "blur_imgs" / "s" / "2.png", 20, 31)
    with pytest.raises(UnblurError) as error:
        PairBatches([(open_pairs(str(root)), 1)], size=16)
    assert "blur_imgs/s/2.png is 31 x 20, but sharp_imgs/s/2.png is 30 x 22" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UnblurError, match="is 31 x 20, but"):
        open_pairs(str(root)).read(2)


def test_crops_too_large(root: Path) -> None:
    with pytest.raises(UnblurError, match=r"0\.png is 30 x 20, smaller than crops of 21 x 21"):
        PairBatches([(open_pairs(str(root)), 1)], size=21)


def test_both_halves_of_a_crop_are_the_same_place(root: Path) -> None:
    batch = PairBatches([(open_pairs(str(root)), 1)], size=16, batch_size=8, threads=2).batch(0)
    assert batch["sharp"].shape == batch["blurry"].shape == (8, 3, 16, 16)
    torch.testing.assert_close(batch["sharp"] + batch["blurry"], torch.ones(8, 3, 16, 16))


def test_crops_are_mirrored_and_transposed(tmp_path: Path) -> None:
    ramp = np.zeros((16, 16, 3), np.uint8)
    ramp[0, 1], ramp[3, 0] = 255, 128  # of eight turns all differ
    for half in ("sharp", "blurry"):
        (tmp_path / half).mkdir()
        Image.fromarray(ramp).save(tmp_path / half / "a.png")
    batch = PairBatches([(open_pairs(str(tmp_path)), 1)], size=16, batch_size=200).batch(0)
    seen = Counter(picture.numpy().tobytes() for picture in batch["sharp"])
    assert len(seen) == 8
    assert min(seen.values()) > 8
    assert torch.equal(batch["sharp"], batch["blurry"])


@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_depends_on_seed_and_step_alone(root: Path, threads: int) -> None:
    def source(seed: int, threads: int = 1) -> PairBatches:
        return PairBatches([(open_pairs(str(root)), 1)], size=16, batch_size=4, seed=seed, threads=threads)

    one, other = source(5), source(5, threads)
    other.batch(0)
    assert torch.equal(one.batch(3)["sharp"], other.batch(3)["sharp"])
    assert not torch.equal(one.batch(3)["sharp"], one.batch(4)["sharp"])
    assert not torch.equal(one.batch(3)["sharp"], source(6).batch(3)["sharp"])


def test_weights_say_how_often_a_pair_counts(tmp_path: Path, root: Path) -> None:
    for half in ("sharp", "blurry"):
        (tmp_path / "black" / half).mkdir(parents=True)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "black" / half / "a.png")
    sets = [(open_pairs(str(root)), 1.0), (open_pairs(str(tmp_path / "black")), 12.0)]
    batch = PairBatches(sets, size=16, batch_size=400).batch(0)
    black = (batch["sharp"].flatten(1).amax(1) == 0).float().mean().item()
    assert black == pytest.approx(12 / 16, abs=0.07)  # one pair of weight 12 against four of weight 1
    for weights in ((0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)):
        with pytest.raises(UnblurError, match="weight"):
            PairBatches([(pairs, w) for (pairs, _), w in zip(sets, weights, strict=True)], size=16)


def test_heldout_pairs_are_fixed(root: Path, tmp_path: Path) -> None:
    batches = val_batches([open_pairs(str(root))], count=3, size=16, batch_size=2)
    assert [batch["sharp"].shape for batch in batches] == [(2, 3, 16, 16), (1, 3, 16, 16)]
    assert all(torch.allclose(1 - batch["sharp"], batch["blurry"]) for batch in batches)
    whole = val_batches([open_pairs(str(root))], count=9, size=64)
    assert [tuple(batch["sharp"].shape) for batch in whole] == [(1, 3, 20 + i, 30) for i in range(4)]


def test_exposures_as_pairs() -> None:
    stills = [Still(np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8), "a")]
    exposures = SyntheticExposures(stills, size=32, batch_size=2, times=3)
    made, pair = exposures.batch(4), ExposurePairs(exposures).batch(4)
    assert torch.equal(pair["sharp"], made["frames"][:, 0])
    assert torch.equal(pair["blurry"], made["blurry"])
    assert pair["times"].shape == (2, 2)
    assert torch.equal(pair["paths"], made["paths"][:, 1:])
    assert ExposurePairs(SyntheticExposures(stills, size=32, batch_size=2, times=1)).batch(0).keys() == {
        "sharp",
        "blurry",
    }
