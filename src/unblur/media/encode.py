"""An array of numbers to the bytes of a picture file."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from unblur.media.header import Format
from unblur.media.png import encode_png16
from unblur.media.profile import colour_space, to_srgb
from unblur.media.tiff import encode_tiff

_BIT_FIELDS = 3


def encode(array: np.ndarray, kind: Format, quality: int, icc: bytes | None, exif: bytes | None) -> bytes:
    """Encode a picture.

    Parameters
    ----------
    array : numpy.ndarray
        (H, W, C) uint8, or uint16 for PNG and TIFF; C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. JPEG takes
        no alpha.
    kind : {"png", "jpeg", "tiff", "webp", "bmp"}
        The format.
    quality : int
        1 to 100 for JPEG and WebP.
    icc, exif : bytes or None
        Written where the format has room. A profile for which there is none is applied instead, so that the colours
        become sRGB; a grey profile on colours, or the reverse, is left out.
    """
    space = colour_space(icc)
    # Many grey files carry an RGB profile (a grey sRGB): readers cope, so it stays.
    if (space == "GRAY" and array.shape[2] >= 3) or space == "CMYK":
        icc = None
    if icc and (kind == "bmp" or (kind == "webp" and space == "GRAY")):
        array, icc = _without_profile(array, icc), None
    if kind == "tiff":
        return encode_tiff(array, icc)
    if array.dtype == np.uint16:
        return encode_png16(array, icc, exif)
    if kind == "bmp":
        return _encode_bmp(array)
    options: dict[str, Any] = {"icc_profile": icc}
    if exif:
        options["exif"] = exif
    if kind == "jpeg":
        options |= {"quality": quality, "optimize": True, "subsampling": 0 if quality >= 90 else 2}
    elif kind == "png":
        # 40 % faster than the default and 1 % larger.
        options["compress_level"] = 4
    elif kind == "webp":
        options |= {"quality": quality, "lossless": quality >= 100, "exact": True}
    return _by_pillow(array, kind, **options)


def _by_pillow(array: np.ndarray, kind: Format, **options: Any) -> bytes:
    output = BytesIO()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(output, kind.upper(), **options)
    return output.getvalue()


def _without_profile(array: np.ndarray, icc: bytes) -> np.ndarray:
    """(H, W, C) uint8 in the profile's space to sRGB; C = 1 and 2 become 3 and 4."""
    colours = 1 if array.shape[2] <= 2 else 3
    image = Image.fromarray(array[:, :, 0] if colours == 1 else np.ascontiguousarray(array[:, :, :3]))
    return np.concatenate([np.asarray(to_srgb(image, icc)), array[:, :, colours:]], axis=2)


def _encode_bmp(array: np.ndarray) -> bytes:
    if array.shape[2] in (1, 3):
        return _by_pillow(array, "bmp")
    # Pillow writes the fourth byte but not the header (version 4) that makes it alpha. Rows go from the bottom up.
    height, width, _ = array.shape
    body = np.ascontiguousarray(array[::-1, :, [0, 0, 0, 1] if array.shape[2] == 2 else [2, 1, 0, 3]]).tobytes()
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, _BIT_FIELDS, len(body), 2835, 2835, 0, 0)
    head += struct.pack("<4I4s48x", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
    return struct.pack("<2sIII", b"BM", 14 + len(head) + len(body), 0, 14 + len(head)) + head + body
