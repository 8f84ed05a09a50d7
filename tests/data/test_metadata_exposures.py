from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from written_faces import light, write_faces

from unblur.data.exposure_metadata import Entry, Metadata, read_metadata, write_metadata
from unblur.data.metadata_exposures import load_exposures, load_faces, spread
from unblur.data.sequences import MetadataSequences
from unblur.errors import UnblurError


def picture(path: Path, level: int, height: int = 20, width: int = 24) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(path)
    return path.name


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """Four exposures of three frames, brighter from frame to frame; the third is of another size."""
    entries = []
    for i, (order, part) in enumerate((("keep", "test"), ("reverse", "test"), ("ignore", "test"), ("keep", "val"))):
        sides = (30, 16) if i == 2 else (20, 24)
        frames = tuple(picture(tmp_path / f"{i}_{j}.png", 10 * i + j, *sides) for j in range(3))
        entries.append(Entry(f"e{i}", order, part, picture(tmp_path / f"{i}.png", 100 + i, *sides), frames))
    return write_metadata(tmp_path / "metadata.json", Metadata("toy", 3, tuple(entries)))


def test_metadata_by_splits_in_their_orders(metadata: Path) -> None:
    classes = load_exposures(metadata)
    assert {name: len(each) for name, each in classes.items()} == {"test": 3, "val": 1}
    test = classes["test"]
    assert (test.averaged, test.response) == (3, "srgb")
    assert test.times.tolist() == [0, 0.5, 1]
    batches = list(test.batches(4))
    assert [tuple(batch["frames"].shape) for batch in batches] == [(2, 3, 3, 20, 24), (1, 3, 3, 30, 16)]
    levels = (batches[0]["frames"][:, :, 0, 0, 0] * 255).round().int().tolist()
    assert levels == [[0, 1, 2], [12, 11, 10]]
    assert (batches[1]["blurry"][0, 0, 0, 0] * 255).round() == 102
    assert [len(batch["blurry"]) for batch in test.batches(1)] == [1, 1, 1]
    assert {name: len(each) for name, each in load_exposures(metadata, limit=2).items()} == {"test": 2, "val": 1}
    assert list(load_exposures(metadata, split="val")) == ["val"]
    with pytest.raises(UnblurError, match="split train: has no entry"):
        load_exposures(metadata, split="train")


def test_metadata_tell_how_exposures_were_averaged(tmp_path: Path) -> None:
    entry = Entry("0", "ignore", "test", "0.png", ("1.png", "2.png"), response="srgb", source="clip")
    for i in range(3):
        picture(tmp_path / f"{i}.png", i)
    entries = (
        replace(entry, span=(3, 15)),
        replace(entry, id="1", response="linear", span=(3, 15)),
        replace(entry, id="2", seed=1),
    )
    write_metadata(tmp_path / "metadata.json", Metadata("toy", 2, entries[:1]))
    (class_,) = load_exposures(tmp_path).values()
    assert (class_.averaged, class_.response) == (13, "srgb")
    write_metadata(tmp_path / "metadata.json", Metadata("toy", 2, entries))
    classes = load_exposures(tmp_path / "metadata.json")
    kinds = {name: (each.averaged, each.response) for name, each in classes.items()}
    assert kinds == {
        "test, all the time, srgb": (None, "srgb"),
        "test, 13 frames, linear": (13, "linear"),
        "test, 13 frames, srgb": (13, "srgb"),
    }
    assert torch.equal(next(class_.batches())["frames"][0, :, 0, 0, 0], torch.tensor([1, 2]) / 255)


def test_what_cannot_be_measured_on(metadata: Path) -> None:
    with pytest.raises(UnblurError, match=r"is no metadata.json; name one"):
        load_exposures(metadata.parent / "0.png")
    document = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**document, "data": []}))
    with pytest.raises(UnblurError, match="holds no exposure"):
        load_exposures(metadata)
    for i, name in enumerate(("0.png", "0_0.png", "0_1.png", "0_2.png")):
        picture(metadata.parent / name, i, 20, 10)
    metadata.write_text(json.dumps({**document, "data": document["data"][:1]}))
    with pytest.raises(UnblurError, match=r"0.png: is smaller than 11 x 11 pixels; remove its entry"):
        list(load_exposures(metadata)["test"].batches())


def test_some_are_spread_evenly() -> None:
    entries = tuple(Entry(str(i), "keep", "test", "b.png", ("f.png",)) for i in range(10))
    assert [entry.id for entry in spread(entries, 2)] == ["2", "7"]
    assert [entry.id for entry in spread(entries, 3)] == ["1", "5", "8"]
    assert spread(entries, 10) == spread(entries, None) == spread(entries, 99) == entries


ORDERS = [(2, 0, 1), (0, 1, 2), (4, 2, 0, 1, 3)]


@pytest.mark.parametrize("sort", ["fmr", "time"])
def test_frames_are_found_by_rank_and_in_time(tmp_path, sort):
    classes, notes = load_faces(write_faces(tmp_path, ORDERS, sort=sort))
    assert notes == []
    assert [(one.frames, len(one), one.names) for one in classes] == [(3, 2, ["clip_0", "clip_1"]), (5, 1, ["clip_0"])]
    for one, orders in zip(classes, (ORDERS[:2], ORDERS[2:]), strict=True):
        for number, (batch, fmr) in enumerate(zip(one.batches(1), orders, strict=True)):
            seen = batch["frames"][0].mean((1, 2, 3)) - batch["frames"].mean() + 0.5
            by_rank = torch.tensor([light(rank, one.frames) for rank in range(one.frames)])
            assert torch.allclose(seen[batch["rank"][0]], by_rank, atol=0.01)
            # The frame of rank k was the fmr[k]-th in time.
            assert torch.allclose(seen[batch["time"][0]][list(fmr)], by_rank, atol=0.01)
            alone = one.one(number)
            assert all(torch.equal(alone[key], batch[key]) for key in ("blurry", "frames", "rank", "time"))


def test_reversed_entries_keep_their_orders(tmp_path):
    path = write_faces(tmp_path, ORDERS[2:]) / "frames-05" / "metadata.json"
    metadata = read_metadata(path)
    write_metadata(path, replace(metadata, entries=(replace(metadata.entries[0], order="reverse"),)))
    (batch,) = load_faces(tmp_path)[0][0].batches()
    light = batch["frames"][0].mean((1, 2, 3))
    assert (light.diff() < 0).all(), "loaded in reverse"
    assert (light[batch["rank"][0]].diff() > 0).all()
    assert light[batch["time"][0]].argsort().tolist() == list(ORDERS[2])


@pytest.mark.parametrize("sort", ["fmr", "time"])
def test_frames_are_put_in_either_order_for_training(tmp_path, sort):
    (one,) = load_faces(write_faces(tmp_path, ORDERS[2:], sort=sort))[0]
    reverse = replace(one.recorded.metadata.entries[0], order="reverse")
    path = tmp_path / "frames-05" / "metadata.json"
    for entry in (one.recorded.metadata.entries[0], reverse):
        write_metadata(path, replace(one.recorded.metadata, entries=(entry,)))
        (one,) = load_faces(tmp_path)[0]
        seen = {}
        for order in ("rank", "time"):
            pictures = MetadataSequences(one.in_order(order), 5).read(0).pictures
            seen[order] = pictures[1:].mean((1, 2, 3)).argsort().tolist()
        assert seen == {"rank": [0, 1, 2, 3, 4], "time": list(ORDERS[2])}


def test_which_are_taken(tmp_path):
    both = [write_faces(tmp_path / part, [(0, 1, 2)] * 3, split=part) for part in ("train", "test")]
    classes, notes = load_faces(both[0], limit=2)
    assert notes == ["no exposure is of the split test: all are measured on"]
    assert classes[0].names == ["clip_0", "clip_2"]
    with pytest.raises(UnblurError, match="has no exposure of val"):
        load_faces(both[1], split="val")
    path = both[0] / "frames-03" / "metadata.json"
    metadata = read_metadata(path)
    entries = (replace(metadata.entries[1], split="test"), *metadata.entries[2:])
    write_metadata(path, replace(metadata, entries=entries))
    assert load_faces(both[0])[0][0].names == ["clip_1"]
    assert load_faces(both[0], split="train")[0][0].names == ["clip_2"]


def test_lengths_without_a_middle_are_left_out(tmp_path):
    write_faces(tmp_path, [(0, 1, 2), (0, 1, 2, 3)])
    classes, notes = load_faces(tmp_path)
    assert [one.frames for one in classes] == [3]
    assert notes == ["frames-04 left out: of 4 frames none is the middle one"]
    with pytest.raises(UnblurError, match="no exposures of an odd number"):
        load_faces(write_faces(tmp_path / "even", [(0, 1)]))


def test_what_is_no_such_folder_is_told(tmp_path):
    with pytest.raises(UnblurError, match="is no folder"):
        load_faces(tmp_path / "none")
    with pytest.raises(UnblurError, match="has no frames"):
        load_faces(tmp_path)
    path = write_faces(tmp_path, [(0, 1, 2)]) / "frames-03" / "metadata.json"
    metadata = read_metadata(path)
    for fmr in (None, [0, 1, 1], [0, 1], ["0", "x", 2], ["0", "1", "2"], [True, 0, 2]):
        entry = replace(metadata.entries[0], more={} if fmr is None else {"fmr": fmr})
        write_metadata(path, replace(metadata, entries=(entry,)))
        with pytest.raises(UnblurError, match=r"metadata\.json: has no order by FMR of clip_0"):
            load_faces(tmp_path)
