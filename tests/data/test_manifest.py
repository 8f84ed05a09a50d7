from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.data.exposure_metadata import Entry, Metadata, metadata_text, parse_metadata
from unblur.data.manifest import VERSION, manifest_text, read_manifest
from unblur.errors import UnblurError

LINE: dict[str, Any] = {
    "version": VERSION,
    "blurry": "blurry/é.png",
    "frames": ["sharp/é/00.png", "sharp/é/01.png"],
    "times": [0.0, 1.0],
    "source": "clip.mp4",
    "response": "srgb",
    "direction": "reversed",
    "size": [64, 32],
    "seed": None,
    "span": [3, 9],
}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    """A manifest, and an empty file for each of its pictures."""
    for line in lines:
        for name in (line["blurry"], *line["frames"]):
            (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
            (path.parent / name).touch()
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return path


def size_of(path: Path) -> tuple[int, int]:
    return 6, 8


def test_there_and_back(tmp_path: Path) -> None:
    lines = [
        LINE,
        LINE | {"blurry": "b.png", "seed": 2**40, "span": None, "direction": "unknown", "times": [0.25, 0.5]},
        LINE | {"blurry": "c.png", "direction": "as_stored", "response": "linear"},
    ]
    path = write(tmp_path / "manifest.jsonl", *lines)
    found = read_manifest(path, "toy", "val")
    assert (found.name, found.frame_count, found.root) == ("toy", 2, tmp_path)
    assert [(entry.id, entry.order, entry.split) for entry in found.entries] == [
        ("blurry/é", "reverse", "val"),
        ("b", "ignore", "val"),
        ("c", "keep", "val"),
    ]
    assert [entry.times for entry in found.entries] == [None, (0.25, 0.5), None]
    assert manifest_text(found, size_of) == path.read_text("utf-8")
    assert manifest_text(parse_metadata(metadata_text(found), "m.json"), size_of) == path.read_text("utf-8")


def test_metadata_that_tell_less_are_exported(tmp_path: Path) -> None:
    entry = Entry("a", "random", "train", "a.png", ("0.png", "1.png", "2.png"))
    line = json.loads(manifest_text(Metadata("toy", 3, (entry,), tmp_path), size_of))
    assert (line["direction"], line["size"], line["times"]) == ("unknown", [6, 8], [0.0, 0.5, 1.0])
    assert (line["source"], line["response"], line["seed"], line["span"]) == ("a", "srgb", None, None)
    assert manifest_text(Metadata("toy", 3, ()), size_of) == ""


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5, unique=True), st.none() | st.integers())
def test_any_times_survive(times: list[float], seed: int | None) -> None:
    import tempfile

    line = LINE | {"times": sorted(times), "frames": ["a.png"] * len(times), "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        (entry,) = read_manifest(write(Path(folder) / "m.jsonl", line), "toy").entries
    assert entry.seed == seed
    assert entry.frame_times() == pytest.approx(sorted(times), abs=1e-3)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version 2"),
    ({"colour": 1}, "unknown field 'colour'"),
    ({"blurry": "/etc/passwd"}, "'blurry' cannot be"),
    ({"blurry": "../a.png"}, "'blurry' cannot be"),
    ({"blurry": "C:\\a.png"}, "'blurry' cannot be"),
    ({"blurry": "."}, "'blurry' cannot be"),
    ({"frames": ["a.png", "../b.png"]}, "'frame002_path' cannot be"),
    ({"frames": []}, "'frames' cannot be"),
    ({"frames": ["a.png"]}, "1 frames but 2 times"),
    ({"frames": ["a.png"], "times": [0.5]}, "has 1 frames, line 1 has 2"),
    ({"times": [0.5, 0.5]}, "'times' cannot be"),
    ({"times": [0, 1.5]}, "'times' cannot be"),
    ({"times": [0, float("nan")]}, "'times' cannot be"),
    ({"times": [False, True]}, "'times' cannot be"),
    ({"response": "log"}, "'response' cannot be"),
    ({"direction": "random"}, "'direction' cannot be"),
    ({"size": [64]}, "'size' cannot be"),
    ({"size": None}, "'size' cannot be"),
    ({"seed": True}, "'seed' cannot be"),
    ({"span": [9, 3]}, "'span' cannot be"),
    ({"source": ""}, "'source' cannot be"),
]


@pytest.mark.parametrize(("change", "problem"), BAD)
def test_bad_lines_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = write(tmp_path / "m.jsonl", LINE)
    path.write_text(path.read_text("utf-8") + json.dumps(LINE | {"blurry": "b.png"} | change) + "\n", "utf-8")
    with pytest.raises(UnblurError) as error:
        read_manifest(path, "toy")
    assert "line 2" in str(error.value)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["", "{", "[1]", "null", "[" * 100_000])
def test_lines_that_are_no_records(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UnblurError, match="line 1"):
        read_manifest(path, "toy")


def test_a_missing_field_or_picture_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", LINE)
    (tmp_path / LINE["frames"][1]).unlink()
    with pytest.raises(UnblurError, match=r"line 1: names sharp/é/01\.png, which is not there"):
        read_manifest(path, "toy")
    path.write_text(json.dumps({name: value for name, value in LINE.items() if name != "seed"}))
    with pytest.raises(UnblurError, match="field 'seed' is missing"):
        read_manifest(path, "toy")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UnblurError, match="cannot be read"):
        read_manifest(tmp_path / "missing.jsonl", "toy")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnblurError, match="not UTF-8"):
        read_manifest(tmp_path / "binary", "toy")
    with pytest.raises(UnblurError, match="holds no exposure"):
        read_manifest(write(tmp_path / "empty.jsonl"), "toy")


def test_two_lines_of_one_picture(tmp_path: Path) -> None:
    with pytest.raises(UnblurError, match=r"line 2 .*: has the id of line 1"):
        read_manifest(write(tmp_path / "m.jsonl", LINE, LINE | {"seed": 1}), "toy")
