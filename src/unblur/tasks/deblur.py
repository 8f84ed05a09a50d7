"""A blurry picture in, a sharp one out."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from unblur.analysis.blur_type import Verdict
from unblur.media.image import Picture
from unblur.pipeline.consistency import consistency_steps
from unblur.pipeline.residual import Residual, measure_residual
from unblur.pipeline.restore import Pipeline, Progress, load
from unblur.tasks.blur_check import check_blur, warning_of
from unblur.tasks.faces import Faces, RestoredFaces
from unblur.tasks.inputs import Source, name_of, open_picture


@dataclass(frozen=True, kw_only=True)
class Sharpened:
    """A sharp picture, however it was found.

    Attributes
    ----------
    picture : Picture
        With the depth, alpha, greyness and profile of the blurry one.
    """

    picture: Picture

    @property
    def image(self) -> Tensor:
        """The sharp picture, (3, H, W) float32 in [0, 1]."""
        return self.picture.pixels

    def save(self, path: str | PathLike[str], quality: int = 95) -> Path:
        """Write it; the suffix decides the format. Written whole or not at all."""
        return self.picture.save(Path(path), quality=quality)


@dataclass(frozen=True, kw_only=True)
class SharpenedByModel(Sharpened):
    """A sharp picture that a model made, or that a search found from a model's answer.

    Attributes
    ----------
    pipeline : Pipeline
        What made it, or what the search for it began with.
    verdict : Verdict or None
        Whether motion blurred the photo at all, if that was looked at.
    """

    pipeline: Pipeline
    verdict: Verdict | None = None

    @property
    def warning(self) -> str | None:
        """One line where the photo is out of focus or sharp already, rather than blurred by motion."""
        return warning_of(self.verdict)


@dataclass(frozen=True, kw_only=True)
class Deblurred(SharpenedByModel):
    """A sharp picture and the check it carries.

    Attributes
    ----------
    residual : Residual or None
        How far the film that starts from the picture is from explaining the blur; None without the check.
    tile : int
        Side of the tiles that were used.
    faces : RestoredFaces or None
        What became of each face, if faces were restored by themselves.
    """

    residual: Residual | None
    tile: int
    faces: RestoredFaces | None = None


def deblur(
    source: Source,
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    data_consistency: int | None = None,
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
    data_consistency : int
        Steps that bring the photo's own light back into the sharp picture, along the paths that were found: 4 if left
        out; 0 leaves it as the model made it. See `unblur.pipeline.consistency`.
    check : bool
        See whether it is motion that blurred the picture, and measure the reblur residual. Without the check and
        without data consistency no motion is estimated.
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
    steps = consistency_steps(data_consistency)
    picture = open_picture(source, max_pixels)
    pipeline = load(model, device, dtype, tile, sizes=[picture.width * picture.height])
    made = pipeline.restore(
        picture.pixels[None],
        name_of(picture),
        motion=check or steps > 0,
        data_consistency=steps,
        progress=progress,
    )
    restored = None if faces is None else faces.restore(picture, progress=progress)
    sharp = made.middle if restored is None else restored.still(made.middle)
    residual = verdict = None
    if check and made.film is not None:
        if progress is not None:
            progress("checking", 0, 1)
        film = made.film if restored is None else restored.film(made.film)
        residual, verdict = measure_residual(film, picture.pixels), check_blur(made)
    return Deblurred(
        picture=picture.with_pixels(sharp),
        pipeline=pipeline,
        verdict=verdict,
        residual=residual,
        tile=made.tile,
        faces=restored,
    )
