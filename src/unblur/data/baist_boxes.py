"""Where the person is in a picture of B-AIST++: pickles, which are taken apart here and never run."""

from __future__ import annotations

import pickletools
import struct
from pathlib import Path

from unblur.data.exposure_metadata import Box

_NUMBERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"})
_FORMATS = {"f4": "f", "f8": "d", "i4": "i", "i8": "q"}
_KEY = "bbox"
LONGEST = 1 << 20


def read_box(path: Path) -> Box | None:
    """The numbers behind the key ``bbox``: left, top, right, bottom in pixels, perhaps how sure the detector was.

    They may be a list, a tuple or an array.

    Returns
    -------
    tuple of float or None
        None if there is no such file, or no box in it that can be told.
    """
    try:
        if path.stat().st_size > LONGEST:
            return None
        operations = [(code.name, value) for code, value, _ in pickletools.genops(path.read_bytes())]
    except Exception:  # a damaged pickle raises whatever it likes
        return None
    start = next((i for i, (_, value) in enumerate(operations) if value == _KEY), None)
    if start is None:
        return None
    box = _plain(operations[start + 1 :]) or _array(operations[start + 1 :])
    return box if box and box[0] < box[2] and box[1] < box[3] and all(abs(n) < 1e9 for n in box) else None


def _plain(operations: list[tuple[str, object]]) -> Box | None:
    """Numbers one after the other."""
    found: list[float] = []
    for name, value in operations:
        if name in _NUMBERS:
            found.append(float(value))  # type: ignore[arg-type]
        elif name not in ("EMPTY_LIST", "LIST", "MARK", "MEMOIZE", "BINPUT", "PUT", "LONG_BINPUT", "APPEND"):
            break
    return tuple(found) if len(found) in (4, 5) else None


def _array(operations: list[tuple[str, object]]) -> Box | None:
    """The first bytes that are four or five numbers of the type that is named before them, or (protocol 5) after."""
    kind = payload = None
    for _, value in operations:
        if isinstance(value, str) and value in _FORMATS:
            kind = _FORMATS[value]
        elif isinstance(value, (bytes, bytearray)) and len(value) >= 16 and payload is None:
            payload = bytes(value)
        if kind and payload:
            count, rest = divmod(len(payload), struct.calcsize(kind))
            return tuple(struct.unpack(f"<{count}{kind}", payload)) if count in (4, 5) and not rest else None
    return None
