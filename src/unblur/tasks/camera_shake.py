"""A photo of a shaken camera in, a sharp one out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.models.registry import DENOISER
from unblur.models.weights import load_weights
from unblur.pipeline.camera_shake import deconvolve, estimate_kernel, extent, noise_level, reblur_residual
from unblur.pipeline.residual import decibels, rms_and_db
from unblur.pipeline.restore import Progress, checked_tile
from unblur.runtime.device import resolve_device
from unblur.runtime.precision import resolve_dtype
from unblur.runtime.runner import Runner
from unblur.tasks.deblur import Sharpened
from unblur.tasks.inputs import Source, name_of, open_picture

SMALLEST = 48
"""Side of a photo, pixels, that a kernel can be read from."""
DENOISINGS = 9
FLAT = 4 / 255
"""Standard deviation of a photo below which there is nothing to read a kernel from."""


@dataclass(frozen=True, kw_only=True)
class Unshaken(Sharpened):
    """A photo with the camera's shake undone.

    Attributes
    ----------
    kernel : Tensor or None
        (n, n), at least 0, of sum 1: how the camera moved; None if the photo had nothing to read it from, and the
        picture is the photo.
    before, after : float
        What the photo itself and the sharp picture, blurred by the kernel, leave of the photo: root mean square of
        stored values.
    """

    kernel: Tensor | None
    before: float
    after: float

    @property
    def length(self) -> float:
        """The longest way across the kernel, pixels."""
        return 0.0 if self.kernel is None else extent(self.kernel)

    @property
    def warning(self) -> str | None:
        """One line where nothing was undone."""
        return None if self.kernel is not None else "has too little texture to read a shake from, so it stays as it is"

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        ends = {"before": self.before, "after": self.after}
        return {
            "shake_length": round(self.length, 1),
            "residual": {name: rms_and_db(rms) for name, rms in ends.items()},
        }

    def __str__(self) -> str:
        if self.kernel is None:
            return "no shake found"
        return f"shake {self.length:.0f} px long, reblur residual {decibels(self.after):.1f} dB"


def load_denoiser(device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Runner:
    """Load the denoiser once, to use it on many photos."""
    place = resolve_device(device)
    return Runner(load_weights(DENOISER).network, place, resolve_dtype(dtype, place))


def deblur_camera_shake(
    source: Source,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    denoiser: Runner | None = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Unshaken:
    """Make a photo sharp that one shake of the camera blurred everywhere alike.

    The shake is read from the photo; see `unblur.pipeline.camera_shake`. Things that moved by themselves are not
    undone, and a photo with no such shake gets worse: `deblur` is for those.

    Parameters
    ----------
    source : path, Picture or Tensor
        A file, or a picture in memory; a tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1].
    device, dtype, tile
        Of the denoiser; see `unblur.load`.
    denoiser : Runner, optional
        Of `load_denoiser`, to load it once for many photos; `device` and `dtype` are ignored then.
    max_pixels : int, optional
        Refuse files with more pixels.
    progress : callable, optional
        Called with (stage, steps done, steps in all).

    Raises
    ------
    UnblurError
        The file cannot be read, an option cannot be met, or memory ran out.

    Examples
    --------
    >>> unblur.deblur_camera_shake("night.jpg").save("sharp.jpg")    # doctest: +SKIP
    """
    runner = denoiser or load_denoiser(device, dtype)
    tile = checked_tile(tile)
    runner.check_tile(tile)
    picture, steps = open_picture(source, max_pixels), 0
    blurry, subject = picture.pixels.float().cpu(), name_of(picture)

    def denoise(image: Tensor, sigma: float) -> Tensor:
        nonlocal steps
        if progress is not None:
            progress("sharpening", steps, DENOISINGS)
        steps += 1
        return runner.denoise(image[None], sigma, tile=tile, subject=subject)[0]

    with torch.inference_mode():
        if min(blurry.shape[-2:]) < SMALLEST or float(blurry.mean(0).std()) < FLAT:
            return Unshaken(picture=picture, kernel=None, before=0.0, after=0.0)
        if progress is not None:
            progress("reading the shake", 0, 1)
        kernel = estimate_kernel(blurry)
        sharp = deconvolve(blurry, kernel, noise_level(blurry), denoise, DENOISINGS - 1)
        before, after = (reblur_residual(blurry, image, kernel) for image in (blurry, sharp))
        return Unshaken(picture=picture.with_pixels(sharp), kernel=kernel, before=before, after=after)
