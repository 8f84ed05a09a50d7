"""TIFF with 16 bits per sample, which Pillow would cut to 8, and the writing of all TIFF files."""

from __future__ import annotations

import struct
from io import BytesIO

import cv2
import numpy as np
import tifffile

_ORIENTATION = 274
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_ASSOCIATED = 1


def is_deep(data: bytes) -> bool:
    """Whether the first page is 16-bit grey or RGB, with or without alpha, and so for `decode_tiff16`."""
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        return (
            page.dtype == np.uint16
            and page.bitspersample == 16
            and page.photometric in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB)
        )


def decode_tiff16(data: bytes) -> tuple[np.ndarray, int, bytes | None]:
    """Decode the first page of a TIFF file for which `is_deep` holds.

    Returns
    -------
    pixels : numpy.ndarray
        (H, W, C) uint16 as stored (not yet turned), RGB order, C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        Alpha is not multiplied into the colours.
    orientation : int
        The tag of that name, 1 to 8.
    icc : bytes or None
        The profile.

    Raises
    ------
    EOFError
        If pixels lie behind the end of the file.
    ValueError
        If they cannot be decoded.
    """
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if count <= 0 or offset + count > len(data):
                raise EOFError("truncated")
        orientation = int(page.tags.valueof(_ORIENTATION, 1))
        profile = page.tags.valueof(34675)
        samples = page.samplesperpixel
        colours = 3 if page.photometric == _RGB else 1
        try:
            pixels = page.asarray()
            if page.planarconfig == 2 and samples > 1:
                pixels = np.moveaxis(pixels, 0, -1)
        except ValueError as fault:
            if "imagecodecs" not in str(fault):
                raise
            pixels = _decode_by_opencv(data, page)
        pixels = pixels.reshape(page.imagelength, page.imagewidth, -1)
        if pixels.shape[2] != samples or pixels.dtype != np.uint16:
            raise ValueError(
                f"compression {tifffile.COMPRESSION(page.compression).name} is not supported for this kind of picture"
            )
        if page.photometric == _MIN_IS_WHITE:
            pixels = np.concatenate([65535 - pixels[:, :, :1], pixels[:, :, 1:]], axis=2)
        associated = bool(page.extrasamples) and page.extrasamples[0] == _ASSOCIATED
    has_alpha = samples > colours and bool(page.extrasamples) and page.extrasamples[0] in (1, 2)
    pixels = pixels[:, :, : colours + has_alpha]
    return _unmultiply(pixels) if associated else pixels, orientation, bytes(profile) if profile else None


def encode_tiff(pixels: np.ndarray, icc: bytes | None = None) -> bytes:
    """Encode (H, W, C) uint8 or uint16, C = 1 to 4 as in `decode_tiff16`, deflated, with an ICC profile if given."""
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


def _decode_by_opencv(data: bytes, page: tifffile.TiffPage) -> np.ndarray:
    """LZW, PackBits and the like, for which tifffile needs a further package; OpenCV brings libtiff."""
    plain = bytearray(data)
    if _ORIENTATION in page.tags:
        # OpenCV would turn the picture; the caller does that for all formats alike.
        struct.pack_into(page.parent.byteorder + "H", plain, page.tags[_ORIENTATION].valueoffset, 1)
    pixels = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(
            f"compression {tifffile.COMPRESSION(page.compression).name} is not supported for this kind of picture"
        )
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels


def _unmultiply(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[:, :, -1:].astype(np.float64)
    colours = pixels[:, :, :-1] * (65535.0 / np.maximum(alpha, 1.0))
    colours = np.minimum(np.rint(colours), 65535.0).astype(np.uint16)
    return np.concatenate([colours, pixels[:, :, -1:]], axis=2)
