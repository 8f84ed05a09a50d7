"""Encode arrays as picture files.

Pillow writes 8 bits. It has no PNG or TIFF of 16 bits and RGB: tifffile writes all TIFF, and the PNG is written here,
because OpenCV's knows no grey with alpha and refuses profiles with small faults.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from unblur.media.contents import Format
from unblur.media.profile import colour_space, to_srgb

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
        return _encode_tiff(array, icc)
    if array.dtype == np.uint16:
        return _encode_png16(array, icc, exif)
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


def _encode_tiff(pixels: np.ndarray, icc: bytes | None = None) -> bytes:
    """Encode (H, W, C) uint8 or uint16, C = 1 to 4, deflated, with an ICC profile if given."""
    channels = pixels.shape[2]
    output = BytesIO()
    tifffile.imwrite(
        output,
        pixels[:, :, 0] if channels == 1 else pixels,
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        iccprofile=icc,
        metadata=None,
        software=False,
    )
    return output.getvalue()


def _encode_png16(pixels: np.ndarray, icc: bytes | None = None, exif: bytes | None = None) -> bytes:
    """Encode (H, W, C) uint16, C = 1 to 4 with an ICC profile and EXIF block if given.

    Written after https://www.w3.org/TR/png-3/: every row is stored as the difference to the row above
    (filter 2), which suits photographs and needs no search.
    """
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels, dtype=">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    # The standard wants bytes subtracted modulo 256, which is what uint8 does.
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    parts = [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)),
    ]
    if icc:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if exif:
        parts.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    parts += [_chunk(b"IDAT", zlib.compress(filtered.data, 4)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _without_profile(array: np.ndarray, icc: bytes) -> np.ndarray:
    """Convert (H, W, C) uint8 from the profile's space to sRGB; C = 1 and 2 become 3 and 4."""
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
