"""Files that are given as inputs: their sizes, and the pictures in them."""

import os
import sys

import pytest
import torch

from unblur.errors import UnblurError
from unblur.media import decode
from unblur.media.image import Picture
from unblur.tasks import inputs
from unblur.tasks.batch import Options
from unblur.tasks.inputs import PictureFile


def test_sizes_come_from_headers(tmp_path, monkeypatch):
    paths = [Picture(torch.rand(3, 5, 9)).save(tmp_path / f"a{suffix}") for suffix in (".png", ".jpg", ".tif", ".webp")]
    (tmp_path / "broken.png").write_bytes(b"no")
    files = [PictureFile(path) for path in [*paths, tmp_path / "broken.png", tmp_path / "none.png", tmp_path]]
    assert [file.size for file in files] == [(5, 9)] * 4 + [None] * 3
    monkeypatch.setattr(inputs, "picture_size", lambda *_: pytest.fail("each header is read once"))
    assert [file.size for file in files[:4]] == [(5, 9)] * 4


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")
def test_a_pipe_has_no_size(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert PictureFile(tmp_path / "pipe.png").size is None
    with pytest.raises(UnblurError, match="not an ordinary file"):
        PictureFile(tmp_path / "pipe.png").read()


def test_reading_refuses_large_pictures(tmp_path):
    path = Picture(torch.rand(3, 5, 9)).save(tmp_path / "a.png")
    assert PictureFile(path, 45).read().pixels.shape == (3, 5, 9)
    with pytest.raises(UnblurError, match="more than the limit of 44"):
        PictureFile(path, 44).read()


def test_no_header_is_read_where_a_model_is_named(tmp_path, shipped, monkeypatch):
    path = Picture(torch.rand(3, 5, 9)).save(tmp_path / "a.png")
    sized = []
    monkeypatch.setattr(inputs, "picture_size", lambda *given: sized.append(given) or decode.picture_size(*given))
    Options("fast", "cpu").load([PictureFile(path)])
    assert sized == []
    Options(None, "cpu").load([PictureFile(path)])
    assert len(sized) == 1
