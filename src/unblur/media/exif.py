"""EXIF: which way up a picture is, and what else is worth keeping."""

from __future__ import annotations

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112
_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
# Description, make, model, software, date, artist, copyright. The rest of the first directory says how the old file was
# laid out, or is a thumbnail of the blurry picture.
_KEPT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
# Width, height, a pointer: they may be wrong in the new file.
_DROPPED = (0xA002, 0xA003, 0xA005)
# One JPEG segment holds 65533 bytes; larger ones are maker's notes and previews.
_LARGEST = 60_000


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, still to be applied to the loaded `image` (Pillow turns TIFF files itself)."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a malformed block of hints must not cost the picture
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
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


def kept_exif(image: Image.Image) -> bytes | None:
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
    return block if 0 < len(block) <= _LARGEST else None
