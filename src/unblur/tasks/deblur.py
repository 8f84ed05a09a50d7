"""A blurry picture in, a sharp one out."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from unblur.media.image import Picture
from unblur.metrics.verdict import Verdict
from unblur.tasks.check import verdict_of, warning_of
from unblur.tasks.engine import Engine, Progress, load
from unblur.tasks.report import Residual, measure_residual
from unblur.tasks.source import Source, name_of, open_picture, steps_option


@dataclass(frozen=True)
class Deblurred:
    """A sharp picture and the check it carries.

    Attributes
    ----------
    picture : Picture
        With the depth, alpha, greyness and profile of the blurry one.
    residual : Residual
        How far the film that starts from the picture is from explaining the blur.
    tile : int
        Side of the tiles that were used.
    engine : Engine
        What made it.
    verdict : Verdict or None
        Whether motion blurred the photo at all, if that was looked at.
    """

    picture: Picture
    residual: Residual
    tile: int
    engine: Engine
    verdict: Verdict | None = None

    @property
    def image(self) -> Tensor:
        """The sharp picture, (3, H, W) float32 in [0, 1]."""
        return self.picture.pixels

    @property
    def warning(self) -> str | None:
        """One line where the photo is out of focus or sharp already, rather than blurred by motion."""
        return warning_of(self.verdict)

    def save(self, path: str | PathLike[str], quality: int = 95) -> Path:
        """Write it; the suffix decides the format. Written whole or not at all."""
        return self.picture.save(Path(path), quality=quality)


def deblur(
    source: Source,
    model: str | PathLike[str] | nn.Module | Engine | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    consistency: int | None = None,
    check: bool = True,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Deblurred:
    """Make a blurry picture sharp, as it was in the middle of the exposure.

    Parameters
    ----------
    source : path, Picture or Tensor
        A file, or a picture in memory; a tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1].
    model, device, dtype, tile
        See `unblur.load`; without a model the best one is taken if it is quick enough for this picture, else the fast.
    consistency : int
        Steps that bring the photo's own light back into the sharp picture, along the paths that were found: 4 if left
        out; 0 leaves it as the model made it. See `unblur.runtime.consistency`.
    check : bool
        See whether it is motion that blurred the picture.
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
    >>> unblur.deblur("photo.jpg").save("sharp.jpg")                 # doctest: +SKIP
    """
    picture = open_picture(source, max_pixels)
    engine = load(model, device, dtype, tile, sizes=[picture.width * picture.height])
    subject = name_of(picture)
    seen = engine.see(picture.pixels[None], subject, consistency=steps_option(consistency), progress=progress)
    if progress is not None:
        progress("checking", 0, 1)
    residual = measure_residual(seen.film, picture.pixels)
    sharp = seen.middle(subject)
    verdict = verdict_of(seen.film, picture.pixels) if check else None
    return Deblurred(picture.with_pixels(sharp), residual, seen.tile, engine, verdict)
