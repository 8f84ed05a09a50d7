from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unblur.cli import main
from unblur.data.lmdb_store import LmdbPictures, LmdbWriter
from unblur.data.pictures import PictureFolder
from unblur.datasets import lmdb as module
from unblur.datasets.lmdb import store_pictures
from unblur.errors import UnblurError
from unblur.run_report import Silent


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of several sizes and kinds, two of them with the same name in folders of the same name."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(("b/blur/0.png", "c/blur/0.png", "b/d/1.jpg", "2.tif", "3.webp", "4.bmp")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30 + i, 40, 3), np.uint8)).save(path)
    (tmp_path / "photos" / "note.txt").write_text("no picture")
    return tmp_path / "photos"


def test_files_are_kept_as_they_are(photos: Path) -> None:
    out = photos.parent / "a.lmdb"
    report = store_pictures(photos, out, Silent())
    assert report.exit_code == 0
    pictures = LmdbPictures(out)
    assert len(pictures.names) == 6
    for name in pictures.names:
        assert pictures.contents(name) == (photos / name).read_bytes()
        assert pictures.read(name).shape == (*pictures.size(name), 3)


def test_an_interrupted_run_goes_on(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = photos.parent / "a.lmdb"
    monkeypatch.setattr(module, "BATCH", 1)
    add, calls = LmdbWriter.add, []

    def killed(self: LmdbWriter, pictures: dict[str, bytes], stamps: dict[str, str]) -> None:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.extend(pictures)
        add(self, pictures, stamps)

    monkeypatch.setattr(LmdbWriter, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        store_pictures(photos, out, Silent())
    with pytest.raises(UnblurError, match="was not finished; run the command"):
        LmdbPictures(out)
    monkeypatch.setattr(LmdbWriter, "add", add)
    report = store_pictures(photos, out, Silent())
    assert report.results[0].message == "6 pictures, 3 there already"
    assert LmdbPictures(out).names == sorted(LmdbPictures(out).names)
    assert store_pictures(photos, out, Silent()).results[0].details["skipped"] is True


def test_changed_and_new_pictures_are_stored_again(photos: Path) -> None:
    out = photos.parent / "a.lmdb"
    store_pictures(photos, out, Silent())
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photos / "2.tif")
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(photos / "5.png")
    assert store_pictures(photos, out, Silent()).results[0].details["added"] == 2
    assert LmdbPictures(out).size("2.tif") == (9, 9)
    assert LmdbPictures(out).size("5.png") == (8, 9)


def test_another_folder_is_refused(photos: Path) -> None:
    out = photos.parent / "a.lmdb"
    store_pictures(photos, out, Silent())
    (photos / "2.tif").unlink()
    with pytest.raises(UnblurError, match=r"holds pictures that .* has not \(2\.tif\)"):
        store_pictures(photos, out, Silent())


def test_bad_input_is_one_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = photos / "b" / "d" / "cut.png"
    damaged.write_bytes((photos / "b/blur/0.png").read_bytes()[:300])
    out = photos.parent / "a.lmdb"
    assert main(["data", "lmdb", str(photos), "-o", str(out)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cut.png: is truncated" in lines[0]
    with pytest.raises(UnblurError, match="was not finished"):
        LmdbPictures(out)
    damaged.unlink()
    assert main(["data", "lmdb", str(photos), "-o", str(out)]) == 0
    assert "6 pictures, 6 there already" in capsys.readouterr().out
    for words, told in (([str(photos), "-o", "a"], "does not end in .lmdb"), (["none", "-o", "a.lmdb"], "not exist")):
        assert main(["data", "lmdb", *words]) == 1
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1


def test_a_link_to_nothing_does_not_stop_the_others(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "a.lmdb"
    store_pictures(photos, out, Silent())
    (photos / "1.png").symlink_to(photos / "none.png")
    (photos / "2.tif").unlink()
    (photos / "2.tif").symlink_to(photos / "none.tif")
    assert main(["data", "lmdb", str(photos), "-o", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 2
    assert "1.png" in error
    assert "2.tif: cannot be read" in error
    assert "unexpected" not in error


def test_a_changed_file_of_equal_length_is_stored_again(photos: Path) -> None:
    out, changed = photos.parent / "a.lmdb", photos / "4.bmp"
    store_pictures(photos, out, Silent())
    before, times = changed.read_bytes(), changed.stat()
    for again in ("with a new time", "with its old time"):
        data = bytearray(changed.read_bytes())
        data[-1] ^= 255
        changed.write_bytes(data)
        if again == "with its old time":
            os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert store_pictures(photos, out, Silent()).results[0].message == "6 pictures, 5 there already", again
        assert LmdbPictures(out).contents("4.bmp") == bytes(data)
        assert len(data) == len(before)
    assert store_pictures(photos, out, Silent()).results[0].details["skipped"] is True


def test_files_that_are_as_they_were_are_read_once_more_and_then_left_alone(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, read = photos.parent / "a.lmdb", []
    store_pictures(photos, out, Silent())
    contents = PictureFolder.contents
    monkeypatch.setattr(PictureFolder, "contents", lambda self, name: read.append(name) or contents(self, name))
    store_pictures(photos, out, Silent())
    assert read == []
    (photos / "4.bmp").touch()
    for _ in range(2):
        assert store_pictures(photos, out, Silent()).results[0].details["skipped"] is True
    assert read == ["4.bmp"]
