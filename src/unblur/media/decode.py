"""Decode picture files to arrays, upright.

Pillow reads the headers and all pixels of 8 bits. It would cut 16 bits to 8, so that OpenCV decodes such a PNG and
tifffile such a TIFF.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import cv2
import numpy as np
import tifffile
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from unblur.errors import UnblurError
from unblur.media import webp
from unblur.media.contents import (
    DEFAULT_MAX_PIXELS,
    Format,
    check_size,
    damaged,
    picture_format,
    truncated,
    unsupported,
)
from unblur.media.profile import colour_space, to_srgb

# Named here and not through Image.open, so that nothing but these five decoders ever sees a file.
_DECODERS: dict[Format, type[ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}
_limit_lock = threading.Lock()
# What decoders raise where the bytes end too early; Pillow wraps it in a SyntaxError.
_AT_THE_END = (EOFError, IndexError, struct.error)
# What tifffile has to say about odd tags is for programs that ask for it, not for the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_BITS, _ORIENTATION, _PROFILE, _DNG_VERSION = 258, 274, 34675, 50706
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_ASSOCIATED, _UNASSOCIATED = 1, 2

_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
# Description, make, model, software, date, artist, copyright. The rest of the first directory says how the old file was
# laid out, or is a thumbnail of the blurry picture.
_KEPT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
# Width, height, a pointer: they may be wrong in the new file.
_DROPPED = (0xA002, 0xA003, 0xA005)
# One JPEG segment holds 65533 bytes; larger ones are maker's notes and previews.
_LARGEST_EXIF = 60_000


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, upright, in its own colour space.

    Attributes
    ----------
    array : numpy.ndarray
        (H, W, C) uint8 or uint16, C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha (not multiplied in).
    icc, exif : bytes or None
        The colour profile that fits `array`; date, camera, lens, exposure, place and author without orientation.
    """

    array: np.ndarray
    icc: bytes | None
    exif: bytes | None


def decode_image(path: str | os.PathLike[str], data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Decode the bytes of a picture file; as `unblur.media.image.read_image`, which says what is read and refused.

    Parameters
    ----------
    path : str or path
        Where `data` came from, for errors.
    """
    kind = picture_format(path, data[:16])
    with _decoder_errors(path):
        width, height = 0, 0
        if kind == "tiff":
            with tifffile.TiffFile(BytesIO(data)) as file:
                page = _first_page(path, file)
                width, height = page.imagewidth, page.imagelength
                check_size(path, width, height, max_pixels)
                if (
                    page.dtype == np.uint16
                    and page.bitspersample == 16
                    and page.photometric in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB)
                ):
                    return _decode_tiff16(data, page)
        elif kind == "webp":
            width, height = webp.canvas(data)
            check_size(path, width, height, max_pixels)
        elif kind == "png":
            _check_chunks(path, data)
        # Of PNG, JPEG and BMP the constructor reads the header only, and Pillow's limit is not asked.
        with _above_pillows_limit(width * height):
            image = _DECODERS[kind](BytesIO(data))
            check_size(path, image.width, image.height, max_pixels)
            image.load()
        if kind == "png" and data[24] == 16:
            # Loaded above all the same: Pillow notices a truncated file, OpenCV would write to the terminal.
            array, icc = _decode_png16(data, image.info.get("transparency")), image.info.get("icc_profile") or None
        else:
            array, icc = _eight_bits(path, data, kind, image)
        return Decoded(_upright(array, _orientation_of(image)), icc, _kept_exif(image))


def picture_size(path: str | os.PathLike[str], file: BinaryIO) -> tuple[int, int]:
    """Height and width of a picture once it is upright, from the header of its file.

    Parameters
    ----------
    path : str or path
        For errors only.
    file : binary file
        Open at its start.

    Raises
    ------
    UnblurError
        Not a picture, or its header is damaged.
    """
    kind = picture_format(path, file.read(16))
    file.seek(0)
    with _decoder_errors(path):
        if kind == "tiff":
            with tifffile.TiffFile(file) as tiff:
                page = _first_page(path, tiff)
                width, height = page.imagewidth, page.imagelength
                orientation = page.tags.valueof(_ORIENTATION, 1)
        else:
            image = _DECODERS[kind](file)
            # Where it stands behind the pixels of a PNG, which is hardly ever so, looking for it would decode them.
            known = kind in ("jpeg", "webp") or (kind == "png" and "exif" in image.info)
            width, height, orientation = image.width, image.height, _orientation_of(image) if known else 1
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def check_picture(path: str | os.PathLike[str], data: bytes) -> tuple[int, int]:
    """Height and width of a whole picture file, as `picture_size`; refuses what is seen to be cut short or damaged.

    Nothing is decoded, so that damage within the pixels of other formats than PNG goes unseen.
    """
    kind = picture_format(path, data[:16])
    with _decoder_errors(path):
        if kind == "png":
            _check_chunks(path, data)
        elif kind == "webp":
            webp.canvas(data)
    return picture_size(path, BytesIO(data))


@contextmanager
def _decoder_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever decoders raise on hostile bytes (SyntaxError, KeyError, struct.error ...) into an UnblurError."""
    try:
        # Pillow warns of every oddity in a file; what matters ends in an exception.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnblurError:
        raise
    except MemoryError as fault:
        raise UnblurError(path, "does not fit into the memory", "make the picture smaller") from fault
    except Exception as fault:
        early = isinstance(fault, _AT_THE_END) or isinstance(fault.__cause__, (*_AT_THE_END, TypeError))
        if early or re.search("truncated|corrupted", str(fault), re.IGNORECASE):
            raise truncated(path) from fault
        kind = re.search("unsupported|not supported|unknown|cannot handle", str(fault), re.IGNORECASE)
        if kind and not isinstance(fault, TypeError):
            raise unsupported(path, fault) from fault
        # Pillow says so where a file gives no size, or a side of zero.
        raise damaged(path, "no pixels" if "not identified" in str(fault) else fault) from fault


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


def _first_page(path: str | os.PathLike[str], file: tifffile.TiffFile) -> tifffile.TiffPage:
    page = file.pages.first
    file.filehandle.seek(8)
    # Camera raw files (DNG, NEF, CR2 ...) are TIFF files whose first picture is a thumbnail.
    if _DNG_VERSION in page.tags or page.subfiletype & 1 or file.filehandle.read(2) == b"CR":
        raise UnblurError(path, "is a camera raw file", "export it from your raw converter as a 16-bit TIFF")
    if not page.dataoffsets or (page.samplesperpixel > 1 and _BITS not in page.tags):
        raise EOFError("truncated")
    return page


def _check_chunks(path: str | os.PathLike[str], data: bytes) -> None:
    """Walk a PNG to its end, as Pillow does not: https://www.w3.org/TR/png-3/, section 5."""
    position, name, view = 8, b"", memoryview(data)
    while name != b"IEND":
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        (stored,) = struct.unpack_from(">I", data, position + 8 + length)
        # Critical chunks only (upper case): many files in use have a wrong checksum on a comment.
        if not name[0] & 32 and zlib.crc32(view[position + 4 : position + 8 + length]) != stored:
            raise damaged(path, "wrong checksum")
        position += 12 + length


def _decode_png16(data: bytes, key: int | tuple[int, ...] | None) -> np.ndarray:
    """(H, W, C) uint16 of a complete PNG with bit depth 16; the transparent colour `key` becomes alpha."""
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise ValueError("the pixels cannot be decoded")
    # OpenCV keeps blue first, and grey with alpha as four channels.
    pixels = np.atleast_3d(stored)[:, :, {0: [0], 4: [0, 3], 2: [2, 1, 0], 6: [2, 1, 0, 3]}[data[25]]]
    if key is not None:
        alpha = np.where((pixels == key).all(axis=2, keepdims=True), 0, 65535).astype(np.uint16)
        pixels = np.concatenate([pixels, alpha], axis=2)
    return pixels


def _decode_tiff16(data: bytes, page: tifffile.TiffPage) -> Decoded:
    """A page of 16-bit grey or RGB, with or without alpha."""
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count <= 0 or offset + count > len(data):
            raise EOFError("truncated")
    profile = page.tags.valueof(_PROFILE)
    samples, extra = page.samplesperpixel, page.extrasamples[0] if page.extrasamples else None
    colours = 3 if page.photometric == _RGB else 1
    try:
        pixels = page.asarray()
        if page.planarconfig == 2 and samples > 1:
            pixels = np.moveaxis(pixels, 0, -1)
    except ValueError as fault:
        if "imagecodecs" not in str(fault):
            raise
        pixels = _tiff_by_opencv(data, page)
    pixels = pixels.reshape(page.imagelength, page.imagewidth, -1)
    if pixels.shape[2] != samples or pixels.dtype != np.uint16:
        raise _no_compression(page)
    if page.photometric == _MIN_IS_WHITE:
        pixels = np.concatenate([65535 - pixels[:, :, :1], pixels[:, :, 1:]], axis=2)
    has_alpha = samples > colours and extra in (_ASSOCIATED, _UNASSOCIATED)
    pixels = pixels[:, :, : colours + has_alpha]
    if extra == _ASSOCIATED:
        pixels = _unmultiply(pixels)
    try:
        exif = _kept_exif(_DECODERS["tiff"](BytesIO(data)))
    except Exception:  # Pillow does not know every layout that tifffile reads
        exif = None
    upright = _upright(pixels, int(page.tags.valueof(_ORIENTATION, 1)))
    return Decoded(upright, bytes(profile) if profile else None, exif)


def _tiff_by_opencv(data: bytes, page: tifffile.TiffPage) -> np.ndarray:
    """LZW, PackBits and the like, for which tifffile needs a further package; OpenCV brings libtiff."""
    plain = bytearray(data)
    if _ORIENTATION in page.tags:
        # OpenCV would turn the picture; the caller does that for all formats alike.
        struct.pack_into(page.parent.byteorder + "H", plain, page.tags[_ORIENTATION].valueoffset, 1)
    pixels = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise _no_compression(page)
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels


def _no_compression(page: tifffile.TiffPage) -> ValueError:
    name = tifffile.COMPRESSION(page.compression).name
    return ValueError(f"compression {name} is not supported for this kind of picture")


def _unmultiply(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[:, :, -1:].astype(np.float64)
    colours = pixels[:, :, :-1] * (65535.0 / np.maximum(alpha, 1.0))
    colours = np.minimum(np.rint(colours), 65535.0).astype(np.uint16)
    return np.concatenate([colours, pixels[:, :, -1:]], axis=2)


def _eight_bits(
    path: str | os.PathLike[str], data: bytes, kind: Format, image: ImageFile.ImageFile
) -> tuple[np.ndarray, bytes | None]:
    """A loaded image as (H, W, C) uint8, and the profile that fits it."""
    icc = image.info.get("icc_profile") or None
    if image.mode == "CMYK":
        return np.asarray(to_srgb(image, icc)), None
    if image.mode in ("I", "F", "LAB", "HSV") or image.mode.startswith("I;"):
        raise unsupported(path, image.mode)
    alpha = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La"):
        return np.atleast_3d(np.asarray(image.convert("LA" if alpha else "L"))), icc
    array = np.asarray(image.convert("RGBA" if alpha else "RGB"))
    if kind == "bmp" and alpha and not array[:, :, 3].any():
        # Old programs leave the fourth byte at zero and mean opaque.
        array = array[:, :, :3]
    # A palette says nothing about grey, and WebP has no grey: there the colours decide.
    if (image.mode in ("P", "PA") or kind == "webp") and colour_space(icc) != "RGB":
        colours = array[:, :, :3].astype(np.int16)
        if np.ptp(colours, axis=2).max() <= (kind == "webp" and webp.is_lossy(data)):
            array = array[:, :, [1, 3] if array.shape[2] == 4 else [1]]
    return array, icc


def _orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, still to be applied to the loaded `image` (Pillow turns TIFF files itself)."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a malformed block of hints must not cost the picture
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, ...) pixels as stored into the way they are to be seen.

    The orientation names where row 0 and column 0 of the stored picture belong (EXIF 2.32, tag 274): 2, 3, 4 mirror and
    turn in place; 5 to 8 also swap the sides.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _kept_exif(image: Image.Image) -> bytes | None:
    """Date, camera, lens, exposure, place and author as a new EXIF block without orientation; None if empty."""
    try:
        old, new = image.getexif(), Image.Exif()
        for tag in _KEPT:
            if tag in old:
                new[tag] = old[tag]
        for directory in (_EXIF_DIRECTORY, _GPS_DIRECTORY):
            fields = {tag: value for tag, value in old.get_ifd(directory).items() if tag not in _DROPPED}
            if fields:
                new.get_ifd(directory).update(fields)
        block = new.tobytes() if len(new) or new.get_ifd(_EXIF_DIRECTORY) or new.get_ifd(_GPS_DIRECTORY) else b""
    except Exception:  # as above
        return None
    return block if 0 < len(block) <= _LARGEST_EXIF else None
