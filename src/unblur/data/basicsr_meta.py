"""``meta_info.pkl`` beside an LMDB of the released format: read as data, never run as the program that a pickle is."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any, NoReturn

from unblur.errors import UnblurError


def read_meta_info(path: Path) -> dict[str, tuple[int, int, int]]:
    """Height, width and channels by key, of a released LMDB's ``meta_info.pkl``; nothing in it is executed.

    It holds ``{"name": ..., "resolution": "C_H_W", "keys": [...]}``; the resolution may be a list, of one for all keys
    or of one for each.
    """
    try:
        with path.open("rb") as file:
            meta = _Plain(io.BytesIO(file.read())).load()
    except pickle.UnpicklingError as error:
        raise UnblurError(path, str(error), "make the LMDB again with unblur data lmdb") from error
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise UnblurError(path, "is damaged", "get it again, or make the LMDB again") from error
    try:
        keys = [key.decode() if isinstance(key, bytes) else str(key) for key in meta["keys"]]
        resolution = meta["resolution"]
        listed = [resolution] if isinstance(resolution, str) else list(resolution)
        shapes = [_shape(text) for text in listed]
        if len(shapes) not in (1, len(keys)):
            raise ValueError(f"{len(shapes)} resolutions of {len(keys)} keys")
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise UnblurError(path, f"does not tell keys and resolution ({error})", "make the LMDB again") from error
    return dict(zip(keys, shapes if len(shapes) == len(keys) else shapes * len(keys), strict=True))


class _Plain(pickle._Unpickler):
    """Builds dictionaries, lists, numbers and strings, and nothing else.

    Python's own, not that in C, which makes room for as many things as four bytes of a damaged pickle may number.
    """

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which a list of keys does not need")


def _shape(text: Any) -> tuple[int, int, int]:
    match = re.fullmatch(r"([13])_(\d{1,6})_(\d{1,6})", str(text))
    if match is None:
        raise ValueError(f"resolution {str(text)[:40]!r}")
    channels, height, width = (int(number) for number in match.groups())
    return height, width, channels
