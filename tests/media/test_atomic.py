"""Outputs are whole or absent, whatever goes wrong on the way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from unblur.errors import UnblurError
from unblur.media.folder import atomic_folder, atomic_path


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def failing(atomic: Callable[[Path], AbstractContextManager[Path]], target: Path, fault: BaseException) -> None:
    """Write half, then fail."""
    with atomic(target) as temporary:
        (temporary if temporary.is_file() else temporary / "x").write_bytes(b"half")
        raise fault


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "c.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        assert not target.exists()
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert everything(tmp_path) == ["a", "a/b", "a/b/c.png"]


def test_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "fault", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1), OSError(errno.ENOENT, "gone")]
)
def test_failure_leaves_nothing_and_goes_on_up(tmp_path: Path, fault: BaseException) -> None:
    for atomic in (atomic_path, atomic_folder):
        with pytest.raises(type(fault)):
            failing(atomic, tmp_path / "new" / "deep" / "a", fault)
    assert everything(tmp_path) == []


def test_failure_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ValueError):
        failing(atomic_path, tmp_path / "a", ValueError())
    assert (tmp_path / "a").read_bytes() == b"old"
    assert everything(tmp_path) == ["a"]


def test_folders_made_on_the_way_stay_if_others_use_them(tmp_path: Path) -> None:

    @contextmanager
    def visited(target: Path) -> Iterator[Path]:
        with atomic_path(target) as temporary:
            (target.parent / "other").touch()
            yield temporary

    with pytest.raises(ValueError):
        failing(visited, tmp_path / "new" / "a", ValueError())
    assert everything(tmp_path) == ["new", "new/other"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO])
def test_faults_of_the_disk_are_told_in_one_line(tmp_path: Path, number: int) -> None:
    with pytest.raises(UnblurError) as caught, atomic_path(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'a'}: cannot be written (")
    assert everything(tmp_path) == []


def test_parent_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for atomic in (atomic_path, atomic_folder):
        for name in ("f/a", "f/b/a"):
            with pytest.raises(UnblurError, match="cannot be written") as caught, atomic(tmp_path / name):
                pytest.fail("not reached")
            assert caught.value.subject == str(tmp_path / name)
    assert everything(tmp_path) == ["f"]


def test_name_too_long(tmp_path: Path) -> None:
    for name in ("n" * 300, "n" * 300 + "/a"):
        for atomic in (atomic_path, atomic_folder):
            with pytest.raises(UnblurError, match="cannot be written"), atomic(tmp_path / name):
                pytest.fail("not reached")
    assert everything(tmp_path) == []


def test_things_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "ordinary file"), (".", "is a folder")):
        with pytest.raises(UnblurError, match=words), atomic_path(tmp_path / name):
            pytest.fail("not reached")
    with pytest.raises(UnblurError, match="ordinary file"), atomic_path("/dev/null"):
        pytest.fail("not reached")


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/a")
    with atomic_path(tmp_path / "link") as temporary:
        temporary.write_bytes(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"x"


def test_folder_swap_failing_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "frame_00000.png").write_bytes(b"old")
    rename = Path.rename

    def busy(path: Path, new: Path) -> Path:
        if new == target and not (path / "frame_00000.png").exists():
            raise OSError(errno.EBUSY, "busy")
        return rename(path, new)

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(OSError, match="busy"), atomic_folder(target) as temporary:
        (temporary / "frame_00001.png").write_bytes(b"new")
    assert everything(tmp_path) == ["out", "out/frame_00000.png"]


def test_folder_that_got_other_files_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def meanwhile() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "frame_00000.png").write_bytes(b"new")
            target.mkdir()
            (target / "mine.txt").write_bytes(b"mine")

    with pytest.raises(UnblurError, match="holds other files"):
        meanwhile()
    assert everything(tmp_path) == ["out", "out/mine.txt"]


def test_desktop_litter_does_not_count(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / ".DS_Store").touch()
    with atomic_folder(target) as temporary:
        (temporary / "frame_00000.png").write_bytes(b"new")
    assert everything(tmp_path) == ["out", "out/frame_00000.png"]
