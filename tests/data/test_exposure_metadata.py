from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unblur.data.exposure_metadata import (
    Entry,
    Metadata,
    id_of,
    metadata_text,
    open_metadata,
    parse_metadata,
    read_metadata,
    write_metadata,
)
from unblur.errors import UnblurError


def entry(number: int, count: int = 3, **more: Any) -> Entry:
    frames = tuple(f"c{number}/sharp/0_{i}.png" for i in range(1, count + 1))
    return Entry(f"c{number}/0", "keep", "train", f"c{number}/blur/0.png", frames, **more)


def stored(root: Path, *entries: Entry, base: Path | None = None) -> Path:
    """The pictures, empty, and a metadata file in `root`."""
    for one in entries:
        for name in (one.blurry, *one.frames):
            (base or root).joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            (base or root).joinpath(name).touch()
    metadata = Metadata("Street", len(entries[0].frames), entries, root, {"made": "by hand"})
    return write_metadata(root / "metadata.json", metadata)


def refused(path: Path, root: Path | None = None) -> str:
    with pytest.raises(UnblurError) as error:
        read_metadata(path, root)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("count", [2, 5, 7, 13, 1000])
def test_round_trip_of_any_number_of_frames(tmp_path: Path, count: int) -> None:
    first = entry(1, count, more={"score": 1.5, "model": {"name": "x", "sha256": "y"}})
    second = replace(entry(2, count), order="reverse", split="val", box=(1, 2.5, 30, 40, 0.9))
    path = stored(tmp_path, first, second)
    found = read_metadata(path)
    assert found == Metadata("Street", count, (first, second), tmp_path, {"made": "by hand"})
    again = write_metadata(tmp_path / "again.json", found)
    assert again.read_bytes() == path.read_bytes()
    assert found.paths(first)[1][0] == tmp_path / "c1/sharp/0_1.png"


def test_a_file_as_released_is_read_from_the_folder_of_its_name(tmp_path: Path) -> None:
    path = stored(tmp_path, entry(1), base=tmp_path / "elsewhere" / "Street")
    assert "`root`" in refused(path)
    for root in (tmp_path / "elsewhere", tmp_path / "elsewhere" / "Street"):
        assert read_metadata(path, root).root == tmp_path / "elsewhere" / "Street"


def test_orders() -> None:
    orders = {order: replace(entry(1), order=order) for order in ("keep", "ignore", "reverse")}
    assert [one.direction() for one in orders.values()] == [1, 1, -1]
    coins = [replace(entry(i), order="random") for i in range(200)]
    tossed = [one.direction(3) for one in coins]
    assert tossed == [one.direction(3) for one in coins]
    assert tossed != [one.direction(4) for one in coins]
    assert 60 < tossed.count(1) < 140


def test_splits(tmp_path: Path) -> None:
    metadata = Metadata("x", 3, (entry(1), replace(entry(2), split="val")))
    assert [e.id for e in metadata.of_split("val").entries] == ["c2/0"]
    assert metadata.of_split(None) is metadata
    with pytest.raises(UnblurError, match="split test: has no entry; there are: train, val"):
        metadata.of_split("test")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"order": "forward"}, "'order' cannot be \"forward\"; use keep, ignore, reverse, random"),
    ({"order": ["keep"]}, "'order' cannot be"),
    ({"partition": "valid"}, "'partition' cannot be \"valid\"; use train, val, test"),
    ({"id": "c1/0"}, "has the id of entry 1"),
    ({"id": ""}, "'id' cannot be"),
    ({"id": "a\nb"}, "'id' cannot be"),
    ({"id": 7}, "'id' cannot be 7"),
    ({"blur_path": "/etc/passwd"}, "'blur_path' cannot be"),
    ({"blur_path": None}, "'blur_path' cannot be"),
    ({"frame002_path": "../other/0.png"}, "'frame002_path' cannot be"),
    ({"frame002_path": "c:\\0.png"}, "'frame002_path' cannot be"),
    ({"frame002_path": "a\0b"}, "'frame002_path' cannot be"),
    ({"frame002_path": "\ud800.png"}, "'frame002_path' cannot be"),
    ({"frame002_path": "x" * 5000}, "cannot be read (File name too long)"),
    ({"frame002_path": "c2"}, "is no file"),
    ({"frame002_path": "c2/none.png"}, 'names "c2/none.png", which is not there'),
    ({"frame004_path": "c2/sharp/0_1.png"}, "has 4 frames, the file says 3"),
    ({"frame0003_path": "c2/sharp/0_1.png"}, "has 4 frames, the file says 3"),
    ({"bbox": [1, 2, 3]}, "'bbox' cannot be"),
    ({"bbox": [5, 2, 3, 4]}, "'bbox' cannot be"),
    ({"bbox": [0, 0, 10**400, 1]}, "'bbox' cannot be"),
    ({"bbox": [0, 5, 5, 5]}, "'bbox' cannot be"),
    ({"bbox": [5, 0, 5, 5]}, "'bbox' cannot be"),
    ({"bbox": ["0", 0, 1, 1]}, "'bbox' cannot be"),
]


@pytest.mark.parametrize(("change", "problem"), BAD)
def test_bad_entries_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = stored(tmp_path, entry(1), entry(2))
    document = json.loads(path.read_text())
    document["data"][1] |= change
    path.write_text(json.dumps(document))
    said = refused(path)
    assert f"{path}, entry 2" in said
    assert problem in said


@pytest.mark.parametrize(
    ("gone", "problem"),
    [
        ("frame002_path", "has 2 frames, the file says 3, and misses frame002_path"),
        ("frame003_path", "has 2 frames, the file says 3"),
        ("order", "has no 'order'"),
        ("id", "has no 'id'"),
    ],
)
def test_what_an_entry_lacks_is_named(tmp_path: Path, gone: str, problem: str) -> None:
    path = stored(tmp_path, entry(1))
    document = json.loads(path.read_text())
    del document["data"][0][gone]
    path.write_text(json.dumps(document))
    assert problem in refused(path)


def test_frames_are_counted_from_one(tmp_path: Path) -> None:
    path = stored(tmp_path, entry(1))
    path.write_text(path.read_text().replace("frame001", "frame000"))
    assert "misses frame001_path" in refused(path)


def test_frames_are_numbered_with_three_digits(tmp_path: Path) -> None:
    path = stored(tmp_path, entry(1))
    path.write_text(path.read_text().replace("frame002_path", "frame0002_path"))
    assert "misses frame002_path" in refused(path)


@pytest.mark.parametrize(
    ("more", "problem"),
    [('"order": "keep"', "a key twice"), ('"x": NaN', "NaN is no number"), ('"x": 1e999', "1e999 is no number")],
)
def test_files_that_are_nearly_metadata(tmp_path: Path, more: str, problem: str) -> None:
    path = stored(tmp_path, entry(1))
    path.write_text(path.read_text().replace('"order":', f'{more}, "order":'))
    assert problem in refused(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"frame_per_seq": 0}, "'frame_per_seq' cannot be 0"),
        ({"frame_per_seq": True}, "'frame_per_seq' cannot be true"),
        ({"frame_per_seq": "7"}, "'frame_per_seq' cannot be"),
        ({"name": ""}, "'name' cannot be"),
        ({"data": {}}, "'data' cannot be"),
        ({"data": [3]}, "entry 1: is no object but 3"),
    ],
)
def test_bad_heads_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = stored(tmp_path, entry(1))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert problem in refused(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", "[" * 100_000, '{"name": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', "1" * 5000]
)
def test_files_that_are_no_metadata(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    refused(tmp_path / "m.json")


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    text = stored(tmp_path, entry(1)).read_text().rstrip()
    for length in range(len(text)):
        (tmp_path / "cut.json").write_text(text[:length])
        refused(tmp_path / "cut.json")
    assert "cannot be read" in refused(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(tmp_path / "binary")


def test_no_link_leads_out(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    path = stored(root, entry(1), entry(2))
    (outside / "0.png").touch()
    (root / "c2/sharp/0_2.png").unlink()
    (root / "c2/sharp/0_2.png").symlink_to(root / "c1/sharp/0_2.png")
    read_metadata(path)
    (root / "c2/sharp/0_2.png").unlink()
    (root / "c2/sharp/0_2.png").symlink_to(outside / "0.png")
    assert "entry 2" in refused(path)
    assert "out of the root" in refused(path)
    assert "out of the root" in refused(path, root)
    (root / "c2/sharp/0_2.png").unlink()
    (root / "c2/sharp/0_2.png").touch()
    (root / "c2/blur").rename(outside / "blur")
    (root / "c2/blur").symlink_to(outside / "blur")
    assert "out of the root" in refused(path)
    # The root itself may be a link.
    (root / "c2/blur").unlink()
    (outside / "blur").rename(root / "c2/blur")
    (tmp_path / "link").symlink_to(root)
    assert read_metadata(tmp_path / "link" / "metadata.json").root == tmp_path / "link"


def test_a_bad_entry_leaves_the_old_file(tmp_path: Path) -> None:
    path = stored(tmp_path, entry(1))
    before = path.read_bytes()
    unknown, endless = replace(entry(1), order="up"), replace(entry(1), more={"a": float("nan")})  # type: ignore[arg-type]
    for bad in ((unknown,), (entry(1), entry(1)), (entry(1, 4),), (endless,)):
        with pytest.raises(ValueError):
            write_metadata(path, Metadata("x", 3, bad))
    assert path.read_bytes() == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=4),
    max_leaves=8,
)
VALUES = JSON | st.sampled_from(["keep", "train", "a.png", "../a", "c1/blur/0.png", 3, 7, [1, 2, 3, 4]])
FRAMES = ["frame001_path", "frame003_path", "frame999999999_path"]
KEYS = st.sampled_from(["id", "order", "partition", "blur_path", *FRAMES, "bbox", "more"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, VALUES), st.dictionaries(st.sampled_from(["name", "frame_per_seq", "data", "x"]), VALUES))
def test_whatever_a_file_says_it_is_read_or_refused_in_one_line(change: dict[str, Any], head: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = stored(Path(folder), entry(1))
        document = json.loads(path.read_text())
        document["data"][0] |= change
        path.write_text(json.dumps(document | head))
        _read_or_refused(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.text() | st.binary())
def test_whatever_bytes_are_refused_in_one_line(contents: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.json"
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode("utf-8", "surrogatepass"))
        _read_or_refused(path)


def _read_or_refused(path: Path) -> None:
    try:
        found = read_metadata(path)
    except UnblurError as error:
        said = str(error)
    else:
        said = ""
        write_metadata(path, found)
        assert read_metadata(path) == found
    assert "\n" not in said


PROVENANCE = {
    "source": "a.mp4",
    "response": "gamma",
    "size": (6, 8),
    "seed": 3,
    "span": (0, 12),
    "times": (0.0, 0.2, 1.0),
}


def test_where_exposures_come_from_is_kept() -> None:
    entry = Entry("a", "keep", "val", "a.png", ("0.png", "1.png", "2.png"), more={"score": 1.5}, **PROVENANCE)  # type: ignore[arg-type]
    metadata = Metadata("toy", 3, (entry,))
    assert parse_metadata(metadata_text(metadata), "m.json") == metadata
    raw = json.loads(metadata_text(metadata))["data"][0]
    assert (raw["size"], raw["times"], raw["score"]) == ([6, 8], [0.0, 0.2, 1.0], 1.5)
    plain = replace(entry, times=None, seed=None)
    assert plain.frame_times() == (0.0, 0.5, 1.0)
    assert {"times", "seed"}.isdisjoint(json.loads(metadata_text(Metadata("toy", 3, (plain,))))["data"][0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", ""),
        ("response", "film"),
        ("size", (0, 8)),
        ("size", (8,)),
        ("seed", 1.5),
        ("span", (9, 3)),
        ("times", (0.0, 1.0)),
        ("times", (0.0, 0.5, 0.5)),
        ("times", (0.0, 0.5, 2)),
    ],
)
def test_where_they_cannot_come_from(name: str, value: object) -> None:
    entry = Entry("a", "keep", "val", "a.png", ("0.png", "1.png", "2.png"), **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"'{name}' cannot be"):
        metadata_text(Metadata("toy", 3, (entry,)))


def test_what_networks_cannot_learn_from(tmp_path: Path) -> None:
    for name in ("a.png", "0.png", "1.png"):
        (tmp_path / name).touch()
    entry = Entry("a", "keep", "val", "a.png", ("0.png", "1.png"), times=(0.25, 1.0))
    path = write_metadata(tmp_path / "metadata.json", Metadata("toy", 2, (entry,)))
    with pytest.raises(UnblurError, match=r'entry 1 \("a"\): has times that are not evenly spaced'):
        open_metadata(tmp_path)
    write_metadata(path, Metadata("toy", 1, (replace(entry, frames=("0.png",), times=None),)))
    with pytest.raises(UnblurError, match="has one frame of each exposure"):
        open_metadata(path)
    write_metadata(path, Metadata("toy", 2, ()))
    with pytest.raises(UnblurError, match="holds no exposure"):
        open_metadata(path)
    assert open_metadata(tmp_path / "a.png") is None


def test_ids_are_printable() -> None:
    assert id_of("blurry/3.00\u202fPM\n.png") == "blurry/3.00\\u202fPM\\u000a"
