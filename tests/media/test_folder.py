"""What files, folders and patterns stand for, and where results go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.errors import UnblurError
from unblur.media.folder import find_clips, find_images, output_path, output_paths
from unblur.media.image import Picture
from unblur.media.video import write_clip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("p10.jpg", "p9.PNG", "P1.tiff", "notes.txt", ".hidden.png", "sub/deep/x.webp", "sub/y.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.as_posix() for path in paths]


def one(errors: list[UnblurError], *words: str) -> None:
    (error,) = errors
    assert "\n" not in str(error)
    assert all(word in str(error) for word in words), str(error)


def test_folder_is_searched_flat_in_natural_order(place: Path) -> None:
    found, errors = find_images(["."])
    assert names(found) == ["P1.tiff", "p9.PNG", "p10.jpg"]
    assert not errors
    assert find_images([place])[0] == [place / "P1.tiff", place / "p9.PNG", place / "p10.jpg"]


def test_named_files_are_taken_whatever_they_are_called(place: Path) -> None:
    found, errors = find_images(["notes.txt", ".hidden.png", Path("p9.PNG")])
    assert names(found) == ["notes.txt", ".hidden.png", "p9.PNG"]
    assert not errors


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["p10.jpg"]),
        ("p*", ["p9.PNG", "p10.jpg"]),
        ("*", ["P1.tiff", "p9.PNG", "p10.jpg"]),
        ("p?.PNG", ["p9.PNG"]),
        ("[pP]1*", ["P1.tiff", "p10.jpg"]),
        ("**/*", ["P1.tiff", "p9.PNG", "p10.jpg", "sub/deep/x.webp", "sub/y.bmp"]),
        ("**/*.webp", ["sub/deep/x.webp"]),
        ("*.txt", ["notes.txt"]),
        ("s*/", ["sub/y.bmp"]),
    ],
)
def test_patterns(place: Path, pattern: str, expected: list[str]) -> None:
    found, errors = find_images([pattern])
    assert names(found) == expected
    assert not errors
    assert names(find_images([str(place / pattern) + ("/" if pattern.endswith("/") else "")])[0]) == [
        (place / name).as_posix() for name in expected
    ]


def test_a_file_whose_name_looks_like_a_pattern(place: Path) -> None:
    (place / "a[1]*.png").write_bytes(b"x")
    assert names(find_images(["a[1]*.png"])[0]) == ["a[1]*.png"]


def test_each_file_comes_once(place: Path) -> None:
    (place / "link.jpg").symlink_to("p10.jpg")
    found, _ = find_images(["p10.jpg", ".", "sub/../p9.PNG", "*.jpg", place / "p10.jpg"])
    assert names(found) == ["p10.jpg", "P1.tiff", "p9.PNG"]


def test_a_batch_goes_on_past_what_is_wrong(place: Path) -> None:
    long = "n" * 300 + ".png"
    found, errors = find_images(["gone.png", "p10.jpg", "*.gif", "empty", "", long, "p9.PNG"])
    assert names(found) == ["p10.jpg", "p9.PNG"]
    assert [error.subject for error in errors] == ["gone.png", "*.gif", "empty", "''", long]
    assert all("\n" not in str(error) for error in errors)


def test_errors_name_the_remedy(place: Path) -> None:
    one(find_images(["gone.png"])[1], "does not exist", "check the name")
    one(find_images(["*.gif"])[1], "matches no picture", "pattern")
    one(find_images(["empty"])[1], "holds no picture", "empty/**/*")
    one(find_clips(["empty"])[1], "holds no clip")
    one(find_images(["p10.jpg/x.png"])[1], "does not exist")


def test_broken_link_is_left_to_the_reader(place: Path) -> None:
    (place / "link.png").symlink_to("gone")
    assert "link.png" in names(find_images(["."])[0])
    assert names(find_images(["link.png"])[0]) == ["link.png"]


def test_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames = torch.rand(2, 3, 16, 16)
    write_clip("clips/b10.mp4", frames)
    write_clip("clips/b9.gif", frames)
    write_clip("clips/moving.webp", frames)
    Picture(frames[0]).save("clips/still.webp")
    Picture(frames[0]).save("clips/still.png")
    write_clip("pngs/one/", frames)
    write_clip("pngs/two/", frames)
    assert names(find_clips(["clips"])[0]) == ["clips/b9.gif", "clips/b10.mp4", "clips/moving.webp"]
    assert names(find_clips(["pngs/one"])[0]) == ["pngs/one"]
    for pattern in ("pngs/*", "pngs/*/"):
        assert names(find_clips([pattern])[0]) == ["pngs/one", "pngs/two"]
    assert names(find_clips(["clips/still.png"])[0]) == ["clips/still.png"]
    found, errors = find_clips(["pngs", "clips/*.gif"])
    assert names(found) == ["clips/b9.gif"]
    one(errors, "pngs", "holds no clip")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=30))
def test_numbers_in_names_count_as_numbers(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    folder = tmp_path_factory.mktemp("n")
    for number in numbers:
        (folder / f"frame{number}.png").touch()
    assert [int(path.stem[5:]) for path in find_images([folder])[0]] == sorted(numbers)


# --- outputs --------------------------------------------------------------------------------------------------------


def test_output_path(place: Path) -> None:
    source = Path("in/photo.JPG")
    assert output_path(source, "new.png", many=False, suffix=None) == Path("new.png")
    assert output_path(source, "new", many=False, suffix=".png") == Path("new")
    assert output_path(source, "new/", many=False, suffix=None) == Path("new/photo.JPG")
    assert output_path(source, Path("new"), many=True, suffix=".png") == Path("new/photo.png")
    assert output_path(source, "sub", many=False, suffix=".mp4") == Path("sub/photo.mp4")
    assert output_path(source, "sub", many=False, suffix="") == Path("sub/photo")
    assert output_path(Path("in/photo.dat"), "new/", many=False, suffix=None) == Path("new/photo.png")
    assert output_path(Path("a.b.png"), "new/", many=False, suffix=".gif") == Path("new/a.b.gif")
    assert output_path(Path("folder.png"), "new/", many=False, suffix=".mp4") == Path("new/folder.png.mp4")


@pytest.mark.parametrize("out", ["notes.txt", "notes.txt/"])
def test_a_file_is_no_folder(place: Path, out: str) -> None:
    with pytest.raises(UnblurError) as caught:
        output_path(Path("p10.jpg"), out, many=True, suffix=None)
    one([caught.value], "notes.txt", "is a file", "name a folder")


def test_outputs_do_not_collide(place: Path) -> None:
    sources = [Path("a/x.jpg"), Path("b/x.jpg"), Path("c/X.png"), Path("c/y.png")]
    assert names(output_paths(sources, "out", ".png")) == ["out/x.png", "out/x-2.png", "out/X-3.png", "out/y.png"]
    assert names(output_paths(sources, "out", "")) == ["out/x", "out/x-2", "out/X-3", "out/y"]
    assert names(output_paths([Path("x.jpg"), Path("x-2.jpg"), Path("b/x.jpg")], "out")) == [
        "out/x.jpg",
        "out/x-2.jpg",
        "out/x-3.jpg",
    ]


def test_one_source_with_and_without_a_folder(place: Path) -> None:
    assert names(output_paths([Path("p10.jpg")], "new.png")) == ["new.png"]
    assert names(output_paths([Path("p10.jpg")], "new", many=True)) == ["new/p10.jpg"]


def test_inputs_are_never_overwritten(place: Path) -> None:
    (place / "hard.jpg").hardlink_to("p10.jpg")
    (place / "soft").symlink_to(".")
    for out in (".", "./", "p10.jpg", "sub/../p10.jpg", "hard.jpg", "soft", str(place)):
        with pytest.raises(UnblurError) as caught:
            output_paths([Path("p10.jpg")], out)
        one([caught.value], "would overwrite an input", "`out`")
    # The output of one may be the input of another.
    with pytest.raises(UnblurError, match="overwrite"):
        output_paths([Path("sub/p9.tif"), Path("p9.PNG")], ".", ".PNG")
    assert names(output_paths([Path("p10.jpg")], ".", ".png")) == ["p10.png"]
    assert os.path.getsize("p10.jpg") == 1  # noqa: PTH202
