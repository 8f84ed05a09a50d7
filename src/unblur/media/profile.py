"""ICC profiles: their colour space, and conversion to sRGB."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageCms


def colour_space(icc: bytes | None) -> str:
    """``"RGB"``, ``"GRAY"``, ``"CMYK"`` ... as the profile's header says (ICC.1:2022, 7.2.6); ``""`` without one."""
    return icc[16:20].decode("latin-1").strip() if icc and len(icc) >= 128 else ""


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert a grey, RGB or CMYK image (without alpha) to sRGB through its profile.

    Without a profile, or with one that does not fit the image or cannot be used, it is Pillow's plain conversion
    (for CMYK without a profile there is no right answer).

    Returns
    -------
    PIL.Image.Image
        Mode ``"RGB"``.
    """
    expected = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[image.mode]
    if icc and colour_space(icc) == expected:
        try:
            source, target = ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(
                image,
                source,
                target,
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
