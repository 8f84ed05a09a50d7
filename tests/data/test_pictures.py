from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unblur.data.pictures import PictureFolder, draw_grid, pixels_of
from unblur.errors import UnblurError
from unblur.media.image import Picture

Write = Callable[..., Path]


def test_pictures_at_any_depth_in_order(tmp_path: Path, picture: Write) -> None:
    for name in ("b/1.png", "a/c/2.jpg", "a.png", ".hidden/3.png", "b/.4.png"):
        picture(tmp_path / name)
    (tmp_path / "b" / "note.txt").write_text("é")
    folder = PictureFolder(tmp_path)
    assert folder.names == ["a/c/2.jpg", "a.png", "b/1.png"]
    assert folder.text("b/note.txt") == "é"
    assert folder.text("none") is None


def test_links_are_followed_and_loops_are_not(tmp_path: Path, picture: Write) -> None:
    picture(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "root" / "in" / "data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "in" / "loop").symlink_to(tmp_path / "root")
    assert PictureFolder(tmp_path / "root").names == ["in/data/1.png"]


def test_sizes_are_those_of_the_pixels(tmp_path: Path) -> None:
    pixels = torch.rand(3, 7, 9)
    for suffix in ("png", "jpg", "webp", "tif", "bmp"):
        Picture(pixels).save(tmp_path / f"a.{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter of a turn
    for suffix in ("png", "jpg", "webp", "tif"):
        Image.fromarray(np.zeros((7, 9, 3), np.uint8)).save(tmp_path / f"turned.{suffix}", exif=exif)
    for suffix in ("png", "tif"):
        Image.fromarray(np.zeros((7, 9), np.uint16)).save(tmp_path / f"turned16.{suffix}", exif=exif)
    folder = PictureFolder(tmp_path)
    assert [folder.size(name) for name in folder.names if name.startswith("turned")] == 6 * [(9, 7)]
    assert all(folder.size(name) == folder.read(name).shape[:2] for name in folder.names)


def test_other_kinds_of_pixels_become_colours(tmp_path: Path) -> None:
    deep = torch.tensor([0.0, 0.5, 1.0]).expand(3, 2, 3)
    Picture(deep, bits=16).save(tmp_path / "deep.png")
    Picture(deep, grey=True).save(tmp_path / "grey.png")
    Picture(deep, alpha=torch.full((1, 2, 3), 0.2)).save(tmp_path / "alpha.png")
    for name in ("deep", "grey", "alpha"):
        pixels = pixels_of(name, (tmp_path / f"{name}.png").read_bytes())
        assert pixels.dtype == np.uint8
        assert pixels.tolist() == [[[0] * 3, [128] * 3, [255] * 3]] * 2


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_told_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    folder = PictureFolder(tmp_path)
    for look in (folder.size, folder.read):
        with pytest.raises(UnblurError, match=r"a\.png: ") as error:
            look("a.png")
        assert "\n" not in str(error.value)


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name, told in (("empty", "holds no picture"), ("file", "is not a folder"), ("none", "does not exist")):
        with pytest.raises(UnblurError, match=told):
            PictureFolder(tmp_path / name)


def test_rows_and_columns() -> None:
    rows = [
        [np.full((40, 50, 3), 10, np.uint8), np.full((40, 50, 3), 200, np.uint8)],
        [np.full((1024, 512, 3), 30, np.uint8), np.full((20, 10, 3), 40, np.uint8)],
    ]
    drawn = (255 * draw_grid(rows, ["one", "two"]).pixels).round()
    assert drawn.shape == (3, 26 + 46 + 262, 134 + 56)
    assert drawn[:, 26 + 20, 20].tolist() == [10] * 3
    assert drawn[:, 26 + 20, 134 + 20].tolist() == [200] * 3
    assert drawn[:, 26 + 46 + 200, 100].tolist() == [30] * 3  # shrunk to 256 x 128
    assert drawn[:, 26 + 46 + 100, 134 + 30].tolist() == [255] * 3
    assert drawn[:, :26].min() < 100  # titles
