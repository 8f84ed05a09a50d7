"""What a user hands in: a file, a picture in memory, or a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

from torch import Tensor

from unblur.errors import UnblurError
from unblur.media.decode import picture_size
from unblur.media.image import DEFAULT_MAX_PIXELS, Picture, read_image

Source = str | PathLike[str] | Picture | Tensor


@dataclass(frozen=True)
class PictureFile:
    """A picture that has not been read yet; its header is read once, when its size is first needed.

    Attributes
    ----------
    path : Path
    max_pixels : int, optional
        Files with more pixels are refused when they are read.
    """

    path: Path
    max_pixels: int | None = None

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the upright picture; None where the header cannot be read."""
        try:
            if not self.path.is_file():  # opening a pipe would wait for ever
                return None
            with self.path.open("rb") as file:
                return picture_size(self.path, file)
        except (OSError, UnblurError):
            return None

    def read(self) -> Picture:
        """Decode the picture; see `open_picture` for errors."""
        return open_picture(self.path, self.max_pixels)


def open_picture(source: Source, max_pixels: int | None = None) -> Picture:
    """Read a file, or take a picture or a tensor as it is.

    Parameters
    ----------
    source : path, Picture or Tensor
        A tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1]; it is saved later with 8 bits.
    max_pixels : int, optional
        Files with more pixels are refused.

    Raises
    ------
    UnblurError
        The file cannot be read; see `unblur.media.image.read_image`.
    TypeError, ValueError
        Not one of these things; not of these shapes.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, str | PathLike):
        return read_image(source, max_pixels=max_pixels or DEFAULT_MAX_PIXELS)
    raise TypeError(f"expected a path, a Picture or a tensor, got {type(source).__name__}")


def _from_tensor(image: Tensor) -> Picture:
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(f"a picture is (3, H, W) or (1, 3, H, W), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"a picture is floating point in [0, 1], got {image.dtype}")
    return Picture(image.detach().float().cpu().clamp(0, 1))


def name_of(picture: Picture) -> str:
    """What to call a picture in messages."""
    return str(picture.path) if picture.path is not None else "the picture"
