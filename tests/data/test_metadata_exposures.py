from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unblur.data.exposure_metadata import Entry, Metadata, write_metadata
from unblur.data.manifest import Record, write_manifest
from unblur.data.metadata_exposures import load_recorded, spread
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


def test_metadata_by_partitions_in_their_orders(metadata: Path) -> None:
    classes = load_recorded(metadata)
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
    assert {name: len(each) for name, each in load_recorded(metadata, limit=2).items()} == {"test": 2, "val": 1}
    assert list(load_recorded(metadata, split="val")) == ["val"]
    with pytest.raises(UnblurError, match="partition train: has no entry"):
        load_recorded(metadata, split="train")


def test_manifests_tell_how_they_were_averaged(tmp_path: Path) -> None:
    record = Record("0.png", ("1.png", "2.png"), (0.0, 1.0), "clip", "srgb", "unknown", (20, 24))
    for i in range(3):
        picture(tmp_path / f"{i}.png", i)
    records = [replace(record, span=(3, 15)), replace(record, response="linear", span=(3, 15)), replace(record, seed=1)]
    (class_,) = load_recorded(write_manifest(tmp_path / "manifest.jsonl", records[:1])).values()
    assert (class_.averaged, class_.response) == (13, "srgb")
    classes = load_recorded(write_manifest(tmp_path / "manifest.jsonl", records))
    kinds = {name: (each.averaged, each.response) for name, each in classes.items()}
    assert kinds == {
        "test, all the time, srgb": (None, "srgb"),
        "test, 13 frames, linear": (13, "linear"),
        "test, 13 frames, srgb": (13, "srgb"),
    }
    assert load_recorded(tmp_path) == classes
    assert torch.equal(next(class_.batches())["frames"][0, :, 0, 0, 0], torch.tensor([1, 2]) / 255)


def test_what_cannot_be_measured_on(metadata: Path) -> None:
    with pytest.raises(UnblurError, match=r"is no metadata.json and no manifest.jsonl; name one"):
        load_recorded(metadata.parent / "0.png")
    document = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**document, "data": []}))
    with pytest.raises(UnblurError, match="holds no exposure"):
        load_recorded(metadata)
    for i, name in enumerate(("0.png", "0_0.png", "0_1.png", "0_2.png")):
        picture(metadata.parent / name, i, 20, 10)
    metadata.write_text(json.dumps({**document, "data": document["data"][:1]}))
    with pytest.raises(UnblurError, match=r"0.png: is smaller than 11 x 11 pixels; remove its entry"):
        list(load_recorded(metadata)["test"].batches())


def test_some_are_spread_evenly() -> None:
    entries = tuple(Entry(str(i), "keep", "test", "b.png", ("f.png",)) for i in range(10))
    assert [entry.id for entry in spread(entries, 2)] == ["2", "7"]
    assert [entry.id for entry in spread(entries, 3)] == ["1", "5", "8"]
    assert spread(entries, 10) == spread(entries, None) == spread(entries, 99) == entries
