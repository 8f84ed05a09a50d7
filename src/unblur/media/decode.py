"""The bytes of a picture file to an array of numbers."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from unblur.errors import UnblurError
from unblur.media.exif import kept_exif, orientation_of, upright
from unblur.media.header import Format, Header, check_size, damaged, image_format, unsupported
from unblur.media.png import decode_png16
from unblur.media.profile import colour_space, to_srgb
from unblur.media.tiff import decode_tiff16, is_deep
from unblur.media.webp import is_lossy

# Named here and not through Image.open, so that nothing but these five decoders ever sees a file.
_DECODERS: dict[Format, type[ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}
_limit_lock = threading.Lock()


@dataclass(frozen=True)
class Decoded:
    """A picture the right way up, in its own colour space.

    Attributes
    ----------
    array : numpy.ndarray
        (H, W, C) uint8 or uint16, C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha (not multiplied in).
    icc, exif : bytes or None
        The colour profile that fits `array`, and what `kept_exif` keeps.
    """

    array: np.ndarray
    icc: bytes | None
    exif: bytes | None


def decode(path: str | os.PathLike[str], data: bytes, header: Header, max_pixels: int) -> Decoded:
    """Decode `data`, whose header has been read and checked; `path` is for errors only.

    Raises
    ------
    UnblurError
        For kinds of pixels that are not supported (floating point, LAB).
    Exception
        Whatever the decoders raise on damaged bytes.
    """
    if header.format == "tiff" and header.bits == 16 and is_deep(data):
        array, orientation, icc = decode_tiff16(data)
        return Decoded(upright(array, orientation), icc, _exif_of_tiff(data))
    with _above_pillows_limit(header.width * header.height):
        image = _DECODERS[header.format](BytesIO(data))
        check_size(path, image.width, image.height, max_pixels)
        image.load()
    if header.format == "png" and header.bits == 16:
        # Loaded above all the same: Pillow tells a truncated file, OpenCV would write to the terminal.
        array, icc = decode_png16(data), image.info.get("icc_profile") or None
    else:
        array, icc = _eight_bits(path, data, header, image)
    return Decoded(upright(array, orientation_of(image)), icc, kept_exif(image))


def picture_size(path: str | os.PathLike[str], file: BinaryIO) -> tuple[int, int]:
    """Height and width of a picture the right way up, from the head of its file.

    Parameters
    ----------
    path : str or path
        For errors only.
    file : binary file
        Open at its start.

    Raises
    ------
    UnblurError
        Not a picture, or its head is damaged.
    """
    kind = image_format(file.read(16))
    if kind is None:
        raise UnblurError(path, "is not a PNG, JPEG, TIFF, WebP or BMP picture", "convert it or move it away")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _DECODERS[kind](file)
            # Where it stands behind the pixels of a PNG, which is hardly ever so, looking for it would decode them.
            # Pillow has turned the size of a TIFF already.
            told = kind in ("jpeg", "webp") or (kind == "png" and "exif" in image.info)
            turned = told and orientation_of(image) in (5, 6, 7, 8)
    except Exception as fault:
        raise damaged(path) from fault
    return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _above_pillows_limit(pixels: int) -> Iterator[None]:
    """Lift Pillow's size limit, a global variable, for a picture that ours allows."""
    if Image.MAX_IMAGE_PIXELS is None or pixels <= Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _exif_of_tiff(data: bytes) -> bytes | None:
    try:
        return kept_exif(_DECODERS["tiff"](BytesIO(data)))
    except Exception:  # Pillow does not know every layout that tifffile reads
        return None


def _eight_bits(
    path: str | os.PathLike[str], data: bytes, header: Header, image: ImageFile.ImageFile
) -> tuple[np.ndarray, bytes | None]:
    """A loaded image as (H, W, C) uint8, and the profile that fits it."""
    icc = image.info.get("icc_profile") or None
    if image.mode == "CMYK":
        return np.asarray(to_srgb(image, icc)), None
    if image.mode in ("I", "F", "LAB", "HSV") or image.mode.startswith("I;"):
        raise unsupported(path, image.mode)
    alpha = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La"):
        return _array(image.convert("LA" if alpha else "L")), icc
    array = _array(image.convert("RGBA" if alpha else "RGB"))
    if header.format == "bmp" and alpha and not array[:, :, 3].any():
        # Old programs leave the fourth byte at zero and mean opaque.
        array = array[:, :, :3]
    # A palette says nothing about grey, and WebP has no grey: there the colours decide.
    if (image.mode in ("P", "PA") or header.format == "webp") and colour_space(icc) != "RGB":
        colours = array[:, :, :3].astype(np.int16)
        if np.ptp(colours, axis=2).max() <= (header.format == "webp" and is_lossy(data)):
            array = array[:, :, [1, 3] if array.shape[2] == 4 else [1]]
    return array, icc


def _array(image: Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array
