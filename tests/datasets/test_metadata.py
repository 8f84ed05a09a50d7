from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.data.exposure_metadata import (
    Entry,
    Metadata,
    metadata_text,
    open_metadata,
    parse_metadata,
    read_metadata,
    write_metadata,
)
from unblur.datasets.metadata import MANIFEST_VERSION, MetadataOptions, make_metadata, manifest_text, read_manifest
from unblur.errors import UnblurError
from unblur.exposure.average import average
from unblur.media.image import Picture, read_image


def picture(path: Path, seed: int = 0) -> Path:
    return Picture(torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(seed))).save(path)


def layout(root: Path, *clips: str, first: int = 1, form: str = "{}") -> Path:
    for clip in clips:
        picture(root / clip / "blur" / "0000.png")
        for i in range(first, first + 3):
            picture(root / clip / "sharp" / f"0000_{form.format(i)}.png", i)
    return root


def manifest(root: Path) -> Path:
    lines = []
    for number, direction in enumerate(("as_stored", "reversed", "unknown")):
        frames = [f"sharp/{number}/{i}.png" for i in range(3)]
        for name in (f"blurry/{number}.png", *frames):
            picture(root / name)
        line = {"version": 1, "blurry": f"blurry/{number}.png", "frames": frames, "times": [0.0, 0.5, 1.0]}
        line |= {"source": "a.mp4", "response": "srgb", "direction": direction, "size": [6, 8], "seed": number}
        lines.append(line | {"span": [3, 9] if number else None})
    path = root / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_rb2v_is_listed(tmp_path: Path) -> None:
    root = layout(tmp_path / "Street", "b", "a", "test/c")
    report = make_metadata(root)
    found = read_metadata(root / "metadata.json")
    assert report.summary().startswith("3 listed")
    assert (found.name, found.frame_count) == ("Street", 3)
    assert [(e.id, e.order, e.split) for e in found.entries] == [
        ("a/0000", "ignore", "train"),
        ("b/0000", "ignore", "train"),
        ("test/c/0000", "ignore", "test"),
    ]
    assert report.results[0].details["splits"] == {"train": 2, "test": 1}
    assert json.loads(json.dumps(report.as_dict()))["results"][0]["layout"] == "rb2v"
    # Again, from what is there now, and from the file itself.
    first = (root / "metadata.json").read_bytes()
    make_metadata(root)
    assert (root / "metadata.json").read_bytes() == first


@pytest.mark.parametrize("name", ["metadata.json", "manifest.jsonl"])
def test_a_file_that_says_something_else_stays(tmp_path: Path, name: str) -> None:
    root = layout(tmp_path, "a", "b")
    listed = root / "listed.json"
    make_metadata(root, listed)
    make_metadata(listed, root / name)
    first = (root / name).read_bytes()
    make_metadata(listed, root / name)  # the same once more
    (root / name).write_bytes(first.replace(b"a/sharp", b"b/sharp"))
    labelled = (root / name).read_bytes()
    with pytest.raises(UnblurError, match=f"{name}: is there already, .*; choose another name .*`overwrite`") as caught:
        make_metadata(listed, root / name)
    assert "\n" not in str(caught.value)
    assert (root / name).read_bytes() == labelled
    make_metadata(listed, root / name, overwrite=True)
    assert (root / name).read_bytes() == first


def test_people_of_baist_have_boxes(tmp_path: Path) -> None:
    root = layout(tmp_path, "a", "b", first=0, form="{:03d}")
    (root / "a" / "blur_anno").mkdir()
    (root / "a" / "blur_anno" / "0000.pkl").write_bytes(pickle.dumps({"bbox": [1.0, 2.0, 6.0, 5.0]}))
    assert make_metadata(root).results[0].details["layout"] == "baist"
    assert [e.box for e in read_metadata(root / "metadata.json").entries] == [(1.0, 2.0, 6.0, 5.0), None]


def test_reds_is_averaged_once(tmp_path: Path) -> None:
    for i in range(8):
        picture(tmp_path / "train_sharp" / "000" / f"{i:08d}.png", i)
    options = MetadataOptions(group=4)
    make_metadata(tmp_path, options=options)
    found = read_metadata(tmp_path / "metadata.json")
    assert len(found.entries) == 2
    blurry, frames = found.paths(found.entries[1])
    stored = torch.stack([read_image(frame).pixels for frame in frames])
    assert torch.equal(read_image(blurry).pixels, average(stored[None], levels=255)[0])
    before = blurry.stat().st_mtime_ns
    make_metadata(tmp_path, options=options)
    assert blurry.stat().st_mtime_ns == before
    assert read_metadata(tmp_path / "metadata.json") == found
    make_metadata(tmp_path, options=replace(options, response="linear"), overwrite=True)
    assert read_metadata(tmp_path / "metadata.json").entries[0].blurry.startswith("blur_4_linear/")


def test_a_manifest_there_and_back(tmp_path: Path) -> None:
    lines = manifest(tmp_path)
    report = make_metadata(tmp_path)
    found = read_metadata(tmp_path / "metadata.json")
    assert report.results[0].details["layout"] == "manifest"
    assert [e.order for e in found.entries] == ["keep", "reverse", "ignore"]
    assert [(e.source, e.size, e.seed, e.span) for e in found.entries[:2]] == [
        ("a.mp4", (6, 8), 0, None),
        ("a.mp4", (6, 8), 1, (3, 9)),
    ]
    make_metadata(tmp_path / "metadata.json", tmp_path / "back.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == lines.read_bytes()
    lines.unlink()
    make_metadata(tmp_path, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "back.jsonl").read_bytes()
    assert open_metadata(tmp_path) == found
    assert open_metadata(tmp_path / "sharp") is None
    with pytest.raises(UnblurError, match=r"back\.jsonl: is a manifest; make metadata of it"):
        open_metadata(tmp_path / "back.jsonl")


def test_metadata_of_others_become_a_manifest(tmp_path: Path) -> None:
    root = layout(tmp_path, "a")
    make_metadata(root)
    make_metadata(root / "metadata.json", root / "manifest.jsonl")
    line = json.loads((root / "manifest.jsonl").read_text())
    assert (line["direction"], line["size"], line["times"]) == ("unknown", [6, 8], [0.0, 0.5, 1.0])
    strange = read_metadata(root / "metadata.json")
    with pytest.raises(ValueError, match="'response' cannot be"):
        write_metadata(root / "strange.json", replace(strange, entries=(replace(strange.entries[0], response="film"),)))  # type: ignore[arg-type]


def test_files_elsewhere_name_the_pictures_or_say_how(tmp_path: Path) -> None:
    root = layout(tmp_path / "sets" / "Street", "a")
    above = tmp_path / "all.json"
    assert "warning" not in make_metadata(root, above).results[0].details
    assert read_metadata(above).entries[0].blurry == "sets/Street/a/blur/0000.png"
    beside = tmp_path / "other" / "m.json"
    warning = make_metadata(root, beside).results[0].details["warning"]
    assert "`root`" in str(warning)
    assert read_metadata(beside, root).root == root
    with pytest.raises(UnblurError, match="cannot name pictures in"):
        make_metadata(root, tmp_path / "other" / "m.jsonl")


def test_what_cannot_be_listed(tmp_path: Path) -> None:
    root = layout(tmp_path / "x", "a")
    with pytest.raises(UnblurError, match="does not exist"):
        make_metadata(tmp_path / "none")
    with pytest.raises(UnblurError, match="group=1"):
        make_metadata(root, options=MetadataOptions(group=1))
    with pytest.raises(UnblurError, match="would overwrite its input"):
        make_metadata(make_metadata(root).results[0].job.output, root / "metadata.json")
    with pytest.raises(UnblurError, match="a: is a folder; name a file"):
        make_metadata(root, root / "a")
    frame = root / "a" / "sharp" / "0000_1.png"
    before = frame.read_bytes()
    with pytest.raises(UnblurError, match="is no name of metadata"):
        make_metadata(root, frame)
    assert frame.read_bytes() == before
    lines = manifest(tmp_path / "m")
    (tmp_path / "m" / "sharp" / "1" / "2.png").unlink()
    with pytest.raises(UnblurError, match=r"line 2: names sharp/1/2\.png, which is not there"):
        make_metadata(lines)
    lines.write_text("")
    with pytest.raises(UnblurError, match="holds no exposure"):
        make_metadata(lines)


LINE: dict[str, Any] = {
    "version": MANIFEST_VERSION,
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
