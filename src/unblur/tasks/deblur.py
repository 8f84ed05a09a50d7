"""A blurry picture in, a sharp one out."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.analysis.blur_type import Verdict
from unblur.media.image import Picture
from unblur.pipeline.reblur_residual import Residual, measure_residual
from unblur.pipeline.restore import Pipeline, Progress, load
from unblur.tasks.blur_check import verdict_of, warning_of
from unblur.tasks.faces import Faces, RestoredFaces
from unblur.tasks.inputs import Source, name_of, open_picture, steps_option


@dataclass(frozen=True, kw_only=True)
class Sharpened:
    """A sharp picture, however it was found.

    Attributes
    ----------
    picture : Picture
        With the depth, alpha, greyness and profile of the blurry one.
    pipeline : Pipeline
        What made it, or what the search for it began with.
    verdict : Verdict or None
        Whether motion blurred the photo at all, if that was looked at.
    """

    picture: Picture
    pipeline: Pipeline
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


@dataclass(frozen=True, kw_only=True)
class Deblurred(Sharpened):
    """A sharp picture and the check it carries.

    Attributes
    ----------
    residual : Residual
        How far the film that starts from the picture is from explaining the blur.
    tile : int
        Side of the tiles that were used.
    faces : RestoredFaces or None
        What became of each face, if faces were restored by themselves.
    """

    residual: Residual
    tile: int
    faces: RestoredFaces | None = None


def opened(
    source: Source,
    model: str | PathLike[str] | nn.Module | Pipeline | None,
    device: str | torch.device,
    dtype: str | torch.dtype,
    tile: int | str,
    max_pixels: int | None,
) -> tuple[Picture, Pipeline]:
    """The blurry picture, and the model to look at it with; see `deblur`."""
    picture = open_picture(source, max_pixels)
    return picture, load(model, device, dtype, tile, sizes=[picture.width * picture.height])


class Look:
    """What a model makes of a blurry picture, before it is a `Sharpened` one.

    Attributes
    ----------
    blurry : Picture
    seen : Restoration
    """

    def __init__(
        self, blurry: Picture, pipeline: Pipeline, consistency: int | None = None, progress: Progress | None = None
    ) -> None:
        self.blurry, self._engine, self._subject = blurry, pipeline, name_of(blurry)
        steps = steps_option(consistency)
        self.seen = pipeline.see(blurry.pixels[None], self._subject, consistency=steps, progress=progress)

    def sharp(self) -> Tensor:
        """The sharp picture, (3, H, W) in [0, 1]."""
        return self.seen.middle(self._subject)

    def finished(self, sharp: Tensor, check: bool) -> dict[str, Any]:
        """The fields of `Sharpened`, of what became of the sharp picture (3, H, W)."""
        verdict = verdict_of(self.seen.film, self.blurry.pixels) if check else None
        return {"picture": self.blurry.with_pixels(sharp), "pipeline": self._engine, "verdict": verdict}


def deblur(
    source: Source,
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    consistency: int | None = None,
    check: bool = True,
    faces: Faces | None = None,
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
        out; 0 leaves it as the model made it. See `unblur.pipeline.consistency`.
    check : bool
        See whether it is motion that blurred the picture.
    faces : Faces, optional
        Restores faces by a model of their own; see `unblur.load_faces`.
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
    look = Look(*opened(source, model, device, dtype, tile, max_pixels), consistency, progress)
    seen = None if faces is None else faces.see(look.blurry, progress=progress)
    sharp = look.sharp() if seen is None else seen.still(look.sharp())
    film = look.seen.film if seen is None else seen.film(look.seen.film)
    if progress is not None:
        progress("checking", 0, 1)
    residual = measure_residual(film, look.blurry.pixels)
    return Deblurred(residual=residual, tile=look.seen.tile, faces=seen, **look.finished(sharp, check))
