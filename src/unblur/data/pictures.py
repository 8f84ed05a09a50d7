"""Pictures by name, wherever they are kept: what a folder and an LMDB have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unblur.errors import UnblurError
from unblur.media.contents import read_contents
from unblur.media.decode import decode_image, picture_size
from unblur.media.folder import IMAGE_SUFFIXES
from unblur.media.image import Picture

Pixels = NDArray[Any]  # uint8


class Pictures(Protocol):
    """Pictures by name; safe to read from several threads at once.

    Attributes
    ----------
    place : str
        Where they are, for messages.
    names : list of str
        Paths below that place, with ``/`` between the parts; sorted.
    """

    place: str
    names: list[str]

    def size(self, name: str) -> tuple[int, int]:
        """Height and width, without decoding the picture."""
        ...

    def read(self, name: str) -> Pixels:
        """(H, W, 3) uint8, RGB; not to be written to."""
        ...

    def text(self, name: str) -> str | None:
        """A file of text beside the pictures, such as a manifest; None if there is none."""
        ...


def picture_size_of(path: Path) -> tuple[int, int]:
    """Height and width of the picture in a file, from its header.

    Raises
    ------
    UnblurError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return picture_size(path, file)
    except OSError as fault:
        raise UnblurError(path, f"cannot be read ({fault.strerror})", "check the permissions") from fault


class PictureFolder:
    """The pictures of a folder and of all folders below it, also through links."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.place = str(root)
        self.names = sorted(_walk(self.root), key=lambda name: name.split("/"))
        if not self.names:
            raise UnblurError(root, "holds no picture", "name a folder that holds some, at any depth")

    def size(self, name: str) -> tuple[int, int]:
        """Height and width, from the header."""
        return picture_size_of(self.root / name)

    def stamp(self, name: str) -> str:
        """Another text whenever the file was changed: its bytes, and when its contents and all about it were."""
        path = self.root / name
        try:
            about = path.stat()
        except OSError as fault:
            raise UnblurError(path, f"cannot be read ({fault.strerror})", "check the link, or remove it") from fault
        return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"

    def contents(self, name: str) -> bytes:
        """The file as it is."""
        return read_contents(self.root / name, "name a picture in it")

    def read(self, name: str) -> Pixels:
        """(H, W, 3) uint8, RGB."""
        return pixels_of(str(self.root / name), self.contents(name))

    def text(self, name: str) -> str | None:
        """A file of text beside the pictures."""
        path = self.root / name
        if not path.is_file():
            return None
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise UnblurError(path, "cannot be read as text", "check the file") from fault


def pixels_of(subject: str, data: bytes) -> Pixels:
    """Decode a picture file to (H, W, 3) uint8 RGB: 16 bits are rounded to 8, alpha is left out.

    Raises
    ------
    UnblurError
        As `unblur.media.image.read_image` does.
    """
    array = decode_image(subject, data).array
    if array.dtype == np.uint16:
        array = np.rint(array / 257.0).astype(np.uint8)
    if array.shape[2] <= 2:
        return np.ascontiguousarray(np.repeat(array[:, :, :1], 3, axis=2))
    return np.ascontiguousarray(array[:, :, :3])


def read_pixels(path: Path) -> Pixels:
    """A picture file as (H, W, 3) uint8 RGB; see `pixels_of`."""
    return pixels_of(str(path), read_contents(path, "name a picture"))


def size_of(subject: str, data: bytes) -> tuple[int, int]:
    """Height and width of a picture in memory, without decoding it."""
    return picture_size(subject, BytesIO(data))


def _walk(root: Path) -> Iterator[str]:
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UnblurError(root, problem, "name a folder with pictures, or an LMDB")
    seen: set[str] = set()
    for folder, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        inside = Path(folder).relative_to(root)
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield (inside / name).as_posix()


SIDE, GAP, HEAD = 256, 6, 26


def draw_grid(rows: Sequence[Sequence[Pixels]], titles: Sequence[str]) -> Picture:
    """Draw pictures in rows and columns.

    Parameters
    ----------
    rows : sequence of sequences of ndarray
        (H, W, 3) uint8 of any sizes; large ones are shrunk to 256 pixels a side.
    titles : sequence of str
        Of the columns.
    """
    cells = [[_small(picture) for picture in row] for row in rows]
    wide = [max(row[i].shape[1] for row in cells) for i in range(len(titles))]
    drawn = [_head(titles, wide)]
    for row in cells:
        tall = max(cell.shape[0] for cell in row)
        drawn.append(np.concatenate([_padded(cell, tall, width) for cell, width in zip(row, wide, strict=True)], 1))
    sheet = np.concatenate(drawn)
    return Picture(torch.from_numpy(sheet).permute(2, 0, 1).float() / 255)


def _small(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    if factor == 1:
        return picture
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA))


def _padded(cell: Pixels, height: int, width: int) -> Pixels:
    white = np.full((height + GAP, width + GAP, 3), 255, np.uint8)
    white[: cell.shape[0], : cell.shape[1]] = cell
    return white


def _head(titles: Sequence[str], wide: Sequence[int]) -> Pixels:
    parts = []
    for title, width in zip(titles, wide, strict=True):
        part = np.full((HEAD, width + GAP, 3), 255, np.uint8)
        cv2.putText(part, title, (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        parts.append(part)
    return np.concatenate(parts, 1)
