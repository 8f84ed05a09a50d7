from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.data.manifest import VERSION, Record, read_manifest, write_manifest
from unblur.errors import UnblurError

RECORD = Record(
    blurry="blurry/é.png",
    frames=("sharp/é/00.png", "sharp/é/01.png"),
    times=(0.0, 1.0),
    source="clip.mp4",
    response="srgb",
    direction="reversed",
    size=(64, 32),
    span=(3, 9),
)


def test_round_trip(tmp_path: Path) -> None:
    records = [RECORD, replace(RECORD, seed=2**40, span=None, direction="unknown", times=(0.25, 0.5))]
    path = write_manifest(tmp_path / "manifest.jsonl", records)
    assert read_manifest(path) == records
    assert [json.loads(line)["version"] for line in path.read_text("utf-8").splitlines()] == [VERSION] * 2
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_an_empty_manifest_is_one(tmp_path: Path) -> None:
    assert read_manifest(write_manifest(tmp_path / "m.jsonl", [])) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5, unique=True), st.none() | st.integers())
def test_any_times_survive(times: list[float], seed: int | None) -> None:
    import tempfile

    record = replace(RECORD, times=tuple(sorted(times)), frames=("a.png",) * len(times), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        assert read_manifest(write_manifest(Path(folder) / "m.jsonl", [record])) == [record]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version 2"),
    ({"colour": 1}, "unknown field 'colour'"),
    ({"blurry": "/etc/passwd"}, "'blurry' cannot be"),
    ({"blurry": "../a.png"}, "'blurry' cannot be"),
    ({"blurry": "C:\\a.png"}, "'blurry' cannot be"),
    ({"frames": []}, "'frames' cannot be"),
    ({"frames": ["a.png"]}, "1 frames but 2 times"),
    ({"times": [0.5, 0.5]}, "'times' cannot be"),
    ({"times": [0, 1.5]}, "'times' cannot be"),
    ({"times": [0, float("nan")]}, "'times' cannot be"),
    ({"response": "log"}, "'response' cannot be"),
    ({"direction": "random"}, "'direction' cannot be"),
    ({"size": [64]}, "'size' cannot be"),
    ({"seed": True}, "'seed' cannot be"),
    ({"span": [9, 3]}, "'span' cannot be"),
    ({"source": ""}, "'source' cannot be"),
]


@pytest.mark.parametrize(("change", "problem"), BAD)
def test_bad_lines_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    good = {"version": VERSION, **asdict(RECORD)}
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | change) + "\n", "utf-8")
    with pytest.raises(UnblurError) as error:
        read_manifest(path)
    assert "line 2" in str(error.value)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["", "{", "[1]", "null", "[" * 100_000])
def test_lines_that_are_no_records(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UnblurError, match="line 1"):
        read_manifest(path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    entry = {"version": VERSION, **asdict(RECORD)}
    del entry["seed"]
    (tmp_path / "m.jsonl").write_text(json.dumps(entry))
    with pytest.raises(UnblurError, match="field 'seed' is missing"):
        read_manifest(tmp_path / "m.jsonl")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UnblurError, match="cannot be read"):
        read_manifest(tmp_path / "missing.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnblurError, match="not UTF-8"):
        read_manifest(tmp_path / "binary")


def test_a_bad_record_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "m.jsonl", [RECORD])
    with pytest.raises(ValueError, match="times"):
        write_manifest(path, [RECORD, replace(RECORD, times=(0.0,))])
    assert read_manifest(path) == [RECORD]
    with pytest.raises(UnblurError, match="cannot be written"):
        write_manifest(path / "below" / "m.jsonl", [RECORD])
