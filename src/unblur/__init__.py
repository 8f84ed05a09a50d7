"""Undo motion blur, and see what happened while the shutter was open.

>>> import unblur                                                        # doctest: +SKIP
>>> unblur.deblur("photo.jpg").save("sharp.jpg")                         # doctest: +SKIP
>>> unblur.frames("photo.jpg", n=51).save("moment.mp4")                  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unblur._version import __version__
from unblur.errors import UnblurError

if TYPE_CHECKING:
    from unblur.datasets.augment import augment
    from unblur.pipeline.blur_transfer import load_blur_space
    from unblur.pipeline.restore import load
    from unblur.tasks.burst import burst
    from unblur.tasks.camera_shake import deblur_camera_shake
    from unblur.tasks.deblur import deblur
    from unblur.tasks.faces import load_faces
    from unblur.tasks.frames import frames
    from unblur.tasks.inspect import inspect
    from unblur.tasks.order import order
    from unblur.tasks.reblur import apply_blur, encode_blur, sample_blur
    from unblur.tasks.search import deblur_by_search

__all__ = [
    "UnblurError",
    "__version__",
    "apply_blur",
    "augment",
    "burst",
    "deblur",
    "deblur_by_search",
    "deblur_camera_shake",
    "encode_blur",
    "frames",
    "inspect",
    "load",
    "load_blur_space",
    "load_faces",
    "order",
    "sample_blur",
]

# Imported when first used: torch takes seconds, `import unblur` and the command line's help must not.
_HOMES = {
    "apply_blur": "unblur.tasks.reblur",
    "augment": "unblur.datasets.augment",
    "burst": "unblur.tasks.burst",
    "deblur": "unblur.tasks.deblur",
    "deblur_by_search": "unblur.tasks.search",
    "deblur_camera_shake": "unblur.tasks.camera_shake",
    "encode_blur": "unblur.tasks.reblur",
    "frames": "unblur.tasks.frames",
    "inspect": "unblur.tasks.inspect",
    "load": "unblur.pipeline.restore",
    "load_faces": "unblur.tasks.faces",
    "load_blur_space": "unblur.pipeline.blur_transfer",
    "order": "unblur.tasks.order",
    "sample_blur": "unblur.tasks.reblur",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unblur' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
