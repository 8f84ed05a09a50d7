"""Whether a photo is what this package is for, blurred by motion, and what to say where it is not."""

from __future__ import annotations

from unblur.analysis.blur_type import Verdict, classify_blur
from unblur.pipeline.restore import Restoration


def check_blur(restoration: Restoration) -> Verdict:
    """What kind of blur a picture has, by its own spectra and by the paths of its film."""
    field = restoration.motion
    return classify_blur(restoration.blurry[0], None if field is None else field.motion().path_length)


def warning_of(verdict: Verdict | None) -> str | None:
    """What to tell who wants a photo sharpened that motion did not blur, in one line."""
    if verdict is None:
        return None
    if verdict.kind == "defocus":
        return "looks out of focus rather than moved, and motion is all that is undone here"
    if verdict.kind == "sharp":
        return "looks sharp already, so there is little to undo"
    return None
