"""A picture in memory; reading and writing PNG, JPEG, TIFF, WebP and BMP files."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.media.atomic import atomic_path
from unblur.media.contents import DEFAULT_MAX_PIXELS, Format, read_contents
from unblur.media.decode import Decoded, decode_image
from unblur.media.encode import encode

__all__ = ["DEFAULT_MAX_PIXELS", "WRITABLE", "Picture", "read_image", "write_image"]

# Suffixes that can be written. Reading goes by content.
WRITABLE: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
    ".bmp": "bmp",
    ".dib": "bmp",
}
_LONGEST_SIDE: dict[Format, int] = {"jpeg": 65_500, "webp": 16_383}


@dataclass(frozen=True)
class Picture:
    """An upright picture in its own RGB space, with the metadata of its file.

    Attributes
    ----------
    pixels : Tensor
        (3, H, W) float32 RGB in [0, 1]: the file's numbers divided by 255 or 65535. The planes are equal if `grey`.
    alpha : Tensor or None
        (1, H, W) float32 in [0, 1], 0 transparent, not multiplied into `pixels`.
    bits : int
        8 or 16, per sample in the file.
    grey : bool
        Whether the file has one colour channel, or a palette of greys.
    icc : bytes or None
        The ICC profile that says what the numbers in `pixels` mean; sRGB without one.
    path : Path or None
        Where it was read from.
    exif : bytes or None
        Date, camera, place and author; never an orientation, because `pixels` are already turned.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None
    path: Path | None = None
    exif: bytes | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        """Columns."""
        return self.pixels.shape[2]

    def with_pixels(self, pixels: Tensor) -> Picture:
        """The same picture with other `pixels`, (3, H, W) of the same size in [0, 1]; grey stays grey (by the mean).

        Raises
        ------
        ValueError
            If the shape differs.
        """
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"pixels must be {tuple(self.pixels.shape)}, got {tuple(pixels.shape)}")
        pixels = pixels.detach().to("cpu", torch.float32)
        if self.grey:
            pixels = pixels.mean(dim=0, keepdim=True).expand(3, -1, -1).contiguous()
        return replace(self, pixels=pixels)

    def save(self, path: str | os.PathLike[str], quality: int = 95) -> Path:
        """Write the picture; see `write_image`."""
        return write_image(path, self, quality=quality)


def read_image(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a PNG, JPEG, TIFF, WebP or BMP picture; the content decides which, not the name.

    The EXIF orientation is applied. Grey, 16 bits per sample, alpha (also of a palette or a transparent colour) and
    the ICC profile are kept. CMYK becomes sRGB, through the profile if there is one. Of a file with several pages or
    frames the first is read. Fewer than 8 bits become 8; 16-bit CMYK is read as 8-bit.

    Parameters
    ----------
    path : str or path
        The file; the name may hold any characters.
    max_pixels : int
        Refuse pictures with more pixels than this, before decoding: a small file can unpack to more than the memory
        holds.

    Returns
    -------
    Picture

    Raises
    ------
    UnblurError
        If the file is missing, a folder, empty, truncated, damaged, without pixels, too large, or not such a picture.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Picture(torch.rand(3, 4, 6)).save(Path(folder) / "a.png")
    ...     read_image(file).pixels.shape
    torch.Size([3, 4, 6])
    """
    return _picture(Path(path), decode_image(path, read_contents(path, "name a picture in it"), max_pixels=max_pixels))


def write_image(path: str | os.PathLike[str], picture: Picture, *, quality: int = 95) -> Path:
    """Write a picture; the suffix of `path` decides the format. The file appears whole or not at all.

    ========  =======================  ==========================  =======================================
    format    depth                    alpha                       profile
    ========  =======================  ==========================  =======================================
    PNG       8 or 16, as the picture  kept                        kept
    TIFF      8 or 16, as the picture  kept                        kept
    WebP      8                        kept                        kept (grey profile: turned into sRGB)
    JPEG      8                        laid over white             kept
    BMP       8                        kept                        colours turned into sRGB
    ========  =======================  ==========================  =======================================

    Values are clamped to [0, 1] and rounded to the nearest step. EXIF goes into PNG, JPEG and WebP.

    Parameters
    ----------
    path : str or path
        .png, .jpg, .jpeg, .tif, .tiff, .webp or .bmp; missing folders are made.
    picture : Picture
        What to write.
    quality : int
        1 to 100, for JPEG and WebP; JPEG keeps full colour resolution from 90 on, WebP is lossless at 100.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    UnblurError
        If the suffix is unknown, the format cannot hold the size, values are not numbers, or the place cannot be
        written to.
    """
    kind = WRITABLE.get(Path(path).suffix.lower())
    if kind is None:
        raise UnblurError(
            path, "does not name a known picture format", "end the name with .png, .jpg, .tif, .webp or .bmp"
        )
    longest = _LONGEST_SIDE.get(kind, 2**31 - 1)
    if max(picture.width, picture.height) > longest:
        raise UnblurError(
            path, f"{kind.upper()} holds at most {longest} pixels a side", "end the name with .png or .tif"
        )
    if not all(bool(plane.isfinite().all()) for plane in (picture.pixels, picture.alpha) if plane is not None):
        raise UnblurError(path, "the result holds values that are not numbers", "run again with `dtype=float32`")
    deep = picture.bits == 16 and kind in ("png", "tiff")
    array = _quantised(picture, 16 if deep else 8, over_white=kind == "jpeg")
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode(array, kind, quality, picture.icc, picture.exif))
    return Path(path)


def _picture(path: Path, decoded: Decoded) -> Picture:
    channels, bits = decoded.array.shape[2], 8 * decoded.array.itemsize
    planes = torch.from_numpy(np.ascontiguousarray(decoded.array.transpose(2, 0, 1), dtype=np.float32))
    planes /= 2**bits - 1
    colours = 1 if channels <= 2 else 3
    alpha = planes[colours:].clone() if channels > colours else None
    pixels = planes[:colours].expand(3, -1, -1).contiguous()
    return Picture(pixels, alpha, bits, colours == 1, decoded.icc, path, decoded.exif)


def _quantised(picture: Picture, bits: int, over_white: bool) -> np.ndarray:
    """(H, W, C) uint8 or uint16, C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""
    pixels, alpha = picture.pixels.detach().to("cpu", torch.float32), picture.alpha
    if picture.grey:
        pixels = pixels.mean(dim=0, keepdim=True)
    planes = pixels.clamp(0, 1)
    if alpha is not None:
        alpha = alpha.detach().to("cpu", torch.float32).clamp(0, 1)
        planes = planes * alpha + (1 - alpha) if over_white else torch.cat([planes, alpha])
    rounded = (planes * (2**bits - 1)).round_().permute(1, 2, 0).contiguous().numpy()
    return rounded.astype(np.uint8 if bits == 8 else np.uint16)
