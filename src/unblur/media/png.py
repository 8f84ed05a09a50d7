"""PNG with 16 bits per sample, which Pillow would cut to 8."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def decode_png16(data: bytes) -> np.ndarray:
    """Decode a 16-bit PNG; a transparent colour (``tRNS``) becomes alpha.

    Parameters
    ----------
    data : bytes
        The whole file, known to be a complete PNG with bit depth 16.

    Returns
    -------
    numpy.ndarray
        (H, W, C) uint16 in RGB order, C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    Raises
    ------
    ValueError
        If it cannot be decoded.
    """
    colour_type = data[25]
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise ValueError("the pixels cannot be decoded")
    if stored.ndim == 2:
        stored = stored[:, :, None]
    # OpenCV keeps blue first, and grey with alpha as four channels.
    wanted = {0: [0], 4: [0, 3], 2: [2, 1, 0], 6: [2, 1, 0, 3]}[colour_type]
    pixels = stored[:, :, wanted]
    key = _transparent_colour(data) if colour_type in (0, 2) else None
    if key is not None and len(key) == pixels.shape[2]:
        alpha = np.where((pixels == key).all(axis=2, keepdims=True), 0, 65535).astype(np.uint16)
        pixels = np.concatenate([pixels, alpha], axis=2)
    return pixels


def encode_png16(pixels: np.ndarray, icc: bytes | None = None, exif: bytes | None = None) -> bytes:
    """Encode (H, W, C) uint16, C = 1 to 4 as in `decode_png16`, with an ICC profile and EXIF block if given.

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
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)),
    ]
    if icc:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if exif:
        parts.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    parts += [_chunk(b"IDAT", zlib.compress(filtered.data, 4)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _transparent_colour(data: bytes) -> np.ndarray | None:
    position = 8
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        if name == b"tRNS":
            return np.frombuffer(data, ">u2", length // 2, position + 8)
        if name == b"IDAT":
            break
        position += 12 + length
    return None
